-- What is known of the host that has the name $1, or had it: its present name, its facts, its epoch and mark, its interval;
-- of the process $2 of its agent whether it was seen, and whether it ended; whether any process was;
-- who holds its stream; of the certificate with fingerprint $3, which began at $4, why it is refused
-- (why NULL: it is not), and whether it was seen within the hour.
SELECT
    h.id, h.hostname, h.cpu_number, h.cpu_architecture, h.cpu_model, h.cpu_mhz, h.l2_cache, h.total_mem, h.os,
    h.kernel, h.kernel_host_name, h.machine_id, h.boot_id, h.booted_at, h.agent_version,
    h.virtualization, h.board, h.firmware, h.memory_mhz, h.cpu_sockets, h.cpu_cores, h.disks::text AS disks,
    h.interfaces::text AS interfaces,
    h.retired_at IS NOT NULL AS retired,
    l.host_id IS NOT NULL AS has_latest,
    l.mark, l.mark_time, l.due, l.epoch_id,
    e.epoch,
    (
        SELECT interval_ms FROM rowcall.host_interval
        WHERE host_id = h.id ORDER BY valid_from DESC LIMIT 1
    ) AS interval_ms,
    r.run IS NOT NULL AS has_run,
    r.ended_at IS NOT NULL AS run_ended,
    r.run IS NOT NULL OR EXISTS (SELECT FROM rowcall.run WHERE host_id = h.id) AS has_runs,
    s.run AS holder_run, s.aggregator AS holder_aggregator, s.aggregator_run AS holder_aggregator_run,
    s.peer AS holder_peer, s.machine_id AS holder_machine_id, s.opened_at AS held_since,
    d.why, d.since, d.reason,
    EXISTS (
        SELECT FROM rowcall.certificate AS c
        WHERE c.fingerprint = $3 AND c.last_seen_at > now() - interval '1 hour'
    ) AS seen_lately
FROM host_info AS h
LEFT JOIN host_latest AS l ON l.host_id = h.id
LEFT JOIN rowcall.epoch AS e ON e.id = l.epoch_id
LEFT JOIN rowcall.run AS r ON r.host_id = h.id AND r.run = $2
LEFT JOIN rowcall.session AS s ON s.host_id = h.id
LEFT JOIN LATERAL rowcall.refusal(h.id, $3::bytea, $4::timestamptz) AS d ON true
WHERE h.id = rowcall.host_named($1::text)
