//! Whole machines, as their kernels show them.

use std::time::Duration;

use rowcall_core::devices::Devices;

use super::{Tree, skipped};
use crate::collect::{Collect, Collector};
use crate::devices::{DeviceReader, Peaks};

const NET_HEAD: &str =
    "Inter-|   Receive\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n";

/// Everything that a reader tells of it; a deadline that no test can reach.
async fn read(tree: &Tree) -> Devices {
    let collect = Collect { deadline: Duration::from_secs(3600), ..Collect::default() };
    DeviceReader::new(tree.path(""), collect).read(Peaks::default()).await
}

fn net(lines: &[&str]) -> String {
    let line = |name: &&str| format!("{name:>6}: 100 1 0 0 0 0 0 0 200 2 0 0 0 0 0 0\n");
    format!("{NET_HEAD}{}", lines.iter().map(line).collect::<String>())
}

fn sizes(devices: &Devices) -> [usize; 9] {
    [
        devices.filesystems.len(),
        devices.disks.len(),
        devices.interfaces.len(),
        devices.sensors.len(),
        devices.md_arrays.len(),
        devices.memory_controllers.len(),
        devices.cgroups.len(),
        devices.processes.len(),
        devices.metrics.len(),
    ]
}

/// Linux 6.8, NVMe, wireless, version 2 of control groups.
fn laptop() -> Tree {
    let tree = Tree::new();
    for (file, text) in [
        (
            "proc/diskstats",
            " 259       0 nvme0n1 8123 12 900 800 9000 77 1000 4000 1 5000 6000 10 0 20 1 500 60\n 259       1 nvme0n1p1 1 0 1 1 0 0 0 0 0 1 1 0 0 0 0 0 0\n 252       0 dm-0 8000 0 900 800 9000 0 1000 4000 0 5000 6000 0 0 0 0 0 0\n   7       0 loop0 1 0 1 1 0 0 0 0 0 1 1 0 0 0 0 0 0\n",
        ),
        (
            "proc/1/mountinfo",
            "23 29 0:22 / /proc rw - proc proc rw\n29 1 252:0 / / rw,relatime shared:1 - ext4 /dev/mapper/vg-root rw,errors=remount-ro\n40 29 259:1 / /boot/efi rw - vfat /dev/nvme0n1p1 rw\n41 29 7:0 / /snap/core/1 ro - squashfs /dev/loop0 ro\n42 29 0:50 / /run/user/1000 rw - tmpfs tmpfs rw\n43 42 0:51 / /run/user/1000/doc rw - fuse.portal portal rw\n",
        ),
        ("proc/mdstat", "Personalities : \nunused devices: <none>\n"),
        ("proc/meminfo", "MemTotal:       16000000 kB\n"),
        (
            "proc/1/stat",
            "1 (systemd) S 0 1 1 0 -1 4194560 9 9 9 9 100 100 9 9 20 0 1 0 5 9 3000 0\n",
        ),
        (
            "proc/900/stat",
            "900 (Web Content) S 1 1 1 0 -1 4194560 9 9 9 9 100 100 9 9 20 0 30 0 5 9 200000 0\n",
        ),
        ("sys/block/nvme0n1/diskseq", "1\n"),
        ("sys/class/net/wlp2s0/operstate", "up\n"),
        ("sys/class/hwmon/hwmon0/name", "nvme\n"),
        ("sys/class/hwmon/hwmon0/temp1_label", "Composite\n"),
        ("sys/class/hwmon/hwmon0/temp1_input", "38850\n"),
        ("sys/class/hwmon/hwmon0/temp1_crit", "84850\n"),
        ("sys/class/hwmon/hwmon1/name", "BAT0\n"),
        ("sys/class/hwmon/hwmon1/in0_input", "12000\n"),
        ("sys/class/hwmon/hwmon2/name", "coretemp\n"),
        ("sys/class/hwmon/hwmon2/temp1_label", "Package id 0\n"),
        ("sys/class/hwmon/hwmon2/temp1_input", "51000\n"),
        ("sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n"),
        ("sys/class/thermal/thermal_zone0/temp", "51000\n"),
        ("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n"),
        ("sys/fs/cgroup/system.slice/cpu.stat", "usage_usec 1\n"),
        ("sys/fs/cgroup/user.slice/cpu.stat", "usage_usec 1\n"),
        ("sys/fs/cgroup/init.scope/cpu.stat", "usage_usec 1\n"),
    ] {
        tree.add(file, text);
    }
    tree.add("proc/net/dev", &net(&["lo", "wlp2s0"]));
    tree.add_dir("sys/block/nvme0n1/device");
    tree.add_dir("boot/efi");
    tree
}

#[tokio::test]
async fn a_laptop() {
    let devices = read(&laptop()).await;
    assert_eq!(sizes(&devices), [2, 1, 2, 2, 0, 0, 3, 1, 0]);
    assert_eq!(devices.processes[0].command, "Web Content");
    assert_eq!(devices.disks[0].name, "nvme0n1");
    assert_eq!(devices.filesystems[1].mount, "/boot/efi");
    assert!(devices.skipped.is_empty());
}

/// Linux 5.15: many disks, RAID, memory with error correction, two sockets.
#[tokio::test]
async fn a_large_server() {
    let tree = Tree::new();
    let mut diskstats = String::new();
    for n in 0..24 {
        diskstats += &format!("   8 {} sd{n} 1 2 3 4 5 6 7 8 0 10 11 0 0 0 0 0 0\n", n * 16);
        tree.add_dir(&format!("sys/block/sd{n}/device"));
    }
    tree.add("proc/diskstats", &diskstats);
    for socket in 0..2 {
        let chip = format!("sys/class/hwmon/hwmon{socket}");
        tree.add(&format!("{chip}/name"), "coretemp\n");
        tree.add_link(&format!("{chip}/device"), &format!("../../coretemp.{socket}"));
        for core in 2..34 {
            tree.add(&format!("{chip}/temp{core}_input"), "40000\n");
            tree.add(&format!("{chip}/temp{core}_label"), &format!("Core {core}\n"));
        }
        for file in ["ce_count", "ue_count"] {
            tree.add(&format!("sys/devices/system/edac/mc/mc{socket}/{file}"), "0\n");
        }
    }
    let interfaces: Vec<_> = (0..100).map(|n| format!("tap{n}")).collect();
    tree.add("proc/net/dev", &net(&interfaces.iter().map(String::as_str).collect::<Vec<_>>()));
    tree.add("proc/mdstat", "md0 : active raid6 sda[0] sdb[1](F) sdc[2] sdd[3] sde[4](S)\n 1 blocks level 6 [4/3] [U_UU]\n [>...]  recovery =  3.1% (1/9) finish=9min speed=1K/sec\n");
    tree.add("proc/1/mountinfo", "1 1 8:0 / / rw - xfs /dev/sda rw\n");
    tree.add("sys/fs/cgroup/cgroup.controllers", "cpu\n");
    let devices = read(&tree).await;
    assert_eq!(sizes(&devices), [1, 24, 100, 64, 1, 2, 0, 0, 0]);
    assert_eq!(devices.sensors[0].name, "coretemp Core 2 (coretemp.0)");
    let array = &devices.md_arrays[0];
    assert_eq!((array.disks, array.disks_active, array.disks_failed), (4, 3, 1));
    assert_eq!((array.disks_spare, array.sync_percent), (1, Some(3.1)));
}

/// No hwmon at all, a card for a disk.
#[tokio::test]
async fn a_raspberry_pi() {
    let tree = Tree::new();
    for (file, text) in [
        (
            "proc/diskstats",
            " 179 0 mmcblk0 1 2 3 4 5 6 7 8 0 10 11\n 179 1 mmcblk0p1 1 2 3 4 5 6 7 8 0 10 11\n 1 0 ram0 0 0 0 0 0 0 0 0 0 0 0\n",
        ),
        (
            "proc/1/mountinfo",
            "1 1 179:2 / / rw - ext4 /dev/root rw\n2 1 179:1 / /boot rw - vfat /dev/mmcblk0p1 rw\n",
        ),
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
        ("sys/class/thermal/thermal_zone0/temp", "48312\n"),
        ("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n"),
        ("sys/fs/cgroup/system.slice/pids.current", "50\n"),
        ("sys/block/mmcblk0/device/x", ""),
        ("boot/x", ""),
    ] {
        tree.add(file, text);
    }
    tree.add("proc/net/dev", &net(&["lo", "eth0", "wlan0"]));
    let devices = read(&tree).await;
    assert_eq!(sizes(&devices), [2, 1, 3, 1, 0, 0, 1, 0, 0]);
    assert_eq!(devices.sensors[0].name, "cpu-thermal");
    assert_eq!(devices.cgroups[0].memory_kib, None, "its kernel counts no memory of groups");
    assert!(devices.skipped.is_empty());
}

/// What a container sees: its own groups, an overlay for "/", the disks of its host in the table
/// and nothing of them in /sys.
fn container() -> Tree {
    let tree = Tree::new();
    for (file, text) in [
        ("proc/diskstats", " 259 0 nvme0n1 1 2 3 4 5 6 7 8 0 10 11\n"),
        (
            "proc/1/mountinfo",
            "1 1 0:90 / / rw - overlay overlay rw,lowerdir=x\n2 1 0:91 / /proc rw - proc proc rw\n3 1 0:92 / /dev rw - tmpfs tmpfs rw\n4 1 259:1 /hosts /etc/hosts rw - ext4 /dev/nvme0n1p1 rw\n",
        ),
        ("etc/hosts", ""),
    ] {
        tree.add(file, text);
    }
    tree.add("proc/net/dev", &net(&["lo", "eth0"]));
    tree
}

#[tokio::test]
async fn a_container_of_version_2() {
    let tree = container();
    for (file, text) in [
        ("cgroup.controllers", "cpu io memory pids\n"),
        ("cgroup.type", "domain\n"),
        ("cpu.stat", "usage_usec 77\nthrottled_usec 5\n"),
        ("memory.current", "1048576\n"),
    ] {
        tree.add(&format!("sys/fs/cgroup/{file}"), text);
    }
    let devices = read(&tree).await;
    assert_eq!(sizes(&devices), [2, 0, 2, 0, 0, 0, 1, 0, 0]);
    assert_eq!((devices.cgroups[0].name.as_str(), devices.cgroups[0].cpu_us), ("/", Some(77)));
}

#[tokio::test]
async fn a_container_of_version_1() {
    let tree = container();
    for (file, text) in
        [("cpu,cpuacct/cpuacct.usage", "77000\n"), ("memory/memory.usage_in_bytes", "1048576\n")]
    {
        tree.add(&format!("sys/fs/cgroup/{file}"), text);
    }
    tree.add_link("sys/fs/cgroup/cpu", "cpu,cpuacct");
    tree.add_link("sys/fs/cgroup/cpuacct", "cpu,cpuacct");
    let devices = read(&tree).await;
    assert_eq!(sizes(&devices), [2, 0, 2, 0, 0, 0, 1, 0, 0]);
    assert_eq!((devices.cgroups[0].cpu_us, devices.cgroups[0].memory_kib), (Some(77), Some(1024)));
}

#[tokio::test]
async fn an_empty_tree_names_what_it_lacks_and_nothing_else() {
    let devices = read(&Tree::new()).await;
    assert_eq!(sizes(&devices), [0; 9]);
    let mut said = skipped(&devices);
    said.sort();
    // There is no /proc at all, so not even a table of processes.
    let missing = ["disks", "filesystems", "interfaces", "processes"];
    assert_eq!(said, missing.map(|it| format!("{it} unreadable 1")));
}

#[tokio::test]
async fn what_is_switched_off_is_not_read() {
    let collect = Collect { off: Collector::ALL.to_vec(), ..Collect::default() };
    let devices = DeviceReader::new(laptop().path(""), collect).read(Peaks::default()).await;
    assert_eq!(devices, Devices::default());
}

#[tokio::test]
async fn devices_come_and_go_between_readings_and_have_their_peaks() {
    let tree = laptop();
    let collect = Collect { deadline: Duration::from_secs(3600), ..Collect::default() };
    let mut reader = DeviceReader::new(tree.path(""), collect);
    let peaks = Peaks {
        disks: [("nvme0n1".to_owned(), 99.5), ("sda".to_owned(), 1.0)].into(),
        interfaces: [("wlp2s0".to_owned(), (5, 7))].into(),
    };
    let first = reader.read(peaks).await;
    assert_eq!(first.disks[0].busy_max_percent, Some(99.5));
    let peak = |devices: &Devices, n: usize| {
        let interface = &devices.interfaces[n];
        (interface.rx_max_bytes_per_s, interface.tx_max_bytes_per_s)
    };
    assert_eq!((peak(&first, 0), peak(&first, 1)), ((None, None), (Some(5), Some(7))));
    tree.add("proc/net/dev", &net(&["lo", "usb0", "wwan0"]));
    tree.add("proc/diskstats", "");
    tree.remove("sys/class/hwmon/hwmon0");
    let second = reader.read(Peaks::default()).await;
    assert_eq!(sizes(&second), [2, 0, 3, 1, 0, 0, 3, 1, 0]);
    assert_eq!(second.interfaces[2].name, "wwan0");
}

#[tokio::test]
async fn this_machine_is_read() {
    let collect = Collect { deadline: Duration::from_secs(3600), ..Collect::default() };
    let mut reader = DeviceReader::new("/", collect);
    let devices = reader.read(Peaks::default()).await;
    assert!(devices.interfaces.iter().any(|it| it.name == "lo"));
    let root = devices.filesystems.iter().find(|it| it.mount == "/").unwrap();
    assert!(root.size_kib > root.available_kib);
    let again = reader.read(Peaks::default()).await;
    let since =
        |devices: &Devices| devices.disks.iter().map(|it| it.counted_since).collect::<Vec<_>>();
    assert_eq!(since(&devices), since(&again));
}
