-- Makes the days of host_usage, and of what stands beside it, in UTC, on which the times $1 lie, as far as
-- they are accepted: from $2 seconds ago to 10 minutes ahead. Tells how many were made, and of each table
-- that could not get all of them why, and what to do.
SELECT made, blocked FROM rowcall.make_days(ARRAY(
    SELECT DISTINCT (t AT TIME ZONE 'UTC')::date
    FROM unnest($1::timestamptz[]) AS t
    WHERE t BETWEEN now() - make_interval(secs => $2::float8) AND now() + interval '10 minutes'
))
