use super::*;

fn labelled(labels: &[(&str, &str)]) -> pb::Metric {
    let label = |(name, value): &(&str, &str)| pb::MetricLabel {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    pb::Metric { name: "m".to_owned(), labels: labels.iter().map(label).collect(), value: 1.0 }
}

#[test]
fn lists_end_at_their_bounds() {
    let named = |n: usize| n.to_string();
    let many = 10_000;
    let wire = pb::Devices {
        filesystems: (0..many)
            .map(|n| pb::Filesystem { mount: named(n), ..Default::default() })
            .collect(),
        disks: (0..many).map(|n| pb::Disk { name: named(n), ..Default::default() }).collect(),
        interfaces: (0..many)
            .map(|n| pb::Interface { name: named(n), ..Default::default() })
            .collect(),
        sensors: (0..many).map(|n| pb::Sensor { name: named(n), ..Default::default() }).collect(),
        md_arrays: (0..many)
            .map(|n| pb::MdArray { name: named(n), ..Default::default() })
            .collect(),
        memory_controllers: (0..many)
            .map(|n| pb::MemoryController { name: named(n), ..Default::default() })
            .collect(),
        cgroups: (0..many).map(|n| pb::Cgroup { name: named(n), ..Default::default() }).collect(),
        processes: (0..many)
            .map(|n| pb::Process { command: named(n), ..Default::default() })
            .collect(),
        metrics: vec![labelled(&[]); many],
        skipped: (0..many)
            .map(|n| pb::Skipped { collector: named(n), ..Default::default() })
            .collect(),
    };
    let devices = from_wire(wire);
    let lengths = [
        devices.filesystems.len(),
        devices.disks.len(),
        devices.interfaces.len(),
        devices.sensors.len(),
        devices.md_arrays.len(),
        devices.memory_controllers.len(),
        devices.cgroups.len(),
        devices.processes.len(),
        devices.metrics.len(),
        devices.skipped.len(),
    ];
    assert_eq!(lengths, [512, 512, 1_024, 256, 64, 64, 64, 256, 4_096, 1_024]);
}

#[test]
fn a_counter_that_no_column_holds_takes_its_device_and_no_other() {
    let disk = |name: &str, reads| pb::Disk { name: name.to_owned(), reads, ..Default::default() };
    let disks = vec![disk("sda", 1), disk("sdb", u64::MAX), disk("", 1), disk("sdc", 2)];
    let devices = from_wire(pb::Devices { disks, ..Default::default() });
    let names: Vec<_> = devices.disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(names, ["sda", "sdc"]);
    let set: [fn(&mut pb::Disk) -> &mut u64; 7] = [
        |it| &mut it.writes,
        |it| &mut it.read_bytes,
        |it| &mut it.written_bytes,
        |it| &mut it.read_ms,
        |it| &mut it.write_ms,
        |it| &mut it.busy_ms,
        |it| &mut it.in_flight,
    ];
    for counter in set {
        let mut told = disk("sda", 1);
        *counter(&mut told) = u64::MAX;
        assert_eq!(super::disk(told), None);
    }
}

#[test]
fn percentages_that_cannot_be_become_unknown_and_a_process_may_have_many_cpus() {
    let disk = |busy| pb::Disk {
        name: "sda".to_owned(),
        busy_max_percent: Some(busy),
        ..Default::default()
    };
    let busy = |told| super::disk(disk(told)).unwrap().busy_max_percent;
    assert_eq!([50.0, 100.5, 1e-45].map(busy), [Some(50.0), Some(100.0), Some(0.0)]);
    assert_eq!([1e30, -9.0, f32::NAN].map(busy), [None; 3]);
    let cpu = |told| {
        let command = "x".to_owned();
        process(pb::Process { command, cpu_percent: Some(told), ..Default::default() })
            .unwrap()
            .cpu_percent
    };
    assert_eq!([400.0, 819_200.0].map(cpu), [Some(400.0), Some(819_200.0)]);
    assert_eq!([1e9, -9.0, f32::INFINITY].map(cpu), [None; 3]);
}

#[test]
fn labels_are_sorted_and_each_stands_once() {
    let checked = metric(labelled(&[("b", "2"), ("a", "1"), ("a", "3")])).unwrap();
    let expected = [("a", "1"), ("b", "2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(checked.labels, expected);
}

#[test]
fn what_is_no_metric_or_too_long_for_an_index_is_left_out() {
    let long = "x".repeat(250);
    let four = [("a", &*long), ("b", &*long), ("c", &*long), ("d", &*long)];
    assert!(metric(labelled(&four)).is_some());
    assert!(metric(labelled(&[&four[..], &[("e", "y".repeat(20).as_str())]].concat())).is_none());
    assert!(metric(labelled(&[("a:b", "1")])).is_none(), "no label has a colon");
    assert!(metric(labelled(&[("a", ""); 33])).is_none());
    for name in ["", "1a", "a-b", "é", &"x".repeat(257)] {
        assert!(metric(pb::Metric { name: name.to_owned(), ..labelled(&[]) }).is_none(), "{name}");
    }
    assert!(metric(pb::Metric { value: f64::NAN, ..labelled(&[]) }).is_none());
}

/// One of each kind, each field with another value: none is lost, and none takes another's place.
fn one_of_each() -> Devices {
    Devices {
        filesystems: vec![Filesystem {
            mount: "/".to_owned(),
            source: Some("/dev/sda1".to_owned()),
            kind: Some("ext4".to_owned()),
            read_only: true,
            size_kib: Some(1),
            available_kib: Some(2),
            inodes: Some(3),
            inodes_free: Some(4),
        }],
        disks: vec![Disk {
            name: "sda".to_owned(),
            counted_since: u32::MAX,
            reads: 11,
            writes: 12,
            read_bytes: 13,
            written_bytes: 14,
            read_ms: 15,
            write_ms: 16,
            busy_ms: 17,
            in_flight: 18,
            busy_max_percent: Some(19.5),
        }],
        interfaces: vec![Interface {
            name: "eth0".to_owned(),
            counted_since: 20,
            rx_bytes: 21,
            tx_bytes: 22,
            rx_packets: 23,
            tx_packets: 24,
            rx_errors: 25,
            tx_errors: 26,
            rx_drops: 27,
            tx_drops: 28,
            speed_mbit: Some(29),
            up: Some(false),
            rx_max_bytes_per_s: Some(30),
            tx_max_bytes_per_s: Some(31),
        }],
        sensors: vec![Sensor {
            name: "acpitz".to_owned(),
            temperature_mc: -5_000,
            critical_mc: Some(100_000),
        }],
        md_arrays: vec![MdArray {
            name: "md0".to_owned(),
            level: Some("raid5".to_owned()),
            state: Some("clean".to_owned()),
            disks: 41,
            disks_active: 42,
            disks_failed: 43,
            disks_spare: 44,
            sync_percent: Some(45.5),
        }],
        memory_controllers: vec![MemoryController {
            name: "mc0".to_owned(),
            counted_since: 50,
            corrected_errors: 51,
            uncorrected_errors: 52,
        }],
        cgroups: vec![Cgroup {
            name: "user.slice".to_owned(),
            counted_since: 60,
            cpu_us: Some(61),
            throttled_us: Some(62),
            memory_kib: Some(63),
            read_bytes: Some(64),
            written_bytes: Some(65),
            processes: Some(66),
            oom_kills: Some(67),
        }],
        processes: vec![Process {
            command: "x".to_owned(),
            pid: 71,
            cpu_percent: Some(72.5),
            memory_kib: Some(73),
            read_bytes_per_s: Some(74),
            written_bytes_per_s: Some(75),
        }],
        metrics: vec![Metric {
            name: "m".to_owned(),
            labels: vec![("a".to_owned(), "b".to_owned())],
            value: -81.5,
        }],
        skipped: [SkipReason::Unknown, SkipReason::Hung, SkipReason::Limit, SkipReason::Unreadable]
            .map(|reason| Skipped {
                collector: "filesystems".to_owned(),
                item: Some("/mnt".to_owned()),
                reason,
                count: 91,
            })
            .to_vec(),
    }
}

#[test]
fn what_was_read_survives_the_wire() {
    assert_eq!(from_wire(to_wire(&one_of_each())), one_of_each());
    let unknown = Devices {
        filesystems: vec![Filesystem { mount: "/".to_owned(), ..Filesystem::default() }],
        interfaces: vec![Interface { name: "lo".to_owned(), ..Interface::default() }],
        cgroups: vec![Cgroup { name: "/".to_owned(), ..Cgroup::default() }],
        skipped: vec![Skipped {
            collector: "disks".to_owned(),
            item: None,
            reason: SkipReason::Unreadable,
            count: 1,
        }],
        ..Devices::default()
    };
    assert_eq!(from_wire(to_wire(&unknown)), unknown, "unknown is not 0, nor an empty text");
}

#[test]
fn what_was_skipped_was_so_once_at_least() {
    let told = |count| pb::Skipped { collector: "disks".to_owned(), count, ..Default::default() };
    let counts = [0, 7, u32::MAX].map(|count| skipped(told(count)).map(|it| it.count));
    assert_eq!(counts, [Some(1), Some(7), None]);
}
