-- Locks the host that has the name $1, or had it: its id and its present name. Sessions of one host
-- open one after the other. Writers of samples do not wait for this lock.
SELECT id, hostname FROM host_info WHERE id = rowcall.host_named($1::text) FOR NO KEY UPDATE
