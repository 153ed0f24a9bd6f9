-- Hosts by name: those that carry all of the labels with keys $1 and values $2, whose name matches
-- the pattern $3 (* any characters, ? one; '': any name), retired ones only if $4, after the name
-- $5 (NULL: from the first), at most $6.
--
-- The pattern and the labels are taken as by the reports, word for word.
-- Index: host_info_by_name gives the order; host_label by its primary key.
WITH b AS NOT MATERIALIZED (SELECT jsonb_object($1::text[], $2::text[]) AS labels, $3::text AS name_glob)
SELECT
    h.id, h.hostname, h.cpu_number, h.cpu_architecture, h.cpu_model, h.cpu_mhz, h.l2_cache, h.total_mem,
    h.os, h.kernel, h.kernel_host_name, h.booted_at, h."timestamp" AS facts_changed_at, h.retired_at,
    h.agent_version, l.joined_at, l."timestamp" AS last_sample_at,
    ARRAY(SELECT key FROM host_label WHERE host_id = h.id ORDER BY key COLLATE "C") AS keys,
    ARRAY(SELECT value FROM host_label WHERE host_id = h.id ORDER BY key COLLATE "C") AS values
FROM b
JOIN host_info AS h ON h.retired_at IS NULL OR $4::boolean
LEFT JOIN host_latest AS l ON l.host_id = h.id
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
