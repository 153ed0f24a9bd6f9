-- Retires the hosts that were enrolled as ephemeral and have been silent for longer than that, and than
-- two samples take; their names. Time without any aggregator to hear them is no silence of theirs, nor is
-- that of a stream that is open. $1: the key of the lock under which only one does so.
--
-- Index: host_access is read whole.
WITH due AS MATERIALIZED (
    SELECT a.host_id, l.heard_at,
           now() - make_interval(secs => greatest(a.ephemeral_s, coalesce((
               SELECT i.interval_ms FROM rowcall.host_interval AS i
               WHERE i.host_id = a.host_id ORDER BY i.valid_from DESC LIMIT 1
           ), 60000) / 500.0 + 30)) AS heard_before
    FROM rowcall.host_access AS a
    JOIN host_info AS h ON h.id = a.host_id AND h.retired_at IS NULL
    JOIN (SELECT host_id, greatest(received_at, joined_at) AS heard_at FROM host_latest) AS l
      ON l.host_id = a.host_id
    WHERE a.ephemeral_s IS NOT NULL
      AND NOT EXISTS (
          SELECT FROM rowcall.session AS s
          WHERE s.host_id = a.host_id AND rowcall.holds(s.aggregator, s.aggregator_run, s.opened_at))
),
silent AS MATERIALIZED (
    SELECT d.host_id
    FROM due AS d
    WHERE d.heard_at < d.heard_before
      AND d.heard_at < d.heard_before - coalesce((
          SELECT sum(least(coalesce(u.to_ts, now()), now()) - greatest(u.from_ts, d.heard_at))
          FROM rowcall.unobserved(d.heard_at, now()) AS u
      ), interval '0')
    ORDER BY d.host_id
),
retired AS (
    UPDATE host_info AS h SET retired_at = now()
    FROM silent AS s
    WHERE h.id = s.host_id AND h.retired_at IS NULL AND pg_try_advisory_xact_lock($1::bigint)
    RETURNING h.hostname
),
recorded AS (
    INSERT INTO rowcall.audit (identity, peer, aggregator, action, target, result, detail)
    SELECT 'rowcall', '', '', 'host.retire', r.hostname, 'ok', 'ephemeral, and silent for too long'
    FROM retired AS r ORDER BY r.hostname
)
SELECT hostname FROM retired ORDER BY hostname
