//! A Raspberry Pi: an SD card, one thermal zone, no DMI, and a /proc/cpuinfo that names no model.

use super::super::kernel::{
    Flow, Io, Kernel, diskstats, meminfo, net_dev, netstat, snmp, stat, vmstat,
};
use super::super::machine::Machine;
use super::common;

/// So many minutes after it was first looked at.
pub(crate) fn pi(minutes: u64) -> Machine {
    let of = |start: u64, each: u64| start + minutes * each;
    // 4 CPUs for 60 s are 24,000 ticks: 90 % idle, 6 % user, 4 % waiting for the card.
    let total = [of(500, 1_440), 0, 0, of(0, 21_600), of(9, 960), 0, 0, 0, 0, 0];
    let card = Io {
        reads: of(50, 6),
        read_sectors: of(400, 96),
        read_ms: of(50, 60),
        writes: of(60, 30),
        written_sectors: of(480, 480),
        write_ms: of(600, 3_000),
        in_flight: 1,
        busy_ms: of(100, 1_800),
    };
    let flow = Flow { bytes: of(0, 12_000), packets: of(0, 60), ..Flow::default() };
    common("raspberrypi", "6.6.51+rpt-rpi-v8", "Debian GNU/Linux 12 (bookworm)")
        .without("sys/devices/system/cpu/cpu0/cache")
        .file("proc/stat", stat(4, total, [of(0, 3_000), of(0, 30), 1, 1]))
        .file("proc/loadavg", "0.50 0.25 0.12 1/150 900\n")
        .file(
            "proc/meminfo",
            meminfo(&[
                ("MemTotal", 3_884_000),
                ("MemFree", 3_000_000),
                ("MemAvailable", 3_500_000),
                ("Buffers", 20_000),
                ("Cached", 500_000),
                ("SwapTotal", 204_796),
                ("SwapFree", 204_796),
                ("Dirty", 64),
                ("Slab", 50_000),
                ("HugePages_Total", 0),
                ("HugePages_Free", 0),
                ("Hugepagesize", 2_048),
                ("Hugetlb", 0),
            ]),
        )
        .file(
            "proc/vmstat",
            vmstat(&[("pswpin", 0), ("pswpout", 0), ("pgmajfault", of(3, 3)), ("oom_kill", 0)]),
        )
        .file(
            "proc/diskstats",
            diskstats(Kernel::V6, (179, 0), "mmcblk0", card)
                + &diskstats(Kernel::V6, (179, 1), "mmcblk0p1", card)
                + &diskstats(Kernel::V6, (179, 2), "mmcblk0p2", card),
        )
        .disk("mmcblk0", (179, 0), ("", 31_166_976, false))
        .file(
            "proc/self/net/dev",
            net_dev(&[
                ("lo".into(), flow, flow),
                ("eth0".into(), flow, flow),
                ("wlan0".into(), flow, flow),
            ]),
        )
        .file("proc/self/net/snmp", snmp(2, 0))
        .file("proc/self/net/netstat", netstat(0, 0))
        .file("proc/sys/fs/file-nr", "2000\t0\t9223372036854775807\n")
        .file("proc/1/mountinfo", MOUNTS)
        .file("proc/cpuinfo", CPUINFO)
        .file("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
        .link("sys/firmware/devicetree/base/model", "../../../../proc/device-tree/model")
        .lines("sys/devices/system/cpu/cpu0/cpufreq", &[("cpuinfo_max_freq", "1800000")])
        .lines("sys/class/thermal/thermal_zone0", &[("type", "cpu-thermal"), ("temp", "48686")])
        .lines(
            "sys/class/thermal/thermal_zone0",
            &[("trip_point_0_type", "critical"), ("trip_point_0_temp", "110000")],
        )
        .interface("lo", 1, None, ("unknown", None))
        .interface("eth0", 2, Some("bcmgenet"), ("down", Some(-1)))
        .interface("wlan0", 3, Some("brcmfmac"), ("up", None))
}

const CPUINFO: &str = "\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU part\t: 0xd08

processor\t: 1
BogoMIPS\t: 108.00

Hardware\t: BCM2835
Revision\t: c03114
Model\t\t: Raspberry Pi 4 Model B Rev 1.4
";

const MOUNTS: &str = "\
20 24 0:18 / /sys rw,nosuid,nodev,noexec,relatime shared:6 - sysfs sysfs rw
24 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw
90 24 179:1 / /boot/firmware rw,relatime shared:30 - vfat /dev/mmcblk0p1 rw,fmask=0022
";
