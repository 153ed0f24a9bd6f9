-- Makes the days of host_usage, and of what stands beside it, from yesterday to $1 days ahead, in UTC;
-- tells how many were made. Takes an advisory lock only when one is missing.
SELECT rowcall.create_days(ARRAY(
    SELECT (now() AT TIME ZONE 'UTC')::date + n FROM generate_series(-1, $1::integer) AS n
))
