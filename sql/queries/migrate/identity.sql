-- What tells this schema from one that was made anew: the number of a table in it. NULL: it is gone.
SELECT to_regclass('rowcall.schema')::oid
