-- Drops the oldest day of one of the tables beside host_usage, in a transaction of its own: of host_vitals
-- if all of it is older than $1 seconds, of readings of devices or metrics if it is older than $2. No
-- row: nothing to drop, or somebody else is at it. Fails with 55P03 where a report holds the table.
SELECT dropped::text AS day, size AS bytes FROM rowcall.drop_device_day($1::float8, $2::float8)
