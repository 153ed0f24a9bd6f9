//! What changes between two readings: counters that begin anew, devices that come and go.

use std::fs;

use rowcall_agent::collect::{Collect, Profile};
use rowcall_agent::devices::{DeviceReader, Peaks};
use rowcall_core::devices::Devices;

use super::kernel::{Flow, Io, Kernel, diskstats, net_dev};
use super::machine::{Entry, Machine};
use super::machines::{ALL, laptop};
use super::observed::Observer;

/// A file's text.
fn text(machine: &Machine, path: &str) -> String {
    let Some(Entry::File(text)) = machine.0.get(path) else { panic!("{path} is no file") };
    text.clone()
}

#[tokio::test]
async fn counters_that_went_back_give_no_number() {
    for (name, machine) in ALL {
        let observed = Observer::new().watch(machine(1), machine(0)).await;
        let vitals = observed.reading.sample.vitals.unwrap();
        for (field, value) in vitals.values() {
            let possible = value.is_none_or(|value| {
                value >= 0.0 && (!field.ends_with("_percent") || value <= 100.0)
            });
            assert!(possible, "{name}: {field} is {value:?}");
        }
        let gone = (vitals.cpu_user_percent, vitals.context_switches, vitals.forks);
        assert_eq!(gone, (None, None, None), "{name}");
        let little = |value: Option<i64>| value.is_none_or(|value| value == 0);
        let (disk, net) = (vitals.disk_read_kib, vitals.net_rx_bytes);
        assert!(little(disk) && little(net), "{name}: {disk:?} KiB, {net:?} bytes");
    }
}

#[tokio::test]
async fn a_32_bit_counter_that_wraps_is_no_burst() {
    let at = |bytes, reads| {
        let flow = Flow { bytes, packets: 7, ..Flow::default() };
        let io = Io { reads, busy_ms: reads, ..Io::default() };
        laptop(0)
            .file("proc/self/net/dev", net_dev(&[("wlp2s0".into(), flow, flow)]))
            .file("proc/diskstats", diskstats(Kernel::V6, (259, 0), "nvme0n1", io))
    };
    let highest = u64::from(u32::MAX);
    let observed = Observer::new().watch(at(highest - 9, highest - 9), at(90, 90)).await;
    let sample = &observed.reading.sample;
    let vitals = sample.vitals.as_ref().unwrap();
    let little = |value: Option<i64>| value.is_none_or(|value| (0..=100).contains(&value));
    assert!(little(vitals.net_rx_bytes), "{:?}", vitals.net_rx_bytes);
    assert!(little(sample.disk_io), "{:?}", sample.disk_io);
}

#[tokio::test]
async fn a_disk_and_an_interface_that_appear_count_from_their_second_reading() {
    let io = Io { reads: 1 << 40, read_sectors: 1 << 40, busy_ms: 30_000, ..Io::default() };
    let flow = Flow { bytes: 1 << 40, packets: 1 << 30, ..Flow::default() };
    let (before, after) = (laptop(0), laptop(1));
    let plugged = after
        .clone()
        .file(
            "proc/diskstats",
            text(&after, "proc/diskstats") + &diskstats(Kernel::V6, (8, 0), "sda", io),
        )
        .disk("sda", (8, 0), ("USB DISK 3.0", 30_000_000, false))
        .file(
            "proc/self/net/dev",
            text(&after, "proc/self/net/dev")
                + net_dev(&[("enx0".into(), flow, flow)]).lines().last().unwrap()
                + "\n",
        )
        .interface("enx0", 9, Some("r8152"), ("up", Some(1_000)));
    let whole = Observer::new().watch(before.clone(), after).await;
    let mut observer = Observer::new();
    let came = observer.watch(before.clone(), plugged.clone()).await;
    assert_eq!(came.reading.sample.vitals, whole.reading.sample.vitals);
    assert_eq!(came.reading.sample.disk_io, whole.reading.sample.disk_io);
    let names = |devices: &Devices| {
        let disks = devices.disks.iter().map(|disk| disk.name.clone());
        let interfaces = devices.interfaces.iter().map(|interface| interface.name.clone());
        disks.chain(interfaces).collect::<Vec<_>>()
    };
    assert!(names(&came.devices).contains(&"sda".into()), "{:?}", came.devices.disks);
    assert!(names(&came.devices).contains(&"enx0".into()), "{:?}", came.devices.interfaces);
    let disks = came.facts.disks.unwrap();
    assert!(disks.iter().any(|disk| disk.name == "sda" && disk.size_kib == Some(30_000_000)));
    let went = observer.watch(plugged, laptop(1)).await;
    assert_eq!(names(&went.devices), names(&whole.devices));
    assert_eq!(went.devices.skipped, whole.devices.skipped, "what is gone is not missed");
}

/// One reading of an agent that was started just now.
async fn devices(observer: &Observer) -> Devices {
    let collect = Collect::of(Profile::Default);
    DeviceReader::new(observer.root(), collect).read(Peaks::default()).await
}

/// Since when each device has counted.
fn counted_since(devices: &Devices) -> [u32; 3] {
    let disk = devices.disks.iter().find(|disk| disk.name == "nvme0n1").unwrap();
    let interface = devices.interfaces.iter().find(|one| one.name == "docker0").unwrap();
    let cgroup = devices.cgroups.iter().find(|one| one.name == "user.slice").unwrap();
    [disk.counted_since, interface.counted_since, cgroup.counted_since]
}

#[tokio::test]
async fn what_begins_to_count_anew_says_so_and_nothing_else_does() {
    let mut observer = Observer::new();
    observer.put(laptop(0));
    let first = counted_since(&devices(&observer).await);
    observer.put(laptop(1));
    assert_eq!(counted_since(&devices(&observer).await), first, "another agent, the same counters");

    // Taken out and put back, it has the same name and another number.
    observer.put(laptop(1).interface("docker0", 12, None, ("down", Some(-1))));
    let [disk, interface, cgroup] = counted_since(&devices(&observer).await);
    assert_eq!((disk, cgroup), (first[0], first[2]));
    assert_ne!(interface, first[1], "a bridge that was made anew");

    observer.put(
        laptop(1).lines("sys/devices/pci0000:00/nvme0n1-host/block/nvme0n1", &[("diskseq", "9")]),
    );
    assert_ne!(counted_since(&devices(&observer).await)[0], first[0], "another disk");

    observer.put(laptop(1));
    let slice = observer.root().join("sys/fs/cgroup/user.slice");
    // The old one is kept aside, so that the new one gets another inode.
    fs::rename(&slice, observer.root().join("aside")).unwrap();
    fs::create_dir(&slice).unwrap();
    for file in fs::read_dir(observer.root().join("aside")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), slice.join(file.file_name())).unwrap();
    }
    let [disk, interface, cgroup] = counted_since(&devices(&observer).await);
    assert_eq!((disk, interface), (first[0], first[1]));
    assert_ne!(cgroup, first[2], "a group that was made anew");

    observer.put(laptop(1).lines("proc/sys/kernel", &[("random/boot_id", "another")]));
    let booted = counted_since(&devices(&observer).await);
    for (before, after) in first.iter().zip(booted) {
        assert_ne!(*before, after, "after a reboot everything counts anew");
    }
}
