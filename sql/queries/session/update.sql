-- Sets what host $1 is: $2 cpu_number, $3 cpu_architecture, $4 cpu_model, $5 cpu_mhz, $6 l2_cache,
-- $7 total_mem, $8 os, $9 kernel, $10 kernel_host_name, $11 machine_id, $12 boot_id, $13 booted_at,
-- $14 agent_version; "timestamp" moves if $15. A retired host is back in the roll.
UPDATE host_info
SET cpu_number = $2, cpu_architecture = $3, cpu_model = $4, cpu_mhz = $5, l2_cache = $6,
    total_mem = $7, os = $8, kernel = $9, kernel_host_name = $10, machine_id = $11, boot_id = $12,
    booted_at = $13, agent_version = $14,
    "timestamp" = CASE WHEN $15::boolean THEN now() ELSE "timestamp" END,
    retired_at = NULL
WHERE id = $1
