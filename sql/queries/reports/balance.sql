-- Balance: how evenly load spreads over the hosts, window by window: CPU, memory, network, disks.
--
-- Parameters, in the line that starts with WITH (edit it, or let the program fill it in):
--   from_ts, to_ts  the range: start inclusive, end exclusive, widened to whole windows
--   window_len      length of a window; windows align to 1970-01-01 00:00:00 UTC
--   min_samples     not used here
--   labels          labels that a host must carry, all of them: {"key": "value"}
--   name_glob       pattern of the host's name, * for any characters, ? for one; '' for any name
--   now_ts          not used here: a window that is still open shows what it has so far
--   hardware_as_of  not used here
-- Each host counts once in a window, with the average of its samples, whatever its interval.
-- Columns: window_start; hosts: with samples in the window; then for CPU busy time (cpu_: 100 - idle
--   [%]), used memory (mem_: total - free [%], of the total at the sample's time), the network (net_:
--   received and sent [B/s]: the average of what samples count over the average of what they span), and
--   the busiest disk (disk_: time with requests in flight [%]): mean, stddev [of the population], min,
--   max, cv [stddev / mean; NULL where the mean is 0]; and weighted_mean and weighted_stddev [about that
--   mean], in which a host counts as often as it has CPUs (one that cannot tell its CPUs does not count
--   there). NULL: no host could tell; network and disks take agents that send vitals (host_vitals).
-- Rows: only windows in which a host has samples. Order: window_start.
-- Index: the primary keys of host_usage and host_vitals, or whole partitions where the range covers
--   them; host_info_history_closed.
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
           avg(u.cpu_idle) AS idle,
           avg(u.memory_free::float8) AS free_mib,
           avg(u.elapsed_s) AS elapsed_s
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
           avg(y.cpu_number) AS cpu_number
      FROM bounds b
      JOIN host_usage u ON u."timestamp" >= (SELECT min(first_ts) FROM resized)
       AND u."timestamp" < (SELECT max(end_ts) FROM resized)
     -- Looked up for each sample: a host may have 1,000 rows.
     CROSS JOIN LATERAL (
           SELECT y.total_mem, y.cpu_number FROM host_info_history y
            WHERE y.host_id = u.host_id AND y.valid_from <= u."timestamp"
            ORDER BY y.valid_from DESC LIMIT 1) y
     WHERE (u.host_id IN (SELECT host_id FROM resized)) IS TRUE
     GROUP BY 1, 2
),
flows AS (
    SELECT v.host_id,
           date_bin(b.len, v."timestamp", b.first_ts) AS window_start,
           avg(v.net_rx_bytes::float8 + v.net_tx_bytes::float8) AS net_bytes,
           avg(v.disk_busy) AS disk
      FROM bounds b
      JOIN host_vitals v ON v."timestamp" >= b.first_ts AND v."timestamp" < b.end_ts
     WHERE (b.name_glob = '' AND b.labels = '{}') OR v.host_id IN (SELECT host_id FROM hosts)
     GROUP BY 1, 2
),
loads AS (
    SELECT a.window_start,
           100 - a.idle AS cpu,
           CASE WHEN r.host_id IS NULL THEN 100 - 100 * (a.free_mib * 1024 / nullif(h.total_mem, 0))
                ELSE 100 - 100 * 1024 * r.free END AS mem,
           f.net_bytes / nullif(a.elapsed_s, 0) AS net,
           f.disk AS disk,
           CASE WHEN r.host_id IS NULL THEN CASE WHEN h.cpu_number > 0 THEN h.cpu_number::float8 END
                WHEN r.cpu_number > 0 THEN r.cpu_number::float8 END AS weight
      FROM averages a
      JOIN hosts h ON h.host_id = a.host_id
      LEFT JOIN flows f ON f.host_id = a.host_id AND f.window_start = a.window_start
      LEFT JOIN resized_averages r ON r.host_id = a.host_id AND r.window_start = a.window_start
),
spreads AS (
    SELECT window_start, count(*) AS hosts,
           avg(cpu) AS cpu_mean, stddev_pop(cpu) AS cpu_stddev, min(cpu) AS cpu_min, max(cpu) AS cpu_max,
           sum(weight) FILTER (WHERE cpu IS NOT NULL) AS cpu_weight,
           sum(weight * cpu) AS cpu_sum, sum(weight * cpu * cpu) AS cpu_squares,
           avg(mem) AS mem_mean, stddev_pop(mem) AS mem_stddev, min(mem) AS mem_min, max(mem) AS mem_max,
           sum(weight) FILTER (WHERE mem IS NOT NULL) AS mem_weight,
           sum(weight * mem) AS mem_sum, sum(weight * mem * mem) AS mem_squares,
           avg(net) AS net_mean, stddev_pop(net) AS net_stddev, min(net) AS net_min, max(net) AS net_max,
           sum(weight) FILTER (WHERE net IS NOT NULL) AS net_weight,
           sum(weight * net) AS net_sum, sum(weight * net * net) AS net_squares,
           avg(disk) AS disk_mean, stddev_pop(disk) AS disk_stddev, min(disk) AS disk_min, max(disk) AS disk_max,
           sum(weight) FILTER (WHERE disk IS NOT NULL) AS disk_weight,
           sum(weight * disk) AS disk_sum, sum(weight * disk * disk) AS disk_squares
      FROM loads
     GROUP BY window_start
)
SELECT window_start, hosts,
       rowcall.as_real(cpu_mean) AS cpu_mean, rowcall.as_real(cpu_stddev) AS cpu_stddev,
       rowcall.as_real(cpu_min) AS cpu_min, rowcall.as_real(cpu_max) AS cpu_max,
       rowcall.as_real(cpu_stddev / nullif(cpu_mean, 0)) AS cpu_cv,
       rowcall.as_real(cpu_sum / cpu_weight) AS cpu_weighted_mean,
       rowcall.as_real(CASE WHEN cpu_weight > 0 THEN sqrt(greatest(
           cpu_squares / cpu_weight - (cpu_sum / cpu_weight) ^ 2, 0)) END) AS cpu_weighted_stddev,
       rowcall.as_real(mem_mean) AS mem_mean, rowcall.as_real(mem_stddev) AS mem_stddev,
       rowcall.as_real(mem_min) AS mem_min, rowcall.as_real(mem_max) AS mem_max,
       rowcall.as_real(mem_stddev / nullif(mem_mean, 0)) AS mem_cv,
       rowcall.as_real(mem_sum / mem_weight) AS mem_weighted_mean,
       rowcall.as_real(CASE WHEN mem_weight > 0 THEN sqrt(greatest(
           mem_squares / mem_weight - (mem_sum / mem_weight) ^ 2, 0)) END) AS mem_weighted_stddev,
       rowcall.as_real(net_mean) AS net_mean, rowcall.as_real(net_stddev) AS net_stddev,
       rowcall.as_real(net_min) AS net_min, rowcall.as_real(net_max) AS net_max,
       rowcall.as_real(net_stddev / nullif(net_mean, 0)) AS net_cv,
       rowcall.as_real(net_sum / net_weight) AS net_weighted_mean,
       rowcall.as_real(CASE WHEN net_weight > 0 THEN sqrt(greatest(
           net_squares / net_weight - (net_sum / net_weight) ^ 2, 0)) END) AS net_weighted_stddev,
       rowcall.as_real(disk_mean) AS disk_mean, rowcall.as_real(disk_stddev) AS disk_stddev,
       rowcall.as_real(disk_min) AS disk_min, rowcall.as_real(disk_max) AS disk_max,
       rowcall.as_real(disk_stddev / nullif(disk_mean, 0)) AS disk_cv,
       rowcall.as_real(disk_sum / disk_weight) AS disk_weighted_mean,
       rowcall.as_real(CASE WHEN disk_weight > 0 THEN sqrt(greatest(
           disk_squares / disk_weight - (disk_sum / disk_weight) ^ 2, 0)) END) AS disk_weighted_stddev
  FROM spreads
 ORDER BY window_start;
