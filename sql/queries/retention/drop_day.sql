-- Drops the oldest day of host_usage, with what stands beside it, if all of it is older than $1 seconds,
-- or the database larger than $2 bytes (NULL: no limit), in a transaction of its own. No row: nothing to
-- drop, or somebody else is at it. Fails with 55P03 where a report holds the table.
SELECT dropped::text AS day, size AS bytes, why AS reason
FROM rowcall.drop_day($1::float8, $2::bigint)
