//! A laptop: NVMe, WLAN, sensors, an encrypted root, a 6.x kernel with cgroup v2.

use super::super::kernel::{
    Flow, Io, Kernel, Task, diskstats, meminfo, net_dev, netstat, pressure, snmp, stat, vmstat,
};
use super::super::machine::Machine;
use super::common;

/// So many minutes after it was first looked at.
pub(crate) fn laptop(minutes: u64) -> Machine {
    // 8 CPUs for 60 s are 48,000 ticks: 20 % user, 1 % nice, 10 % system, 60 % idle, 5 % iowait,
    // 1 % irq, 2 % softirq, 1 % steal; 4 % of it guests.
    let of = |start: u64, each: u64| start + minutes * each;
    let total = [
        of(1_000_000, 9_600),
        of(5_000, 480),
        of(400_000, 4_800),
        of(9_000_000, 28_800),
        of(70_000, 2_400),
        of(1_000, 480),
        of(2_000, 960),
        of(0, 480),
        of(100, 1_440),
        of(0, 480),
    ];
    let nvme = Io {
        reads: of(100_000, 600),
        read_sectors: of(8_000_000, 122_880),
        read_ms: of(40_000, 900),
        writes: of(200_000, 1_200),
        written_sectors: of(9_000_000, 245_760),
        write_ms: of(90_000, 2_400),
        in_flight: 2,
        // A quarter of the minute.
        busy_ms: of(60_000, 15_000),
    };
    let wlan = (
        Flow {
            bytes: of(5_000_000_000, 6_000_000),
            packets: of(4_000_000, 5_000),
            errors: of(1, 2),
            drops: of(10, 3),
        },
        Flow {
            bytes: of(800_000_000, 1_200_000),
            packets: of(1_000_000, 2_000),
            errors: 0,
            drops: of(0, 1),
        },
    );
    let lo = Flow { bytes: of(1_000, 999_999), packets: of(10, 99), errors: 0, drops: 0 };
    let docker = Flow { bytes: of(500, 777_777), packets: of(5, 77), errors: 0, drops: 0 };
    let interfaces = [
        ("lo".into(), lo, lo),
        ("wlp2s0".into(), wlan.0, wlan.1),
        ("docker0".into(), docker, docker),
    ];
    let disks = [
        diskstats(Kernel::V6, (259, 0), "nvme0n1", nvme),
        diskstats(Kernel::V6, (259, 1), "nvme0n1p1", nvme),
        diskstats(Kernel::V6, (254, 0), "dm-0", nvme),
        diskstats(Kernel::V6, (7, 0), "loop0", Io::default()),
    ];
    common("laptop", "6.8.0-45-generic", "Ubuntu 24.04.1 LTS")
        .file("proc/stat", stat(8, total, [of(50_000_000, 120_000), of(90_000, 360), 3, 1]))
        .file("proc/loadavg", "1.25 0.75 0.50 2/1234 4711\n")
        .file(
            "proc/meminfo",
            meminfo(&[
                ("MemTotal", 16_000_000),
                ("MemFree", 2_000_000),
                ("MemAvailable", 9_000_000),
                ("Buffers", 300_000),
                ("Cached", 6_000_000),
                ("SwapCached", 1_000),
                ("SwapTotal", 4_000_000),
                ("SwapFree", 3_900_000),
                ("Dirty", 1_234),
                ("Writeback", 0),
                ("AnonPages", 5_000_000),
                ("Shmem", 700_000),
                ("Slab", 800_000),
                ("SReclaimable", 600_000),
                ("SUnreclaim", 200_000),
                ("HugePages_Total", 0),
                ("HugePages_Free", 0),
                ("Hugepagesize", 2_048),
                ("Hugetlb", 0),
            ]),
        )
        .file(
            "proc/vmstat",
            vmstat(&[
                ("nr_free_pages", 500_000),
                ("pgpgin", of(4_000_000, 61_440)),
                ("pgpgout", of(4_500_000, 122_880)),
                ("pswpin", of(10, 5)),
                ("pswpout", of(100, 25)),
                ("pgfault", of(1_000_000, 10_000)),
                ("pgmajfault", of(5_000, 7)),
                ("oom_kill", of(1, 1)),
            ]),
        )
        // 3 s and 1.5 s of the minute; 1.2 s and 0.6 s; 6 s and 2.4 s.
        .file("proc/pressure/cpu", pressure(of(1_000_000, 3_000_000), Some(of(0, 0))))
        .file("proc/pressure/memory", pressure(of(500, 1_200_000), Some(of(400, 600_000))))
        .file("proc/pressure/io", pressure(of(7_000, 6_000_000), Some(of(6_000, 2_400_000))))
        .file("proc/diskstats", disks.concat())
        .disk("nvme0n1", (259, 0), ("Samsung SSD 980 PRO 1TB", 976_762_584, false))
        .virtual_disk("dm-0", (254, 0), 976_000_000)
        .virtual_disk("loop0", (7, 0), 0)
        .interface("lo", 1, None, ("unknown", None))
        .interface("wlp2s0", 2, Some("iwlwifi"), ("up", None))
        .interface("docker0", 3, None, ("down", Some(-1)))
        .file("proc/self/net/dev", net_dev(&interfaces))
        .file("proc/self/net/snmp", snmp(42, of(1_000, 9)))
        .file("proc/self/net/netstat", netstat(of(4, 2), of(5, 4)))
        .file("proc/sys/net/netfilter/nf_conntrack_count", "77\n")
        .file("proc/sys/net/netfilter/nf_conntrack_max", "262144\n")
        .file("proc/sys/fs/file-nr", "12345\t0\t9223372036854775807\n")
        .file("proc/1/mountinfo", MOUNTS)
        .file("proc/mdstat", "Personalities : \nunused devices: <none>\n")
        .lines(
            "sys/class/hwmon/hwmon0",
            &[
                ("name", "nvme"),
                ("temp1_label", "Composite"),
                ("temp1_input", "41850"),
                ("temp1_crit", "84850"),
            ],
        )
        .lines(
            "sys/class/hwmon/hwmon1",
            &[
                ("name", "coretemp"),
                ("temp1_label", "Package id 0"),
                ("temp1_input", "53000"),
                ("temp1_crit", "100000"),
                ("temp2_label", "Core 0"),
                ("temp2_input", "51000"),
                ("temp2_crit", "100000"),
            ],
        )
        .lines("sys/class/hwmon/hwmon2", &[("name", "acpitz"), ("temp1_input", "-5000")])
        .lines("sys/class/thermal/thermal_zone0", &[("type", "x86_pkg_temp"), ("temp", "53000")])
        .lines("sys/devices/system/cpu/cpu0/cpufreq", &[("cpuinfo_max_freq", "4700000")])
        .lines(
            "sys/class/dmi/id",
            &[
                ("sys_vendor", "LENOVO"),
                ("product_name", "20XW0026GE"),
                ("product_version", "ThinkPad X1 Carbon Gen 9"),
                ("board_vendor", "LENOVO"),
                ("board_name", "20XW0026GE"),
                ("bios_vendor", "LENOVO"),
                ("bios_version", "N32ET75W (1.51 )"),
                ("bios_date", "12/02/2021"),
            ],
        )
        .file(
            "proc/cpuinfo",
            super::cpuinfo(8, 1, 4, "11th Gen Intel(R) Core(TM) i7-1165G7 @ 2.80GHz"),
        )
        .slice("system.slice", of(5_000_000, 1_500_000), 400_000, of(1, 0))
        .slice("user.slice", of(9_000_000, 6_000_000), 3_000_000, 0)
        .file("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n")
        .task(Task {
            pid: 900,
            command: "firefox",
            cpu_ticks: of(5_000, 1_200),
            resident_kib: 1_200_000,
            read_bytes: of(0, 600_000),
            written_bytes: of(0, 6_000_000),
        })
        .task(Task {
            pid: 901,
            command: "Web Content (x)",
            cpu_ticks: of(1_000, 300),
            resident_kib: 800_000,
            read_bytes: 0,
            written_bytes: 0,
        })
        .task(Task {
            pid: 30,
            command: "kworker/0:1-events",
            cpu_ticks: of(7, 1),
            resident_kib: 0,
            read_bytes: 0,
            written_bytes: 0,
        })
}

const MOUNTS: &str = "\
22 28 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
23 28 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
24 28 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw,size=8G
28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/mapper/vg-root rw,errors=remount-ro
30 28 0:25 / /run rw,nosuid,nodev shared:5 - tmpfs tmpfs rw
31 28 7:0 / /snap/core/1 ro,nodev,relatime shared:9 - squashfs /dev/loop0 ro
32 28 254:0 /home /home/bound rw,relatime shared:1 - ext4 /dev/mapper/vg-root rw
33 28 0:40 / /var/lib/docker/overlay2/abc/merged rw - overlay overlay rw
34 28 259:1 / /usr ro,relatime shared:11 - vfat /dev/nvme0n1p1 rw,errors=remount-ro
35 28 0:50 / /tmp rw,relatime shared:12 - nfs4 server:/export rw,vers=4.2
";
