//! Whatever a record carries comes out as it went in; and a boot that is new is noticed.

use rowcall_core::devices::{Devices, Disk, Metric, SkipReason, Skipped};
use rowcall_core::record::{DiskFacts, HostFacts};
use rowcall_core::vitals::Vitals;

use super::*;

fn reading() -> Devices {
    Devices {
        disks: vec![Disk {
            name: "sda".into(),
            counted_since: u32::MAX,
            reads: i64::MAX,
            busy_max_percent: Some(12.5),
            ..Disk::default()
        }],
        metrics: vec![Metric {
            name: "raid_ok".into(),
            labels: vec![("slot".into(), "1".into())],
            value: -0.5,
        }],
        skipped: vec![Skipped {
            collector: "filesystems".into(),
            item: Some("/mnt".into()),
            reason: SkipReason::Hung,
            count: 1,
        }],
        ..Devices::default()
    }
}

#[test]
fn readings_vitals_and_facts_come_out_as_they_went_in_also_after_a_restart() {
    let mut rig = Rig::new(64 * 1024, 8);
    let vitals = Vitals { load_1: Some(0.5), clock_offset_us: Some(-7), ..Vitals::default() };
    let sample = Sample { vitals: Some(Box::new(vitals)), ..Sample::default() };
    let disk = DiskFacts { name: "sda".into(), size_kib: Some(5), ..DiskFacts::default() };
    let facts = HostFacts {
        boot_id: Some("b".into()),
        disks: Some(vec![disk]),
        interfaces: Some(Vec::new()),
        ..HostFacts::default()
    };
    let bodies = [
        Body::Sample(sample),
        Body::Devices(Box::new(reading())),
        Body::HostFacts(Box::new(facts)),
        Body::Devices(Box::default()),
    ];
    for body in &bodies {
        rig.append(body.clone());
    }
    assert!(rig.spool.flush(PATIENCE));
    let check = |rig: &Rig| {
        let held = rig.held();
        let found: Vec<_> = held.iter().map(|record| record.body.clone()).collect();
        assert_eq!(found, bodies);
        assert_eq!(check_dense(Sequence::FIRST, 0, &held), 1, "only the sample is a tick");
        let mut times: Vec<_> = held.iter().map(|record| record.time).collect();
        times.dedup();
        assert_eq!(times.len(), 4, "all were taken at one time, and none has another's");
    };
    check(&rig);
    let disk = rig.disk.copy();
    rig.reopen(disk);
    check(&rig);
}

#[test]
fn a_reading_that_no_record_holds_is_told_as_such_and_costs_no_other_record() {
    let rig = Rig::new(64 * 1024, 8);
    let metric = |n: u32| Metric { name: format!("m{n:0100}"), ..Metric::default() };
    let metrics = (0..1000).map(metric).collect();
    rig.sample(1);
    rig.append(Body::Devices(Box::new(Devices { metrics, ..Devices::default() })));
    rig.sample(2);
    assert!(rig.spool.flush(PATIENCE));
    let held = rig.held();
    assert_eq!((free(&held[0]), free(&held[2]), held.len()), (Some(1), Some(2), 3));
    let Body::Devices(devices) = &held[1].body else { panic!("{:?}", held[1]) };
    let reasons: Vec<_> = devices.skipped.iter().map(|skipped| skipped.reason).collect();
    assert_eq!((devices.metrics.len(), reasons), (0, vec![SkipReason::Limit]));
}

#[test]
fn a_boot_since_it_was_last_open_is_told_once() {
    let mut rig = Rig::new(64 * 1024, 8);
    assert!(!rig.opened.boot_is_new, "there was no other");
    for (boot, is_new) in [(1, false), (2, true), (2, false), (1, true)] {
        rig.boot = boot;
        assert!(rig.spool.close(PATIENCE));
        let disk = rig.disk.copy();
        rig.reopen(disk);
        assert_eq!(rig.opened.boot_is_new, is_new, "{boot}");
    }
}
