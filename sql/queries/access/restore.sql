-- The access of host $1 is not ended any more.
UPDATE rowcall.host_access SET ended_at = NULL, ended_why = NULL, reason = NULL
WHERE host_id = $1 AND ended_at IS NOT NULL
