-- Stores readings of devices. Arrays with one element per reading: $1 time, $2 sequence, $3 host id, $4
-- epoch id, and as texts $5 filesystems, $6 disks, $7 interfaces, $8 sensors, $9 md_arrays, $10
-- memory_controllers, $11 cgroups, $12 processes, an array of numbers each, and $13 skipped as JSON. One row
-- for each that is new.
INSERT INTO rowcall.device_sample (
    "timestamp", sequence, host_id, epoch_id, filesystems, disks, interfaces, sensors, md_arrays,
    memory_controllers, cgroups, processes, skipped
)
SELECT
    "timestamp", sequence, host_id, epoch_id, filesystems::bigint[], disks::bigint[], interfaces::bigint[],
    sensors::integer[], md_arrays::integer[], memory_controllers::bigint[], cgroups::bigint[],
    processes::integer[], skipped::jsonb
FROM unnest(
    $1::timestamptz[], $2::bigint[], $3::integer[], $4::integer[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[]
) AS r (
    "timestamp", sequence, host_id, epoch_id, filesystems, disks, interfaces, sensors, md_arrays,
    memory_controllers, cgroups, processes, skipped
)
ORDER BY "timestamp", host_id
ON CONFLICT DO NOTHING
RETURNING host_id
