-- Frame: which windows the reports show, and how many hosts are selected. Asked first by the
-- program; the five reports then get its answer as their range.
--
-- Parameters, in the line that starts with WITH (edit it, or let the program fill it in):
--   from_ts, to_ts  the range: start inclusive, end exclusive, widened to whole windows. NULL: to_ts
--                   is the end of the last finished window, from_ts one hour before to_ts
--   window_len      length of a window; windows align to 1970-01-01 00:00:00 UTC
--   min_samples     not used here
--   labels          labels that a host must carry, all of them: {"key": "value"}
--   name_glob       pattern of the host's name, * for any characters, ? for one; '' for any name
--   now_ts          the time of the report; NULL: now
--   hardware_as_of  not used here
-- Columns: now_ts; first_ts, end_ts: start of the first and end of the last window; hosts.
-- Index: none, host_info is read whole; host_label by its primary key.
WITH params AS NOT MATERIALIZED (SELECT date_bin('5 minutes', now(), '1970-01-01 00:00:00+00') - interval '1 hour' AS from_ts, date_bin('5 minutes', now(), '1970-01-01 00:00:00+00') AS to_ts, interval '5 minutes' AS window_len, NULL::int AS min_samples, '{}'::jsonb AS labels, '' AS name_glob, now() AS now_ts, NULL::timestamptz AS hardware_as_of),
bounds AS NOT MATERIALIZED (
    SELECT e.*,
           date_bin(e.len, e.start_ts, '1970-01-01 00:00:00+00') AS first_ts,
           date_bin(e.len, e.stop_ts + e.len - interval '1 microsecond', '1970-01-01 00:00:00+00') AS end_ts
      FROM (SELECT r.*, coalesce(r.from_ts, r.stop_ts - interval '1 hour') AS start_ts
              FROM (SELECT w.*, coalesce(w.to_ts, date_bin(w.len, w.clock_ts,
                                   '1970-01-01 00:00:00+00')) AS stop_ts
                      FROM (SELECT p.*, coalesce(p.now_ts, now()) AS clock_ts,
                                   make_interval(secs => date_part('epoch', p.window_len)) AS len
                              FROM params p) w) r) e
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
)
SELECT b.clock_ts AS now_ts, b.first_ts, b.end_ts, (SELECT count(*) FROM hosts) AS hosts
  FROM bounds b;
