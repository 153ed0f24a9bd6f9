-- Ledger: what became of every due sample, per host and epoch (one life of the host's spool).
--
-- Parameters, in the line that starts with WITH (edit it, or let the program fill it in):
--   from_ts, to_ts  the range: start inclusive, end exclusive, widened to whole windows
--   window_len      length of a window; here it only widens the range
--   min_samples     not used here
--   labels          labels that a host must carry, all of them: {"key": "value"}
--   name_glob       pattern of the host's name, * for any characters, ? for one; '' for any name
--   now_ts          not used here
--   hardware_as_of  not used here
-- Columns: hostname, epoch, opened_at, closed_at: as in rowcall.ledger, closed_at NULL: it is the
--   host's current one; due, committed, quarantined, spooled, dropped, missed, duplicates: ticks and
--   samples of the whole epoch, from its beginning; epochs: how many the row adds up; unbalanced: of
--   how many of them due is not the sum of the five that follow it.
-- Rows: first the sum of all epochs that were open in the range, with NULL for hostname to closed_at;
--   then those of which something is not committed or does not add up, at most 1,000.
-- Order: those that do not add up first, then most not committed first, hostname, opened_at.
-- Index: none; rowcall.epoch and host_latest have few rows a host, and are read whole.
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
epochs AS MATERIALIZED (
    SELECT h.hostname, l.epoch, l.opened_at, l.closed_at, l.due, l.committed, l.quarantined,
           l.spooled, l.dropped, l.missed, l.duplicates, (l.difference <> 0)::int AS unbalanced
      FROM bounds b
      JOIN rowcall.ledger l ON l.opened_at < b.end_ts
                           AND (l.closed_at IS NULL OR l.closed_at >= b.first_ts)
      JOIN hosts h ON h.host_id = l.host_id
),
listed AS (
    SELECT *, 1::bigint AS epochs
      FROM epochs
     WHERE unbalanced > 0 OR committed < due
     ORDER BY unbalanced DESC, due - committed DESC, hostname, opened_at
     LIMIT 1000
),
total AS (
    SELECT least(coalesce(sum(due), 0), 9223372036854775807)::bigint AS due,
           least(coalesce(sum(committed), 0), 9223372036854775807)::bigint AS committed,
           least(coalesce(sum(quarantined), 0), 9223372036854775807)::bigint AS quarantined,
           least(coalesce(sum(spooled), 0), 9223372036854775807)::bigint AS spooled,
           least(coalesce(sum(dropped), 0), 9223372036854775807)::bigint AS dropped,
           least(coalesce(sum(missed), 0), 9223372036854775807)::bigint AS missed,
           least(coalesce(sum(duplicates), 0), 9223372036854775807)::bigint AS duplicates,
           count(*) AS epochs, coalesce(sum(unbalanced), 0)::bigint AS unbalanced
      FROM epochs
)
SELECT NULL::text AS hostname, NULL::bigint AS epoch, NULL::timestamptz AS opened_at,
       NULL::timestamptz AS closed_at, due, committed, quarantined, spooled, dropped, missed,
       duplicates, epochs, unbalanced
  FROM total
 UNION ALL
(SELECT hostname, epoch, opened_at, closed_at, due, committed, quarantined, spooled, dropped, missed,
        duplicates, epochs, unbalanced::bigint
   FROM listed
  ORDER BY unbalanced DESC, due - committed DESC, hostname, opened_at);
