-- What tells this schema from one that was made anew: the number of a table in it, and when the first
-- migration made it, in microseconds. No row, or a missing table: there is no schema.
SELECT 'rowcall.schema'::regclass::oid, (extract(epoch FROM applied_at) * 1e6)::bigint
FROM rowcall.migration WHERE version = 1
