//! A folder that root and the agent's own user both write to.
//!
//! Everything happens relative to an open folder and follows no link in it: whoever runs the agent
//! could put one there, and root's `enroll` must not be led elsewhere by it. A file appears whole or
//! not at all, and is on disk before it has its name. What root makes belongs to the folder's owner.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FlockOperation, Gid, Mode, OFlags, Uid};

/// No file in it is longer.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o700);

/// A file on its way has this after its name.
const UNFINISHED: &str = ".new";

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    file: File,
    path: PathBuf,
    /// Whose the things that root makes in it are.
    owner: Option<(Uid, Gid)>,
}

impl Folder {
    /// Opens it; makes it, for its owner alone, where it isn't there.
    pub(super) fn make(path: &Path) -> io::Result<Self> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("/"));
        make_parents(parent)?;
        let above = std::fs::metadata(parent)?;
        let above = (above.uid(), above.gid());
        let made = match std::fs::symlink_metadata(path) {
            Ok(_) => false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                crash_point()?;
                match rustix::fs::mkdir(path, FOLDER_MODE) {
                    Ok(()) => true,
                    Err(rustix::io::Errno::EXIST) => false,
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error),
        };
        let mut folder = Self::open(path)?;
        if rustix::process::geteuid().is_root() {
            let own = folder.file.metadata()?;
            // One that belongs to somebody else keeps its owner; one of root follows the folder above.
            let (uid, gid) = if own.uid() == 0 || made { above } else { (own.uid(), own.gid()) };
            folder.owner = Some((Uid::from_raw(uid), Gid::from_raw(gid)));
            if made {
                folder.give(&folder.file)?;
            }
        }
        Ok(folder)
    }

    /// Opens one that is there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { file: fd.into(), path: path.to_owned(), owner: None })
    }

    /// Its path, as it was opened.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whose what is made here will be, where that isn't this process's user.
    pub(super) fn owner(&self) -> Option<u32> {
        self.owner.map(|(uid, _)| uid.as_raw())
    }

    /// Takes it for this process, until it is dropped; false where another one has it.
    pub(super) fn lock(&self) -> io::Result<bool> {
        match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A file's bytes, if it is there.
    pub(super) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.read_at_most(name, MAX_FILE_BYTES)
    }

    /// Its first ones.
    pub(super) fn read_at_most(&self, name: &str, max: u64) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file: File = match rustix::fs::openat(&self.file, name, flags, Mode::empty()) {
            Ok(fd) => fd.into(),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        rowcall_tls::plain::read_open(&file, max).map(Some)
    }

    /// Writes a file that appears whole, on disk, in place of one that was there.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let unfinished = format!("{name}{UNFINISHED}");
        self.remove(&unfinished)?;
        self.write_new(&unfinished, bytes)?;
        self.rename(&unfinished, name)?;
        self.sync()
    }

    /// Writes a file that isn't there yet; its bytes are on disk afterwards, its name perhaps not.
    pub(super) fn write_new(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        crash_point()?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file: File = rustix::fs::openat(&self.file, name, flags, FILE_MODE)?.into();
        self.give(&file)?;
        crash_point()?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// Makes a folder in it.
    pub(super) fn make_folder(&self, name: &str) -> io::Result<Self> {
        crash_point()?;
        rustix::fs::mkdirat(&self.file, name, FOLDER_MODE)?;
        let folder = Self { owner: self.owner, ..self.folder(name)? };
        folder.give(&folder.file)?;
        Ok(folder)
    }

    /// Points a link at something in it, in place of one that was there.
    pub(super) fn link(&self, name: &str, to: &str) -> io::Result<()> {
        let unfinished = format!("{name}{UNFINISHED}");
        self.remove(&unfinished)?;
        crash_point()?;
        rustix::fs::symlinkat(to, &self.file, &unfinished)?;
        if let Some((uid, gid)) = self.owner {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(&self.file, &unfinished, Some(uid), Some(gid), flags)?;
        }
        self.rename(&unfinished, name)?;
        self.sync()
    }

    /// Where a link points to, if it is there.
    pub(super) fn linked(&self, name: &str) -> io::Result<Option<String>> {
        match rustix::fs::readlinkat(&self.file, name, Vec::new()) {
            Ok(target) => target.into_string().map(Some).map_err(io::Error::other),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The names in it.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.file)? {
            // What is no text is none of ours.
            if let Ok(name) = entry?.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Removes a file or link, if it is there.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        crash_point()?;
        match rustix::fs::unlinkat(&self.file, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a folder of files in it.
    pub(super) fn remove_folder(&self, name: &str) -> io::Result<()> {
        let folder = self.folder(name)?;
        for file in folder.names()? {
            folder.remove(&file)?;
        }
        crash_point()?;
        rustix::fs::unlinkat(&self.file, name, AtFlags::REMOVEDIR).map_err(Into::into)
    }

    /// Names are on disk afterwards.
    pub(super) fn sync(&self) -> io::Result<()> {
        crash_point()?;
        self.file.sync_all()
    }

    /// Opens a folder in it.
    pub(super) fn folder(&self, name: &str) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd: OwnedFd = rustix::fs::openat(&self.file, name, flags, Mode::empty())?;
        Ok(Self { file: fd.into(), path: self.path.join(name), owner: None })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        crash_point()?;
        rustix::fs::renameat(&self.file, from, &self.file, to).map_err(Into::into)
    }

    fn give(&self, file: &File) -> io::Result<()> {
        match self.owner {
            Some((uid, gid)) => {
                rustix::fs::fchown(file, Some(uid), Some(gid)).map_err(io::Error::from)
            }
            None => Ok(()),
        }
    }
}

/// The folders above, for their owner alone where they aren't there.
fn make_parents(parent: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    if parent.is_dir() {
        return Ok(());
    }
    crash_point()?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)
}

/// Where a test ends the process, as far as the disk can tell.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "a test's does fail")]
const fn crash_point() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(super) use crash::crash_point;

/// Ends of the process at every step: after one, nothing reaches the disk any more.
#[cfg(test)]
pub(super) mod crash {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// On this thread so many steps still happen; `None` for all.
    pub(crate) fn after(steps: Option<u32>) {
        LEFT.set(steps);
    }

    pub(in crate::identity) fn crash_point() -> io::Result<()> {
        match LEFT.get() {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the process was killed")),
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }
}
