//! CentOS 7, as old as they come: a 3.10 kernel without pressure, and without oom_kill in vmstat.

use super::super::kernel::{
    Flow, Io, Kernel, diskstats, meminfo, net_dev, netstat, snmp, stat, vmstat,
};
use super::super::machine::Machine;
use super::common;

/// So many minutes after it was first looked at.
pub(crate) fn centos7(minutes: u64) -> Machine {
    let of = |start: u64, each: u64| start + minutes * each;
    // 2 CPUs for 60 s are 12,000 ticks: 75 % idle, 12.5 % user, 12.5 % system.
    let total = [of(9_000, 1_500), 0, of(8_000, 1_500), of(100_000, 9_000), 0, 0, 0, 0, 0, 0];
    let io = Io {
        reads: of(10_000, 10),
        read_sectors: of(80_000, 160),
        read_ms: of(4_000, 30),
        writes: of(20_000, 20),
        written_sectors: of(90_000, 320),
        write_ms: of(9_000, 60),
        in_flight: 0,
        busy_ms: of(6_000, 3_000),
    };
    let flow = Flow { bytes: of(1_000, 60_000), packets: of(10, 600), errors: 0, drops: of(0, 1) };
    common("old.example.org", "3.10.0-1160.el7.x86_64", "CentOS Linux 7 (Core)")
        .file("proc/stat", stat(2, total, [of(900, 6_000), of(70, 60), 1, 0]))
        .file("proc/loadavg", "0.00 0.01 0.05 1/123 4711\n")
        .file(
            "proc/meminfo",
            meminfo(&[
                ("MemTotal", 1_882_232),
                ("MemFree", 1_200_000),
                ("MemAvailable", 1_500_000),
                ("Buffers", 2_108),
                ("Cached", 400_000),
                ("SwapTotal", 1_000_000),
                ("SwapFree", 1_000_000),
                ("Dirty", 12),
                ("Slab", 90_000),
                ("HugePages_Total", 0),
                ("HugePages_Free", 0),
                ("Hugepagesize", 2_048),
            ]),
        )
        .file("proc/vmstat", vmstat(&[("pswpin", 0), ("pswpout", 0), ("pgmajfault", of(400, 1))]))
        .file("proc/diskstats", diskstats(Kernel::V3_10, (8, 0), "sda", io))
        .disk("sda", (8, 0), ("VBOX HARDDISK", 41_943_040, true))
        .file(
            "proc/self/net/dev",
            net_dev(&[("lo".into(), flow, flow), ("eth0".into(), flow, flow)]),
        )
        .file("proc/self/net/snmp", snmp(3, of(10, 0)))
        .file("proc/self/net/netstat", netstat(0, 0))
        .file("proc/sys/fs/file-nr", "1024\t0\t181322\n")
        .file("proc/1/mountinfo", MOUNTS)
        .file(
            "proc/cpuinfo",
            super::cpuinfo(2, 1, 2, "Intel Core Processor (Haswell, no TSX)")
                .replace(" vme ", " hypervisor vme "),
        )
        .lines(
            "sys/class/dmi/id",
            &[
                ("sys_vendor", "innotek GmbH"),
                ("product_name", "VirtualBox"),
                ("board_vendor", "Oracle Corporation"),
                ("board_name", "VirtualBox"),
                ("bios_vendor", "innotek GmbH"),
                ("bios_version", "VirtualBox"),
                ("bios_date", "12/01/2006"),
            ],
        )
        .interface("lo", 1, None, ("unknown", None))
        .interface("eth0", 2, Some("e1000"), ("up", Some(1_000)))
        .lines("sys/fs/cgroup/memory/system.slice", &[("memory.usage_in_bytes", "209715200")])
        .lines("sys/fs/cgroup/memory", &[("memory.usage_in_bytes", "419430400")])
}

const MOUNTS: &str = "\
17 60 0:3 / /proc rw,nosuid,nodev,noexec,relatime shared:5 - proc proc rw
23 16 0:21 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:8 - tmpfs tmpfs ro,mode=755
60 1 8:1 / / rw,relatime shared:1 - xfs /dev/sda1 rw,attr2,inode64,noquota
";
