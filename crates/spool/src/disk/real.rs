//! A folder of the operating system.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, fdatasync, flock, fstatfs};
use rustix::io::Errno;

use super::{Disk, File, zeros};
use crate::error::OpenError;

/// The file whose lock says that a process has the spool open; it holds that process's number.
const LOCK: &str = "lock";

/// Filesystems that lose what is synced when the host or another host stops: by the numbers that
/// statfs(2) gives for them. Tmpfs, ramfs, overlayfs are told apart below.
const NOT_DURABLE: [u64; 11] = [
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x6969,      // NFS
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB2
    0x517b,      // SMB
    0x6573_5546, // FUSE: sshfs, s3fs and others
    0x00c3_6400, // Ceph
    0x0102_1997, // 9p: a virtual machine's host decides
    0x5346_414f, // AFS
    0x7372_7279, // VirtualBox shared folder
];

/// Overlayfs: as durable as its upper folder, which statfs does not tell.
const OVERLAY: u64 = 0x794c_7630;

/// A folder of the operating system, locked or only looked at.
#[derive(Debug)]
pub(crate) struct RealDisk {
    dir: PathBuf,
    /// The lock is held as long as the file is open. `None`: only looked at.
    lock: Mutex<Option<fs::File>>,
    writable: bool,
}

impl RealDisk {
    /// Makes the folder where there is none, and locks it.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the folder, or who has it.
    pub(crate) fn lock(dir: &Path) -> Result<Self, OpenError> {
        make(dir)?;
        check_owner(dir)?;
        let not_writable =
            |source| OpenError::NotWritable { dir: dir.to_owned(), what: "written", source };
        let lock = match take_lock(dir) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(OpenError::InUse { dir: dir.to_owned(), pid: pid_in_lock(dir) });
            }
            Err(error) => return Err(not_writable(error)),
        };
        let disk = Self { dir: dir.to_owned(), lock: Mutex::new(Some(lock)), writable: true };
        disk.probe().map_err(not_writable)?;
        Ok(disk)
    }

    /// To look at only: nothing is locked, made or written.
    pub(crate) fn look(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), lock: Mutex::new(None), writable: false }
    }

    /// Whether files can be made here; a disk without room is no reason to say no.
    fn probe(&self) -> io::Result<()> {
        let path = self.dir.join("probe");
        match options().create(true).truncate(true).open(&path) {
            Ok(_) => fs::remove_file(path),
            Err(error) if is_full(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The process that holds the spool's lock, as the kernel tells.
pub(crate) fn holder(dir: &Path) -> Option<u32> {
    let pid = pid_in_lock(dir)?;
    let inode = fs::metadata(dir.join(LOCK)).ok()?.ino().to_string();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks
        .lines()
        .filter(|line| line.contains("FLOCK"))
        .any(|line| {
            let mut words = line.split_ascii_whitespace().skip(4);
            words.next() == Some(pid.to_string().as_str())
                && words.next().and_then(|place| place.rsplit(':').next()) == Some(inode.as_str())
        })
        .then_some(pid)
}

/// The folder's owner must be this process's user where that is root; for all others the system's
/// own rights decide.
pub(crate) fn check_owner(dir: &Path) -> Result<(), OpenError> {
    let owner = fs::metadata(dir).map_or(0, |meta| meta.uid());
    if rustix::process::geteuid().is_root() && owner != 0 {
        return Err(OpenError::OtherOwner { dir: dir.to_owned(), owner });
    }
    Ok(())
}

fn make(dir: &Path) -> Result<(), OpenError> {
    match fs::metadata(dir) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => return Err(OpenError::NotAFolder { dir: dir.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(OpenError::NotAFolder { dir: dir.to_owned() });
        }
        Err(source) => {
            return Err(OpenError::NotWritable { dir: dir.to_owned(), what: "read", source });
        }
    }
    create_dir(dir).map_err(|source| OpenError::NotWritable {
        dir: dir.to_owned(),
        what: "made",
        source,
    })
}

fn create_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // Its name in the folder above must survive as well.
    match dir.parent().map(fs::File::open) {
        Some(Ok(parent)) => parent.sync_all().or(Ok(())),
        _ => Ok(()),
    }
}

fn options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn take_lock(dir: &Path) -> io::Result<fs::File> {
    let file = match options().create(true).truncate(false).open(dir.join(LOCK)) {
        Ok(file) => file,
        // No room for a file's name: the folder itself is locked instead.
        Err(error) if is_full(&error) => fs::File::open(dir)?,
        Err(error) => return Err(error),
    };
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    // Without room for the number the lock still holds.
    let pid = std::process::id().to_string();
    if file.set_len(0).and_then(|()| file.write_all_at(pid.as_bytes(), 0)).is_err() {
        tracing::debug!("no room for the process's number in the spool's lock");
    }
    Ok(file)
}

fn pid_in_lock(dir: &Path) -> Option<u32> {
    let mut text = String::new();
    fs::File::open(dir.join(LOCK)).ok()?.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let path = self.dir.join(name);
        let file = fs::OpenOptions::new().read(true).write(self.writable).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>> {
        let path = self.dir.join(name);
        let file = options().create(true).truncate(true).open(&path)?;
        let made = allocate(&file, bytes).and_then(|()| file.sync_all());
        if let Err(error) = made {
            drop(file);
            return fs::remove_file(path).and(Err(error));
        }
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.dir.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn sync_dir(&self) -> io::Result<()> {
        fs::File::open(&self.dir)?.sync_all()
    }

    fn restore(&self) -> io::Result<()> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there = match &*lock {
            Some(held) => {
                let held = held.metadata()?;
                held.nlink() > 0
                    && [LOCK, ""].iter().any(|name| {
                        fs::metadata(self.dir.join(name)).is_ok_and(|now| now.ino() == held.ino())
                    })
            }
            None => false,
        };
        if !is_there {
            create_dir(&self.dir)?;
            *lock = Some(take_lock(&self.dir)?);
        }
        Ok(())
    }

    fn is_durable(&self) -> bool {
        let kind = |dir: &Path| {
            let stat = fs::File::open(dir).and_then(|f| Ok(fstatfs(f)?));
            // As the kernel's headers write it: 32 bits, whatever the type's sign.
            stat.ok().map(|stat| i128::from(stat.f_type).rem_euclid(1 << 32))
        };
        let Some(kind) = kind(&self.dir).and_then(|kind| u64::try_from(kind).ok()) else {
            return true;
        };
        if kind == OVERLAY {
            return !overlay_is_in_memory(&self.dir);
        }
        !NOT_DURABLE.contains(&kind)
    }
}

/// Whether the overlay that a folder lies on keeps its changes in memory: its upper folder is
/// named in the mount table, and lies on a tmpfs where that shows here.
fn overlay_is_in_memory(dir: &Path) -> bool {
    let Ok(dir) = fs::canonicalize(dir) else { return false };
    let Ok(mounts) = fs::read_to_string("/proc/self/mounts") else { return false };
    let upper = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
            let options = words.next()?;
            (kind == "overlay" && dir.starts_with(place)).then_some((place.len(), options))
        })
        .max_by_key(|(length, _)| *length)
        .and_then(|(_, options)| options.split(',').find_map(|o| o.strip_prefix("upperdir=")));
    upper.map(Path::new).is_some_and(|upper| {
        mounts
            .lines()
            .filter_map(|line| {
                let mut words = line.split(' ');
                let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
                upper.starts_with(place).then_some((place.len(), kind))
            })
            .max_by_key(|(length, _)| *length)
            .is_some_and(|(_, kind)| matches!(kind, "tmpfs" | "ramfs"))
    })
}

/// Allocates the room of a new file, all zeros.
fn allocate(file: &fs::File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let mut at = 0;
            while at < bytes {
                let piece = zeros(bytes - at);
                file.write_all_at(piece, at)?;
                at = at.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(fdatasync(&self.0)?)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(self.0.metadata()?.nlink() > 0)
    }
}
