-- Locks the host_latest rows of the hosts $1, lowest id first, and tells each one's current epoch
-- and its mark, with the ticks that were due up to it. What a flush of more than samples may store is known before it stores anything:
-- nothing of another epoch, and nothing where a hole would be between the mark and what comes.
SELECT host_id, epoch_id, mark, due FROM host_latest WHERE host_id = ANY ($1::integer[]) ORDER BY host_id FOR NO KEY UPDATE
