//! Reading a spool whose files are in memory: copied from a node, or made up.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rowcall_core::clock::Clock;
use rowcall_core::id::{Epoch, Sequence};
use rowcall_core::record::Record;

use crate::Status;
use crate::disk::{Disk, File};
use crate::open::begin;
use crate::read::Reader;
use crate::recover::Newer;

/// What a spool holds that is read from memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// As [`crate::inspect()`] would tell it.
    pub status: Status,
    /// The records that an agent would send, the oldest first: as many as it reads at a time.
    pub records: Vec<Record>,
}

/// Reads the files of a spool, by name, as an agent would that started on them in the boot
/// `boot_id`. Whatever they hold, it neither fails nor writes anything; `None`: a newer version
/// wrote them.
#[must_use]
pub fn read_image(
    files: BTreeMap<String, Vec<u8>>,
    clock: &dyn Clock,
    boot_id: &str,
) -> Option<Image> {
    let files = files.into_iter().map(|(name, bytes)| (name, Arc::new(Bytes(bytes))));
    let disk = Arc::new(Memory(files.collect()));
    let begin = match begin(disk.as_ref(), clock, boot_id, Epoch::from_random(0)) {
        Ok(begin) => begin,
        Err(Newer(_)) => return None,
    };
    let state = Mutex::new(begin.state);
    let reader = Reader::new(disk);
    let age = reader.oldest_age(&state, clock);
    let records = reader.read(&state, Sequence::FIRST, usize::MAX);
    let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    Some(Image { status: state.status(age), records })
}

/// Files that nobody writes.
#[derive(Debug)]
struct Memory(BTreeMap<String, Arc<Bytes>>);

#[derive(Debug)]
struct Bytes(Vec<u8>);

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for Memory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        match self.0.get(name) {
            Some(file) => Ok(Arc::<Bytes>::clone(file)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&self, _: &str, _: u64) -> io::Result<Arc<dyn File>> {
        read_only()
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        read_only()
    }

    fn sync_dir(&self) -> io::Result<()> {
        read_only()
    }

    fn restore(&self) -> io::Result<()> {
        read_only()
    }

    fn is_durable(&self) -> bool {
        true
    }
}

impl File for Bytes {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..)).unwrap_or(&[]);
        let read = rest.len().min(buffer.len());
        if let Some((from, into)) = rest.get(..read).zip(buffer.get_mut(..read)) {
            into.copy_from_slice(from);
        }
        Ok(read)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        read_only()
    }

    fn sync(&self) -> io::Result<()> {
        read_only()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        read_only()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.0.len()).unwrap_or(u64::MAX))
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(true)
    }
}
