-- What a host does in more breadth, and what its single devices do. Everything is kept by UTC days,
-- as host_usage is, and a day is one for all tables: made together, dropped together, but that
-- readings of devices and metrics may be dropped sooner.
--
-- Columns stand widest first. What is counted within a sample's span is over host_usage.elapsed_s of
-- the row of the same key. NULL: the kernel does not tell, or the number fits no column. Counts that a
-- busy machine brings beyond 32 bits are real: 7 digits of them, in half of a bigint's space.

-- One row beside each sample whose agent tells it. No foreign key: it is stored with its sample or not
-- at all, and looking a host up for each row again would cost half as much as the row.
CREATE TABLE host_vitals (
    "timestamp"          timestamptz NOT NULL,
    net_rx_bytes         bigint,
    net_tx_bytes         bigint,
    host_id              integer NOT NULL,
    context_switches     real,
    disk_read_kib        real,
    disk_written_kib     real,
    net_rx_packets       real,
    net_tx_packets       real,
    uptime_s             integer,
    cpu_user             real,
    cpu_nice             real,
    cpu_system           real,
    cpu_iowait           real,
    cpu_irq              real,
    cpu_softirq          real,
    cpu_steal            real,
    cpu_guest            real,
    cpu_busy_max         real,
    load_1               real,
    load_5               real,
    load_15              real,
    processes_running    integer,
    processes_blocked    integer,
    processes            integer,
    forks                integer,
    memory_used_max      integer,
    memory_buffers       integer,
    memory_cached        integer,
    memory_dirty         integer,
    memory_slab          integer,
    huge_pages           integer,
    huge_pages_free      integer,
    swap_used            integer,
    swap_in_kib          integer,
    swap_out_kib         integer,
    major_faults         integer,
    oom_kills            integer,
    pressure_cpu_some    real,
    pressure_cpu_full    real,
    pressure_memory_some real,
    pressure_memory_full real,
    pressure_io_some     real,
    pressure_io_full     real,
    disk_busy            real,
    disk_busy_max        real,
    net_errors           integer,
    net_drops            integer,
    tcp_established      integer,
    tcp_retransmitted    integer,
    tcp_listen_drops     integer,
    conntrack            integer,
    file_handles         integer,
    clock_offset_s       real,
    PRIMARY KEY ("timestamp", host_id)
) PARTITION BY RANGE ("timestamp");

COMMENT ON TABLE host_vitals IS 'What each host did, in more breadth: one row beside a sample of host_usage, with the same key';
COMMENT ON COLUMN host_vitals."timestamp" IS 'When the host read the sample, as in host_usage';
COMMENT ON COLUMN host_vitals.net_rx_bytes IS 'Received within elapsed_s by all interfaces with a device behind them; where there are none, by all but loopback [B]';
COMMENT ON COLUMN host_vitals.net_tx_bytes IS 'Sent by the same [B]';
COMMENT ON COLUMN host_vitals.host_id IS 'host_info.id';
COMMENT ON COLUMN host_vitals.context_switches IS 'Context switches within elapsed_s';
COMMENT ON COLUMN host_vitals.disk_read_kib IS 'Read from all whole disks within elapsed_s [KiB]';
COMMENT ON COLUMN host_vitals.disk_written_kib IS 'Written to all whole disks within elapsed_s [KiB]';
COMMENT ON COLUMN host_vitals.net_rx_packets IS 'Packets received by the same';
COMMENT ON COLUMN host_vitals.net_tx_packets IS 'Packets sent by the same';
COMMENT ON COLUMN host_vitals.uptime_s IS 'Time since boot, suspended time included [s]';
COMMENT ON COLUMN host_vitals.cpu_user IS 'Programs'' time, guests'' included, of all CPUs within elapsed_s [%]';
COMMENT ON COLUMN host_vitals.cpu_nice IS 'Programs'' of low priority [%]';
COMMENT ON COLUMN host_vitals.cpu_system IS 'The kernel''s own [%]';
COMMENT ON COLUMN host_vitals.cpu_iowait IS 'Idle while something waited for I/O [%]';
COMMENT ON COLUMN host_vitals.cpu_irq IS 'Interrupts [%]';
COMMENT ON COLUMN host_vitals.cpu_softirq IS 'Soft interrupts [%]';
COMMENT ON COLUMN host_vitals.cpu_steal IS 'Taken by the hypervisor for others [%]';
COMMENT ON COLUMN host_vitals.cpu_guest IS 'Spent in guests of this host [%]';
COMMENT ON COLUMN host_vitals.cpu_busy_max IS 'Busiest span between two readings (10 s by default) within elapsed_s: not idle, not waiting for I/O [%]';
COMMENT ON COLUMN host_vitals.load_1 IS 'Load average over 1 minute';
COMMENT ON COLUMN host_vitals.load_5 IS 'Load average over 5 minutes';
COMMENT ON COLUMN host_vitals.load_15 IS 'Load average over 15 minutes';
COMMENT ON COLUMN host_vitals.processes_running IS 'Tasks that run or want to';
COMMENT ON COLUMN host_vitals.processes_blocked IS 'Tasks that wait for I/O';
COMMENT ON COLUMN host_vitals.processes IS 'Processes in all';
COMMENT ON COLUMN host_vitals.forks IS 'Processes and threads made within elapsed_s';
COMMENT ON COLUMN host_vitals.memory_used_max IS 'Highest MemTotal - MemAvailable of the readings within elapsed_s [MiB]';
COMMENT ON COLUMN host_vitals.memory_buffers IS 'Buffers [MiB]';
COMMENT ON COLUMN host_vitals.memory_cached IS 'Cached [MiB]';
COMMENT ON COLUMN host_vitals.memory_dirty IS 'Dirty: still to be written to disks [MiB]';
COMMENT ON COLUMN host_vitals.memory_slab IS 'Slab: the kernel''s own [MiB]';
COMMENT ON COLUMN host_vitals.huge_pages IS 'Set aside as huge pages [MiB]';
COMMENT ON COLUMN host_vitals.huge_pages_free IS 'How much of these is free [MiB]';
COMMENT ON COLUMN host_vitals.swap_used IS 'Swap in use [MiB]';
COMMENT ON COLUMN host_vitals.swap_in_kib IS 'Read from swap within elapsed_s [KiB]';
COMMENT ON COLUMN host_vitals.swap_out_kib IS 'Written to swap within elapsed_s [KiB]';
COMMENT ON COLUMN host_vitals.major_faults IS 'Page faults within elapsed_s that needed a disk';
COMMENT ON COLUMN host_vitals.oom_kills IS 'Processes killed within elapsed_s for want of memory';
COMMENT ON COLUMN host_vitals.pressure_cpu_some IS 'Time within elapsed_s in which some tasks waited for a CPU [%]';
COMMENT ON COLUMN host_vitals.pressure_cpu_full IS 'Time in which all did [%]';
COMMENT ON COLUMN host_vitals.pressure_memory_some IS 'Time in which some tasks waited for memory [%]';
COMMENT ON COLUMN host_vitals.pressure_memory_full IS 'Time in which all did [%]';
COMMENT ON COLUMN host_vitals.pressure_io_some IS 'Time in which some tasks waited for I/O [%]';
COMMENT ON COLUMN host_vitals.pressure_io_full IS 'Time in which all did [%]';
COMMENT ON COLUMN host_vitals.disk_busy IS 'Time within elapsed_s in which the busiest whole disk had requests in flight [%]';
COMMENT ON COLUMN host_vitals.disk_busy_max IS 'The same in its busiest span between two readings [%]';
COMMENT ON COLUMN host_vitals.net_errors IS 'Errors of the interfaces within elapsed_s, both directions';
COMMENT ON COLUMN host_vitals.net_drops IS 'Packets that the interfaces dropped within elapsed_s, both directions';
COMMENT ON COLUMN host_vitals.tcp_established IS 'TCP connections that are established';
COMMENT ON COLUMN host_vitals.tcp_retransmitted IS 'TCP segments sent again within elapsed_s';
COMMENT ON COLUMN host_vitals.tcp_listen_drops IS 'TCP connections that a full listen queue dropped within elapsed_s';
COMMENT ON COLUMN host_vitals.conntrack IS 'Connections that the packet filter tracks';
COMMENT ON COLUMN host_vitals.file_handles IS 'Files that are open in the whole system';
COMMENT ON COLUMN host_vitals.clock_offset_s IS 'The aggregator''s clock minus the host''s, as the agent last measured [s]';

-- Devices, as each host calls them. A row is one life of one device's counters with one set of
-- attributes: another speed, or counters that began anew, make another row. So a reading needs only
-- the id and numbers. Ids count from 1 for each host; they are given under the lock on the host's
-- host_latest.
CREATE TABLE host_device (
    counted_since bigint NOT NULL,
    id            integer NOT NULL,
    host_id       integer NOT NULL REFERENCES host_info (id),
    seen_on       date NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
    kind          text NOT NULL,
    name          text NOT NULL,
    attributes    jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (host_id, id),
    UNIQUE (host_id, kind, name, counted_since, attributes)
) WITH (fillfactor = 80);

COMMENT ON TABLE host_device IS 'Devices of each host, one row per life of its counters and set of attributes; see the views host_disk and so on';
COMMENT ON COLUMN host_device.counted_since IS 'Names a life of the counters, and is no time: another number, and they began anew (a reboot, another device of that name); 0: has none; -1: stands for many devices, beyond the 2,000 of a host and kind';
COMMENT ON COLUMN host_device.id IS 'What readings call it, by host';
COMMENT ON COLUMN host_device.seen_on IS 'Last day, UTC, on which a reading of it came';
COMMENT ON COLUMN host_device.kind IS 'filesystem, disk, interface, sensor, md_array, memory_controller, cgroup, process';
COMMENT ON COLUMN host_device.name IS 'As the host calls it: mount point, disk, interface, chip and label, control group, command; (other): many';
COMMENT ON COLUMN host_device.attributes IS 'filesystem: source, type, read_only; interface: speed_mbit, up; sensor: critical_mc; md_array: level, state, disks; else none';

-- One row per reading of a host's devices, or part of one: for each kind an array of numbers, so many
-- for each device, of which the first is host_device.id. Of the others NULL stands for 0, which most
-- are and which takes no space then, and -1 for what is not known (no temperature is). A row for each
-- device would take four times the space.
CREATE TABLE rowcall.device_sample (
    "timestamp"        timestamptz NOT NULL,
    sequence           bigint NOT NULL,
    host_id            integer NOT NULL,
    epoch_id           integer NOT NULL,
    filesystems        bigint[],
    disks              bigint[],
    interfaces         bigint[],
    sensors            integer[],
    md_arrays          integer[],
    memory_controllers bigint[],
    cgroups            bigint[],
    processes          integer[],
    skipped            jsonb,
    PRIMARY KEY ("timestamp", host_id)
) PARTITION BY RANGE ("timestamp");

COMMENT ON TABLE rowcall.device_sample IS 'Readings of devices, packed, NULL for 0 and -1 for what is not known: read them by the views host_filesystem, host_disk, host_interface, host_sensor, host_md_array, host_memory_controller, host_cgroup, host_process, host_skipped';
COMMENT ON COLUMN rowcall.device_sample."timestamp" IS 'When the host read them, by its own clock';
COMMENT ON COLUMN rowcall.device_sample.sequence IS 'Number of its record within the epoch. Order is by these, not by the host''s clock, which may be set back';
COMMENT ON COLUMN rowcall.device_sample.host_id IS 'host_info.id';
COMMENT ON COLUMN rowcall.device_sample.epoch_id IS 'rowcall.epoch.id';
COMMENT ON COLUMN rowcall.device_sample.filesystems IS '5 numbers for each: id, size [KiB], available [KiB], inodes, free inodes';
COMMENT ON COLUMN rowcall.device_sample.disks IS '10 numbers for each: id, reads, writes, bytes read, bytes written, time of reads [ms], time of writes [ms], time busy [ms], requests in flight, busiest span [0.01 %]';
COMMENT ON COLUMN rowcall.device_sample.interfaces IS '11 numbers for each: id, bytes received, sent, packets received, sent, errors receiving, sending, drops receiving, sending, busiest span receiving, sending [B/s]';
COMMENT ON COLUMN rowcall.device_sample.sensors IS '2 numbers for each: id, temperature [0.001 degrees Celsius]';
COMMENT ON COLUMN rowcall.device_sample.md_arrays IS '5 numbers for each: id, members in work, failed, spare, progress [0.01 %]';
COMMENT ON COLUMN rowcall.device_sample.memory_controllers IS '3 numbers for each: id, corrected errors, uncorrected errors';
COMMENT ON COLUMN rowcall.device_sample.cgroups IS '8 numbers for each: id, CPU time [us], time throttled [us], memory [KiB], bytes read, bytes written, processes, kills for want of memory';
COMMENT ON COLUMN rowcall.device_sample.processes IS '6 numbers for each: id, process number, CPU time [0.01 % of one CPU], memory [MiB], read [KiB/s], written [KiB/s]';
COMMENT ON COLUMN rowcall.device_sample.skipped IS 'What was not read: a list of collector, item, reason, count; NULL: nothing';

-- What was not read is rare, and looked for by reports.
CREATE INDEX device_sample_skipped ON rowcall.device_sample ("timestamp") WHERE skipped IS NOT NULL;

-- Values of the drop-in files.
CREATE TABLE host_metric (
    "timestamp" timestamptz NOT NULL,
    value       double precision NOT NULL,
    host_id     integer NOT NULL,
    name        text NOT NULL,
    labels      jsonb NOT NULL,
    PRIMARY KEY ("timestamp", host_id, name, labels)
) PARTITION BY RANGE ("timestamp");

COMMENT ON TABLE host_metric IS 'Values that each host''s drop-in files (*.prom) tell';
COMMENT ON COLUMN host_metric."timestamp" IS 'When the host read the file, by its own clock';
COMMENT ON COLUMN host_metric.value IS 'The value; its unit is part of the name by custom';
COMMENT ON COLUMN host_metric.host_id IS 'host_info.id';
COMMENT ON COLUMN host_metric.name IS 'The metric''s name';
COMMENT ON COLUMN host_metric.labels IS 'Its labels, as an object of texts';

-- A count that its column cannot hold is not known.
CREATE FUNCTION rowcall.as_integer(number bigint) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN number BETWEEN -2147483648 AND 2147483647 THEN number::integer END
$$;

COMMENT ON FUNCTION rowcall.as_integer(bigint) IS 'A number as integer; NULL: it fits none';

-- PostgreSQL refuses to make a real of what would become 0 or infinite: one host that tells of 1e-45
-- would take a whole report with it.
CREATE FUNCTION rowcall.as_real(number double precision) RETURNS real
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN abs(number) < 1e-30 THEN 0 WHEN abs(number) < 1e38 THEN number::real END
$$;

COMMENT ON FUNCTION rowcall.as_real(double precision) IS 'A number as real: 0 where it is next to 0; NULL: it is too large, or none';

-- The views for people. Numbers that count are raw, as the kernel counts them; rates are made by the
-- functions below. Bound "timestamp" in a query: that is what makes PostgreSQL open only the days it
-- needs.

CREATE VIEW host_filesystem AS
SELECT s."timestamp",
       s.host_id,
       i.hostname,
       d.name AS mount,
       d.attributes ->> 'source' AS source,
       d.attributes ->> 'type' AS type,
       (d.attributes ->> 'read_only')::boolean AS read_only,
       nullif(coalesce(s.filesystems[g.at + 2], 0), -1) AS size_kib,
       nullif(coalesce(s.filesystems[g.at + 3], 0), -1) AS available_kib,
       nullif(coalesce(s.filesystems[g.at + 4], 0), -1) AS inodes,
       nullif(coalesce(s.filesystems[g.at + 5], 0), -1) AS inodes_free
  FROM rowcall.device_sample AS s
 CROSS JOIN LATERAL generate_series(0, cardinality(s.filesystems) - 1, 5) AS g (at)
  JOIN host_device AS d ON d.host_id = s.host_id AND d.id = s.filesystems[g.at + 1]
  LEFT JOIN host_info AS i ON i.id = s.host_id;

COMMENT ON VIEW host_filesystem IS 'Filesystems, by reading';
COMMENT ON COLUMN host_filesystem."timestamp" IS 'When the host read it, by its own clock';
COMMENT ON COLUMN host_filesystem.host_id IS 'host_info.id';
COMMENT ON COLUMN host_filesystem.hostname IS 'host_info.hostname';
COMMENT ON COLUMN host_filesystem.mount IS 'Where it is mounted';
COMMENT ON COLUMN host_filesystem.source IS 'What is mounted';
COMMENT ON COLUMN host_filesystem.type IS 'For example ext4';
COMMENT ON COLUMN host_filesystem.read_only IS 'The mount''s own options say so';
COMMENT ON COLUMN host_filesystem.size_kib IS 'Size at that time [KiB]';
COMMENT ON COLUMN host_filesystem.available_kib IS 'What an ordinary user can still fill [KiB]';
COMMENT ON COLUMN host_filesystem.inodes IS 'Inodes in all';
COMMENT ON COLUMN host_filesystem.inodes_free IS 'Free ones';

CREATE VIEW host_disk AS
SELECT s."timestamp",
       s.host_id,
       i.hostname,
       d.name AS name,
       d.counted_since AS counted_since,
       nullif(coalesce(s.disks[g.at + 2], 0), -1) AS reads,
       nullif(coalesce(s.disks[g.at + 3], 0), -1) AS writes,
       nullif(coalesce(s.disks[g.at + 4], 0), -1) AS read_bytes,
       nullif(coalesce(s.disks[g.at + 5], 0), -1) AS written_bytes,
       nullif(coalesce(s.disks[g.at + 6], 0), -1) AS read_ms,
       nullif(coalesce(s.disks[g.at + 7], 0), -1) AS write_ms,
       nullif(coalesce(s.disks[g.at + 8], 0), -1) AS busy_ms,
       nullif(coalesce(s.disks[g.at + 9], 0), -1) AS in_flight,
       (nullif(coalesce(s.disks[g.at + 10], 0), -1) / 100.0)::real AS busy_max_percent,
       s.epoch_id,
       s.sequence
  FROM rowcall.device_sample AS s
 CROSS JOIN LATERAL generate_series(0, cardinality(s.disks) - 1, 10) AS g (at)
  JOIN host_device AS d ON d.host_id = s.host_id AND d.id = s.disks[g.at + 1]
  LEFT JOIN host_info AS i ON i.id = s.host_id;

COMMENT ON VIEW host_disk IS 'Whole disks, by reading; see host_disk_rates';
COMMENT ON COLUMN host_disk."timestamp" IS 'When the host read it, by its own clock';
COMMENT ON COLUMN host_disk.host_id IS 'host_info.id';
COMMENT ON COLUMN host_disk.hostname IS 'host_info.hostname';
COMMENT ON COLUMN host_disk.name IS 'As in /sys/block';
COMMENT ON COLUMN host_disk.counted_since IS 'Names a life of the counters, and is no time: numbers of rows in which it differs cannot be subtracted';
COMMENT ON COLUMN host_disk.reads IS 'Reads completed';
COMMENT ON COLUMN host_disk.writes IS 'Writes completed';
COMMENT ON COLUMN host_disk.read_bytes IS 'Read [B]';
COMMENT ON COLUMN host_disk.written_bytes IS 'Written [B]';
COMMENT ON COLUMN host_disk.read_ms IS 'Time that reads took, summed over requests [ms]';
COMMENT ON COLUMN host_disk.write_ms IS 'Time that writes took, summed over requests [ms]';
COMMENT ON COLUMN host_disk.busy_ms IS 'Time in which any request was in flight [ms]';
COMMENT ON COLUMN host_disk.in_flight IS 'Requests in flight at that moment';
COMMENT ON COLUMN host_disk.busy_max_percent IS 'Busiest span between two readings (10 s by default) since the reading before [%]';
COMMENT ON COLUMN host_disk.epoch_id IS 'In which life of the agent''s spool it was read';
COMMENT ON COLUMN host_disk.sequence IS 'Order of reading within epoch_id, whatever the clock did';

CREATE VIEW host_interface AS
SELECT s."timestamp",
       s.host_id,
       i.hostname,
       d.name AS name,
       d.counted_since AS counted_since,
       (d.attributes ->> 'up')::boolean AS up,
       (d.attributes ->> 'speed_mbit')::integer AS speed_mbit,
       nullif(coalesce(s.interfaces[g.at + 2], 0), -1) AS rx_bytes,
       nullif(coalesce(s.interfaces[g.at + 3], 0), -1) AS tx_bytes,
       nullif(coalesce(s.interfaces[g.at + 4], 0), -1) AS rx_packets,
       nullif(coalesce(s.interfaces[g.at + 5], 0), -1) AS tx_packets,
       nullif(coalesce(s.interfaces[g.at + 6], 0), -1) AS rx_errors,
       nullif(coalesce(s.interfaces[g.at + 7], 0), -1) AS tx_errors,
       nullif(coalesce(s.interfaces[g.at + 8], 0), -1) AS rx_drops,
       nullif(coalesce(s.interfaces[g.at + 9], 0), -1) AS tx_drops,
       nullif(coalesce(s.interfaces[g.at + 10], 0), -1) AS rx_max_bytes_per_s,
       nullif(coalesce(s.interfaces[g.at + 11], 0), -1) AS tx_max_bytes_per_s,
       s.epoch_id,
       s.sequence
  FROM rowcall.device_sample AS s
 CROSS JOIN LATERAL generate_series(0, cardinality(s.interfaces) - 1, 11) AS g (at)
  JOIN host_device AS d ON d.host_id = s.host_id AND d.id = s.interfaces[g.at + 1]
  LEFT JOIN host_info AS i ON i.id = s.host_id;

COMMENT ON VIEW host_interface IS 'Network interfaces, by reading; see host_interface_rates';
COMMENT ON COLUMN host_interface."timestamp" IS 'When the host read it, by its own clock';
COMMENT ON COLUMN host_interface.host_id IS 'host_info.id';
COMMENT ON COLUMN host_interface.hostname IS 'host_info.hostname';
COMMENT ON COLUMN host_interface.name IS 'As in /sys/class/net';
COMMENT ON COLUMN host_interface.counted_since IS 'Names a life of the counters, and is no time: numbers of rows in which it differs cannot be subtracted';
COMMENT ON COLUMN host_interface.up IS 'Whether the link is up';
COMMENT ON COLUMN host_interface.speed_mbit IS 'Speed [Mbit/s]; NULL: it has none';
COMMENT ON COLUMN host_interface.rx_bytes IS 'Received [B]';
COMMENT ON COLUMN host_interface.tx_bytes IS 'Sent [B]';
COMMENT ON COLUMN host_interface.rx_packets IS 'Packets received';
COMMENT ON COLUMN host_interface.tx_packets IS 'Packets sent';
COMMENT ON COLUMN host_interface.rx_errors IS 'Errors receiving';
COMMENT ON COLUMN host_interface.tx_errors IS 'Errors sending';
COMMENT ON COLUMN host_interface.rx_drops IS 'Packets dropped receiving';
COMMENT ON COLUMN host_interface.tx_drops IS 'Packets dropped sending';
COMMENT ON COLUMN host_interface.rx_max_bytes_per_s IS 'Busiest span between two readings since the reading before, receiving [B/s]';
COMMENT ON COLUMN host_interface.tx_max_bytes_per_s IS 'The same, sending [B/s]';
COMMENT ON COLUMN host_interface.epoch_id IS 'In which life of the agent''s spool it was read';
COMMENT ON COLUMN host_interface.sequence IS 'Order of reading within epoch_id, whatever the clock did';

CREATE VIEW host_sensor AS
SELECT s."timestamp",
       s.host_id,
       i.hostname,
       d.name AS name,
       (coalesce(s.sensors[g.at + 2], 0) / 1000.0)::real AS temperature_celsius,
       ((d.attributes ->> 'critical_mc')::integer / 1000.0)::real AS critical_celsius
  FROM rowcall.device_sample AS s
 CROSS JOIN LATERAL generate_series(0, cardinality(s.sensors) - 1, 2) AS g (at)
  JOIN host_device AS d ON d.host_id = s.host_id AND d.id = s.sensors[g.at + 1]
  LEFT JOIN host_info AS i ON i.id = s.host_id;

COMMENT ON VIEW host_sensor IS 'Temperature sensors, by reading';
COMMENT ON COLUMN host_sensor."timestamp" IS 'When the host read it, by its own clock';
COMMENT ON COLUMN host_sensor.host_id IS 'host_info.id';
COMMENT ON COLUMN host_sensor.hostname IS 'host_info.hostname';
COMMENT ON COLUMN host_sensor.name IS 'Chip and label';
COMMENT ON COLUMN host_sensor.temperature_celsius IS 'Temperature [degrees Celsius]';
COMMENT ON COLUMN host_sensor.critical_celsius IS 'Where the chip says that it is too hot [degrees Celsius]; NULL: it does not';

CREATE VIEW host_md_array AS
SELECT s."timestamp",
       s.host_id,
       i.hostname,
       d.name AS name,
       d.attributes ->> 'level' AS level,
       d.attributes ->> 'state' AS state,
       (d.attributes ->> 'disks')::integer AS disks,
       nullif(coalesce(s.md_arrays[g.at + 2], 0), -1) AS disks_active,
       nullif(coalesce(s.md_arrays[g.at + 3], 0), -1) AS disks_failed,
       nullif(coalesce(s.md_arrays[g.at + 4], 0), -1) AS disks_spare,
       (nullif(coalesce(s.md_arrays[g.at + 5], 0), -1) / 100.0)::real AS sync_percent
  FROM rowcall.device_sample AS s
 CROSS JOIN LATERAL generate_series(0, cardinality(s.md_arrays) - 1, 5) AS g (at)
  JOIN host_device AS d ON d.host_id = s.host_id AND d.id = s.md_arrays[g.at + 1]
  LEFT JOIN host_info AS i ON i.id = s.host_id;

COMMENT ON VIEW host_md_array IS 'Software RAIDs, by reading';
COMMENT ON COLUMN host_md_array."timestamp" IS 'When the host read it, by its own clock';
COMMENT ON COLUMN host_md_array.host_id IS 'host_info.id';
COMMENT ON COLUMN host_md_array.hostname IS 'host_info.hostname';
COMMENT ON COLUMN host_md_array.name IS 'For example md0';
COMMENT ON COLUMN host_md_array.level IS 'For example raid1';
COMMENT ON COLUMN host_md_array.state IS 'As the kernel names it, for example clean';
COMMENT ON COLUMN host_md_array.disks IS 'Members that it should have';
COMMENT ON COLUMN host_md_array.disks_active IS 'Members in work';
COMMENT ON COLUMN host_md_array.disks_failed IS 'Members that failed';
COMMENT ON COLUMN host_md_array.disks_spare IS 'Members that wait';
COMMENT ON COLUMN host_md_array.sync_percent IS 'How far a resync, recovery or check has come [%]; NULL: there is none';

CREATE VIEW host_memory_controller AS
SELECT s."timestamp",
       s.host_id,
       i.hostname,
       d.name AS name,
       d.counted_since AS counted_since,
       nullif(coalesce(s.memory_controllers[g.at + 2], 0), -1) AS corrected_errors,
       nullif(coalesce(s.memory_controllers[g.at + 3], 0), -1) AS uncorrected_errors,
       s.epoch_id,
       s.sequence
  FROM rowcall.device_sample AS s
 CROSS JOIN LATERAL generate_series(0, cardinality(s.memory_controllers) - 1, 3) AS g (at)
  JOIN host_device AS d ON d.host_id = s.host_id AND d.id = s.memory_controllers[g.at + 1]
  LEFT JOIN host_info AS i ON i.id = s.host_id;

COMMENT ON VIEW host_memory_controller IS 'Memory controllers that count errors (EDAC), by reading';
COMMENT ON COLUMN host_memory_controller."timestamp" IS 'When the host read it, by its own clock';
COMMENT ON COLUMN host_memory_controller.host_id IS 'host_info.id';
COMMENT ON COLUMN host_memory_controller.hostname IS 'host_info.hostname';
COMMENT ON COLUMN host_memory_controller.name IS 'For example mc0';
COMMENT ON COLUMN host_memory_controller.counted_since IS 'Names a life of the counters, and is no time: numbers of rows in which it differs cannot be subtracted';
COMMENT ON COLUMN host_memory_controller.corrected_errors IS 'Errors that were corrected';
COMMENT ON COLUMN host_memory_controller.uncorrected_errors IS 'Errors that were not';
COMMENT ON COLUMN host_memory_controller.epoch_id IS 'In which life of the agent''s spool it was read';
COMMENT ON COLUMN host_memory_controller.sequence IS 'Order of reading within epoch_id, whatever the clock did';

CREATE VIEW host_cgroup AS
SELECT s."timestamp",
       s.host_id,
       i.hostname,
       d.name AS name,
       d.counted_since AS counted_since,
       nullif(coalesce(s.cgroups[g.at + 2], 0), -1) AS cpu_us,
       nullif(coalesce(s.cgroups[g.at + 3], 0), -1) AS throttled_us,
       nullif(coalesce(s.cgroups[g.at + 4], 0), -1) AS memory_kib,
       nullif(coalesce(s.cgroups[g.at + 5], 0), -1) AS read_bytes,
       nullif(coalesce(s.cgroups[g.at + 6], 0), -1) AS written_bytes,
       nullif(coalesce(s.cgroups[g.at + 7], 0), -1) AS processes,
       nullif(coalesce(s.cgroups[g.at + 8], 0), -1) AS oom_kills,
       s.epoch_id,
       s.sequence
  FROM rowcall.device_sample AS s
 CROSS JOIN LATERAL generate_series(0, cardinality(s.cgroups) - 1, 8) AS g (at)
  JOIN host_device AS d ON d.host_id = s.host_id AND d.id = s.cgroups[g.at + 1]
  LEFT JOIN host_info AS i ON i.id = s.host_id;

COMMENT ON VIEW host_cgroup IS 'Control groups of the top level, by reading; see host_cgroup_rates';
COMMENT ON COLUMN host_cgroup."timestamp" IS 'When the host read it, by its own clock';
COMMENT ON COLUMN host_cgroup.host_id IS 'host_info.id';
COMMENT ON COLUMN host_cgroup.hostname IS 'host_info.hostname';
COMMENT ON COLUMN host_cgroup.name IS 'For example system.slice';
COMMENT ON COLUMN host_cgroup.counted_since IS 'Names a life of the counters, and is no time: numbers of rows in which it differs cannot be subtracted';
COMMENT ON COLUMN host_cgroup.cpu_us IS 'CPU time [us]';
COMMENT ON COLUMN host_cgroup.throttled_us IS 'Time in which it was throttled [us]';
COMMENT ON COLUMN host_cgroup.memory_kib IS 'Memory at that moment [KiB]';
COMMENT ON COLUMN host_cgroup.read_bytes IS 'Read [B]';
COMMENT ON COLUMN host_cgroup.written_bytes IS 'Written [B]';
COMMENT ON COLUMN host_cgroup.processes IS 'Processes at that moment';
COMMENT ON COLUMN host_cgroup.oom_kills IS 'Processes killed for want of memory';
COMMENT ON COLUMN host_cgroup.epoch_id IS 'In which life of the agent''s spool it was read';
COMMENT ON COLUMN host_cgroup.sequence IS 'Order of reading within epoch_id, whatever the clock did';

CREATE VIEW host_process AS
SELECT s."timestamp",
       s.host_id,
       i.hostname,
       d.name AS command,
       nullif(coalesce(s.processes[g.at + 2], 0), -1) AS pid,
       (nullif(coalesce(s.processes[g.at + 3], 0), -1) / 100.0)::real AS cpu_percent,
       nullif(coalesce(s.processes[g.at + 4], 0), -1) AS memory_mib,
       nullif(coalesce(s.processes[g.at + 5], 0), -1) AS read_kib_per_s,
       nullif(coalesce(s.processes[g.at + 6], 0), -1) AS written_kib_per_s
  FROM rowcall.device_sample AS s
 CROSS JOIN LATERAL generate_series(0, cardinality(s.processes) - 1, 6) AS g (at)
  JOIN host_device AS d ON d.host_id = s.host_id AND d.id = s.processes[g.at + 1]
  LEFT JOIN host_info AS i ON i.id = s.host_id;

COMMENT ON VIEW host_process IS 'The processes that took most of the CPU, of the memory and of I/O since the reading before, 5 of each by default; left out is what took less than 1 % of a CPU, 1 % of the memory and 64 KiB/s';
COMMENT ON COLUMN host_process."timestamp" IS 'When the host read it, by its own clock';
COMMENT ON COLUMN host_process.host_id IS 'host_info.id';
COMMENT ON COLUMN host_process.hostname IS 'host_info.hostname';
COMMENT ON COLUMN host_process.command IS 'Its command''s name';
COMMENT ON COLUMN host_process.pid IS 'Its number';
COMMENT ON COLUMN host_process.cpu_percent IS 'CPU time since the reading before, of one CPU: four busy threads are 400 [%]; NULL: the first reading of an agent, or of a process that began since';
COMMENT ON COLUMN host_process.memory_mib IS 'Resident [MiB]';
COMMENT ON COLUMN host_process.read_kib_per_s IS 'Read from disks [KiB/s]; NULL: the agent may not see it';
COMMENT ON COLUMN host_process.written_kib_per_s IS 'Written to disks [KiB/s]; NULL: the agent may not see it';

CREATE VIEW host_skipped AS
SELECT s."timestamp",
       s.host_id,
       i.hostname,
       k.it ->> 'collector' AS collector,
       k.it ->> 'item' AS item,
       k.it ->> 'reason' AS reason,
       (k.it ->> 'count')::integer AS count
  FROM rowcall.device_sample AS s
 CROSS JOIN LATERAL jsonb_array_elements(s.skipped) AS k (it)
  LEFT JOIN host_info AS i ON i.id = s.host_id;

COMMENT ON VIEW host_skipped IS 'What should have been read and was not, by reading';
COMMENT ON COLUMN host_skipped."timestamp" IS 'When the host read the rest, by its own clock';
COMMENT ON COLUMN host_skipped.host_id IS 'host_info.id';
COMMENT ON COLUMN host_skipped.hostname IS 'host_info.hostname';
COMMENT ON COLUMN host_skipped.collector IS 'As in the agent''s settings, for example filesystems';
COMMENT ON COLUMN host_skipped.item IS 'Which of its things, for example a mount point; NULL: all of them';
COMMENT ON COLUMN host_skipped.reason IS 'hung, limit, unreadable, unknown';
COMMENT ON COLUMN host_skipped.count IS 'How many things this stands for';

-- Rates: between each reading in the range and the one before it in the range, of the same device and
-- the same life of its counters. Order is that of reading, within an epoch: a clock that was set back
-- would mix readings of before and after. None where the clock did not go on between the two, where a
-- counter fell, and of what stands for many devices. Rounded, so that people can read them.
-- Without SET, so that they become part of the query that asks, and a host is looked for by its key.

CREATE FUNCTION host_disk_rates(from_ts timestamptz, to_ts timestamptz)
RETURNS TABLE (
    "timestamp" timestamptz, host_id integer, hostname text, name text, elapsed_s double precision,
    reads_per_s double precision,
    writes_per_s double precision,
    read_bytes_per_s double precision,
    written_bytes_per_s double precision,
    await_ms double precision,
    busy_percent double precision,
    in_flight bigint,
    busy_max_percent real
)
LANGUAGE sql STABLE AS $$
    SELECT r."timestamp", r.host_id, r.hostname, r.name, round(r.elapsed_s * 1000) / 1000,
           round(r.d_reads / r.elapsed_s * 100) / 100,
           round(r.d_writes / r.elapsed_s * 100) / 100,
           round(r.d_read_bytes / r.elapsed_s),
           round(r.d_written_bytes / r.elapsed_s),
           -- As float8 before they are added: two counters of a wild disk are more than a bigint holds.
           round((r.d_read_ms::float8 + r.d_write_ms) / nullif(r.d_reads::float8 + r.d_writes, 0) * 1000) / 1000,
           least(round(r.d_busy_ms / (10 * r.elapsed_s) * 100) / 100, 100),
           r.in_flight,
           r.busy_max_percent
      FROM (SELECT v.*, extract(epoch FROM v."timestamp" - lag(v."timestamp") OVER w)::double precision AS elapsed_s,
                   v.reads - lag(v.reads) OVER w AS d_reads,
                   v.writes - lag(v.writes) OVER w AS d_writes,
                   v.read_bytes - lag(v.read_bytes) OVER w AS d_read_bytes,
                   v.written_bytes - lag(v.written_bytes) OVER w AS d_written_bytes,
                   v.read_ms - lag(v.read_ms) OVER w AS d_read_ms,
                   v.write_ms - lag(v.write_ms) OVER w AS d_write_ms,
                   v.busy_ms - lag(v.busy_ms) OVER w AS d_busy_ms
              FROM public.host_disk AS v
             WHERE v."timestamp" >= from_ts AND v."timestamp" < to_ts AND v.counted_since >= 0
            WINDOW w AS (PARTITION BY v.host_id, v.hostname, v.name, v.counted_since, v.epoch_id ORDER BY v.sequence)) AS r
     WHERE r.elapsed_s > 0
       AND coalesce(least(r.d_reads, r.d_writes, r.d_read_bytes, r.d_written_bytes, r.d_read_ms, r.d_write_ms, r.d_busy_ms), 0) >= 0
$$;

COMMENT ON FUNCTION host_disk_rates(timestamptz, timestamptz) IS 'What each disk did between two readings of a range: requests and bytes per second, await_ms: time a request took [ms], busy_percent: time with requests in flight [%]; in_flight and busy_max_percent as in host_disk';

CREATE FUNCTION host_interface_rates(from_ts timestamptz, to_ts timestamptz)
RETURNS TABLE (
    "timestamp" timestamptz, host_id integer, hostname text, name text, elapsed_s double precision,
    rx_bytes_per_s double precision,
    tx_bytes_per_s double precision,
    rx_packets_per_s double precision,
    tx_packets_per_s double precision,
    rx_errors bigint,
    tx_errors bigint,
    rx_drops bigint,
    tx_drops bigint,
    rx_max_bytes_per_s bigint,
    tx_max_bytes_per_s bigint,
    up boolean,
    speed_mbit integer
)
LANGUAGE sql STABLE AS $$
    SELECT r."timestamp", r.host_id, r.hostname, r.name, round(r.elapsed_s * 1000) / 1000,
           round(r.d_rx_bytes / r.elapsed_s),
           round(r.d_tx_bytes / r.elapsed_s),
           round(r.d_rx_packets / r.elapsed_s * 100) / 100,
           round(r.d_tx_packets / r.elapsed_s * 100) / 100,
           r.d_rx_errors,
           r.d_tx_errors,
           r.d_rx_drops,
           r.d_tx_drops,
           r.rx_max_bytes_per_s,
           r.tx_max_bytes_per_s,
           r.up,
           r.speed_mbit
      FROM (SELECT v.*, extract(epoch FROM v."timestamp" - lag(v."timestamp") OVER w)::double precision AS elapsed_s,
                   v.rx_bytes - lag(v.rx_bytes) OVER w AS d_rx_bytes,
                   v.tx_bytes - lag(v.tx_bytes) OVER w AS d_tx_bytes,
                   v.rx_packets - lag(v.rx_packets) OVER w AS d_rx_packets,
                   v.tx_packets - lag(v.tx_packets) OVER w AS d_tx_packets,
                   v.rx_errors - lag(v.rx_errors) OVER w AS d_rx_errors,
                   v.tx_errors - lag(v.tx_errors) OVER w AS d_tx_errors,
                   v.rx_drops - lag(v.rx_drops) OVER w AS d_rx_drops,
                   v.tx_drops - lag(v.tx_drops) OVER w AS d_tx_drops
              FROM public.host_interface AS v
             WHERE v."timestamp" >= from_ts AND v."timestamp" < to_ts AND v.counted_since >= 0
            WINDOW w AS (PARTITION BY v.host_id, v.hostname, v.name, v.counted_since, v.epoch_id ORDER BY v.sequence)) AS r
     WHERE r.elapsed_s > 0
       AND coalesce(least(r.d_rx_bytes, r.d_tx_bytes, r.d_rx_packets, r.d_tx_packets, r.d_rx_errors, r.d_tx_errors, r.d_rx_drops, r.d_tx_drops), 0) >= 0
$$;

COMMENT ON FUNCTION host_interface_rates(timestamptz, timestamptz) IS 'What each interface did between two readings of a range: bytes and packets per second; errors and drops: how many within elapsed_s; up, speed_mbit and the busiest spans as in host_interface';

CREATE FUNCTION host_cgroup_rates(from_ts timestamptz, to_ts timestamptz)
RETURNS TABLE (
    "timestamp" timestamptz, host_id integer, hostname text, name text, elapsed_s double precision,
    cpu_percent double precision,
    throttled_percent double precision,
    read_bytes_per_s double precision,
    written_bytes_per_s double precision,
    oom_kills bigint,
    memory_kib bigint,
    processes bigint
)
LANGUAGE sql STABLE AS $$
    SELECT r."timestamp", r.host_id, r.hostname, r.name, round(r.elapsed_s * 1000) / 1000,
           round(r.d_cpu_us / (1e2 * r.elapsed_s)) / 100,
           round(r.d_throttled_us / (1e2 * r.elapsed_s)) / 100,
           round(r.d_read_bytes / r.elapsed_s),
           round(r.d_written_bytes / r.elapsed_s),
           r.d_oom_kills,
           r.memory_kib,
           r.processes
      FROM (SELECT v.*, extract(epoch FROM v."timestamp" - lag(v."timestamp") OVER w)::double precision AS elapsed_s,
                   v.cpu_us - lag(v.cpu_us) OVER w AS d_cpu_us,
                   v.throttled_us - lag(v.throttled_us) OVER w AS d_throttled_us,
                   v.read_bytes - lag(v.read_bytes) OVER w AS d_read_bytes,
                   v.written_bytes - lag(v.written_bytes) OVER w AS d_written_bytes,
                   v.oom_kills - lag(v.oom_kills) OVER w AS d_oom_kills
              FROM public.host_cgroup AS v
             WHERE v."timestamp" >= from_ts AND v."timestamp" < to_ts AND v.counted_since >= 0
            WINDOW w AS (PARTITION BY v.host_id, v.hostname, v.name, v.counted_since, v.epoch_id ORDER BY v.sequence)) AS r
     WHERE r.elapsed_s > 0
       AND coalesce(least(r.d_cpu_us, r.d_throttled_us, r.d_read_bytes, r.d_written_bytes, r.d_oom_kills), 0) >= 0
$$;

COMMENT ON FUNCTION host_cgroup_rates(timestamptz, timestamptz) IS 'What each control group did between two readings of a range: cpu_percent [of one CPU], throttled_percent [of the time], bytes per second; oom_kills: how many within elapsed_s; memory_kib and processes as in host_cgroup';

-- Days.

-- The tables that are kept by days, in the order in which they are locked.
CREATE FUNCTION rowcall.day_tables()
RETURNS TABLE (id oid, schema name, name name)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.oid, n.nspname, c.relname
      FROM unnest(ARRAY['public.host_usage', 'public.host_vitals', 'rowcall.device_sample', 'public.host_metric'])
           WITH ORDINALITY AS t (name, place)
      JOIN pg_class AS c ON c.oid = t.name::regclass
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
     ORDER BY t.place
$$;

COMMENT ON FUNCTION rowcall.day_tables() IS 'The tables that are kept by UTC days';

-- Their partitions and bounds, whatever they are called. NULL: a default partition.
CREATE FUNCTION rowcall.partitions()
RETURNS TABLE (parent oid, id oid, schema name, name name, kind "char", from_ts timestamptz, to_ts timestamptz)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD'
AS $$
    SELECT i.inhparent, c.oid, n.nspname, c.relname, c.relkind,
           CASE b.bound[1] WHEN 'MINVALUE' THEN '-infinity' ELSE trim(both '''' FROM b.bound[1])::timestamptz END,
           CASE b.bound[2] WHEN 'MAXVALUE' THEN 'infinity' ELSE trim(both '''' FROM b.bound[2])::timestamptz END
      FROM rowcall.day_tables() AS t
      JOIN pg_inherits AS i ON i.inhparent = t.id
      JOIN pg_class AS c ON c.oid = i.inhrelid
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
      CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid),
          '^FOR VALUES FROM \(([^()]*)\) TO \(([^()]*)\)$') AS b (bound)
$$;

COMMENT ON FUNCTION rowcall.partitions() IS 'The partitions of all tables that are kept by UTC days, and their bounds';

-- What create_days made, and nobody renamed, moved or gave other bounds.
CREATE FUNCTION rowcall.made_days()
RETURNS TABLE (parent oid, id oid, schema name, name name, day date, to_ts timestamptz)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD'
AS $$
    SELECT p.parent, p.id, p.schema, p.name, p.from_ts::date, p.to_ts
      FROM rowcall.partitions() AS p
      JOIN rowcall.day_tables() AS t ON t.id = p.parent
     WHERE p.schema = t.schema AND p.kind = 'r'
       AND p.name ~ ('^' || t.name || '_' || to_char(p.from_ts, 'YYYYMMDD') || '(_[0-9]+)?$')
       AND p.from_ts = date_trunc('day', p.from_ts) AND p.to_ts = p.from_ts + interval '1 day'
$$;

COMMENT ON FUNCTION rowcall.made_days() IS 'The partitions of UTC days as they were made; what a person changed is not among them';

CREATE OR REPLACE FUNCTION rowcall.missing_days(days date[]) RETURNS date[]
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH present AS MATERIALIZED (SELECT parent, from_ts, to_ts FROM rowcall.partitions())
    SELECT coalesce(array_agg(DISTINCT d ORDER BY d), '{}')
      FROM unnest(days) AS d, rowcall.day_tables() AS t
     WHERE d::timestamp AT TIME ZONE 'UTC' >= coalesce(rowcall.kept_from(), '-infinity')
       AND NOT EXISTS (
           SELECT FROM present AS p
            WHERE p.parent = t.id
              AND p.from_ts < (d + 1)::timestamp AT TIME ZONE 'UTC'
              AND p.to_ts > d::timestamp AT TIME ZONE 'UTC')
$$;

COMMENT ON FUNCTION rowcall.missing_days(date[]) IS 'Those of some UTC days that any of the tables lacks and that were not dropped';

-- For all tables: what one of them lacks is made, and a day counts once. A person's default partition
-- that holds rows of a day keeps that day from its own table alone, and that is said, with what to do.
CREATE FUNCTION rowcall.make_days(days date[], OUT made integer, OUT blocked text[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD'
AS $$
DECLARE
    today   date := (now() AT TIME ZONE 'UTC')::date;
    wanted  date;
    parent  record;
    base    text;
    name    text;
    from_ts text;
    to_ts   text;
    is_held boolean;
    is_made boolean;
    -- Days that tables cannot have, by table.
    lacking jsonb := '{}';
BEGIN
    made := 0;
    blocked := '{}';
    SELECT d INTO wanted FROM unnest(days) AS d WHERE d < today - 3660 OR d > today + 31 LIMIT 1;
    IF FOUND THEN
        RAISE datetime_field_overflow
            USING MESSAGE = format('%s cannot be made a day of host_usage: from %s to %s is possible',
                wanted, today - 3660, today + 31);
    END IF;
    days := rowcall.missing_days(days);
    IF cardinality(days) = 0 THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(x'526f7763616c6c02'::bigint);
    -- Somebody else may have made, or dropped, some while we waited.
    FOREACH wanted IN ARRAY rowcall.missing_days(days) LOOP
        from_ts := to_char(wanted, 'YYYY-MM-DD') || ' 00:00:00+00';
        to_ts := to_char(wanted + 1, 'YYYY-MM-DD') || ' 00:00:00+00';
        is_made := false;
        FOR parent IN
            SELECT t.schema, t.name, format('%I.%I', t.schema, t.name) AS shown, o.partdefid AS rest
              FROM rowcall.day_tables() AS t
              JOIN pg_partitioned_table AS o ON o.partrelid = t.id
             WHERE NOT EXISTS (
                 SELECT FROM rowcall.partitions() AS p
                  WHERE p.parent = t.id
                    AND p.from_ts < (wanted + 1)::timestamp AT TIME ZONE 'UTC'
                    AND p.to_ts > wanted::timestamp AT TIME ZONE 'UTC')
        LOOP
            -- Asked by the index: attaching would read all of the default partition to find that out,
            -- with everybody kept out of it.
            is_held := false;
            IF parent.rest <> 0 THEN
                EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE "timestamp" >= %L AND "timestamp" < %L)',
                    parent.shown, from_ts, to_ts) INTO is_held;
            END IF;
            IF NOT is_held THEN
                -- Somebody may have detached the day and kept the table: its name is taken, its rows are
                -- theirs, and new rows of that day must still find a place.
                base := parent.name || '_' || to_char(wanted, 'YYYYMMDD');
                name := base;
                FOR free IN 2 .. 100 LOOP
                    EXIT WHEN to_regclass(format('%I.%I', parent.schema, name)) IS NULL;
                    name := base || '_' || free;
                END LOOP;
                BEGIN
                    EXECUTE format('CREATE TABLE %1$I.%2$I (LIKE %1$I.%3$I)', parent.schema, name, parent.name);
                    EXECUTE format(
                        'ALTER TABLE %1$I.%3$I ATTACH PARTITION %1$I.%2$I FOR VALUES FROM (%4$L) TO (%5$L)',
                        parent.schema, name, parent.name, from_ts, to_ts);
                    is_made := true;
                EXCEPTION WHEN check_violation THEN
                    -- Its first row of that day came meanwhile.
                    is_held := true;
                END;
            END IF;
            IF is_held THEN
                lacking := lacking || jsonb_build_object(parent.shown,
                    coalesce(lacking -> parent.shown, '[]') || to_jsonb(to_char(wanted, 'YYYY-MM-DD')));
            END IF;
        END LOOP;
        made := made + is_made::integer;
    END LOOP;
    SELECT coalesce(array_agg(format('%1$s gets no partition for %2$s: its default partition %3$s holds rows of then, '
                  'which no retention drops; ALTER TABLE %1$s DETACH PARTITION %3$s; then the days are made '
                  'within the hour, and its rows can be inserted again',
                  l.shown, array_to_string(l.days[1:3], ', ') || coalesce(' and ' || nullif(greatest(cardinality(l.days) - 3, 0), 0) || ' more', ''),
                  format('%I.%I', n.nspname, c.relname)) ORDER BY l.shown), '{}')
      INTO blocked
      FROM (SELECT shown, ARRAY(SELECT jsonb_array_elements_text(listed)) AS days
              FROM jsonb_each(lacking) AS j (shown, listed)) AS l
      JOIN pg_partitioned_table AS p ON p.partrelid = l.shown::regclass
      JOIN pg_class AS c ON c.oid = p.partdefid
      JOIN pg_namespace AS n ON n.oid = c.relnamespace;
END
$$;

COMMENT ON FUNCTION rowcall.make_days(date[]) IS 'Makes the missing ones of some UTC days of all tables that are kept by days; tells how many, and of each table that a default partition keeps from having some, which and what to do';

CREATE OR REPLACE FUNCTION rowcall.create_days(days date[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    result record;
    table_ text;
BEGIN
    SELECT * INTO result FROM rowcall.make_days(create_days.days);
    FOREACH table_ IN ARRAY result.blocked LOOP
        RAISE WARNING '%', table_;
    END LOOP;
    RETURN result.made;
END
$$;

COMMENT ON FUNCTION rowcall.create_days(date[]) IS 'Makes the missing ones of some UTC days of all tables that are kept by days; tells how many, and warns of those that a default partition keeps a table from having';

-- As before, and what the other tables have of the day goes with it. Locks are taken in the order in
-- which ingest takes them.
CREATE OR REPLACE FUNCTION rowcall.drop_day(retention_s double precision, max_bytes bigint)
RETURNS TABLE (dropped date, size bigint, why text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET lock_timeout = '100ms'
AS $$
DECLARE
    oldest record;
    part   record;
BEGIN
    IF retention_s < 86400 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'samples cannot be kept for less than a day';
    END IF;
    IF NOT pg_try_advisory_xact_lock(x'526f7763616c6c02'::bigint) THEN
        RETURN;
    END IF;
    SELECT d.id, d.day, d.to_ts
      INTO oldest
      FROM rowcall.made_days() AS d
     WHERE d.parent = 'public.host_usage'::regclass AND d.day < (now() AT TIME ZONE 'UTC')::date - 1
     ORDER BY d.day
     LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF oldest.to_ts <= now() - make_interval(secs => retention_s) THEN
        why := 'age';
    ELSIF pg_database_size(current_database()) > max_bytes THEN
        why := 'size';
    ELSE
        RETURN;
    END IF;
    dropped := oldest.day;
    SELECT sum(pg_total_relation_size(d.id)) INTO size FROM rowcall.made_days() AS d WHERE d.day = oldest.day;
    INSERT INTO rowcall.dropped_day AS d (day, reason, bytes, rows_estimate)
    SELECT oldest.day, why, size, CASE WHEN reltuples >= 0 THEN reltuples::bigint END
      FROM pg_class WHERE oid = oldest.id
    ON CONFLICT (day) DO UPDATE
    SET dropped_at = now(), reason = excluded.reason, bytes = excluded.bytes, rows_estimate = excluded.rows_estimate;
    FOR part IN
        SELECT d.schema, d.name
          FROM rowcall.day_tables() WITH ORDINALITY AS t (id, schema, name, place)
          JOIN rowcall.made_days() AS d ON d.parent = t.id
         WHERE d.day = oldest.day
         ORDER BY t.place, d.name
    LOOP
        EXECUTE format('DROP TABLE %I.%I', part.schema, part.name);
    END LOOP;
    RETURN NEXT;
END
$$;

COMMENT ON FUNCTION rowcall.drop_day(double precision, bigint) IS 'Drops the oldest day of host_usage, and of the tables beside it, if it is older than so many seconds, or the database larger than so many bytes';

-- Drops one day of readings of devices or of metrics, the oldest, when all of it is older than they are
-- kept; or one of host_vitals that host_usage has not any more. Not recorded: what lies before is not
-- refused, only not stored. Locks as drop_day does.
CREATE FUNCTION rowcall.drop_device_day(retention_s double precision, device_retention_s double precision)
RETURNS TABLE (dropped date, size bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET lock_timeout = '100ms'
AS $$
DECLARE
    oldest record;
BEGIN
    IF retention_s < 86400 OR device_retention_s < 86400 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'samples cannot be kept for less than a day';
    END IF;
    IF NOT pg_try_advisory_xact_lock(x'526f7763616c6c02'::bigint) THEN
        RETURN;
    END IF;
    SELECT d.id, d.schema, d.name, d.day
      INTO oldest
      FROM rowcall.made_days() AS d
     WHERE d.parent <> 'public.host_usage'::regclass AND d.day < (now() AT TIME ZONE 'UTC')::date - 1
       AND CASE WHEN d.parent = 'public.host_vitals'::regclass
               THEN d.to_ts <= now() - make_interval(secs => retention_s)
                   AND d.day NOT IN (SELECT u.day FROM rowcall.made_days() AS u WHERE u.parent = 'public.host_usage'::regclass)
               ELSE d.to_ts <= now() - make_interval(secs => least(retention_s, device_retention_s)) END
     ORDER BY d.day, d.name
     LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    dropped := oldest.day;
    size := pg_total_relation_size(oldest.id);
    EXECUTE format('DROP TABLE %I.%I', oldest.schema, oldest.name);
    RETURN NEXT;
END
$$;

COMMENT ON FUNCTION rowcall.drop_device_day(double precision, double precision) IS 'Drops the oldest day of one of the tables beside host_usage if it is older than so many seconds: the first number for host_vitals, the second for readings of devices and metrics';

-- Devices of which no reading is left for 30 days; of hosts that have more than 1,000 of a kind, as soon
-- as none is left, so that new ones find room. Where a flush holds the host, next time: whoever gives a
-- reading a device's id holds it, and no id is given that is deleted then.
CREATE FUNCTION rowcall.forget_devices(device_retention_s double precision) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before    date;
    forgotten bigint;
BEGIN
    IF device_retention_s < 86400 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'readings of devices cannot be kept for less than a day';
    END IF;
    before := ((now() - make_interval(secs => device_retention_s)) AT TIME ZONE 'UTC')::date - 1;
    DELETE FROM public.host_device
     WHERE ctid = ANY (ARRAY(
         SELECT d.ctid FROM public.host_device AS d
           JOIN public.host_latest AS l ON l.host_id = d.host_id
          WHERE d.seen_on < before - 30
             OR (d.seen_on < before AND (d.host_id, d.kind) IN (
                 SELECT m.host_id, m.kind FROM public.host_device AS m
                  GROUP BY m.host_id, m.kind HAVING count(*) > 1000))
          LIMIT 10000 FOR NO KEY UPDATE OF l, d SKIP LOCKED));
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    RETURN forgotten;
END
$$;

COMMENT ON FUNCTION rowcall.forget_devices(double precision) IS 'Deletes up to 10,000 devices that were not seen for so many seconds and 30 days, or, of hosts with more than 1,000 of a kind, a day; tells how many';

REVOKE ALL ON FUNCTION rowcall.make_days(date[]), rowcall.drop_device_day(double precision, double precision), rowcall.forget_devices(double precision) FROM PUBLIC;

CREATE OR REPLACE FUNCTION rowcall.partitions_of_usage()
RETURNS TABLE (id oid, schema name, name name, kind "char", from_ts timestamptz, to_ts timestamptz)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.id, p.schema, p.name, p.kind, p.from_ts, p.to_ts
      FROM rowcall.partitions() AS p WHERE p.parent = 'public.host_usage'::regclass
$$;

COMMENT ON TABLE rowcall.dropped_day IS 'Days of host_usage that were dropped, with what stood beside it. Samples of the last of them or before are refused; delete rows here to let them in again';

-- A superuser may have run this: what is new belongs to whom the tables belong.
DO $$
DECLARE
    owner text := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'public.host_usage'::regclass);
    what  text;
BEGIN
    FOREACH what IN ARRAY ARRAY[
        'TABLE public.host_vitals', 'TABLE public.host_device', 'TABLE rowcall.device_sample',
        'TABLE public.host_metric', 'VIEW public.host_filesystem', 'VIEW public.host_disk',
        'VIEW public.host_interface', 'VIEW public.host_sensor', 'VIEW public.host_md_array',
        'VIEW public.host_memory_controller', 'VIEW public.host_cgroup', 'VIEW public.host_process',
        'VIEW public.host_skipped',
        'FUNCTION public.host_disk_rates(timestamptz, timestamptz)',
        'FUNCTION public.host_interface_rates(timestamptz, timestamptz)',
        'FUNCTION public.host_cgroup_rates(timestamptz, timestamptz)',
        'FUNCTION rowcall.as_integer(bigint)', 'FUNCTION rowcall.as_real(double precision)', 'FUNCTION rowcall.day_tables()',
        'FUNCTION rowcall.partitions()', 'FUNCTION rowcall.made_days()', 'FUNCTION rowcall.make_days(date[])',
        'FUNCTION rowcall.drop_device_day(double precision, double precision)',
        'FUNCTION rowcall.forget_devices(double precision)'
    ] LOOP
        EXECUTE format('ALTER %s OWNER TO %I', what, owner);
    END LOOP;
END
$$;

-- The days that host_usage has from yesterday on. Earlier ones get theirs when a sample needs them.
SELECT rowcall.create_days(ARRAY(
    SELECT d.day FROM rowcall.made_days() AS d
     WHERE d.parent = 'public.host_usage'::regclass
       AND d.day BETWEEN (now() AT TIME ZONE 'UTC')::date - 1 AND (now() AT TIME ZONE 'UTC')::date + 31
));
