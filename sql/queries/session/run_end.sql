-- The process $2 of host $1's agent said Bye $4 s ago: from then on its silence is excused for $3 s.
-- What it said first counts.
UPDATE rowcall.run
SET ended_at = now() - make_interval(secs => $4::float8),
    excused_until = now() + make_interval(secs => $3::float8 - $4::float8)
WHERE host_id = $1::integer AND run = $2::bigint AND ended_at IS NULL
