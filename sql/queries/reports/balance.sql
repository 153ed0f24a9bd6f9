-- Balance: how evenly CPU and memory load spread over the hosts, window by window.
--
-- Parameters, in the line that starts with WITH (edit it, or let the program fill it in):
--   from_ts, to_ts  the range: start inclusive, end exclusive, widened to whole windows
--   window_len      length of a window; windows align to 1970-01-01 00:00:00 UTC
--   min_samples     not used here
--   labels          labels that a host must carry, all of them: {"key": "value"}
--   name_glob       pattern of the host's name, * for any characters, ? for one; '' for any name
--   now_ts          not used here: a window that is still open shows what it has so far
-- Each host counts once in a window, with the average of its samples, whatever its interval.
-- Columns: window_start; hosts: with samples in the window; then for CPU busy time (cpu_: 100 - idle
--   [%]) and used memory (mem_: total - free [%]): mean [%], stddev [%, of the population], min [%],
--   max [%], cv [stddev / mean; NULL where the mean is 0]; and weighted_mean [%] and weighted_stddev
--   [%, about that mean], in which a host counts as often as it has CPUs (one that cannot tell its
--   CPUs does not count there). NULL: no host could tell.
-- Rows: only windows in which a host has samples. Order: window_start.
-- Index: the primary key of host_usage, or whole partitions where the range covers them.
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
averages AS (
    -- Averaged before the join and in float8: averages of bigint are numeric, and slow.
    SELECT u.host_id,
           date_bin(b.len, u."timestamp", b.first_ts) AS window_start,
           avg(u.cpu_idle) AS idle,
           avg(u.memory_free::float8) AS free_mib
      FROM bounds b
      JOIN host_usage u ON u."timestamp" >= b.first_ts AND u."timestamp" < b.end_ts
     WHERE (b.name_glob = '' AND b.labels = '{}') OR u.host_id IN (SELECT host_id FROM hosts)
     GROUP BY 1, 2
),
loads AS (
    SELECT a.window_start,
           100 - a.idle AS cpu,
           100 - 100 * (a.free_mib * 1024 / nullif(h.total_mem, 0)) AS mem,
           CASE WHEN h.cpu_number > 0 THEN h.cpu_number::float8 END AS weight
      FROM averages a
      JOIN hosts h ON h.host_id = a.host_id
),
spreads AS (
    SELECT window_start, count(*) AS hosts,
           avg(cpu) AS cpu_mean, stddev_pop(cpu) AS cpu_stddev, min(cpu) AS cpu_min, max(cpu) AS cpu_max,
           avg(mem) AS mem_mean, stddev_pop(mem) AS mem_stddev, min(mem) AS mem_min, max(mem) AS mem_max,
           sum(weight) FILTER (WHERE cpu IS NOT NULL) AS cpu_weight,
           sum(weight * cpu) AS cpu_sum, sum(weight * cpu * cpu) AS cpu_squares,
           sum(weight) FILTER (WHERE mem IS NOT NULL) AS mem_weight,
           sum(weight * mem) AS mem_sum, sum(weight * mem * mem) AS mem_squares
      FROM loads
     GROUP BY window_start
)
SELECT window_start, hosts,
       cpu_mean::real, cpu_stddev::real, cpu_min::real, cpu_max::real,
       (cpu_stddev / nullif(cpu_mean, 0))::real AS cpu_cv,
       (cpu_sum / cpu_weight)::real AS cpu_weighted_mean,
       CASE WHEN cpu_weight > 0 THEN sqrt(greatest(
           cpu_squares / cpu_weight - (cpu_sum / cpu_weight) ^ 2, 0)) END::real AS cpu_weighted_stddev,
       mem_mean::real, mem_stddev::real, mem_min::real, mem_max::real,
       (mem_stddev / nullif(mem_mean, 0))::real AS mem_cv,
       (mem_sum / mem_weight)::real AS mem_weighted_mean,
       CASE WHEN mem_weight > 0 THEN sqrt(greatest(
           mem_squares / mem_weight - (mem_sum / mem_weight) ^ 2, 0)) END::real AS mem_weighted_stddev,
       NULL::real, NULL::real, NULL::real, NULL::real, NULL::real, NULL::real, NULL::real,
       NULL::real, NULL::real, NULL::real, NULL::real, NULL::real, NULL::real, NULL::real
  FROM spreads
 ORDER BY window_start;
