-- Puts records aside that are not committed yet. Arrays with one element per record: $1 host id,
-- $2 epoch id, $3 sequence, $4 time, $5 reason. $6 of each host and day of reception are kept with
-- their reason, the others only counted. The hosts are locked.
WITH refused AS MATERIALIZED (
    SELECT
        q.*,
        row_number() OVER (PARTITION BY host_id ORDER BY epoch_id, sequence) <= $6::bigint - coalesce((
            SELECT d.kept FROM rowcall.quarantine_day AS d
            WHERE d.day = (now() AT TIME ZONE 'UTC')::date AND d.host_id = q.host_id
        ), 0) AS kept
    FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::timestamptz[], $5::text[])
        AS q (host_id, epoch_id, sequence, "timestamp", reason)
),
kept AS (
    INSERT INTO rowcall.quarantine (host_id, epoch_id, sequence, "timestamp", reason)
    SELECT host_id, epoch_id, sequence, "timestamp", reason FROM refused WHERE kept
    ORDER BY host_id, epoch_id, sequence
    ON CONFLICT DO NOTHING
)
INSERT INTO rowcall.quarantine_day AS d (day, host_id, kept, counted, counted_from, counted_to)
SELECT
    (now() AT TIME ZONE 'UTC')::date, host_id, count(*) FILTER (WHERE kept), count(*) FILTER (WHERE NOT kept),
    CASE WHEN NOT bool_and(kept) THEN now() END, CASE WHEN NOT bool_and(kept) THEN now() END
FROM refused GROUP BY host_id ORDER BY host_id
ON CONFLICT (day, host_id) DO UPDATE
SET kept = d.kept + excluded.kept,
    counted = d.counted + excluded.counted,
    counted_from = coalesce(d.counted_from, excluded.counted_from),
    counted_to = coalesce(excluded.counted_to, d.counted_to)
