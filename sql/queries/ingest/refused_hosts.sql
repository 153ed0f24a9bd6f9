-- The current epoch and the mark of each of the hosts $1, of which samples.sql took nothing: to tell
-- an epoch that is not the current one from a mark that fell.
SELECT host_id, epoch_id, mark, due FROM host_latest WHERE host_id = ANY ($1::integer[]) ORDER BY host_id
