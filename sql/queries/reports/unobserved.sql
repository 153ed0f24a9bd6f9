-- Unobserved: when no aggregator could have received anything.
--
-- Parameters, in the line that starts with WITH (edit it, or let the program fill it in):
--   from_ts, to_ts  the range: start inclusive, end exclusive, widened to whole windows
--   window_len      length of a window; here it only widens the range
--   min_samples     not used here
--   labels          not used here: it concerns all hosts
--   name_glob       not used here
--   now_ts          the time of the report: what began later is left out
--   hardware_as_of  not used here
-- Columns: from_ts; to_ts: NULL while it lasts; cause: stopped (the aggregator was stopped), down (it
--   ended without a word), database (it ran, and the database took no writes).
-- Order: from_ts. At most 1,000.
-- Index: aggregator_span_by_time in schema rowcall.
WITH params AS NOT MATERIALIZED (SELECT date_bin('5 minutes', now(), '1970-01-01 00:00:00+00') - interval '1 hour' AS from_ts, date_bin('5 minutes', now(), '1970-01-01 00:00:00+00') AS to_ts, interval '5 minutes' AS window_len, NULL::int AS min_samples, '{}'::jsonb AS labels, '' AS name_glob, now() AS now_ts, NULL::timestamptz AS hardware_as_of),
bounds AS NOT MATERIALIZED (
    -- The range widened to whole windows. A window is counted in seconds, never in days: a day of
    -- a zone with summer time has not always 24 hours.
    SELECT w.*,
           date_bin(w.len, w.from_ts, '1970-01-01 00:00:00+00') AS first_ts,
           date_bin(w.len, w.to_ts + w.len - interval '1 microsecond', '1970-01-01 00:00:00+00') AS end_ts
      FROM (SELECT p.*, date_part('epoch', p.window_len) AS len_s,
                   make_interval(secs => date_part('epoch', p.window_len)) AS len
              FROM params p) w
)
SELECT u.from_ts, u.to_ts, u.cause
  FROM bounds b
 CROSS JOIN LATERAL rowcall.unobserved(b.first_ts, least(b.end_ts, b.now_ts)) AS u (from_ts, to_ts, cause)
 ORDER BY u.from_ts
 LIMIT 1000;
