//! A server with 2 sockets and 256 CPUs: md RAID, memory controllers that count errors, many
//! interfaces, a 5.15 kernel.

use super::super::kernel::{
    Flow, Io, Kernel, diskstats, meminfo, net_dev, netstat, pressure, snmp, stat, vmstat,
};
use super::super::machine::Machine;
use super::common;

/// Interfaces with a device behind them.
const PORTS: u32 = 4;
/// Interfaces of virtual machines.
const TAPS: u32 = 60;

/// So many minutes after it was first looked at.
pub(crate) fn server(minutes: u64) -> Machine {
    let of = |start: u64, each: u64| start + minutes * each;
    // 256 CPUs for 60 s are 1,536,000 ticks: 50 % user, 25 % system, 25 % idle.
    let total = [
        of(900_000_000, 768_000),
        0,
        of(400_000_000, 384_000),
        of(4_000_000_000, 384_000),
        1_000_000,
        0,
        0,
        0,
        of(800_000_000, 153_600),
        0,
    ];
    // The second disk is busy for 54 s of the minute, the first for 6.
    let disk = |busy| Io {
        reads: of(1_000_000_000, 1_000),
        read_sectors: of(200_000_000_000, 2_000_000),
        read_ms: of(4_000_000_000, 500),
        writes: of(2_000_000_000, 2_000),
        written_sectors: of(300_000_000_000, 4_000_000),
        write_ms: of(5_000_000_000, 900),
        in_flight: 0,
        busy_ms: of(1_000_000, busy),
    };
    let mut disks = String::new();
    let mut interfaces = vec![("lo".to_owned(), Flow::default(), Flow::default())];
    for (minor, name, busy) in [(0, "sda", 6_000), (16, "sdb", 54_000)] {
        disks += &diskstats(Kernel::V5_15, (8, minor), name, disk(busy));
        disks += &diskstats(Kernel::V5_15, (8, minor + 1), &format!("{name}1"), disk(busy));
    }
    disks += &diskstats(Kernel::V5_15, (9, 0), "md0", disk(60_000));
    disks += &diskstats(Kernel::V5_15, (9, 1), "md1", disk(60_000));
    // 25 MB a second on each port.
    let flow = Flow {
        bytes: of(90_000_000_000_000, 1_500_000_000),
        packets: of(80_000_000_000, 1_000_000),
        errors: of(7, 1),
        drops: of(100, 10),
    };
    let names = |kind: &'static str, count| (0..count).map(move |n| format!("{kind}{n}"));
    interfaces.extend(names("ens", PORTS).map(|name| (name, flow, flow)));
    interfaces.extend(names("tap", TAPS).map(|name| (name, flow, flow)));
    let mut machine = common("server", "5.15.0-122-generic", "Ubuntu 22.04.5 LTS")
        .file(
            "proc/stat",
            stat(256, total, [of(5_000_000_000, 60_000_000), of(70_000_000, 6_000), 130, 2]),
        )
        .file("proc/loadavg", "130.01 128.50 99.99 131/5321 4000000\n")
        .file(
            "proc/meminfo",
            meminfo(&[
                ("MemTotal", 2_113_519_616),
                ("MemFree", 100_000_000),
                ("MemAvailable", 900_000_000),
                ("Buffers", 5_000_000),
                ("Cached", 700_000_000),
                ("SwapTotal", 0),
                ("SwapFree", 0),
                ("Dirty", 40_000),
                ("Slab", 30_000_000),
                ("HugePages_Total", 100),
                ("HugePages_Free", 25),
                ("Hugepagesize", 1_048_576),
                ("Hugetlb", 104_857_600),
            ]),
        )
        .file(
            "proc/vmstat",
            vmstat(&[
                ("pswpin", 0),
                ("pswpout", 0),
                ("pgmajfault", of(900_000, 600)),
                ("oom_kill", 0),
            ]),
        )
        // This kernel has no `full` line for CPU. 45 s, 0 s, 0.3 s of the minute.
        .file("proc/pressure/cpu", pressure(of(9_000_000_000, 45_000_000), None))
        .file("proc/pressure/memory", pressure(0, Some(0)))
        .file("proc/pressure/io", pressure(of(10_000, 300_000), Some(of(9_000, 150_000))))
        .file("proc/diskstats", disks)
        .disk("sda", (8, 0), ("MZ7LH3T8HMLT", 3_750_738_264, false))
        .disk("sdb", (8, 16), ("ST16000NM001G", 15_625_879_552, true))
        .virtual_disk("md0", (9, 0), 3_750_000_000)
        .virtual_disk("md1", (9, 1), 1_000_000)
        .file("proc/mdstat", MDSTAT)
        .file("proc/self/net/dev", net_dev(&interfaces))
        .file("proc/self/net/snmp", snmp(50_000, of(1_000_000, 600)))
        .file("proc/self/net/netstat", netstat(0, of(0, 3)))
        .file("proc/sys/net/netfilter/nf_conntrack_count", "120000\n")
        .file("proc/sys/fs/file-nr", "250000\t0\t9223372036854775807\n")
        .file("proc/1/mountinfo", MOUNTS)
        .file("proc/cpuinfo", super::cpuinfo(256, 2, 64, "AMD EPYC 7763 64-Core Processor"))
        .lines(
            "sys/class/dmi/id",
            &[
                ("sys_vendor", "Dell Inc."),
                ("product_name", "PowerEdge R7525"),
                ("board_vendor", "Dell Inc."),
                ("board_name", "0590KW"),
                ("bios_vendor", "Dell Inc."),
                ("bios_version", "2.12.4"),
                ("bios_date", "07/25/2023"),
            ],
        )
        .lines("sys/devices/system/cpu/cpu0/cpufreq", &[("cpuinfo_max_freq", "3529052")])
        .lines(
            "sys/class/hwmon/hwmon0",
            &[("name", "k10temp"), ("temp1_label", "Tctl"), ("temp1_input", "63625")],
        )
        .lines(
            "sys/class/hwmon/hwmon1",
            &[("name", "k10temp"), ("temp1_label", "Tctl"), ("temp1_input", "61125")],
        )
        .interface("lo", 1, None, ("unknown", None));
    for controller in 0..2 {
        let at = format!("sys/devices/system/edac/mc/mc{controller}");
        let corrected = of(controller, 2 * controller).to_string();
        machine = machine.lines(
            &at,
            &[
                ("mc_name", "F19h"),
                ("ce_count", &corrected),
                ("ue_count", "0"),
                ("seconds_since_reset", "3600"),
                ("size_mb", "1031992"),
            ],
        );
    }
    for (index, name) in (2..).zip(names("ens", PORTS)) {
        // The last port has no cable.
        let link = if index == PORTS + 1 { ("down", None) } else { ("up", Some(25_000)) };
        machine = machine.interface(&name, index, Some("mlx5_core"), link);
    }
    for (index, name) in (100..).zip(names("tap", TAPS)) {
        machine = machine.interface(&name, index, None, ("up", Some(10)));
    }
    machine.file("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n").slice(
        "machine.slice",
        of(90_000_000, 7_000_000_000),
        800_000_000,
        of(0, 1),
    )
}

const MDSTAT: &str = "\
Personalities : [raid1] [raid6] [raid5] [raid4]
md1 : active raid1 sdb2[2](F) sda2[0]
      1000000 blocks super 1.2 [2/1] [U_]
      [=>...................]  recovery =  8.5% (85000/1000000) finish=0.2min speed=42500K/sec
      bitmap: 1/1 pages [4KB], 65536KB chunk

md0 : active raid1 sdb1[1] sda1[0]
      3750000000 blocks super 1.2 [2/2] [UU]

unused devices: <none>
";

const MOUNTS: &str = "\
25 30 0:23 / /proc rw,nosuid,nodev,noexec,relatime shared:14 - proc proc rw
30 1 9:0 / / rw,relatime shared:1 - xfs /dev/md0 rw,attr2,inode64
31 30 9:1 / /opt ro,relatime shared:2 - ext4 /dev/md1 rw
32 30 0:99 / /mnt/with\\040space rw,relatime shared:3 - zfs tank/with\\040space rw,xattr
";
