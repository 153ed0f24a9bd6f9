use std::time::Duration;

use rowcall_core::devices::SkipReason;
use rowcall_core::id::{Epoch, Sequence};
use rowcall_core::record::EpochOrigin;

use super::*;
use crate::identity::Note;

const NOW: UnixMicros = UnixMicros(1_795_365_212_000_000);

fn report() -> Report {
    let certificate = Certificate {
        path: "/etc/rowcall/agent.pem".into(),
        role: "agent",
        host: "node1.example.com".into(),
        not_after: NOW.plus_micros(40 * 86_400_000_000),
        enrolled: None,
    };
    let status = rowcall_spool::Status {
        epoch: Epoch::new(4711).unwrap(),
        origin: EpochOrigin::New,
        oldest: Sequence::new(41).unwrap(),
        next: Sequence::new(1481).unwrap(),
        unacknowledged_records: 3,
        size_bytes: 200_000,
        waiting_bytes: 1200,
        oldest_unacknowledged_age: Some(Duration::from_secs(125)),
        dropped_records: 0,
        damaged_records: 0,
        due_ticks: 1480,
        fault: None,
        write_failures: 0,
        acknowledged: Some((Sequence::new(1477).unwrap(), NOW.plus_micros(-130_000_000))),
    };
    Report {
        now: NOW,
        aggregators: vec!["https://db1:7443".into(), "https://db2:7443".into()],
        certificate: Ok(certificate),
        told: Told::default(),
        spool_dir: "/var/lib/rowcall-agent/spool".into(),
        spool_max_bytes: 64 << 20,
        spool: Ok(Some(Spool { pid: Some(123), owner: "node1.example.com".into(), status })),
        devices: Some(LastReading {
            at: NOW.plus_micros(-61_000_000),
            skipped: vec![Skipped {
                collector: "filesystems".into(),
                item: Some("/mnt/nfs".into()),
                reason: SkipReason::Hung,
                count: 1,
            }],
        }),
        reads_devices: true,
    }
}

fn spool(report: &mut Report) -> &mut Spool {
    report.spool.as_mut().unwrap().as_mut().unwrap()
}

#[test]
fn everything_is_shown_on_a_line_of_its_own() {
    let expected = "\
agent         runs, pid 123
host          node1.example.com
certificate   expires 2027-01-01T16:33:32Z, in 40 d (/etc/rowcall/agent.pem)
identity      files of your own: renew them yourself
aggregators   https://db1:7443, https://db2:7443
spool         /var/lib/rowcall-agent/spool
epoch         4711, new
records       41 to 1480
size          195.3 KiB of 64.0 MiB
waiting       3 not acknowledged, the oldest 2 min 5 s old
acknowledged  up to 1477, 2 min 10 s ago (2026-11-22T16:31:22Z)
dropped       0
damaged       0
fault         none
devices       read 1 min 1 s ago
skipped       filesystems /mnt/nfs not answered in time
";
    assert_eq!(text(&report()), expected);
    assert_eq!(report().verdict(), Verdict::Runs);
}

#[test]
fn what_is_wrong_is_said_and_told_by_the_exit_code() {
    let mut stopped = report();
    spool(&mut stopped).pid = None;
    let mut never = report();
    never.spool = Ok(None);
    let mut expired = report();
    expired.certificate.as_mut().unwrap().not_after = NOW.plus_micros(-3_600_000_000);
    let mut unloadable = report();
    unloadable.certificate = Err("cannot read certificate file x".into());
    let mut viewer = report();
    viewer.certificate.as_mut().unwrap().role = "viewer";
    let mut full = report();
    spool(&mut full).status.fault = Some(Fault::NoSpace);
    spool(&mut full).status.write_failures = 5;
    let mut closed = report();
    closed.spool = Err("cannot read the spool: Permission denied".into());
    let mut revoked = report();
    let note = Note { at: NOW.plus_micros(-60_000_000), text: "revoked by anna".into() };
    revoked.told.refused = Some(note.clone());
    let mut enrolled = report();
    enrolled.certificate.as_mut().unwrap().enrolled = Some(Enrolled {
        servers: vec!["https://db1:7444".into()],
        issued_at: NOW.plus_micros(-86_400_000_000),
        renew_at: NOW.plus_micros(9 * 86_400_000_000),
    });
    enrolled.told.renewal = Some(note);
    let mut renamed = report();
    spool(&mut renamed).owner = "old.example.com".into();
    for (report, code, said) in [
        (&renamed, 4, "agent         runs as old.example.com, pid 123\n"),
        (&renamed, 4, "              holds records of old.example.com: to go on as the host above"),
        (&revoked, 4, "refused       since 2026-11-22T16:32:32Z: revoked by anna\n"),
        (&enrolled, 4, "not renewed   since 2026-11-22T16:32:32Z: revoked by anna\n"),
        (
            &enrolled,
            4,
            "identity      enrolled at https://db1:7444, this certificate issued \
             2026-11-21T16:33:32Z, to be renewed in 9 d\n",
        ),
        (&stopped, 3, "agent         does not run\n"),
        (&never, 3, "empty: no agent has run on it yet\n"),
        (&expired, 4, "EXPIRED 2026-11-22T15:33:32Z, 1 h ago: issue a new one"),
        (&unloadable, 4, "certificate   cannot read certificate file x\n"),
        (&viewer, 4, "of role viewer, not agent; expires"),
        (&full, 4, "not written   5 times\nfault         no room on its disk: free some"),
        (&closed, 1, "              cannot read the spool: Permission denied\n"),
    ] {
        let shown = text(report);
        assert!(shown.contains(said), "{said:?} is missing in\n{shown}");
        assert_eq!(report.verdict().exit_code(), code, "{shown}");
    }
}

#[test]
fn devices_left_out_are_said_where_devices_are_read_at_all_and_are_no_fault() {
    let mut full = report();
    spool(&mut full).status.waiting_bytes = (32 << 20) - 1;
    assert!(!text(&full).contains("left out"), "half of it is there for them");
    spool(&mut full).status.waiting_bytes = 32 << 20;
    let said = "left out      devices, while samples wait that need the rest of the spool\n";
    assert!(text(&full).ends_with(said), "{}", text(&full));
    assert_eq!(full.verdict(), Verdict::Runs);
    assert_eq!(json(&full)["devices"]["left_out"], true);
    assert_eq!(json(&report())["devices"]["left_out"], false);
    full.reads_devices = false;
    assert!(!text(&full).contains("left out"), "{}", text(&full));
}

#[test]
fn json_has_every_key_whatever_is_known() {
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let all = json(&report());
    assert_eq!(all["pid"], 123);
    assert_eq!(all["spool"]["unacknowledged_records"], 3);
    assert_eq!(all["spool"]["epoch_origin"], "new");
    let nothing =
        Report { certificate: Err("x".into()), spool: Err("y".into()), devices: None, ..report() };
    let nothing = json(&nothing);
    assert_eq!(nothing["running"], serde_json::Value::Null);
    assert_eq!(all["certificate"]["days_left"], 40);
    assert_eq!(all["identity"]["source"], "files");
    assert_eq!(all["devices"]["skipped"][0]["item"], "/mnt/nfs");
    for part in ["identity", "certificate", "spool", "devices"] {
        assert_eq!(keys(&all[part]), keys(&nothing[part]));
    }
    assert_eq!(keys(&all), keys(&nothing));
}

#[test]
fn the_last_reading_of_devices_is_found_among_the_newest_records_with_all_its_parts() {
    use rowcall_core::clock::{Clock as _, TestClock};
    use rowcall_core::record::Sample;
    let clock = std::sync::Arc::new(TestClock::at(crate::testing::START));
    let shared: rowcall_core::clock::SharedClock = std::sync::Arc::<TestClock>::clone(&clock);
    let (queue, folder) = crate::testing::queue(shared, 8 << 20);
    let dir = folder.path().join("spool");
    assert!(last_reading(&dir).is_none());
    let skipped = |collector: &str| Skipped {
        collector: collector.into(),
        item: None,
        reason: SkipReason::Limit,
        count: 2,
    };
    let append = |body| queue.spool.append(clock.wall(), clock.since_boot(), body);
    let devices = |collector| {
        let skipped = vec![skipped(collector)];
        Body::Devices(Box::new(Devices { skipped, ..Devices::default() }))
    };
    append(devices("sensors"));
    append(Body::Sample(Sample::default()));
    clock.advance(Duration::from_secs(1));
    append(devices("disks"));
    append(devices("interfaces"));
    append(Body::Sample(Sample::default()));
    assert!(queue.spool.flush(Duration::from_secs(60)));
    let last = last_reading(&dir).unwrap();
    let mut names: Vec<_> = last.skipped.iter().map(|s| s.collector.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["disks", "interfaces"]);
    assert_eq!(last.at, crate::testing::at(1_000_000));
}
