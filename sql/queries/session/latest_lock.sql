-- Locks the newest sample of host $1, so that its mark stands still while epochs change.
SELECT epoch_id FROM host_latest WHERE host_id = $1 FOR NO KEY UPDATE
