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
--   hardware_as_of  not used here
-- Columns: hostname; window_start; state; samples: in that window; last_sample_at: the newest sample
--   ever taken of the host, NULL if there is none.
-- Rows: every host in every window of the range. Order: hostname, window_start.
--
-- state is
--   not_judged  the window is not finished (its end lies after now_ts), began before the host joined
--               (host_latest.joined_at; a host without a row there has not joined), ended after it
--               was retired, or began in a day of which the samples were dropped
--   complete    enough samples, in time
--   late        enough by now, but fewer than needed had been received 60 s after the window's end
--   unobserved  fewer than needed, but enough for the rest of the window: for what is left of it
--               without the time in which no aggregator could receive (rowcall.unobserved), the
--               2 minutes after it, and the time that is excused; at least some of it is of the
--               first kind
--   excused     the same with excused time alone: from an agent's Bye (rowcall.run.ended_at) to
--               excused_until, or to its next start where that is earlier
--   skewed      fewer than needed, and for at least half of the window the host was heard with a
--               clock off by more than its interval (rowcall.clock_span)
--   silent      else, without a sample
--   partial     else, with some
-- due     samples due in a window: the sum, over the pieces of it in which one interval was in force,
--         of piece / interval, rounded down. In force is what rowcall.host_interval says, 60 s
--         before its first row.
-- needed  ratio * due, rounded up, at least 1, at most due; ratio is 0.6, or min_samples over the
--         number of minutes in a window. For the rest of a window due is what was surely due: the sum
--         over its pieces, each rounded down, of which ratio is needed, rounded up; maybe none.
-- Where the longest interval in force within a window is longer than the window, the window is
-- judged as part of a group: the fewest windows that hold 3 such intervals, aligned as windows are.
-- All that is said above of a window's time, samples and due then holds for the group, and so the
-- group may reach beyond the range: samples are read that far.
-- Index: the primary key of host_usage, or whole partitions where the range covers them; beyond the
--   range only if there are groups. Of what has too few samples and may be unobserved or excused the
--   samples are read again. In schema rowcall run_by_excuse and run_by_host; host_interval and
--   clock_span are read whole.
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
    SELECT j.*, coalesce(b.min_samples / (b.len_s / 60), 0.6) AS ratio,
           greatest(1, least(floor(j.due + 1e-9), ceil(floor(j.due + 1e-9)
               * coalesce(b.min_samples / (b.len_s / 60), 0.6) - 1e-9))) AS needed
      FROM bounds b
      JOIN judged j ON true
),
few AS MATERIALIZED (
    -- Too few samples: whose fault is it?
    SELECT n.* FROM needed n WHERE n.unit_samples < n.needed
),
unobserved AS MATERIALIZED (
    -- The time in which no aggregator could receive, also beyond the range where groups reach, and
    -- that in which agents come back: 2 minutes are an agent's longest pause between two tries
    -- (backoff_max, unless set otherwise), and what ended meanwhile cannot have been told in time.
    SELECT range_agg(tstzrange(u.from_ts, coalesce(u.to_ts + o.pause, 'infinity'))) AS times
      FROM (SELECT min(unit_start) AS from_ts, max(unit_end) AS to_ts, interval '2 minutes' AS pause FROM few) o
     CROSS JOIN LATERAL rowcall.unobserved(o.from_ts - o.pause, o.to_ts) AS u (from_ts, to_ts)
),
excused AS MATERIALIZED (
    SELECT r.host_id, range_agg(tstzrange(r.ended_at, least(r.excused_until, r.next_at))) AS times
      FROM (SELECT r.host_id, r.ended_at, r.excused_until,
                   (SELECT min(n.started_at) FROM rowcall.run n
                     WHERE n.host_id = r.host_id AND n.started_at > r.started_at) AS next_at
              FROM (SELECT min(unit_start) AS from_ts, max(unit_end) AS to_ts FROM few) f
              JOIN rowcall.run r ON r.excused_until > f.from_ts AND r.ended_at < f.to_ts) r
     WHERE least(r.excused_until, r.next_at) > r.ended_at
     GROUP BY r.host_id
),
few_units AS MATERIALIZED (
    SELECT DISTINCT host_id, unit_start, unit_end, ratio, unit_samples FROM few
),
unit_holes AS MATERIALIZED (
    -- For all hosts at once: of many times each window has few.
    SELECT f.unit_start, f.unit_end,
           u.times * tstzmultirange(tstzrange(f.unit_start, f.unit_end)) AS times
      FROM (SELECT DISTINCT unit_start, unit_end FROM few_units) f
      JOIN unobserved u ON u.times && tstzrange(f.unit_start, f.unit_end)
),
rests AS MATERIALIZED (
    -- What is left of a window without these times. Windows that have none of them are not here.
    SELECT f.*, f.unit_end - f.unit_start AS unit_len, u.times IS NOT NULL AS hole,
           tstzmultirange(tstzrange(f.unit_start, f.unit_end))
               - coalesce(u.times, '{}') - coalesce(e.times, '{}') AS rest
      FROM few_units f
      LEFT JOIN unit_holes u ON u.unit_start = f.unit_start AND u.unit_end = f.unit_end
      LEFT JOIN excused e ON e.host_id = f.host_id
     WHERE u.times IS NOT NULL OR e.times && tstzrange(f.unit_start, f.unit_end)
),
pieces AS (
    SELECT r.host_id, r.unit_start, r.unit_end, floor(1e-9
               + sum(date_part('epoch', least(s.span_to, upper(p)) - greatest(s.span_from, lower(p)))
                     / s.interval_s)) AS due
      FROM rests r
     CROSS JOIN LATERAL unnest(r.rest) AS p
      JOIN spans s ON s.host_id = r.host_id AND s.span_from < upper(p) AND s.span_to > lower(p)
     GROUP BY r.host_id, r.unit_start, r.unit_end, p
),
rest_dues AS (
    SELECT host_id, unit_start, unit_end, sum(due) AS due FROM pieces GROUP BY 1, 2, 3
),
rest_samples AS MATERIALIZED (
    -- As group_samples: without such windows the times are NULL, and nothing is read.
    SELECT u.host_id, u."timestamp"
      FROM host_usage u
     WHERE u."timestamp" >= (SELECT min(unit_start) FROM rests WHERE unit_samples > 0)
       AND u."timestamp" < (SELECT max(unit_end) FROM rests WHERE unit_samples > 0)
       AND (u.host_id IN (SELECT host_id FROM rests WHERE unit_samples > 0)) IS TRUE
),
placed AS MATERIALIZED (
    -- A host has one length of window or group, seldom more: so its samples find theirs by hash.
    SELECT u.host_id, l.unit_len, u."timestamp",
           date_bin(l.unit_len, u."timestamp", '1970-01-01 00:00:00+00') AS unit_start
      FROM (SELECT DISTINCT host_id, unit_len FROM rests WHERE unit_samples > 0) l
      JOIN rest_samples u ON u.host_id = l.host_id
),
rest_counts AS (
    -- Samples of other windows, which have no rest here, are counted for no host.
    SELECT r.host_id, r.unit_start, r.unit_end,
           count(*) FILTER (WHERE p."timestamp" <@ r.rest) AS samples
      FROM placed p
      LEFT JOIN rests r ON r.host_id = p.host_id AND r.unit_start = p.unit_start
       AND r.unit_len = p.unit_len
     GROUP BY 1, 2, 3
),
reasons AS (
    SELECT r.host_id, r.unit_start, r.unit_end,
           CASE WHEN r.hole THEN 'unobserved' ELSE 'excused' END AS reason
      FROM rests r
      LEFT JOIN rest_dues d ON d.host_id = r.host_id
       AND d.unit_start = r.unit_start AND d.unit_end = r.unit_end
      LEFT JOIN rest_counts c ON c.host_id = r.host_id
       AND c.unit_start = r.unit_start AND c.unit_end = r.unit_end
     WHERE coalesce(c.samples, 0)
           >= least(coalesce(d.due, 0), ceil(coalesce(d.due, 0) * r.ratio - 1e-9))
),
skews AS (
    SELECT f.host_id, f.unit_start, f.unit_end
      FROM few_units f
      JOIN rowcall.clock_span s ON s.host_id = f.host_id
       AND s.from_ts < f.unit_end AND s.through_ts > f.unit_start
     GROUP BY 1, 2, 3
    HAVING sum(least(s.through_ts, f.unit_end) - greatest(s.from_ts, f.unit_start))
           >= (f.unit_end - f.unit_start) / 2
)
SELECT h.hostname, n.window_start,
       CASE WHEN n.unit_end > b.now_ts OR n.unit_start < h.joined_at OR n.unit_end > h.retired_at
              OR n.unit_start < (SELECT rowcall.kept_from())
                THEN 'not_judged'
            WHEN n.in_time >= n.needed THEN 'complete'
            WHEN n.unit_samples >= n.needed THEN 'late'
            WHEN r.reason IS NOT NULL THEN r.reason
            WHEN s.host_id IS NOT NULL THEN 'skewed'
            WHEN n.unit_samples = 0 THEN 'silent'
            ELSE 'partial'
       END AS state,
       n.samples, h.last_sample_at
  FROM bounds b
  JOIN needed n ON true
  JOIN joined h ON h.host_id = n.host_id
  LEFT JOIN reasons r ON r.host_id = n.host_id
   AND r.unit_start = n.unit_start AND r.unit_end = n.unit_end
  LEFT JOIN skews s ON s.host_id = n.host_id
   AND s.unit_start = n.unit_start AND s.unit_end = n.unit_end
 ORDER BY h.hostname, n.window_start;
