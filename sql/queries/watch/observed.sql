-- The aggregator $1, as process $2, could receive and commit until now; $3: it stops now, on purpose.
-- Extends its row, or begins one: after more than 60 s without, or where the clock was set back by more.
WITH last AS (
    SELECT id, through_ts FROM rowcall.aggregator_span
    WHERE aggregator = $1::text AND run = $2::bigint ORDER BY id DESC LIMIT 1
),
moved AS (
    UPDATE rowcall.aggregator_span AS s
    SET through_ts = greatest(s.through_ts, now()), stopped = $3::boolean
    FROM last
    WHERE s.id = last.id
      AND now() BETWEEN last.through_ts - interval '60 seconds' AND last.through_ts + interval '60 seconds'
    RETURNING s.id
)
INSERT INTO rowcall.aggregator_span (aggregator, run, from_ts, through_ts, stopped)
SELECT $1, $2, now(), now(), $3 WHERE NOT EXISTS (SELECT FROM moved)
