-- The host named $1, in the columns of list.sql. Index: host_info's unique hostname.
SELECT
    h.id, h.hostname, h.cpu_number, h.cpu_architecture, h.cpu_model, h.cpu_mhz, h.l2_cache, h.total_mem,
    h.os, h.kernel, h.kernel_host_name, h.booted_at, h."timestamp" AS facts_changed_at, h.retired_at,
    h.agent_version, l.joined_at, l."timestamp" AS last_sample_at,
    ARRAY(SELECT key FROM host_label WHERE host_id = h.id ORDER BY key COLLATE "C") AS keys,
    ARRAY(SELECT value FROM host_label WHERE host_id = h.id ORDER BY key COLLATE "C") AS values
FROM host_info AS h
LEFT JOIN host_latest AS l ON l.host_id = h.id
WHERE h.hostname = $1::text
