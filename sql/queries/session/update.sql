-- Sets what of host $1 is no fact of its history: boot id $2, booted_at $3, agent_version $4. A
-- retired host is back in the roll.
UPDATE host_info SET boot_id = $2, booted_at = $3, agent_version = $4, retired_at = NULL WHERE id = $1
