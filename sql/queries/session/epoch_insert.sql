-- An epoch with the agent's number $2 of host $1, not known before.
INSERT INTO rowcall.epoch (host_id, epoch) VALUES ($1, $2) RETURNING id
