//! Containers: no disks of their own, a virtual interface, and what a kernel shows of cgroups in them.

use super::super::kernel::{
    Flow, Io, Kernel, diskstats, meminfo, net_dev, netstat, pressure, snmp, stat, vmstat,
};
use super::super::machine::Machine;
use super::common;

/// On a 4.18 kernel, with cgroup v1 and without pressure.
pub(crate) fn container_v1(minutes: u64) -> Machine {
    let machine = container(minutes, "4.18.0-553.el8.x86_64", Kernel::V4_18)
        .file(
            "proc/1/cgroup",
            "12:memory:/docker/0123456789abcdef\n1:name=systemd:/docker/0123456789abcdef\n",
        )
        .lines(
            "sys/fs/cgroup/memory",
            &[
                ("memory.usage_in_bytes", "104857600"),
                ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2"),
            ],
        )
        .lines(
            "sys/fs/cgroup/cpu,cpuacct",
            &[
                ("cpuacct.usage", "7000000000"),
                ("cpu.stat", "nr_periods 5\nnr_throttled 1\nthrottled_time 3000000"),
            ],
        )
        .link("sys/fs/cgroup/cpu", "cpu,cpuacct")
        .link("sys/fs/cgroup/cpuacct", "cpu,cpuacct")
        .lines(
            "sys/fs/cgroup/blkio",
            &[(
                "blkio.throttle.io_service_bytes",
                "253:0 Read 4096\n253:0 Write 8192\n253:0 Total 12288\nTotal 12288",
            )],
        )
        .lines("sys/fs/cgroup/pids", &[("pids.current", "3")]);
    ["proc/pressure/cpu", "proc/pressure/memory", "proc/pressure/io"]
        .iter()
        .fold(machine, |machine, path| machine.without(path))
}

/// On a 6.x kernel, with cgroup v2, seen from inside: its own group is the root.
pub(crate) fn container_v2(minutes: u64) -> Machine {
    container(minutes, "6.1.0-26-amd64", Kernel::V6)
        .file("proc/1/cgroup", "0::/\n")
        .lines(
            "sys/fs/cgroup",
            &[("cgroup.controllers", "cpu memory io pids"), ("cgroup.type", "domain")],
        )
        .lines(
            "sys/fs/cgroup",
            &[
                ("memory.current", "104857600"),
                ("cgroup.procs", "1"),
                ("cpu.stat", "usage_usec 7000000\nuser_usec 6000000\nsystem_usec 1000000"),
                ("pids.current", "3"),
            ],
        )
}

fn container(minutes: u64, kernel: &str, version: Kernel) -> Machine {
    let of = |start: u64, each: u64| start + minutes * each;
    // 4 CPUs for 60 s are 24,000 ticks: all idle but for a tenth of user time.
    let total = [of(10, 2_400), 0, 0, of(100, 21_600), 0, 0, 0, 0, 0, 0];
    let io = Io { reads: of(1, 100), writes: of(2, 200), busy_ms: of(0, 600), ..Io::default() };
    let flow = Flow { bytes: of(0, 6_000), packets: of(0, 60), ..Flow::default() };
    common("c0ffee", kernel, "Alpine Linux v3.20")
        .file("proc/stat", stat(4, total, [of(0, 600), of(0, 6), 1, 0]))
        .file("proc/loadavg", "0.10 0.20 0.30 1/200 15\n")
        .file(
            "proc/meminfo",
            meminfo(&[
                ("MemTotal", 8_000_000),
                ("MemFree", 4_000_000),
                ("MemAvailable", 6_000_000),
                ("Buffers", 100_000),
                ("Cached", 1_900_000),
                ("SwapTotal", 0),
                ("SwapFree", 0),
                ("Dirty", 0),
                ("Slab", 100_000),
                ("HugePages_Total", 0),
                ("HugePages_Free", 0),
                ("Hugepagesize", 2_048),
                ("Hugetlb", 0),
            ]),
        )
        .file(
            "proc/vmstat",
            vmstat(&[("pswpin", 0), ("pswpout", 0), ("pgmajfault", 0), ("oom_kill", of(0, 2))]),
        )
        .file("proc/pressure/cpu", pressure(0, Some(0)))
        .file("proc/pressure/memory", pressure(of(0, 60_000), Some(of(0, 30_000))))
        .file("proc/pressure/io", pressure(0, Some(0)))
        // A container sees the host's disks.
        .file("proc/diskstats", diskstats(version, (253, 0), "vda", io))
        .disk("vda", (253, 0), ("", 20_971_520, true))
        .file(
            "proc/self/net/dev",
            net_dev(&[("lo".into(), flow, flow), ("eth0".into(), flow, flow)]),
        )
        .file("proc/self/net/snmp", snmp(1, 0))
        .file("proc/self/net/netstat", netstat(0, 0))
        .file("proc/sys/fs/file-nr", "4096\t0\t9223372036854775807\n")
        .file("proc/1/mountinfo", MOUNTS)
        .file("proc/cpuinfo", super::cpuinfo(4, 1, 2, "Intel(R) Xeon(R) CPU @ 2.20GHz"))
        .file(".dockerenv", "")
        .interface("lo", 1, None, ("unknown", None))
        .interface("eth0", 7, None, ("up", Some(10_000)))
}

const MOUNTS: &str = "\
800 700 0:60 / / rw,relatime master:300 - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
801 800 0:61 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
802 800 0:62 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
803 800 253:1 /var/lib/docker/containers/c0ffee/hostname /etc/hostname rw,relatime - ext4 /dev/vda1 rw
804 800 253:1 /srv/data /data ro,relatime - ext4 /dev/vda1 rw
";
