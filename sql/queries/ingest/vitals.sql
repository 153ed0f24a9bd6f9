-- Stores the vitals of samples that this transaction stored, or found stored. Arrays with one element per
-- sample: $1 host id, $2 epoch id, $3 sequence, $4 time, $5 uptime [s], and from $6 on one for each field
-- of Vitals in telemetry.proto, in that order and in its units: KiB become MiB where the column has MiB,
-- rounded down, and what its column cannot hold is not known.
--
-- Only beside a row of host_usage of the same host, time, epoch and sequence: where another sample has
-- that time, or the sample was refused, nothing is stored. Index: the primary key of host_usage; the
-- bounds of $4 keep all other days out.
INSERT INTO host_vitals (
    "timestamp", net_rx_bytes, net_tx_bytes, host_id, context_switches, disk_read_kib, disk_written_kib,
    net_rx_packets, net_tx_packets, uptime_s, cpu_user, cpu_nice, cpu_system, cpu_iowait, cpu_irq,
    cpu_softirq, cpu_steal, cpu_guest, cpu_busy_max, load_1, load_5, load_15, processes_running,
    processes_blocked, processes, forks, memory_used_max, memory_buffers, memory_cached, memory_dirty,
    memory_slab, huge_pages, huge_pages_free, swap_used, swap_in_kib, swap_out_kib, major_faults, oom_kills,
    pressure_cpu_some, pressure_cpu_full, pressure_memory_some, pressure_memory_full, pressure_io_some,
    pressure_io_full, disk_busy, disk_busy_max, net_errors, net_drops, tcp_established, tcp_retransmitted,
    tcp_listen_drops, conntrack, file_handles, clock_offset_s
)
SELECT
    v."timestamp", v.net_rx_bytes, v.net_tx_bytes, v.host_id, v.context_switches, v.disk_read_kib,
    v.disk_written_kib, v.net_rx_packets, v.net_tx_packets, rowcall.as_integer(v.uptime_s),
    v.cpu_user_percent, v.cpu_nice_percent, v.cpu_system_percent, v.cpu_iowait_percent, v.cpu_irq_percent,
    v.cpu_softirq_percent, v.cpu_steal_percent, v.cpu_guest_percent, v.cpu_busy_max_percent, v.load_1,
    v.load_5, v.load_15, rowcall.as_integer(v.processes_running), rowcall.as_integer(v.processes_blocked),
    rowcall.as_integer(v.processes), rowcall.as_integer(v.forks),
    rowcall.as_integer(v.memory_used_max_kib / 1024), rowcall.as_integer(v.memory_buffers_kib / 1024),
    rowcall.as_integer(v.memory_cached_kib / 1024), rowcall.as_integer(v.memory_dirty_kib / 1024),
    rowcall.as_integer(v.memory_slab_kib / 1024), rowcall.as_integer(v.huge_pages_kib / 1024),
    rowcall.as_integer(v.huge_pages_free_kib / 1024), rowcall.as_integer(v.swap_used_kib / 1024),
    rowcall.as_integer(v.swap_in_kib), rowcall.as_integer(v.swap_out_kib), rowcall.as_integer(v.major_faults),
    rowcall.as_integer(v.oom_kills), v.pressure_cpu_some_percent, v.pressure_cpu_full_percent,
    v.pressure_memory_some_percent, v.pressure_memory_full_percent, v.pressure_io_some_percent,
    v.pressure_io_full_percent, v.disk_busy_percent, v.disk_busy_max_percent,
    rowcall.as_integer(v.net_errors), rowcall.as_integer(v.net_drops), rowcall.as_integer(v.tcp_established),
    rowcall.as_integer(v.tcp_retransmitted), rowcall.as_integer(v.tcp_listen_drops),
    rowcall.as_integer(v.conntrack), rowcall.as_integer(v.file_handles), (v.clock_offset_us / 1e6)::real
FROM unnest(
    $1::integer[], $2::integer[], $3::bigint[], $4::timestamptz[], $5::bigint[], $6::real[], $7::real[],
    $8::real[], $9::real[], $10::real[], $11::real[], $12::real[], $13::real[], $14::real[], $15::real[],
    $16::real[], $17::real[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bigint[],
    $23::bigint[], $24::bigint[], $25::bigint[], $26::bigint[], $27::bigint[], $28::bigint[], $29::bigint[],
    $30::bigint[], $31::bigint[], $32::bigint[], $33::bigint[], $34::bigint[], $35::real[], $36::real[],
    $37::real[], $38::real[], $39::real[], $40::real[], $41::real[], $42::real[], $43::bigint[],
    $44::bigint[], $45::bigint[], $46::bigint[], $47::bigint[], $48::bigint[], $49::bigint[], $50::bigint[],
    $51::bigint[], $52::bigint[], $53::bigint[], $54::bigint[], $55::bigint[], $56::bigint[]
) AS v (
    host_id, epoch_id, sequence, "timestamp", uptime_s, cpu_user_percent, cpu_nice_percent,
    cpu_system_percent, cpu_iowait_percent, cpu_irq_percent, cpu_softirq_percent, cpu_steal_percent,
    cpu_guest_percent, cpu_busy_max_percent, load_1, load_5, load_15, processes_running, processes_blocked,
    processes, context_switches, forks, memory_used_max_kib, memory_buffers_kib, memory_cached_kib,
    memory_dirty_kib, memory_slab_kib, huge_pages_kib, huge_pages_free_kib, swap_used_kib, swap_in_kib,
    swap_out_kib, major_faults, oom_kills, pressure_cpu_some_percent, pressure_cpu_full_percent,
    pressure_memory_some_percent, pressure_memory_full_percent, pressure_io_some_percent,
    pressure_io_full_percent, disk_busy_percent, disk_busy_max_percent, disk_read_kib, disk_written_kib,
    net_rx_bytes, net_tx_bytes, net_rx_packets, net_tx_packets, net_errors, net_drops, tcp_established,
    tcp_retransmitted, tcp_listen_drops, conntrack, file_handles, clock_offset_us
)
JOIN host_usage AS u
    ON u."timestamp" = v."timestamp" AND u.host_id = v.host_id
    AND u.epoch_id = v.epoch_id AND u.sequence = v.sequence
WHERE u."timestamp" >= (SELECT min(t) FROM unnest($4::timestamptz[]) AS t)
  AND u."timestamp" <= (SELECT max(t) FROM unnest($4::timestamptz[]) AS t)
ORDER BY v."timestamp", v.host_id
ON CONFLICT DO NOTHING
