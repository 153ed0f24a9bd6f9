-- Locks the host_info rows of the hosts $1, before anything else of a flush that changes facts:
-- a session that opens locks in the same order, host_info first and host_latest then.
SELECT id FROM host_info WHERE id = ANY ($1::integer[]) ORDER BY id FOR NO KEY UPDATE
