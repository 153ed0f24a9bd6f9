-- The migrations applied to this database.
SELECT version, checksum FROM rowcall.migration ORDER BY version
