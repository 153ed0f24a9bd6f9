//! Filesystems that are small, read-only or in memory. Needs root; says so where it is not.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rowcall_core::clock::TestClock;
use rowcall_core::record::{Body, GapCause, GapState};
use rowcall_core::session::agent::Holdings as _;
use rowcall_spool::{Fault, OpenError, Spool, check};

use super::real::{OWNER, PATIENCE, append, clock, open, sample, settings};

/// A tmpfs that goes with the test.
struct Mount {
    place: PathBuf,
    _dir: tempfile::TempDir,
}

impl Mount {
    fn tmpfs(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("disk");
        std::fs::create_dir(&place).unwrap();
        let mount = Self { place, _dir: dir };
        mount.run("mount", &["-t", "tmpfs", "-o", options, "spool-test"]).then_some(mount)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let done = Command::new(program).args(arguments).arg(&self.place).output();
        let done = done.is_ok_and(|output| output.status.success());
        if !done {
            println!("SKIPPED: {program} is not permitted here");
        }
        done
    }

    fn dir(&self) -> PathBuf {
        self.place.join("spool")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.run("umount", &["-l"]);
    }
}

fn fill(place: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(place.join("filler")).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
}

#[test]
fn a_small_disk_that_fills_up_and_is_freed() {
    let Some(mount) = Mount::tmpfs("size=2m,mode=700") else { return };
    let clock = clock();
    let (spool, _) = open(&mount.dir(), &clock);
    assert_eq!(spool.status().fault, Some(Fault::NotDurable), "it is in memory");
    append(&spool, &clock, sample(1));
    assert!(spool.flush(PATIENCE));
    fill(&mount.place);
    for free in 2..=6000 {
        append(&spool, &clock, sample(free));
        if free % 100 == 0 {
            assert!(spool.flush(PATIENCE), "it goes on in the room that it has");
        }
    }
    assert_eq!(spool.status().fault, Some(Fault::NoSpace));
    let held = spool.read_from(spool.oldest(), usize::MAX);
    let Body::Gap(gap) = &held[0].body else { panic!("no gap but {:?}", held[0]) };
    assert_eq!((gap.state, gap.cause), (GapState::Dropped, GapCause::Storage));
    assert_eq!(held.last().unwrap().due_ticks, 6000);
    std::fs::remove_file(mount.place.join("filler")).unwrap();
    append(&spool, &clock, sample(6001));
    assert!(spool.flush(PATIENCE));
    assert_eq!(spool.status().fault, Some(Fault::NotDurable));
    assert!(spool.close(PATIENCE));
    drop(spool);
    let (_spool, opened) = open(&mount.dir(), &clock);
    assert_eq!(opened.damaged_records, 0);
}

#[test]
fn a_first_start_on_a_full_disk() {
    let Some(mount) = Mount::tmpfs("size=256k,mode=700") else { return };
    fill(&mount.place);
    let clock = clock();
    let (spool, _) = open(&mount.dir(), &clock);
    append(&spool, &clock, sample(1));
    assert!(!spool.flush(PATIENCE));
    assert_eq!((spool.next().as_u64(), spool.status().fault), (2, Some(Fault::NoSpace)));
    std::fs::remove_file(mount.place.join("filler")).unwrap();
    assert!(spool.flush(PATIENCE), "it is written once there is room");
}

#[test]
fn a_read_only_disk_is_refused() {
    let Some(mount) = Mount::tmpfs("size=2m,mode=700") else { return };
    let clock = clock();
    let (spool, _) = open(&mount.dir(), &clock);
    assert!(spool.close(PATIENCE));
    drop(spool);
    if !mount.run("mount", &["-o", "remount,ro"]) {
        return;
    }
    for dir in [mount.dir(), mount.place.join("other")] {
        let error = Spool::open(
            settings(&dir),
            Arc::<TestClock>::clone(&clock),
            "boot",
            super::real::epoch(3),
        )
        .unwrap_err();
        assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
        assert!(error.to_string().contains("Read-only file system"), "{error}");
        let error = check(&dir, OWNER).unwrap_err();
        assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
    }
}
