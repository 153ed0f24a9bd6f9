-- What is known of the host named $1: its facts, its epoch and mark, its interval; of the process $2 of
-- its agent whether it was seen, and whether it ended; and whether any process was.
SELECT
    h.id, h.cpu_number, h.cpu_architecture, h.cpu_model, h.cpu_mhz, h.l2_cache, h.total_mem, h.os,
    h.kernel, h.kernel_host_name, h.machine_id, h.boot_id, h.booted_at, h.agent_version,
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
    r.run IS NOT NULL OR EXISTS (SELECT FROM rowcall.run WHERE host_id = h.id) AS has_runs
FROM host_info AS h
LEFT JOIN host_latest AS l ON l.host_id = h.id
LEFT JOIN rowcall.epoch AS e ON e.id = l.epoch_id
LEFT JOIN rowcall.run AS r ON r.host_id = h.id AND r.run = $2
WHERE h.hostname = $1
