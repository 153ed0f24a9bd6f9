-- What hosts told of their clocks. Arrays with one element per host: $1 host id, $2 its clock, $3 how
-- many seconds ago it told. Only of those that are off by more than the interval in force is anything
-- written: their row goes on while the offset stays within half an interval and was heard of within
-- three intervals and 60 s; else a new one begins.
WITH told AS MATERIALIZED (
    SELECT t.host_id, i.interval_s, now() - make_interval(secs => t.waited_s) AS heard,
           extract(epoch FROM t.clock - now())::float8 + t.waited_s AS offset_s
    FROM unnest($1::integer[], $2::timestamptz[], $3::float8[]) AS t (host_id, clock, waited_s)
    JOIN host_info AS h ON h.id = t.host_id
    CROSS JOIN LATERAL (
        SELECT coalesce((
            SELECT interval_ms FROM rowcall.host_interval
            WHERE host_id = t.host_id ORDER BY valid_from DESC LIMIT 1
        ), 60000) / 1000.0::float8 AS interval_s
    ) AS i
),
off AS MATERIALIZED (
    SELECT DISTINCT ON (host_id) * FROM told WHERE abs(offset_s) > interval_s
    ORDER BY host_id, heard DESC
),
moved AS (
    UPDATE rowcall.clock_span AS c
    SET through_ts = greatest(c.through_ts, o.heard), offset_s = o.offset_s
    FROM off AS o
    WHERE c.host_id = o.host_id
      AND c.from_ts = (
          SELECT from_ts FROM rowcall.clock_span
          WHERE host_id = o.host_id ORDER BY from_ts DESC LIMIT 1
      )
      AND abs(c.offset_s - o.offset_s) <= o.interval_s / 2
      AND abs(extract(epoch FROM o.heard - c.through_ts)) <= 3 * o.interval_s + 60
    RETURNING c.host_id
)
INSERT INTO rowcall.clock_span (host_id, from_ts, through_ts, offset_s)
SELECT host_id, heard, heard, offset_s FROM off
WHERE host_id NOT IN (SELECT host_id FROM moved)
ON CONFLICT (host_id, from_ts) DO NOTHING
