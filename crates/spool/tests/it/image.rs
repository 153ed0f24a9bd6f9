//! A spool read from memory.

use std::collections::BTreeMap;

use rowcall_core::id::Sequence;
use rowcall_core::session::agent::Holdings as _;
use rowcall_spool::{inspect, read_image};

use crate::real::{PATIENCE, append, clock, open, sample};

#[test]
fn copied_files_tell_what_the_spool_itself_would() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let (spool, _) = open(dir.path(), &clock);
    for free in 1..=20 {
        append(&spool, &clock, sample(free));
    }
    assert!(spool.flush(PATIENCE));
    spool.release(Sequence::new(5).unwrap());
    let records = spool.read_from(spool.oldest(), usize::MAX);
    assert_eq!(records.len(), 20);
    assert!(spool.close(PATIENCE));
    let files: BTreeMap<_, _> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap()))
        .collect();
    let image = read_image(files.clone(), clock.as_ref(), "boot").unwrap();
    assert_eq!(image.records, records);
    let status = inspect(dir.path()).unwrap().status;
    assert_eq!(image.status.unacknowledged_records, 15);
    assert_eq!((image.status.epoch, image.status.next), (status.epoch, status.next));
    assert_eq!(image.status.size_bytes, status.size_bytes);

    assert_eq!(read_image(BTreeMap::new(), clock.as_ref(), "boot").unwrap().records, []);
    let mut newer = files;
    newer.get_mut("positions").unwrap().fill(0);
    let segment = newer.get_mut("00000000000000000001.seg").unwrap();
    segment[8] = 2;
    for at in [0, 512] {
        segment[at + 8] = 2;
        let crc = crc32c::crc32c(&segment[at..at + 60]);
        segment[at + 60..at + 64].copy_from_slice(&crc.to_le_bytes());
    }
    assert_eq!(read_image(newer, clock.as_ref(), "boot"), None, "a newer version's");
}
