-- Tells all aggregators, at COMMIT, that the access of host $1 changed.
SELECT pg_notify('rowcall_access', $1::integer::text)
