-- Locks the host named $1: sessions of one host open one after the other. Writers of samples do
-- not wait for this lock.
SELECT id FROM host_info WHERE hostname = $1 FOR NO KEY UPDATE
