-- Streams that ended: arrays of host id $1, the agent's process $2, the aggregator's $3, and since when
-- each was held $4. Rows of streams that came after stay.
DELETE FROM rowcall.session
WHERE (host_id, run, aggregator_run, opened_at) IN (
    SELECT l.host_id, l.run, l.aggregator_run, l.opened_at
    FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::timestamptz[])
        AS l (host_id, run, aggregator_run, opened_at)
)
