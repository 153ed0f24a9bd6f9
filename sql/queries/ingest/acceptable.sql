-- Which of the readings of devices at the times $1 are stored: `reason` says why one is refused, as
-- samples.sql does, and `expired` that it is older than $3 seconds, so long are they kept; $2 is the
-- retention of samples in seconds. In the order of $1.
SELECT
    CASE
        WHEN r.at > now() + interval '10 minutes' THEN 'timestamp is more than 10 minutes in the future'
        WHEN r.at < now() - make_interval(secs => $2::float8) THEN 'timestamp is older than retention'
        WHEN r.at < rowcall.kept_from() THEN 'timestamp is not after the last day that was dropped'
    END AS reason,
    r.at < now() - make_interval(secs => least($2::float8, $3::float8)) AS expired
FROM unnest($1::timestamptz[]) WITH ORDINALITY AS r (at, place)
ORDER BY r.place
