-- Hosts by name: those that carry all of the labels with keys $1 and values $2, whose name matches
-- the pattern $3 (* any characters, ? one; '': any name), retired ones only if $4, after the name
-- $5 (NULL: from the first), at most $6; with $7 their certificates that are good.
--
-- The pattern and the labels are taken as by the reports, word for word.
-- Index: host_info_by_name gives the order; host_label by its primary key; certificate_by_host.
WITH b AS NOT MATERIALIZED (SELECT jsonb_object($1::text[], $2::text[]) AS labels, $3::text AS name_glob)
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
FROM b
JOIN host_info AS h ON h.retired_at IS NULL OR $4::boolean
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
    WHERE $7::boolean AND k.host_id = h.id AND k.revoked_at IS NULL AND k.not_after > now()
) AS c ON $7
     WHERE (b.name_glob = '' OR h.hostname LIKE translate(replace(replace(replace(
               lower(b.name_glob), '\', '\\'), '%', '\%'), '_', '\_'), '*?', '%_'))
       AND (b.labels = '{}' OR NOT EXISTS (
               SELECT FROM jsonb_each_text(b.labels) AS wanted (key, value)
                WHERE NOT EXISTS (
                      SELECT FROM host_label l
                       WHERE l.host_id = h.id AND l.key = wanted.key AND l.value = wanted.value)))
  AND ($5::text IS NULL OR h.hostname COLLATE "C" > $5)
ORDER BY h.hostname COLLATE "C"
LIMIT $6::bigint
