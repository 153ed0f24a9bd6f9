-- Makes the days of host_usage, and of what stands beside it, from yesterday to $1 days ahead, in UTC;
-- tells how many were made, and of each table that could not get all of them why, and what to do. Takes
-- an advisory lock only when one is missing.
SELECT made, blocked FROM rowcall.make_days(ARRAY(
    SELECT (now() AT TIME ZONE 'UTC')::date + n FROM generate_series(-1, $1::integer) AS n
))
