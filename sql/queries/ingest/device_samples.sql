-- Stores readings of devices. Arrays with one element per reading: $1 time, $2 host id, and as texts $3
-- filesystems, $4 disks, $5 interfaces, $6 sensors, $7 md_arrays, $8 memory_controllers, $9 cgroups, $10
-- processes, an array of numbers each, and $11 skipped as JSON. One row for each that is new.
INSERT INTO rowcall.device_sample (
    "timestamp", host_id, filesystems, disks, interfaces, sensors, md_arrays, memory_controllers, cgroups,
    processes, skipped
)
SELECT
    "timestamp", host_id, filesystems::bigint[], disks::bigint[], interfaces::bigint[], sensors::integer[],
    md_arrays::integer[], memory_controllers::bigint[], cgroups::bigint[], processes::integer[], skipped::jsonb
FROM unnest(
    $1::timestamptz[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::text[]
) AS r (
    "timestamp", host_id, filesystems, disks, interfaces, sensors, md_arrays, memory_controllers, cgroups,
    processes, skipped
)
ORDER BY "timestamp", host_id
ON CONFLICT DO NOTHING
RETURNING host_id
