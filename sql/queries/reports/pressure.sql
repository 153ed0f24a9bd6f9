-- Pressure: what hosts wait for, those that wait most first.
--
-- Parameters, in the line that starts with WITH (edit it, or let the program fill it in):
--   from_ts, to_ts  the range: start inclusive, end exclusive, widened to whole windows
--   window_len      length of a window; here it only widens the range
--   min_samples     not used here
--   labels          labels that a host must carry, all of them: {"key": "value"}
--   name_glob       pattern of the host's name, * for any characters, ? for one; '' for any name
--   now_ts          not used here
--   hardware_as_of  not used here
-- Each sample of the range counts the same (host_vitals); what is averaged leaves out samples that
-- could not tell it.
-- Columns: hostname; waits_for: cpu, memory, io: what it waited for most (of equal ones memory before io
--   before cpu), nothing: less than 1 % of the time for any, NULL: nothing tells; wait_percent: how much
--   of the time some task waited for that; cpu_some_percent, memory_some_percent, memory_full_percent,
--   io_some_percent, io_full_percent [% of the time in which some or all tasks waited]; iowait_percent,
--   steal_percent [% of all CPUs' time]; load_per_cpu: load average over 1 minute by the CPUs that the
--   host had at the end; cpu_busy_max_percent: the highest 10 s [%]; swapped_kib: read from swap and
--   written to it [KiB]; oom_kills; samples: with vitals.
-- A kernel that does not measure pressure: steal stands for what it waits for the CPU, iowait for I/O,
-- and nothing for memory.
-- Rows: hosts with samples in the range. Those of which nothing tells what they wait for come last, with
-- the number of their samples and else NULL. Order: wait_percent descending, hostname.
-- Index: the primary key of host_vitals, or whole partitions where the range covers them; of host_usage
--   likewise, and only where a host is not in host_vitals.
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
sums AS MATERIALIZED (
    SELECT v.host_id, count(*) AS samples,
           avg(v.pressure_cpu_some) AS cpu_some,
           avg(v.pressure_memory_some) AS memory_some, avg(v.pressure_memory_full) AS memory_full,
           avg(v.pressure_io_some) AS io_some, avg(v.pressure_io_full) AS io_full,
           avg(v.cpu_iowait) AS iowait, avg(v.cpu_steal) AS steal, avg(v.load_1) AS load,
           max(v.cpu_busy_max) AS busy_max,
           sum(v.swap_in_kib) AS swap_in, sum(v.swap_out_kib) AS swap_out, sum(v.oom_kills) AS oom_kills
      FROM bounds b
      JOIN host_vitals v ON v."timestamp" >= b.first_ts AND v."timestamp" < b.end_ts
     WHERE (b.name_glob = '' AND b.labels = '{}') OR v.host_id IN (SELECT host_id FROM hosts)
     GROUP BY v.host_id
),
waits AS MATERIALIZED (
    SELECT s.*, coalesce(s.cpu_some, s.steal) AS cpu, s.memory_some AS memory, coalesce(s.io_some, s.iowait) AS io,
           greatest(s.cpu_some, s.memory_some, s.io_some,
                    CASE WHEN s.cpu_some IS NULL THEN s.steal END, CASE WHEN s.io_some IS NULL THEN s.iowait END) AS wait
      FROM sums s
),
untold AS MATERIALIZED (
    SELECT h.host_id, b.first_ts, b.end_ts
      FROM bounds b
      JOIN hosts h ON h.host_id NOT IN (SELECT host_id FROM waits WHERE wait IS NOT NULL)
),
untold_samples AS (
    -- Without such hosts the times are NULL, and nothing is read.
    SELECT u.host_id, count(*) AS samples
      FROM host_usage u
     WHERE u."timestamp" >= (SELECT min(first_ts) FROM untold)
       AND u."timestamp" < (SELECT max(end_ts) FROM untold)
       AND (u.host_id IN (SELECT host_id FROM untold)) IS TRUE
     GROUP BY u.host_id
),
cpus AS (
    -- Those of the range's end.
    SELECT h.host_id, CASE WHEN y.host_id IS NULL THEN h.cpu_number ELSE y.cpu_number END AS cpu_number
      FROM bounds b
      JOIN hosts h ON true
      LEFT JOIN host_info_history y ON y.host_id = h.host_id
       AND y.valid_to >= b.end_ts AND y.valid_to < 'infinity' AND y.valid_from < b.end_ts
)
SELECT h.hostname,
       CASE WHEN w.wait < 1 THEN 'nothing' WHEN w.memory = w.wait THEN 'memory'
            WHEN w.io = w.wait THEN 'io' ELSE 'cpu' END AS waits_for,
       rowcall.as_real(w.wait) AS wait_percent, rowcall.as_real(w.cpu_some) AS cpu_some_percent,
       rowcall.as_real(w.memory_some) AS memory_some_percent, rowcall.as_real(w.memory_full) AS memory_full_percent,
       rowcall.as_real(w.io_some) AS io_some_percent, rowcall.as_real(w.io_full) AS io_full_percent,
       rowcall.as_real(w.iowait) AS iowait_percent, rowcall.as_real(w.steal) AS steal_percent,
       rowcall.as_real(w.load / nullif(c.cpu_number, 0)) AS load_per_cpu, w.busy_max AS cpu_busy_max_percent,
       CASE WHEN w.swap_in IS NOT NULL OR w.swap_out IS NOT NULL
            THEN coalesce(w.swap_in, 0) + coalesce(w.swap_out, 0) END AS swapped_kib,
       w.oom_kills, w.samples
  FROM waits w
  JOIN hosts h ON h.host_id = w.host_id
  JOIN cpus c ON c.host_id = w.host_id
 WHERE w.wait IS NOT NULL
 UNION ALL
SELECT h.hostname, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, s.samples
  FROM untold_samples s
  JOIN hosts h ON h.host_id = s.host_id
 ORDER BY wait_percent DESC NULLS LAST, hostname;
