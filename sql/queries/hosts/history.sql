-- What the host that has the name $1, or had it, was, the newest first, at most 1,000 and 4 MB of lists;
-- valid_from NULL: as far back as anything is known, valid_to NULL: it still is. Without its boots.
-- Index: the primary key of host_info_history.
SELECT
    nullif(y.valid_from, '-infinity') AS valid_from, nullif(y.valid_to, 'infinity') AS valid_to,
    y.cpu_number, y.cpu_architecture, y.cpu_model, y.cpu_mhz, y.l2_cache, y.total_mem, y.os, y.kernel,
    y.kernel_host_name, y.machine_id, y.virtualization, y.board, y.firmware, y.memory_mhz, y.cpu_sockets,
    y.cpu_cores, y.disks_text AS disks, y.interfaces_text AS interfaces,
    NULL::text AS boot_id, NULL::timestamptz AS booted_at
FROM (
    SELECT t.*, sum(coalesce(octet_length(disks_text), 0) + coalesce(octet_length(interfaces_text), 0))
                    OVER (ORDER BY valid_from DESC) AS bytes
    FROM (
        SELECT h.*, h.disks::text AS disks_text, h.interfaces::text AS interfaces_text
        FROM host_info_history AS h
        WHERE h.host_id = rowcall.host_named($1::text)
        ORDER BY h.valid_from DESC
        LIMIT 1000
    ) AS t
) AS y
WHERE y.bytes <= 4000000
ORDER BY y.valid_from DESC
