//! A filesystem that never answers, mounted for real: what a network filesystem is whose server
//! is gone.
//!
//! It is FUSE without a server: the kernel's first request stays in the queue, and everybody who
//! asks for anything waits behind it, until the mount is dropped. Needs root and /dev/fuse.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A mount whose server never answers. Dropped, all who wait for it get an error and it is gone.
#[derive(Debug)]
pub struct HungMount {
    at: PathBuf,
    server: Option<File>,
}

impl HungMount {
    /// Mounts at `at`, an existing folder; `source` and `kind` are shown in the table of mounts,
    /// for example "server:/export" and "fuse" or "fuse.sshfs".
    ///
    /// # Errors
    /// Without root, without /dev/fuse, and for whatever else mount(2) refuses.
    pub fn new(at: &Path, source: &str, kind: &str) -> io::Result<Self> {
        let server = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
        let data = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        let data = CString::new(data).map_err(io::Error::other)?;
        mount(source, at, kind, MountFlags::NOSUID | MountFlags::NODEV, Some(data.as_c_str()))?;
        Ok(Self { at: at.to_owned(), server: Some(server) })
    }

    /// Whether this process may mount one: tests without the right have nothing to show.
    #[must_use]
    pub fn possible() -> bool {
        rustix::process::geteuid().is_root()
            && OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok()
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Answers all who wait, with an error, and everybody from now on; the mount stays.
    pub fn give_up(&mut self) {
        drop(self.server.take());
    }
}

impl Drop for HungMount {
    fn drop(&mut self) {
        self.give_up();
        if let Err(error) = unmount(&self.at, UnmountFlags::DETACH) {
            tracing::warn!(mount = %self.at.display(), %error, "cannot unmount");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn who_asks_waits_until_it_gives_up() {
        if !HungMount::possible() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut hung = HungMount::new(folder.path(), "nowhere:/", "fuse.test").unwrap();
        let (answered, answers) = mpsc::channel();
        let path = folder.path().to_owned();
        let asks = thread::spawn(move || {
            answered.send(rustix::fs::statvfs(&path).is_ok()).unwrap();
        });
        assert!(answers.recv_timeout(std::time::Duration::from_millis(50)).is_err(), "waits");
        hung.give_up();
        assert!(!answers.recv().unwrap(), "is answered with an error");
        asks.join().unwrap();
        let table = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let at = folder.path().to_str().unwrap().to_owned();
        assert!(table().contains(&at));
        drop(hung);
        assert!(!table().contains(&at));
    }
}
