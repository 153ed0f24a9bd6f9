-- A fleet that sampled once a minute without a gap: $1 hosts, from $2 to $3 [s since 1970], in an
-- empty database. Run as one batch, the numbers filled in.
SET session_replication_role = replica;
INSERT INTO host_info (hostname, cpu_number, cpu_architecture, cpu_model, cpu_mhz, l2_cache, total_mem, "timestamp")
SELECT format('node-%s.example', lpad(i::text, 5, '0')), 16 << (i % 3), 'x86_64',
       'Simulated CPU @ 2.60GHz', 2600, 1024, (64::bigint << 20) << (i % 2), to_timestamp($2)
  FROM generate_series(1, $1) AS i;
INSERT INTO rowcall.epoch (id, host_id, epoch, opened_at) SELECT id, id, id, to_timestamp($2) FROM host_info;
INSERT INTO rowcall.host_interval SELECT id, to_timestamp($2), 60000 FROM host_info;
SELECT rowcall.create_days(ARRAY(SELECT d::date FROM generate_series(
    to_timestamp($2) AT TIME ZONE 'UTC', to_timestamp($3) AT TIME ZONE 'UTC' + interval '1 day', interval '1 day') AS d));
INSERT INTO host_usage ("timestamp", memory_free, memory_available, disk_io, disk_available, sequence, host_id,
                        cpu_idle, cpu_kernel, elapsed_s, delay_s, epoch_id)
SELECT to_timestamp($2 + minute * 60 + h.id * 7919 % 60000 / 1000.0),
       20000 + (minute * 37 + h.id * 101) % 9000, 41000 + (minute * 29 + h.id * 53) % 9000,
       900 + (minute * 13 + h.id) % 700, 300000 - minute, minute + 1, h.id,
       25 + (minute * 7 + h.id * 31) % 700 / 10.0, 1 + (minute + h.id) % 30 / 10.0, 60, 0.2, h.id
  FROM generate_series(0::bigint, ($3 - $2) / 60 - 1) AS minute CROSS JOIN host_info AS h
 ORDER BY 1, h.id;
INSERT INTO host_latest (host_id, epoch_id, joined_at, "timestamp", received_at, mark, mark_time, memory_free,
                         memory_available, disk_io, disk_available, cpu_idle, cpu_kernel, elapsed_s, uptime_s)
SELECT DISTINCT ON (host_id) host_id, epoch_id, to_timestamp($2), "timestamp", "timestamp", sequence, "timestamp",
       memory_free, memory_available, disk_io, disk_available, cpu_idle, cpu_kernel, elapsed_s, sequence * 60
  FROM host_usage WHERE "timestamp" >= to_timestamp($3 - 60) ORDER BY host_id, "timestamp" DESC;
RESET session_replication_role;
