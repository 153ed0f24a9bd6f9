//! A spool as the version wrote it that knew neither vitals nor devices: `before_devices/` holds its
//! files, without the zeros at their ends.

use rowcall_core::id::Sequence;
use rowcall_core::record::{Body, GapCause, HostFacts};

use crate::real::{PATIENCE, append, clock, free, open};

#[test]
fn what_an_older_version_left_is_read_and_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let files: [(&str, &[u8], usize); 2] = [
        ("00000000000000000001.seg", include_bytes!("before_devices/segment.bin"), 64 * 1024),
        ("positions", include_bytes!("before_devices/positions.bin"), 8 * 1024),
    ];
    for (name, bytes, whole) in files {
        let mut bytes = bytes.to_vec();
        bytes.resize(whole, 0);
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let clock = clock();
    clock.advance(std::time::Duration::from_secs(3600));
    let (spool, opened) = open(dir.path(), &clock);
    assert_eq!((opened.records, opened.unacknowledged_records), (6, 4));
    assert_eq!(
        (opened.damaged_records, opened.epoch_is_new, opened.boot_is_new),
        (0, false, false)
    );
    append(&spool, &clock, Body::Devices(Box::default()));
    assert!(spool.flush(PATIENCE));
    let records = spool.read_from(Sequence::FIRST, usize::MAX);
    let [one, two, three, facts, gap, four, devices] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!([one, two, three, four].map(free), [1, 2, 3, 4]);
    let expected =
        HostFacts { cpu_number: Some(4), os: Some("Debian".into()), ..HostFacts::default() };
    assert_eq!(facts.body, Body::HostFacts(Box::new(expected)));
    let Body::Gap(gap) = &gap.body else { panic!("{gap:?}") };
    assert_eq!((gap.ticks, gap.cause), (5, GapCause::Off));
    assert_eq!(devices.body, Body::Devices(Box::default()));
    assert_eq!((devices.sequence.as_u64(), devices.due_ticks), (7, 9));
}
