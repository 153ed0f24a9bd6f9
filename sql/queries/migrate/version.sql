-- The schema's version, and the oldest one whose program may use it. No row: nothing is there yet.
SELECT version, oldest_compatible FROM rowcall.schema
