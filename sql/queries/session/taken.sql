-- Which of some streams were taken over: arrays of host id $1, the agent's process $2 and the
-- aggregator's $3. One whose row is gone is not among them.
SELECT s.host_id
FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS l (host_id, run, aggregator_run)
JOIN rowcall.session AS s ON s.host_id = l.host_id
WHERE s.run <> l.run OR s.aggregator_run <> l.aggregator_run
