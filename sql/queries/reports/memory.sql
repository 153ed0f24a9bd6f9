-- Memory: average used memory of each host in each window.
--
-- Parameters, in the line that starts with WITH (edit it, or let the program fill it in):
--   from_ts, to_ts  the range: start inclusive, end exclusive, widened to whole windows
--   window_len      length of a window; windows align to 1970-01-01 00:00:00 UTC
--   min_samples     not used here
--   labels          labels that a host must carry, all of them: {"key": "value"}
--   name_glob       pattern of the host's name, * for any characters, ? for one; '' for any name
--   now_ts          not used here: a window that is still open shows what it has so far
--   hardware_as_of  not used here
-- Columns: hostname; window_start; used_percent [%]: total - free, so caches count as used;
--   unavailable_percent [%]: total - available, what programs hold. NULL: total_mem or the samples'
--   value is not known. The total is that of the sample's time (host_info_history). Nothing is clamped: a host that reports more free than total memory shows
--   less than 0 here, and stands in the integrity report.
-- Rows: only windows in which the host has samples. Order: hostname, window_start.
-- Index: the primary key of host_usage, or whole partitions where the range covers them;
--   host_info_history_closed.
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
resized AS MATERIALIZED (
    -- Hosts that had other CPUs or memory than now within the range: few, so that only their samples
    -- are read once more, each with what the host was then.
    SELECT DISTINCT h.host_id, b.first_ts, b.end_ts
      FROM bounds b
      JOIN host_info_history y ON y.valid_to > b.first_ts AND y.valid_to < 'infinity' AND y.valid_from < b.end_ts
      JOIN hosts h ON h.host_id = y.host_id
       AND (h.cpu_number IS DISTINCT FROM y.cpu_number OR h.total_mem IS DISTINCT FROM y.total_mem)
),
averages AS (
    -- Averaged before the join and in float8: averages of bigint are numeric, and slow.
    SELECT u.host_id,
           date_bin(b.len, u."timestamp", b.first_ts) AS window_start,
           avg(u.memory_free::float8) AS free_mib,
           avg(u.memory_available::float8) AS available_mib
      FROM bounds b
      JOIN host_usage u ON u."timestamp" >= b.first_ts AND u."timestamp" < b.end_ts
     WHERE (b.name_glob = '' AND b.labels = '{}') OR u.host_id IN (SELECT host_id FROM hosts)
     GROUP BY 1, 2
),
resized_averages AS (
    -- Without such hosts the times are NULL, and nothing is read.
    SELECT u.host_id,
           date_bin(b.len, u."timestamp", b.first_ts) AS window_start,
           avg(u.memory_free::float8 / nullif(y.total_mem, 0)) AS free,
           avg(u.memory_available::float8 / nullif(y.total_mem, 0)) AS available
      FROM bounds b
      JOIN host_usage u ON u."timestamp" >= (SELECT min(first_ts) FROM resized)
       AND u."timestamp" < (SELECT max(end_ts) FROM resized)
     -- Looked up for each sample: a host may have 1,000 rows.
     CROSS JOIN LATERAL (
           SELECT y.total_mem FROM host_info_history y
            WHERE y.host_id = u.host_id AND y.valid_from <= u."timestamp"
            ORDER BY y.valid_from DESC LIMIT 1) y
     WHERE (u.host_id IN (SELECT host_id FROM resized)) IS TRUE
     GROUP BY 1, 2
)
SELECT h.hostname, a.window_start,
       (100 - 100 * (a.free_mib * 1024 / nullif(h.total_mem, 0)))::real AS used_percent,
       (100 - 100 * (a.available_mib * 1024 / nullif(h.total_mem, 0)))::real AS unavailable_percent
  FROM averages a
  JOIN hosts h ON h.host_id = a.host_id
 WHERE a.host_id NOT IN (SELECT host_id FROM resized)
 UNION ALL
SELECT h.hostname, a.window_start, (100 - 100 * 1024 * a.free)::real, (100 - 100 * 1024 * a.available)::real
  FROM resized_averages a
  JOIN hosts h ON h.host_id = a.host_id
 ORDER BY hostname, window_start;
