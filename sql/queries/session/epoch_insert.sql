-- An epoch with the agent's number $2 of host $1, not known before, that came about as $3 says.
INSERT INTO rowcall.epoch (host_id, epoch, origin) VALUES ($1, $2, $3) RETURNING id
