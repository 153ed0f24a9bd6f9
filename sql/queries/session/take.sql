-- Gives the stream of host $1 to the process $2 of its agent, on aggregator $3 in process $4, from
-- address $5, on machine $6; since when it holds it. No row: another process of the agent holds it, on
-- another aggregator that lives. The one before goes if it is of the same process of the agent, or on
-- the same process of the aggregator: that knows itself what still lives.
--
-- With $7 the certificate was not seen within the hour: fingerprint $8, serial $9, from $10 to $11.
-- Conflicts with whoever held it before are over.
--
-- With $12 nothing but this is in the transaction, and COMMIT need not wait for the disk: a database that
-- crashed ends all streams anyway.
WITH held AS (
    INSERT INTO rowcall.session AS s (host_id, run, aggregator, aggregator_run, peer, machine_id)
    VALUES ($1::integer, $2::bigint, $3::text, $4::bigint, $5::text, $6::text)
    ON CONFLICT (host_id) DO UPDATE
    SET run = excluded.run, aggregator = excluded.aggregator, aggregator_run = excluded.aggregator_run,
        peer = excluded.peer, machine_id = excluded.machine_id, opened_at = excluded.opened_at
    WHERE s.run = excluded.run
       OR s.aggregator_run = excluded.aggregator_run
       OR NOT rowcall.holds(s.aggregator, s.aggregator_run, s.opened_at)
    RETURNING s.host_id, s.opened_at
),
seen AS (
    INSERT INTO rowcall.certificate (fingerprint, host_id, serial, not_before, not_after, origin, last_seen_at)
    SELECT $8::bytea, h.host_id, $9::text, $10::timestamptz, $11::timestamptz, 'seen', now()
    FROM held AS h WHERE $7::boolean
    ON CONFLICT (fingerprint) DO UPDATE SET last_seen_at = excluded.last_seen_at
),
resolved AS (
    UPDATE rowcall.conflict AS c SET resolved_at = now()
    FROM held AS h
    WHERE c.host_id = h.host_id AND c.resolved_at IS NULL AND c.holder_run <> $2
)
SELECT opened_at,
       set_config('synchronous_commit', CASE WHEN $12::boolean THEN 'off' ELSE current_setting('synchronous_commit') END, true)
FROM held
