//! Files that are read again when their content changes, without a restart.
//!
//! A look reads the files, which are small, and compares hashes of what they hold: a file that is
//! replaced, rewritten in place within a second, mounted over or reached by another symbolic link
//! is noticed alike, and one that was only touched is not. Blocks: call it where that is allowed.

use std::io;
use std::path::PathBuf;

use crate::load::MAX_FILE_BYTES;
use crate::{plain, x509};

/// Some files, and what they held at the last look.
#[derive(Debug)]
pub struct Watcher {
    paths: Vec<PathBuf>,
    seen: Vec<Seen>,
    failed: bool,
}

/// What a look at the files brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Look<T, E> {
    /// Nothing changed: what is in use stays.
    Same,
    /// They changed and are good.
    New(T),
    /// They cannot be used: what is in use stays, and the next look tries again.
    Bad(E),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Content([u8; 32]),
    Unreadable(io::ErrorKind),
}

impl Watcher {
    /// Remembers what the files hold now. To be called before they are loaded for the first time:
    /// a change between the two is then noticed.
    #[must_use]
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let paths: Vec<PathBuf> = paths.into_iter().collect();
        let seen = look_at(&paths);
        Self { paths, seen, failed: false }
    }

    /// Whether a file holds something else than at the last look, came or went.
    pub fn changed(&mut self) -> bool {
        let now = look_at(&self.paths);
        let changed = now != self.seen;
        self.seen = now;
        changed
    }

    /// Loads the files if they changed, or if they could not be used when they last did: a pair
    /// of files is often written one after the other, and a full table of open files passes.
    pub fn look<T, E>(&mut self, load: impl FnOnce() -> Result<T, E>) -> Look<T, E> {
        if !self.changed() && !self.failed {
            return Look::Same;
        }
        let loaded = load();
        self.failed = loaded.is_err();
        match loaded {
            Ok(loaded) => Look::New(loaded),
            Err(error) => Look::Bad(error),
        }
    }
}

fn look_at(paths: &[PathBuf]) -> Vec<Seen> {
    paths
        .iter()
        .map(|path| match plain::read(path, MAX_FILE_BYTES + 1) {
            Ok(bytes) => Seen::Content(x509::sha256(&bytes)),
            Err(error) => Seen::Unreadable(error.kind()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_change_is_seen_once_and_a_touch_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["a", "b"].map(|name| folder.path().join(name));
        fs::write(&first, "1").unwrap();
        let mut watcher = Watcher::new([first.clone(), second.clone()]);
        assert!(!watcher.changed());
        fs::write(&first, "1").unwrap();
        assert!(!watcher.changed());
        // Of the same length, perhaps within the clock's granularity.
        fs::write(&first, "2").unwrap();
        assert!(watcher.changed() && !watcher.changed());
        fs::write(&second, "").unwrap();
        assert!(watcher.changed() && !watcher.changed());
        fs::remove_file(&first).unwrap();
        assert!(watcher.changed() && !watcher.changed());
    }

    #[test]
    fn a_symbolic_link_that_points_elsewhere_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let [old, new, link] = ["old", "new", "link"].map(|name| folder.path().join(name));
        fs::write(&old, "old").unwrap();
        fs::write(&new, "new").unwrap();
        std::os::unix::fs::symlink(&old, &link).unwrap();
        let mut watcher = Watcher::new([link.clone()]);
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&new, &link).unwrap();
        assert!(watcher.changed());
    }

    #[test]
    fn bad_files_are_tried_again_at_each_look_until_they_are_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut watcher = Watcher::new([path.clone()]);
        assert_eq!(watcher.look(|| Ok::<_, ()>(())), Look::Same);
        fs::write(&path, "half").unwrap();
        assert_eq!(watcher.look(|| Err::<(), _>("half")), Look::Bad("half"));
        assert_eq!(watcher.look(|| Err::<(), _>("half")), Look::Bad("half"));
        assert_eq!(watcher.look(|| Ok::<_, ()>("good")), Look::New("good"));
        assert_eq!(watcher.look(|| Ok::<_, ()>("good")), Look::Same);
    }
}
