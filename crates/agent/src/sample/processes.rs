//! How many processes there are, without listing them.
//!
//! The kernel gives /proc one link for each process, on top of those that any directory has: two,
//! and one for each folder in it. Those others are counted by a listing now and then. In a
//! container with processes of its own it is still the whole machine's number, as load and CPU
//! time are.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{LOOK_AGAIN_EVERY, is_due};

/// How many more processes a listing may show than links were counted: they end meanwhile.
const MAY_END_MEANWHILE: u64 = 64;

/// Counts processes again and again.
#[derive(Debug)]
pub(super) struct Processes {
    proc: PathBuf,
    listed_at: Option<Duration>,
    /// Links that stand for no process. `None`: links do not tell.
    others: Option<u64>,
}

impl Processes {
    /// Looks at `<root>/proc`.
    pub(super) fn new(root: &Path) -> Self {
        Self { proc: root.join("proc"), listed_at: None, others: None }
    }

    /// How many there are now, zombies included.
    pub(super) fn count(&mut self, since_boot: Duration) -> Option<u64> {
        let links = fs::metadata(&self.proc).ok()?.nlink();
        // A module that is loaded may add a folder.
        if is_due(&mut self.listed_at, since_boot, LOOK_AGAIN_EVERY) {
            self.others = Folders::list(&self.proc).and_then(|folders| folders.others(links));
        }
        links.checked_sub(self.others?).filter(|processes| *processes > 0)
    }
}

/// The folders in /proc.
#[derive(Clone, Copy, Debug, Default)]
struct Folders {
    of_processes: u64,
    of_others: u64,
}

impl Folders {
    fn list(proc: &Path) -> Option<Self> {
        let mut folders = Self::default();
        for entry in fs::read_dir(proc).ok()?.flatten() {
            if entry.file_name().as_bytes().iter().all(u8::is_ascii_digit) {
                folders.of_processes += 1;
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.of_others += 1;
            }
        }
        Some(folders)
    }

    /// The links that stand for no process; `None` where links do not count folders at all.
    fn others(self, links: u64) -> Option<u64> {
        let others = self.of_others + 2;
        let explained = others + self.of_processes;
        // Processes of other namespaces, or hidden ones, have links and are not listed.
        (self.of_others > 0 && links + MAY_END_MEANWHILE >= explained).then_some(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_are_no_process_are_taken_off() {
        let folders = Folders { of_processes: 88, of_others: 9 };
        assert_eq!(folders.others(99), Some(11));
        assert_eq!(folders.others(500), Some(11), "a container lists only its own");
        assert_eq!(
            Folders { of_processes: 500, of_others: 9 }.others(1),
            None,
            "no links are counted"
        );
        assert_eq!(Folders { of_processes: 5, of_others: 0 }.others(7), None, "this is no /proc");
    }

    #[test]
    fn a_module_that_adds_a_folder_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str| fs::create_dir(root.path().join("proc").join(name)).unwrap();
        for name in ["", "sys", "1", "2", "77"] {
            folder(name);
        }
        if fs::metadata(root.path().join("proc")).unwrap().nlink() != 6 {
            return; // This file system counts links in another way.
        }
        let mut processes = Processes::new(root.path());
        assert_eq!(processes.count(Duration::ZERO), Some(3));
        folder("asound");
        assert_eq!(processes.count(LOOK_AGAIN_EVERY), Some(3));
        assert_eq!(Processes::new(Path::new("/nonexistent")).count(Duration::ZERO), None);
    }

    /// The number must be that of a listing, whenever two listings around it are the same.
    #[test]
    fn it_is_what_a_listing_shows() {
        let own = fs::read_link("/proc/self/ns/pid").unwrap();
        if own.as_os_str() != "pid:[4026531836]" {
            return; // A namespace of its own lists fewer.
        }
        let list = || {
            let entries = fs::read_dir("/proc").unwrap().flatten();
            let names = entries.map(|entry| entry.file_name());
            let mut pids: Vec<u32> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
            pids.sort_unstable();
            pids
        };
        let mut processes = Processes::new(Path::new("/"));
        let (counted, listed) = std::iter::from_fn(|| {
            let before = list();
            let counted = processes.count(Duration::ZERO).unwrap();
            Some((counted, before == list(), before.len() as u64))
        })
        .take(100_000)
        .find_map(|(counted, quiet, listed)| quiet.then_some((counted, listed)))
        .unwrap();
        assert!(counted.abs_diff(listed) <= 2, "{counted} counted, {listed} listed");
    }
}
