#!/usr/bin/env bash
# A script of the kind that cron runs on each node once a minute: reads with vmstat and df, inserts
# one row with psql. $1: psql's connection string.
set -euo pipefail

host_name=$(hostname)
vmstat_mb=$(vmstat --unit M)
now=$(date '+%Y-%m-%d %H:%M:%S')
memory_free=$(echo "$vmstat_mb" | tail -1 | awk '{print $4}' | xargs)
cpu_idle=$(echo "$vmstat_mb" | tail -1 | awk '{print $15}' | xargs)
cpu_kernel=$(echo "$vmstat_mb" | tail -1 | awk '{print $14}' | xargs)
disk_io=$(vmstat -d | grep -E '^[svx]?[vh]?da' | awk '{sum += $2 + $6} END {print sum + 0}')
disk_available=$(df -BM / | tail -1 | awk '{print $4}' | sed 's/M//')

psql -q "$1" -c "INSERT INTO cron_usage (\"timestamp\", host_id, memory_free, cpu_idle, cpu_kernel, disk_io, disk_available)
    SELECT '$now', id, $memory_free, $cpu_idle, $cpu_kernel, $disk_io, $disk_available
      FROM cron_info WHERE hostname = '$host_name'"
