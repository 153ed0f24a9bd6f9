-- Roll: how each host answered in each window.
--
-- Parameters, in the line that starts with WITH (edit it, or let the program fill it in):
--   from_ts, to_ts  the range: start inclusive, end exclusive, widened to whole windows
--   window_len      length of a window; windows align to 1970-01-01 00:00:00 UTC
--   min_samples     fewest samples that make a window complete for a host that samples once a
--                   minute, scaled to the interval in force; NULL: 60 % of those due (3 of 5)
--   labels          labels that a host must carry, all of them: {"key": "value"}
--   name_glob       pattern of the host's name, * for any characters, ? for one; '' for any name
--   now_ts          the time of the report: later windows are not finished
-- Columns: hostname; window_start; state; samples: in that window; last_sample_at: the newest sample
--   ever taken of the host, NULL if there is none.
-- Rows: every host in every window of the range. Order: hostname, window_start.
--
-- state is
--   not_judged  the window is not finished (its end lies after now_ts), began before the host joined
--               (host_latest.joined_at; a host without a row there has not joined), ended after it
--               was retired, or began in a day of which the samples were dropped
--   silent      no sample
--   partial     fewer than needed
--   late        enough by now, but fewer than needed had been received 60 s after the window's end
--   complete    enough, in time
-- due     samples due in a window: the sum, over the pieces of it in which one interval was in force,
--         of piece / interval, rounded down. In force is what rowcall.host_interval says, 60 s
--         before its first row.
-- needed  ratio * due, rounded up, at least 1, at most due; ratio is 0.6, or min_samples over the
--         number of minutes in a window.
-- Where the longest interval in force within a window is longer than the window, the window is
-- judged as part of a group: the fewest windows that hold 3 such intervals, aligned as windows are.
-- All that is said above of a window's time, samples and due then holds for the group, and so the
-- group may reach beyond the range: samples are read that far.
-- Index: the primary key of host_usage, or whole partitions where the range covers them; beyond the
--   range only if there are groups.
WITH params AS NOT MATERIALIZED (SELECT date_bin('5 minutes', now(), '1970-01-01 00:00:00+00') - interval '1 hour' AS from_ts, date_bin('5 minutes', now(), '1970-01-01 00:00:00+00') AS to_ts, interval '5 minutes' AS window_len, NULL::int AS min_samples, '{}'::jsonb AS labels, '' AS name_glob, now() AS now_ts),
bounds AS NOT MATERIALIZED (
    -- The range widened to whole windows. A window is counted in seconds, never in days: a day of
    -- a zone with summer time has not always 24 hours.
    SELECT w.*,
           date_bin(w.len, w.from_ts, '1970-01-01 00:00:00+00') AS first_ts,
           date_bin(w.len, w.to_ts + w.len - interval '1 microsecond', '1970-01-01 00:00:00+00') AS end_ts
      FROM (SELECT p.*, date_part('epoch', p.window_len) AS len_s,
                   make_interval(secs => date_part('epoch', p.window_len)) AS len
              FROM params p) w
),
hosts AS MATERIALIZED (
    SELECT h.id AS host_id, h.hostname COLLATE "C" AS hostname, h.cpu_number, h.total_mem, h.retired_at
      FROM bounds b
      JOIN host_info h ON h.retired_at IS NULL OR h.retired_at > b.first_ts
     WHERE (b.name_glob = '' OR h.hostname LIKE translate(replace(replace(replace(
               lower(b.name_glob), '\', '\\'), '%', '\%'), '_', '\_'), '*?', '%_'))
       AND (b.labels = '{}' OR NOT EXISTS (
               SELECT FROM jsonb_each_text(b.labels) AS wanted (key, value)
                WHERE NOT EXISTS (
                      SELECT FROM host_label l
                       WHERE l.host_id = h.id AND l.key = wanted.key AND l.value = wanted.value)))
),
joined AS MATERIALIZED (
    SELECT h.*, coalesce(l.joined_at, 'infinity') AS joined_at, l."timestamp" AS last_sample_at
      FROM hosts h
      LEFT JOIN host_latest l ON l.host_id = h.host_id
),
counts AS MATERIALIZED (
    -- Counted before the join with hosts. A delay of up to 60 s is in time wherever the sample
    -- stands in its window; only the others need the longer reckoning.
    SELECT u.host_id,
           date_bin(b.len, u."timestamp", b.first_ts) AS window_start,
           count(*)::int AS samples,
           (count(*) FILTER (WHERE u.delay_s <= 60 OR u.delay_s <= 60 + date_part('epoch',
                date_bin(b.len, u."timestamp", b.first_ts) + b.len - u."timestamp")))::int AS in_time
      FROM bounds b
      JOIN host_usage u ON u."timestamp" >= b.first_ts AND u."timestamp" < b.end_ts
     WHERE (b.name_glob = '' AND b.labels = '{}') OR u.host_id IN (SELECT host_id FROM hosts)
     GROUP BY 1, 2
),
spans AS MATERIALIZED (
    -- Which interval was in force when.
    SELECT i.host_id, i.valid_from AS span_from,
           lead(i.valid_from, 1, 'infinity') OVER (PARTITION BY i.host_id ORDER BY i.valid_from) AS span_to,
           i.interval_ms / 1000.0::float8 AS interval_s
      FROM rowcall.host_interval i
     WHERE i.host_id IN (SELECT host_id FROM hosts)
     UNION ALL
    SELECT h.host_id, '-infinity', coalesce(min(i.valid_from), 'infinity'), 60
      FROM hosts h
      LEFT JOIN rowcall.host_interval i ON i.host_id = h.host_id
     GROUP BY h.host_id
),
windows AS MATERIALIZED (
    SELECT s.start AS window_start, s.start + b.len AS window_end
      FROM bounds b, generate_series(b.first_ts, b.end_ts - b.len, b.len) AS s (start)
),
intervals AS (
    -- Most hosts have one interval all the time; only the others need adding up.
    SELECT s.host_id, w.window_start, w.window_end, s.interval_s, b.len_s / s.interval_s AS due
      FROM bounds b
      JOIN spans s ON s.span_from <= b.first_ts AND s.span_to >= b.end_ts
      JOIN windows w ON true
     UNION ALL
    SELECT s.host_id, w.window_start, w.window_end, max(s.interval_s),
           sum(date_part('epoch', least(s.span_to, w.window_end) - greatest(s.span_from, w.window_start))
               / s.interval_s)
      FROM bounds b
      JOIN spans s ON s.span_from < b.end_ts AND s.span_to > b.first_ts
                  AND NOT (s.span_from <= b.first_ts AND s.span_to >= b.end_ts)
      JOIN windows w ON w.window_start < s.span_to AND w.window_end > s.span_from
     GROUP BY s.host_id, w.window_start, w.window_end
),
units AS MATERIALIZED (
    -- What each window is judged by: itself, or its group.
    SELECT i.host_id, i.window_start, i.window_end, i.due, i.interval_s > b.len_s AS grouped,
           CASE WHEN i.interval_s > b.len_s THEN date_bin(
               make_interval(secs => b.len_s * ceil(3 * i.interval_s / b.len_s - 1e-9)),
               i.window_start, '1970-01-01 00:00:00+00') END AS group_start,
           CASE WHEN i.interval_s > b.len_s THEN
               make_interval(secs => b.len_s * ceil(3 * i.interval_s / b.len_s - 1e-9)) END AS group_len
      FROM bounds b
      JOIN intervals i ON true
),
groups AS MATERIALIZED (
    SELECT DISTINCT host_id, group_start, group_start + group_len AS group_end
      FROM units
     WHERE grouped
),
group_samples AS MATERIALIZED (
    -- (..) IS TRUE keeps this a filter by a hash table: as a join it could become a walk through
    -- the index for each host. Without groups the times are NULL, and nothing is read.
    SELECT u.host_id, u."timestamp", u.delay_s
      FROM host_usage u
     WHERE u."timestamp" >= (SELECT min(group_start) FROM groups)
       AND u."timestamp" < (SELECT max(group_end) FROM groups)
       AND (u.host_id IN (SELECT host_id FROM groups)) IS TRUE
),
group_counts AS (
    SELECT g.host_id, g.group_start, g.group_end, count(*)::int AS samples,
           (count(*) FILTER (WHERE u.delay_s <= 60
                OR u.delay_s <= 60 + date_part('epoch', g.group_end - u."timestamp")))::int AS in_time
      FROM groups g
      JOIN group_samples u ON u.host_id = g.host_id
       AND u."timestamp" >= g.group_start AND u."timestamp" < g.group_end
     GROUP BY 1, 2, 3
),
group_dues AS (
    SELECT g.host_id, g.group_start, g.group_end,
           sum(date_part('epoch', least(s.span_to, g.group_end) - greatest(s.span_from, g.group_start))
               / s.interval_s) AS due
      FROM groups g
      JOIN spans s ON s.host_id = g.host_id AND s.span_from < g.group_end AND s.span_to > g.group_start
     GROUP BY 1, 2, 3
),
judged AS (
    -- Outer joins only: they keep the server from expecting a single row of a join by three
    -- columns, and then from running the other side once for each row.
    SELECT u.host_id, u.window_start, coalesce(c.samples, 0) AS samples,
           CASE WHEN u.grouped THEN d.group_start ELSE u.window_start END AS unit_start,
           CASE WHEN u.grouped THEN d.group_end ELSE u.window_end END AS unit_end,
           CASE WHEN u.grouped THEN d.due ELSE u.due END AS due,
           coalesce(CASE WHEN u.grouped THEN g.samples ELSE c.samples END, 0) AS unit_samples,
           coalesce(CASE WHEN u.grouped THEN g.in_time ELSE c.in_time END, 0) AS in_time
      FROM units u
      LEFT JOIN counts c ON c.host_id = u.host_id AND c.window_start = u.window_start
      LEFT JOIN group_dues d ON d.host_id = u.host_id
       AND d.group_start = u.group_start AND d.group_end = u.group_start + u.group_len
      LEFT JOIN group_counts g ON g.host_id = d.host_id
       AND g.group_start = d.group_start AND g.group_end = d.group_end
),
needed AS (
    -- 1e-9: sums of fractions may miss a whole number by a hair.
    SELECT j.*, b.now_ts, greatest(1, least(floor(j.due + 1e-9), ceil(floor(j.due + 1e-9)
               * coalesce(b.min_samples / (b.len_s / 60), 0.6) - 1e-9))) AS needed
      FROM bounds b
      JOIN judged j ON true
)
SELECT h.hostname, n.window_start,
       CASE WHEN n.unit_end > n.now_ts OR n.unit_start < h.joined_at OR n.unit_end > h.retired_at
              OR n.unit_start < (SELECT rowcall.kept_from())
                THEN 'not_judged'
            WHEN n.unit_samples = 0 THEN 'silent'
            WHEN n.unit_samples < n.needed THEN 'partial'
            WHEN n.in_time < n.needed THEN 'late'
            ELSE 'complete'
       END AS state,
       n.samples, h.last_sample_at
  FROM needed n
  JOIN joined h ON h.host_id = n.host_id
 ORDER BY h.hostname, n.window_start;
