//! What a reference host tells: 4 filesystems, 2 disks, 2 interfaces, 8 sensors, a RAID, 3 control
//! groups and some processes, none of which does the same for two minutes.

use rowcall_core::devices::{
    Cgroup, Devices, Disk, Filesystem, Interface, MdArray, Process, Sensor,
};
use rowcall_core::vitals::Vitals;

/// How long after the sample its devices have been read.
pub(crate) const READING_US: i64 = 20_000;

const MOUNTS: [&str; 4] = ["/", "/home", "/var/lib/postgresql", "/boot/efi"];
const CGROUPS: [&str; 3] = ["init.scope", "system.slice", "user.slice"];
const COMMANDS: [&str; 16] = [
    "postgres",
    "java",
    "python3",
    "slurmd",
    "nginx",
    "sshd",
    "systemd",
    "kworker/u8:2",
    "node",
    "cc1plus",
    "rsync",
    "dockerd",
    "journald",
    "bash",
    "mpirun",
    "ld",
];

/// A host in a minute of its day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    pub(crate) number: u64,
    pub(crate) minute: u64,
}

impl Host {
    /// A number below `below` that depends on what is asked and on the minute, and on nothing else.
    fn any(self, what: u64, below: u32) -> u32 {
        let mut bits = self.number << 40 ^ what << 20 ^ self.minute;
        // SplitMix64.
        bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let spread = (bits ^ (bits >> 31)) % u64::from(below.max(1));
        u32::try_from(spread).unwrap_or(0)
    }

    fn count(self, what: u64, below: u32) -> Option<i64> {
        Some(i64::from(self.any(what, below)))
    }

    /// In percent, to a hundredth.
    fn percent(self, what: u64, below: u16) -> Option<f32> {
        let hundredths = self.any(what, u32::from(below) * 100);
        Some(f32::from(u16::try_from(hundredths).unwrap_or(0)) / 100.0)
    }

    /// A counter that has grown every minute by some `step`.
    fn counter(self, what: u64, step: u32) -> i64 {
        let minutes = i64::try_from(self.minute + 10_000).unwrap_or(0);
        minutes * i64::from(step) + i64::from(self.any(what, step))
    }

    /// What goes with each sample. No field is left out: this is the dearest.
    pub(crate) fn vitals(self) -> Vitals {
        Vitals {
            cpu_user_percent: self.percent(1, 60),
            cpu_nice_percent: self.percent(2, 2),
            cpu_system_percent: self.percent(3, 20),
            cpu_iowait_percent: self.percent(4, 5),
            cpu_irq_percent: self.percent(5, 1),
            cpu_softirq_percent: self.percent(6, 3),
            cpu_steal_percent: self.percent(7, 2),
            cpu_guest_percent: self.percent(8, 2),
            cpu_busy_max_percent: self.percent(9, 100),
            load_1: self.percent(10, 32),
            load_5: self.percent(11, 32),
            load_15: self.percent(12, 32),
            processes_running: self.count(13, 40),
            processes_blocked: self.count(14, 4),
            processes: self.count(15, 900),
            context_switches: self.count(16, 4_000_000),
            forks: self.count(17, 9_000),
            memory_used_max_kib: self.count(18, 60_000_000),
            memory_buffers_kib: self.count(19, 900_000),
            memory_cached_kib: self.count(20, 30_000_000),
            memory_dirty_kib: self.count(21, 90_000),
            memory_slab_kib: self.count(22, 2_000_000),
            huge_pages_kib: Some(2_097_152),
            huge_pages_free_kib: self.count(24, 2_097_152),
            swap_used_kib: self.count(25, 500_000),
            swap_in_kib: self.count(26, 900),
            swap_out_kib: self.count(27, 900),
            major_faults: self.count(28, 90),
            oom_kills: self.count(29, 2),
            pressure_cpu_some_percent: self.percent(30, 20),
            pressure_cpu_full_percent: self.percent(31, 2),
            pressure_memory_some_percent: self.percent(32, 5),
            pressure_memory_full_percent: self.percent(33, 3),
            pressure_io_some_percent: self.percent(34, 10),
            pressure_io_full_percent: self.percent(35, 8),
            disk_busy_percent: self.percent(36, 60),
            disk_busy_max_percent: self.percent(37, 100),
            disk_read_kib: self.count(38, 9_000_000),
            disk_written_kib: self.count(39, 9_000_000),
            net_rx_bytes: self.count(40, 4_000_000_000),
            net_tx_bytes: self.count(41, 4_000_000_000),
            net_rx_packets: self.count(42, 4_000_000),
            net_tx_packets: self.count(43, 4_000_000),
            net_errors: self.count(44, 3),
            net_drops: self.count(45, 30),
            tcp_established: self.count(46, 900),
            tcp_retransmitted: self.count(47, 300),
            tcp_listen_drops: self.count(48, 3),
            conntrack: self.count(49, 9_000),
            file_handles: self.count(50, 20_000),
            clock_offset_us: Some(i64::from(self.any(51, 4_000)) - 2_000),
        }
    }

    /// One reading of its devices, with this many processes.
    pub(crate) fn devices(self, processes: u64) -> Devices {
        Devices {
            filesystems: (100..)
                .zip(MOUNTS)
                .map(|(what, mount)| self.filesystem(what, mount))
                .collect(),
            disks: (110..)
                .zip(["nvme0n1", "sda"])
                .map(|(what, name)| self.disk(what, name))
                .collect(),
            interfaces: (120..)
                .zip(["eno1", "ib0"])
                .map(|(what, name)| self.interface(what, name))
                .collect(),
            sensors: (0..8).map(|sensor| self.sensor(sensor)).collect(),
            md_arrays: vec![MdArray {
                name: "md0".to_owned(),
                level: Some("raid1".to_owned()),
                state: Some("clean".to_owned()),
                disks: 2,
                disks_active: 2,
                disks_failed: 0,
                disks_spare: 0,
                sync_percent: self.percent(140, 100),
            }],
            cgroups: (150..).zip(CGROUPS).map(|(what, name)| self.cgroup(what, name)).collect(),
            processes: (0..processes).map(|slot| self.process(slot)).collect(),
            ..Devices::default()
        }
    }

    fn filesystem(self, what: u64, mount: &str) -> Filesystem {
        Filesystem {
            mount: mount.to_owned(),
            source: Some(format!("/dev/mapper/vg0-lv{what}")),
            kind: Some("ext4".to_owned()),
            read_only: false,
            size_kib: Some(488_281_250),
            available_kib: self.count(what, 400_000_000),
            inodes: Some(31_000_000),
            inodes_free: self.count(what + 10, 30_000_000),
        }
    }

    fn disk(self, what: u64, name: &str) -> Disk {
        Disk {
            name: name.to_owned(),
            counted_since: 3_000_000_000,
            reads: self.counter(what, 9_000),
            writes: self.counter(what + 2, 20_000),
            read_bytes: self.counter(what + 4, 900_000_000),
            written_bytes: self.counter(what + 6, 2_000_000_000),
            read_ms: self.counter(what + 8, 9_000),
            write_ms: self.counter(what + 10, 30_000),
            busy_ms: self.counter(what + 12, 20_000),
            in_flight: i64::from(self.any(what + 14, 30)),
            busy_max_percent: self.percent(what + 16, 100),
        }
    }

    fn interface(self, what: u64, name: &str) -> Interface {
        Interface {
            name: name.to_owned(),
            counted_since: 2,
            rx_bytes: self.counter(what, 3_000_000_000),
            tx_bytes: self.counter(what + 2, 3_000_000_000),
            rx_packets: self.counter(what + 4, 3_000_000),
            tx_packets: self.counter(what + 6, 3_000_000),
            rx_errors: self.counter(what + 8, 2),
            tx_errors: self.counter(what + 10, 2),
            rx_drops: self.counter(what + 12, 20),
            tx_drops: self.counter(what + 14, 20),
            speed_mbit: Some(100_000),
            up: Some(true),
            rx_max_bytes_per_s: self.count(what + 16, 900_000_000),
            tx_max_bytes_per_s: self.count(what + 18, 900_000_000),
        }
    }

    fn sensor(self, sensor: u64) -> Sensor {
        let above = i32::try_from(self.any(130 + sensor, 40)).unwrap_or(0);
        Sensor {
            name: format!("coretemp Core {sensor}"),
            temperature_mc: 40_000 + 1_000 * above,
            critical_mc: Some(100_000),
        }
    }

    fn cgroup(self, what: u64, name: &str) -> Cgroup {
        Cgroup {
            name: name.to_owned(),
            counted_since: 1_900_000_000,
            cpu_us: Some(self.counter(what, 60_000_000)),
            throttled_us: Some(self.counter(what + 3, 90_000)),
            memory_kib: self.count(what + 6, 30_000_000),
            read_bytes: Some(self.counter(what + 9, 900_000_000)),
            written_bytes: Some(self.counter(what + 12, 900_000_000)),
            processes: self.count(what + 15, 400),
            oom_kills: self.count(what + 18, 2),
        }
    }

    /// Each slot has its command for most of the time.
    fn process(self, slot: u64) -> Process {
        let other = usize::try_from(slot + u64::from(self.any(200 + slot, 8) / 7) * 7).unwrap_or(0);
        let command = COMMANDS.iter().cycle().nth(other).copied().unwrap_or_default();
        Process {
            command: command.to_owned(),
            pid: i32::try_from(self.any(210 + slot, 4_000_000)).unwrap_or(0),
            cpu_percent: self.percent(220 + slot, 400),
            memory_kib: self.count(230 + slot, 30_000_000),
            read_bytes_per_s: self.count(240 + slot, 90_000_000),
            written_bytes_per_s: self.count(250 + slot, 90_000_000),
        }
    }
}
