-- Hardware: what each host is, hosts with the most CPUs first.
--
-- Parameters, in the line that starts with WITH (edit it, or let the program fill it in):
--   from_ts, to_ts  the range: start inclusive, end exclusive, widened to whole windows; here it only
--                   decides about retired hosts, where hardware_as_of does not: out are those retired at
--                   or before its start
--   window_len      length of a window; windows align to 1970-01-01 00:00:00 UTC
--   min_samples     not used here
--   labels          labels that a host must carry, all of them: {"key": "value"}
--   name_glob       pattern of the host's name, * for any characters, ? for one; '' for any name
--   now_ts          not used here
--   hardware_as_of  the time as of which hosts are shown, those that had joined by then
--                   (host_latest.joined_at) and were not retired; NULL: what they are now
-- Columns: hostname; cpu_number [logical CPUs]; total_mem [KiB]; cpu_architecture; cpu_model;
--   cpu_mhz [MHz, maximum]; l2_cache [KiB, one instance]; changed_at: when one of these last changed.
--   NULL: not known.
-- Order: by cpu_number descending, total_mem descending, hostname; what is not known last.
-- Index: none, host_info is read whole, with a time host_info_history too; host_label by its primary key.
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
      JOIN host_info h ON h.retired_at IS NULL OR h.retired_at > coalesce(b.hardware_as_of, b.first_ts)
     WHERE (b.name_glob = '' OR h.hostname LIKE translate(replace(replace(replace(
               lower(b.name_glob), '\', '\\'), '%', '\%'), '_', '\_'), '*?', '%_'))
       AND (b.labels = '{}' OR NOT EXISTS (
               SELECT FROM jsonb_each_text(b.labels) AS wanted (key, value)
                WHERE NOT EXISTS (
                      SELECT FROM host_label l
                       WHERE l.host_id = h.id AND l.key = wanted.key AND l.value = wanted.value)))
)
-- A host without a row in host_info_history has told nothing yet, or was made by a person.
SELECT s.hostname,
       CASE WHEN y.host_id IS NULL THEN h.cpu_number ELSE y.cpu_number END AS cpu_number,
       CASE WHEN y.host_id IS NULL THEN h.total_mem ELSE y.total_mem END AS total_mem,
       CASE WHEN y.host_id IS NULL THEN h.cpu_architecture ELSE y.cpu_architecture END AS cpu_architecture,
       CASE WHEN y.host_id IS NULL THEN h.cpu_model ELSE y.cpu_model END AS cpu_model,
       CASE WHEN y.host_id IS NULL THEN h.cpu_mhz ELSE y.cpu_mhz END AS cpu_mhz,
       CASE WHEN y.host_id IS NULL THEN h.l2_cache ELSE y.l2_cache END AS l2_cache,
       coalesce(y.first_told_at, h."timestamp") AS changed_at
  FROM bounds b
  JOIN hosts s ON true
  JOIN host_info h ON h.id = s.host_id
  LEFT JOIN host_info_history y ON y.host_id = s.host_id
   AND y.valid_from <= b.hardware_as_of AND y.valid_to > b.hardware_as_of
 WHERE b.hardware_as_of IS NULL
    OR s.host_id IN (SELECT l.host_id FROM host_latest l, bounds a WHERE l.joined_at <= a.hardware_as_of)
 ORDER BY 2 DESC NULLS LAST, 3 DESC NULLS LAST, s.hostname;
