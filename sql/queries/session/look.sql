-- What is known of the host named $1: its facts, its epoch and mark, its interval.
SELECT
    h.id, h.cpu_number, h.cpu_architecture, h.cpu_model, h.cpu_mhz, h.l2_cache, h.total_mem, h.os,
    h.kernel, h.kernel_host_name, h.machine_id, h.boot_id, h.booted_at, h.agent_version,
    h.retired_at IS NOT NULL AS retired,
    l.host_id IS NOT NULL AS has_latest,
    l.mark, l.mark_time, l.epoch_id,
    e.epoch,
    (
        SELECT interval_ms FROM rowcall.host_interval
        WHERE host_id = h.id ORDER BY valid_from DESC LIMIT 1
    ) AS interval_ms
FROM host_info AS h
LEFT JOIN host_latest AS l ON l.host_id = h.id
LEFT JOIN rowcall.epoch AS e ON e.id = l.epoch_id
WHERE h.hostname = $1
