-- Integrity: what does not add up.
--
-- Parameters, in the line that starts with WITH (edit it, or let the program fill it in):
--   from_ts, to_ts  the range: start inclusive, end exclusive, widened to whole windows
--   window_len      length of a window; here it only widens the range
--   min_samples     not used here
--   labels          labels that a host must carry, all of them: {"key": "value"}
--   name_glob       pattern of the host's name, * for any characters, ? for one; '' for any name
--   now_ts          the time of the report
--   hardware_as_of  not used here
-- Columns: hostname; kind; samples: how many it concerns, 0 where that cannot be counted; from_ts,
--   to_ts: from the first to the last; detail: in words; total: findings in all, this list ends at
--   1,000.
-- Order, worst first: by kind as listed below, most samples first, hostname, detail.
--
-- kind is, for each host,
--   unbalanced       an epoch that was open in the range and does not add up (rowcall.ledger): samples
--                    is by how much. A fault of Rowcall's, or an agent that tells wrong numbers
--   duplicate_identity  rowcall.conflict that overlaps the range: two agents claimed one host for 2
--                    minutes or longer, as after a machine was cloned; one held the stream, the other
--                    was refused. detail names both. One row for each refused process and stretch
--   dropped          rowcall.gap that overlaps the range: samples that were read but will never come
--                    (dropped, forgotten, corrupt); one row for each state and cause
--   unexplained_gap  two samples in the range that follow each other with more than 2.5 samples due
--                    from one to the next (the sum of piece / interval, as in the roll), without
--                    the time in which no aggregator could receive (rowcall.unobserved) and that in
--                    which the agent did not run (rowcall.run: from a Bye, or where there was none
--                    from the earlier sample, to the next start); less what
--                    rowcall.gap and rowcall.quarantine have there (a refused record that was only
--                    counted explains nothing here). Not told where samples may still
--                    come: where the later one lies beyond the mark of the host's current epoch.
--                    Nothing is said of the time before the first and after the last sample: that is
--                    the roll's. One row for each host
--   epoch_changed    a spool took the place of another in the range; detail says how it came about
--   quarantined      records refused in the range, by the time of reception (their own time may be
--                    what is wrong with them); one row for each reason. Of a host and UTC day only the
--                    first 1,000 are kept with their reason; the others have a row of their own, with
--                    all of each day on which one of them came in the range
--   impossible       values that cannot be: percentages below 0 or above 100.5, idle and kernel
--                    together above 101, memory below 0 or above the host's total at that time,
--                    other counts below 0, a span of 0 s or less. One row for each host
--   clock_skew       rowcall.clock_span that overlaps the range: the host was heard with a clock off
--                    by more than its interval. Of hosts without one, by delay_s, reception minus
--                    reading: below -2 s, the host's clock is ahead. A
--                    clock behind looks like a slow or interrupted network; it is told only where
--                    the delay is long and steady: 3 samples or more, all above 5 s, and none more
--                    than 5 s above another, which neither live samples nor a replay show
--   missed           rowcall.gap that overlaps the range: samples that were due and never read; one
--                    row for each cause
--   restarted        starts of the agent in the range (rowcall.run) but its first, one row for each
--                    way: a reboot, an upgrade, a planned stop (it had said Bye), a crash
--   hardware_changed a row of host_info_history that began in the range, but for the first: detail says
--                    what was before and what is now; of each host the newest 20, and one row for the
--                    others
--   not_read         what agents should have read and did not (host_skipped), one row for each thing and
--                    reason: samples is the number of readings. Of each host the newest readings up to
--                    10,000 things, and of those the 20 that were most often not read
-- Index: the primary key of host_usage, or whole partitions where the range covers them; in schema
--   rowcall gap_by_time, gap_by_host, quarantine_by_reception, quarantine_by_host, epoch_by_time,
--   epoch_by_host, conflict_by_time, run_by_time, run_by_host, device_sample_skipped and the primary key
--   of quarantine_day; host_info_history_closed; host_interval, clock_span and what rowcall.ledger shows are read whole.
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
gaps AS (
    SELECT g.host_id, CASE g.state WHEN 'missed' THEN 'missed' ELSE 'dropped' END AS kind,
           least(sum(g.ticks), 9223372036854775807)::bigint AS samples, min(g.from_ts) AS from_ts, max(g.to_ts) AS to_ts,
           format('%s, cause: %s, in %s', g.state, g.cause,
                  CASE count(*) WHEN 1 THEN '1 gap' ELSE count(*) || ' gaps' END) AS detail
      FROM bounds b
      JOIN rowcall.gap g ON g.from_ts < b.end_ts AND g.to_ts >= b.first_ts
     GROUP BY g.host_id, g.state, g.cause
),
refused AS (
    SELECT q.host_id, 'quarantined' AS kind, count(*) AS samples,
           min(q."timestamp") AS from_ts, max(q."timestamp") AS to_ts, q.reason AS detail
      FROM bounds b
      JOIN rowcall.quarantine q ON q.received_at >= b.first_ts AND q.received_at < b.end_ts
     GROUP BY q.host_id, q.reason
     UNION ALL
    SELECT d.host_id, 'quarantined', sum(d.counted)::bigint, min(d.counted_from), max(d.counted_to),
           'only counted: more than a host''s first 1,000 refused records of a day'
      FROM bounds b
      JOIN rowcall.quarantine_day d ON d.counted_from < b.end_ts AND d.counted_to >= b.first_ts
       AND d.day >= (b.first_ts AT TIME ZONE 'UTC')::date AND d.day <= (b.end_ts AT TIME ZONE 'UTC')::date
     GROUP BY d.host_id
),
epochs AS (
    SELECT e.host_id, 'epoch_changed' AS kind, 0::bigint AS samples,
           coalesce(o.mark_time, e.opened_at) AS from_ts, e.opened_at AS to_ts,
           format('spool %s took the place of %s: %s', e.epoch, o.epoch, CASE e.origin
               WHEN 'new' THEN format('it is a new one. What the old one held after sequence %s is unknown', o.mark)
               WHEN 'rolled_back' THEN format('the old one was rolled back or copied, as by the snapshot of a '
                   'virtual machine. What it held after sequence %s and had not sent goes on in this one', o.mark)
               WHEN 'damaged' THEN format('the old one was damaged. All of it that could be read is sent again '
                   'in this one; of the rest after sequence %s nothing is known', o.mark)
               ELSE format('of the old one nothing is known after sequence %s', o.mark) END) AS detail
      FROM bounds b
      JOIN rowcall.epoch e ON e.opened_at >= b.first_ts AND e.opened_at < b.end_ts
     CROSS JOIN LATERAL (
           SELECT * FROM rowcall.epoch o
            WHERE o.host_id = e.host_id AND (o.opened_at, o.id) < (e.opened_at, e.id)
            ORDER BY o.opened_at DESC, o.id DESC LIMIT 1) o
),
seen AS MATERIALIZED (
    -- One pass over the samples: what tells of each host whether there is anything to look into.
    SELECT u.host_id, count(*) AS samples, count(*) FILTER (WHERE u.delay_s < -2) AS ahead,
           min(u."timestamp") AS from_ts, max(u."timestamp") AS to_ts,
           min(u.delay_s) AS least, max(u.delay_s) AS most,
           max(u.memory_free) AS free, max(u.memory_available) AS available,
           bool_or(u.cpu_idle < 0 OR u.cpu_idle > 100.5 OR u.cpu_kernel < 0 OR u.cpu_kernel > 100.5
                   OR u.cpu_idle::float8 + u.cpu_kernel > 101 OR u.disk_io < 0 OR u.disk_available < 0
                   OR u.memory_free < 0 OR u.memory_available < 0 OR u.elapsed_s <= 0) AS bad
      FROM bounds b
      JOIN host_usage u ON u."timestamp" >= b.first_ts AND u."timestamp" < b.end_ts
     WHERE (b.name_glob = '' AND b.labels = '{}') OR u.host_id IN (SELECT host_id FROM hosts)
     GROUP BY u.host_id
),
totals AS MATERIALIZED (
    -- The least memory that a host had within the range, where that was not always what it has now.
    SELECT y.host_id, min(y.total_mem) AS total_mem
      FROM bounds b
      JOIN host_info_history y ON y.valid_to > b.first_ts AND y.valid_to < 'infinity' AND y.valid_from < b.end_ts
     GROUP BY y.host_id
),
suspects AS MATERIALIZED (
    SELECT h.host_id, h.total_mem
      FROM seen s
      JOIN hosts h ON h.host_id = s.host_id
      LEFT JOIN totals t ON t.host_id = h.host_id
     WHERE s.bad OR s.free > least(h.total_mem, t.total_mem) / 1024
        OR s.available > least(h.total_mem, t.total_mem) / 1024
),
bad_values AS (
    -- + 0 keeps the join a hash join: with few hosts expected and many found, it could otherwise
    -- become a walk through the index for each host.
    SELECT u.host_id, u."timestamp",
           u.cpu_idle < 0 OR u.cpu_idle > 100.5 AS idle,
           u.cpu_kernel < 0 OR u.cpu_kernel > 100.5 AS kernel,
           u.cpu_idle::float8 + u.cpu_kernel > 101 AS both_cpu,
           u.memory_free < 0 OR u.memory_free > u.total_mem / 1024 AS free,
           u.memory_available < 0 OR u.memory_available > u.total_mem / 1024 AS available,
           u.disk_io < 0 AS disk_io,
           u.disk_available < 0 AS disk_available,
           u.elapsed_s <= 0 AS elapsed
      FROM (SELECT u.*, CASE WHEN y.host_id IS NULL THEN h.total_mem ELSE y.total_mem END AS total_mem
              FROM bounds b
              JOIN host_usage u ON u."timestamp" >= b.first_ts AND u."timestamp" < b.end_ts
              JOIN suspects h ON h.host_id = u.host_id + 0
              -- Looked up for each sample: a host may have 1,000 rows.
              LEFT JOIN LATERAL (
                   SELECT y.host_id, y.total_mem FROM host_info_history y
                    WHERE y.host_id = h.host_id AND y.valid_from <= u."timestamp"
                    ORDER BY y.valid_from DESC LIMIT 1) y ON true) u
     WHERE u.cpu_idle < 0 OR u.cpu_idle > 100.5 OR u.cpu_kernel < 0 OR u.cpu_kernel > 100.5
        OR u.cpu_idle::float8 + u.cpu_kernel > 101 OR u.disk_io < 0 OR u.disk_available < 0
        OR u.memory_free < 0 OR u.memory_free > u.total_mem / 1024
        OR u.memory_available < 0 OR u.memory_available > u.total_mem / 1024 OR u.elapsed_s <= 0
),
impossible AS (
    SELECT host_id, 'impossible' AS kind, count(*) AS samples,
           min("timestamp") AS from_ts, max("timestamp") AS to_ts,
           concat_ws(', ',
               'cpu_idle in ' || nullif(count(*) FILTER (WHERE idle), 0),
               'cpu_kernel in ' || nullif(count(*) FILTER (WHERE kernel), 0),
               'cpu_idle + cpu_kernel in ' || nullif(count(*) FILTER (WHERE both_cpu), 0),
               'memory_free in ' || nullif(count(*) FILTER (WHERE free), 0),
               'memory_available in ' || nullif(count(*) FILTER (WHERE available), 0),
               'disk_io in ' || nullif(count(*) FILTER (WHERE disk_io), 0),
               'disk_available in ' || nullif(count(*) FILTER (WHERE disk_available), 0),
               'elapsed_s in ' || nullif(count(*) FILTER (WHERE elapsed), 0)) AS detail
      FROM bad_values
     GROUP BY host_id
),
told_skews AS MATERIALIZED (
    SELECT c.host_id, 'clock_skew' AS kind, 0::bigint AS samples, min(c.from_ts) AS from_ts,
           max(c.through_ts) AS to_ts,
           CASE WHEN min(c.offset_s) >= 0 THEN format('clock ahead by up to %s s', round(max(c.offset_s)::numeric, 1))
                WHEN max(c.offset_s) <= 0 THEN format('clock behind by up to %s s', round(-min(c.offset_s)::numeric, 1))
                ELSE format('clock between %s s behind and %s s ahead', round(-min(c.offset_s)::numeric, 1),
                            round(max(c.offset_s)::numeric, 1)) END AS detail
      FROM bounds b
      JOIN rowcall.clock_span c ON c.from_ts < b.end_ts AND c.through_ts >= b.first_ts
     GROUP BY c.host_id
),
skews AS (
    SELECT * FROM told_skews
     UNION ALL
    SELECT host_id, 'clock_skew' AS kind, CASE WHEN least < -2 THEN ahead ELSE samples END AS samples,
           from_ts, to_ts,
           CASE WHEN least < -2 THEN format('clock ahead by %s s or more', round(-least::numeric, 1))
                ELSE format('clock behind by about %s s', round(least::numeric, 1)) END AS detail
      FROM seen
     WHERE (least < -2 OR (least > 5 AND most - least <= 5 AND samples >= 3))
       AND host_id NOT IN (SELECT host_id FROM told_skews)
),
steps AS (
    SELECT u.host_id, u."timestamp" AS to_ts, u.epoch_id, u.sequence,
           lag(u."timestamp") OVER (PARTITION BY u.host_id ORDER BY u."timestamp") AS from_ts
      FROM bounds b
      JOIN host_usage u ON u."timestamp" >= b.first_ts AND u."timestamp" < b.end_ts
     WHERE (b.name_glob = '' AND b.labels = '{}') OR u.host_id IN (SELECT host_id FROM hosts)
),
long_steps AS MATERIALIZED (
    -- Longer than any short interval of the host allows; which one was in force comes next.
    SELECT t.*
      FROM steps t
      JOIN (SELECT s.host_id, min(s.interval_s) AS interval_s
              FROM bounds b
              JOIN spans s ON s.span_from < b.end_ts AND s.span_to > b.first_ts
             GROUP BY s.host_id) s ON s.host_id = t.host_id
      LEFT JOIN host_latest l ON l.host_id = t.host_id
     WHERE t.to_ts - t.from_ts > make_interval(secs => 2.5 * s.interval_s)
       AND (t.epoch_id = l.epoch_id AND t.sequence > l.mark) IS NOT TRUE
),
unobserved AS MATERIALIZED (
    SELECT range_agg(tstzrange(u.from_ts, coalesce(u.to_ts, 'infinity'))) AS times
      FROM (SELECT min(from_ts) AS from_ts, max(to_ts) AS to_ts FROM long_steps) t
     CROSS JOIN LATERAL rowcall.unobserved(t.from_ts, t.to_ts) AS u (from_ts, to_ts)
),
offs AS MATERIALIZED (
    -- When no agent ran within a step: runs that started in it, and what went before.
    SELECT t.host_id, t.from_ts, range_agg(tstzrange(r.ended_at, r.started_at)) AS times
      FROM (SELECT t.host_id, t.from_ts, r.started_at,
                   greatest(t.from_ts, least(r.started_at, coalesce((
                       SELECT o.ended_at FROM rowcall.run o
                        WHERE o.host_id = r.host_id AND o.started_at < r.started_at
                        ORDER BY o.started_at DESC LIMIT 1), t.from_ts))) AS ended_at
              FROM long_steps t
              JOIN rowcall.run r ON r.host_id = t.host_id
               AND r.started_at > t.from_ts AND r.started_at <= t.to_ts) r
      JOIN long_steps t ON t.host_id = r.host_id AND t.from_ts = r.from_ts
     WHERE r.ended_at < r.started_at
     GROUP BY t.host_id, t.from_ts
),
rests AS MATERIALIZED (
    SELECT t.host_id, t.from_ts, t.to_ts, tstzmultirange(tstzrange(t.from_ts, t.to_ts))
               - coalesce(u.times, '{}') - coalesce(o.times, '{}') AS rest
      FROM long_steps t
     CROSS JOIN unobserved u
      LEFT JOIN offs o ON o.host_id = t.host_id AND o.from_ts = t.from_ts
),
holes AS (
    SELECT r.host_id, r.from_ts, r.to_ts, r.rest,
           sum(date_part('epoch', least(s.span_to, upper(p)) - greatest(s.span_from, lower(p)))
               / s.interval_s) - 1 AS missing
      FROM rests r
     CROSS JOIN LATERAL unnest(r.rest) AS p
      JOIN spans s ON s.host_id = r.host_id AND s.span_from < upper(p) AND s.span_to > lower(p)
     GROUP BY r.host_id, r.from_ts, r.to_ts, r.rest
    HAVING sum(date_part('epoch', least(s.span_to, upper(p)) - greatest(s.span_from, lower(p)))
               / s.interval_s) > 2.5
),
unexplained AS (
    SELECT host_id, 'unexplained_gap' AS kind, sum(missing)::bigint AS samples,
           min(from_ts) AS from_ts, max(to_ts) AS to_ts,
           CASE count(*) WHEN 1 THEN '1 hole' ELSE count(*) || ' holes' END
               || ' between samples that no record explains' AS detail
      -- Rounded only here, half up: sums of fractions may miss a half by a hair.
      FROM (SELECT o.host_id, o.from_ts, o.to_ts, floor(0.5 + 1e-6 + o.missing
                   - coalesce((
                       -- Of a gap that lies in other explained time too only its share. Each tick stands
                       -- for the time around it, half an interval to either side.
                       SELECT sum(g.ticks * CASE WHEN g.from_ts >= g.to_ts THEN 1 ELSE coalesce((
                                  SELECT sum(date_part('epoch', upper(p) - lower(p)))
                                    FROM unnest(o.rest * tstzmultirange(tstzrange(g.start_ts, g.stop_ts))) AS p)
                                  / date_part('epoch', g.stop_ts - g.start_ts), 0) END)
                         FROM (SELECT g.*, greatest(g.from_ts - g.half, o.from_ts) AS start_ts,
                                      least(g.to_ts + g.half, o.to_ts) AS stop_ts
                                 FROM (SELECT g.*, (g.to_ts - g.from_ts) / (2 * greatest(g.ticks - 1, 1)) AS half
                                         FROM rowcall.gap g
                                        WHERE g.host_id = o.host_id AND g.from_ts < o.to_ts
                                          AND g.to_ts > o.from_ts) g) g), 0)
                   - (SELECT count(*) FROM rowcall.quarantine q
                       WHERE q.host_id = o.host_id AND q."timestamp" > o.from_ts
                         AND q."timestamp" < o.to_ts)) AS missing
              FROM holes o) h
     WHERE missing >= 1
     GROUP BY host_id
),
unbalanced AS (
    SELECT l.host_id, 'unbalanced' AS kind, abs(l.difference)::bigint AS samples, l.opened_at AS from_ts,
           coalesce(l.closed_at, b.now_ts) AS to_ts,
           format('spool %s: %s due, but %s committed + %s quarantined + %s spooled + %s dropped + %s missed = %s',
                  l.epoch, l.due, l.committed, l.quarantined, l.spooled, l.dropped, l.missed,
                  l.committed + l.quarantined + l.spooled + l.dropped + l.missed) AS detail
      FROM bounds b
      JOIN rowcall.ledger l ON l.opened_at < b.end_ts
                           AND (l.closed_at IS NULL OR l.closed_at >= b.first_ts)
     WHERE l.difference <> 0
),
duplicates AS (
    -- Whoever was refused once, and neither came back nor got in, is no second one.
    SELECT c.host_id, 'duplicate_identity' AS kind, 0::bigint AS samples, c.first_at AS from_ts, c.last_at AS to_ts,
           format('two agents claim this host: process %s on machine %s from %s holds its stream, process %s on '
                  'machine %s from %s was refused%s', c.holder_run, coalesce(c.holder_machine_id, '?'), c.holder_peer,
                  c.newcomer_run, coalesce(c.newcomer_machine_id, '?'), c.newcomer_peer,
                  CASE WHEN c.resolved_at IS NULL THEN '' ELSE ' until the first was gone' END) AS detail
      FROM bounds b
      JOIN rowcall.conflict c ON c.first_at < b.end_ts AND c.last_at >= b.first_ts
     WHERE c.last_at - c.first_at >= interval '2 minutes'
        OR (c.resolved_at IS NULL AND c.attempts > 1 AND b.now_ts - c.first_at >= interval '2 minutes')
),
starts AS (
    SELECT r.host_id, r.started_at, CASE
               WHEN r.how = 'reboot' AND o.ended_at IS NULL THEN 'rebooted without a stop of the agent: a crash, a reset or a loss of power'
               WHEN r.how = 'reboot' THEN 'rebooted'
               WHEN r.how = 'upgrade' THEN format('agent changed from version %s to %s', coalesce(o.agent_version, '?'), coalesce(r.agent_version, '?'))
               WHEN o.ended_at IS NULL THEN 'agent started again, and no goodbye arrived: it crashed, was killed, or was stopped while nobody could be told'
               ELSE 'agent stopped and started' END AS detail
      FROM bounds b
      JOIN rowcall.run r ON r.started_at >= b.first_ts AND r.started_at < b.end_ts AND r.how <> 'first'
      LEFT JOIN LATERAL (
           SELECT o.ended_at, o.agent_version FROM rowcall.run o
            WHERE o.host_id = r.host_id AND o.started_at < r.started_at
            ORDER BY o.started_at DESC LIMIT 1) o ON true
),
restarts AS (
    SELECT host_id, 'restarted' AS kind, 0::bigint AS samples, min(started_at) AS from_ts,
           max(started_at) AS to_ts,
           detail || CASE count(*) WHEN 1 THEN '' ELSE format(', %s times', count(*)) END AS detail
      FROM starts
     GROUP BY host_id, starts.detail
),
changes AS (
    -- In words only those that are listed, at the end; until then their times keep them in order.
    SELECT host_id, 'hardware_changed' AS kind, 0::bigint AS samples, min(valid_to) AS from_ts, max(valid_to) AS to_ts,
           min(time) || CASE count(*) WHEN 1 THEN '' ELSE ' ' || count(*) || ' changes before' END AS detail
      FROM (SELECT y.host_id, y.valid_to, to_char(y.valid_to AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISSUS') AS time,
                   least(row_number() OVER (PARTITION BY y.host_id ORDER BY y.valid_to DESC), 21) AS place
              FROM bounds b
              JOIN host_info_history y ON y.valid_to >= b.first_ts AND y.valid_to < b.end_ts
               AND y.valid_to < 'infinity') y
     GROUP BY host_id, place
),
skipped AS (
    -- Whoever leaves out much, and often, is not counted to the end: the report is not only about him.
    SELECT *
      FROM (SELECT d.host_id, d."timestamp", d.skipped,
                   sum(jsonb_array_length(d.skipped)) OVER (
                       PARTITION BY d.host_id ORDER BY d."timestamp" DESC) AS things
              FROM bounds b
              JOIN rowcall.device_sample d ON d."timestamp" >= b.first_ts AND d."timestamp" < b.end_ts
               AND d.skipped IS NOT NULL
             WHERE (b.name_glob = '' AND b.labels = '{}') OR d.host_id IN (SELECT host_id FROM hosts)) d
     WHERE things <= 10000
),
not_read AS (
    -- Newest first; of what is beyond 20 of a host only how much it is.
    SELECT host_id, 'not_read' AS kind, CASE WHEN place <= 20 THEN max(samples) ELSE 0 END AS samples,
           min(from_ts) AS from_ts, max(to_ts) AS to_ts,
           CASE WHEN place <= 20 THEN min(detail) ELSE format('%s more, as the view host_skipped tells', count(*)) END AS detail
      FROM (SELECT d.host_id, count(DISTINCT d."timestamp") AS samples,
                   min(d."timestamp") AS from_ts, max(d."timestamp") AS to_ts,
                   concat(k.collector, ' ' || nullif(k.item, ''), CASE
                       WHEN k.reason = 'hung' THEN ': did not answer in time'
                       -- Names that say themselves what is wrong.
                       WHEN k.reason = 'unreadable' AND strpos(k.item, ': ') > 0 THEN ''
                       WHEN k.reason = 'limit' AND (strpos(k.item, ': ') > 0 OR k.collector = 'devices')
                       THEN format(', up to %s', max(k.count))
                       WHEN k.reason = 'limit' THEN format(': up to %s more than the agent reads', max(k.count))
                       WHEN k.reason = 'unreadable' THEN ': cannot be read or understood'
                       ELSE coalesce(': ' || k.reason, ': unknown') END) AS detail,
                   least(row_number() OVER (PARTITION BY d.host_id ORDER BY max(d."timestamp") DESC,
                         count(DISTINCT d."timestamp") DESC, k.collector, k.item, k.reason), 21) AS place
              FROM skipped d
             CROSS JOIN LATERAL jsonb_to_recordset(d.skipped)
                   AS k (collector text, item text, reason text, count bigint)
             GROUP BY d.host_id, k.collector, k.item, k.reason) k
     GROUP BY host_id, place
),
findings AS (
    SELECT 0 AS rank, * FROM unbalanced
     UNION ALL SELECT 1, * FROM duplicates
     UNION ALL SELECT 2, * FROM gaps WHERE kind = 'dropped'
     UNION ALL SELECT 3, * FROM unexplained
     UNION ALL SELECT 4, * FROM epochs
     UNION ALL SELECT 5, * FROM refused
     UNION ALL SELECT 6, * FROM impossible
     UNION ALL SELECT 7, * FROM skews
     UNION ALL SELECT 8, * FROM gaps WHERE kind = 'missed'
     UNION ALL SELECT 9, * FROM restarts
     UNION ALL SELECT 10, * FROM changes
     UNION ALL SELECT 11, host_id, kind, samples, from_ts, to_ts, detail FROM not_read
),
listed AS (
    SELECT f.*, h.hostname, count(*) OVER () AS total
      FROM findings f
      JOIN hosts h ON h.host_id = f.host_id
     ORDER BY f.rank, f.samples DESC, h.hostname, f.detail
     LIMIT 1000
)
SELECT hostname, kind, samples, from_ts, to_ts, CASE WHEN kind <> 'hardware_changed' THEN detail
           WHEN strpos(detail, ' ') > 0 THEN substr(detail, strpos(detail, ' ') + 1)
           ELSE coalesce((
               SELECT rowcall.facts_change(o, n)
                 FROM host_info_history o
                 JOIN host_info_history n ON n.host_id = o.host_id AND n.valid_from = o.valid_to
                WHERE o.host_id = l.host_id AND o.valid_to = l.to_ts), 'changed') END AS detail, total
  FROM listed l
 ORDER BY rank, samples DESC, hostname, l.detail;
