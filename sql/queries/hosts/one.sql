-- The host that has the name $1, or had it, in the columns of list.sql, with its certificates.
SELECT
    h.id, h.hostname, h.cpu_number, h.cpu_architecture, h.cpu_model, h.cpu_mhz, h.l2_cache, h.total_mem,
    h.os, h.kernel, h.kernel_host_name, h.virtualization, h.board, h.firmware, h.memory_mhz, h.cpu_sockets,
    h.cpu_cores, h.disks::text AS disks, h.interfaces::text AS interfaces, h.boot_id, h.booted_at, h."timestamp" AS facts_changed_at, h.retired_at,
    h.agent_version, l.joined_at, l."timestamp" AS last_sample_at,
    ARRAY(SELECT key FROM host_label WHERE host_id = h.id ORDER BY key COLLATE "C") AS keys,
    ARRAY(SELECT value FROM host_label WHERE host_id = h.id ORDER BY key COLLATE "C") AS values,
    x.ended_at, coalesce(x.reason, '') AS reason, x.ephemeral_s,
    ARRAY(SELECT name FROM rowcall.host_alias WHERE host_id = h.id ORDER BY name COLLATE "C") AS former_names,
    c.fingerprints, c.serials, c.origins, c.begins, c.ends, c.seen
FROM host_info AS h
LEFT JOIN host_latest AS l ON l.host_id = h.id
LEFT JOIN rowcall.host_access AS x ON x.host_id = h.id
LEFT JOIN LATERAL (
    SELECT array_agg(k.fingerprint ORDER BY k.not_before DESC, k.fingerprint) AS fingerprints,
           array_agg(k.serial ORDER BY k.not_before DESC, k.fingerprint) AS serials,
           array_agg(k.origin ORDER BY k.not_before DESC, k.fingerprint) AS origins,
           array_agg(k.not_before ORDER BY k.not_before DESC, k.fingerprint) AS begins,
           array_agg(k.not_after ORDER BY k.not_before DESC, k.fingerprint) AS ends,
           array_agg(k.last_seen_at ORDER BY k.not_before DESC, k.fingerprint) AS seen
    FROM rowcall.certificate AS k
    WHERE k.host_id = h.id AND k.revoked_at IS NULL AND k.not_after > now()
) AS c ON true
WHERE h.id = rowcall.host_named($1::text)
