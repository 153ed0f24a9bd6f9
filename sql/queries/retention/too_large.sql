-- The database's size, if it is larger than $1 bytes.
SELECT s.bytes FROM pg_database_size(current_database()) AS s (bytes) WHERE s.bytes > $1::bigint
