-- The epoch with the agent's number $2 of host $1, if it is known.
SELECT id FROM rowcall.epoch WHERE host_id = $1 AND epoch = $2
