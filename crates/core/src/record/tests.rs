use super::*;

fn known() -> HostFacts {
    let text = |text: &str| Some(text.to_owned());
    HostFacts {
        cpu_number: Some(8),
        cpu_architecture: text("x86_64"),
        cpu_model: text("model"),
        cpu_mhz: Some(3_000.0),
        l2_cache_kib: Some(1_024),
        total_mem_kib: Some(1_000_000),
        os: text("Debian 12"),
        kernel: text("6.1.0"),
        kernel_host_name: text("node1"),
        booted: Some(UnixMicros(1)),
        boot_id: text("first"),
        virtualization: text("none"),
        board: text("board"),
        firmware: text("1.0"),
        memory_mhz: Some(2_933.0),
        cpu_sockets: Some(1),
        cpu_cores: Some(4),
        disks: Some(vec![DiskFacts {
            name: "sda".to_owned(),
            model: text("disk"),
            size_kib: Some(1),
            rotational: Some(false),
        }]),
        interfaces: Some(vec![InterfaceFacts {
            name: "eth0".to_owned(),
            mac: text("00:11"),
            driver: text("e1000e"),
        }]),
    }
}

/// The known host with something changed.
fn with(change: impl Fn(&mut HostFacts)) -> HostFacts {
    let mut facts = known();
    change(&mut facts);
    facts
}

/// Changes of every fact that is part of what a host is.
const CHANGES: [fn(&mut HostFacts); 22] = [
    |it| it.cpu_number = Some(16),
    |it| it.cpu_architecture = None,
    |it| it.cpu_model = Some("another".to_owned()),
    |it| it.cpu_mhz = Some(3_000.1),
    |it| it.l2_cache_kib = Some(2_048),
    |it| it.total_mem_kib = None,
    |it| it.os = Some("Debian 13".to_owned()),
    |it| it.kernel = Some("6.2.0".to_owned()),
    |it| it.kernel_host_name = Some("node2".to_owned()),
    |it| it.virtualization = Some("kvm".to_owned()),
    |it| it.board = Some("another".to_owned()),
    |it| it.firmware = Some("1.1".to_owned()),
    |it| it.memory_mhz = Some(3_200.0),
    |it| it.cpu_sockets = Some(2),
    |it| it.cpu_cores = Some(8),
    |it| it.disks = Some(vec![]),
    |it| it.disks.iter_mut().flatten().for_each(|disk| disk.size_kib = Some(2)),
    |it| it.disks.iter_mut().flatten().for_each(|disk| disk.model = None),
    |it| it.disks.iter_mut().flatten().for_each(|disk| disk.rotational = Some(true)),
    |it| it.interfaces = Some(vec![]),
    |it| it.interfaces.iter_mut().flatten().for_each(|it| it.mac = Some("00:12".to_owned())),
    |it| it.interfaces.iter_mut().flatten().for_each(|it| it.driver = Some("igb".to_owned())),
];

#[test]
fn each_fact_that_changed_makes_another_host_and_a_boot_does_not() {
    assert!(!known().differ_from(&known()));
    for (at, change) in CHANGES.iter().enumerate() {
        assert!(with(change).differ_from(&known()), "change {at}");
        assert!(known().differ_from(&with(change)), "change {at} back");
    }
    let booted = with(|it| {
        it.booted = Some(UnixMicros(2));
        it.boot_id = Some("second".to_owned());
    });
    assert!(!booted.differ_from(&known()));
}

#[test]
fn memory_within_one_percent_is_the_same_and_stays_what_it_was() {
    let memory = |kib| with(|it| it.total_mem_kib = Some(kib));
    for kib in [990_000, 999_999, 1_000_001, 1_010_000] {
        assert!(!memory(kib).differ_from(&known()), "{kib}");
        assert_eq!(known().with_told(&memory(kib)), known(), "{kib}: it cannot creep");
    }
    for kib in [989_999, 1_010_001, 0, 2_000_000] {
        assert!(memory(kib).differ_from(&known()), "{kib}");
        assert_eq!(known().with_told(&memory(kib)), memory(kib), "{kib}");
    }
}

#[test]
fn what_is_not_told_stays_as_it_was_known_and_what_is_told_takes_its_place() {
    assert_eq!(known().with_told(&HostFacts::default()), known());
    assert_eq!(HostFacts::default().with_told(&known()), known());
    for (at, change) in CHANGES.iter().enumerate() {
        let told = with(change);
        let kept = known().with_told(&told);
        // Two of them forget something, which is not told then.
        let forgets = told.cpu_architecture.is_none() || told.total_mem_kib.is_none();
        assert_eq!(kept, if forgets { known() } else { told }, "change {at}");
    }
    let booted = with(|it| it.boot_id = Some("second".to_owned()));
    assert_eq!(known().with_told(&booted).boot_id, booted.boot_id);
}
