-- A process of host $1's agent said Hello: its number $2, what was different from the process before
-- $3 (a row that is there keeps its own), boot id $4, agent version $5. If it had said Bye, it is back.
INSERT INTO rowcall.run AS r (host_id, run, how, boot_id, agent_version) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (host_id, run) DO UPDATE SET ended_at = NULL, excused_until = NULL
