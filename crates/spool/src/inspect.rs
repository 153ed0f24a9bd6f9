//! Looking at a spool without opening it.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rowcall_core::clock::SystemClock;
use rowcall_core::id::{Epoch, Sequence};
use rowcall_core::record::Record;
use rustix::fs::{Access, access};

use crate::disk::{Disk as _, RealDisk, check_owner, holder};
use crate::format::VERSION;
use crate::open::begin;
use crate::read::Reader;
use crate::recover::Newer;
use crate::state::State;
use crate::{Fault, InspectError, OpenError, Status};

/// What a folder holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// What the spool holds. Of its faults only [`Fault::NotDurable`] shows from outside, and
    /// failures are not counted.
    pub status: Status,
    /// The process that has it open.
    pub held_by: Option<u32>,
    /// The host whose records it holds; empty where that is not known.
    pub owner: String,
}

/// Reads an idle or running spool without changing or locking it.
///
/// # Errors
/// [`InspectError`]: there is none, it cannot be read, or a newer version wrote it.
pub fn inspect(dir: &Path) -> Result<Inspection, InspectError> {
    let (state, reader) = look(dir)?;
    let age = reader.oldest_age(&state, &SystemClock);
    let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    let owner = state.positions.owner.clone();
    Ok(Inspection { status: state.status(age), held_by: holder(dir), owner })
}

/// The newest records of an idle or running spool, at most `count`, in order, without changing or
/// locking it.
///
/// # Errors
/// As [`inspect`].
pub fn newest(dir: &Path, count: u64) -> Result<Vec<Record>, InspectError> {
    let (state, reader) = look(dir)?;
    let status = state.lock().unwrap_or_else(PoisonError::into_inner).status(None);
    let from = status.next.as_u64().saturating_sub(count).max(status.oldest.as_u64());
    let from = Sequence::new(from).unwrap_or(Sequence::FIRST);
    Ok(reader.read(&state, from, usize::MAX))
}

fn look(dir: &Path) -> Result<(Mutex<State>, Reader), InspectError> {
    let dir_owned = || dir.to_owned();
    if let Err(source) = std::fs::read_dir(dir) {
        return Err(match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                InspectError::Missing { dir: dir_owned() }
            }
            _ => InspectError::Unreadable { dir: dir_owned(), source },
        });
    }
    let disk = Arc::new(RealDisk::look(dir));
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let begin = begin(disk.as_ref(), &SystemClock, boot_id.trim(), Epoch::from_random(0))
        .map_err(|Newer(found)| InspectError::Newer { dir: dir_owned(), found, known: VERSION })?;
    if !begin.is_there {
        return Err(InspectError::Missing { dir: dir_owned() });
    }
    Ok((Mutex::new(begin.state), Reader::new(disk)))
}

/// What [`crate::Spool::open`] would say of a folder, which need not be there yet, to the host
/// `owner`, without changing or locking anything.
///
/// # Errors
/// [`OpenError`], as opening would.
pub fn check(dir: &Path, owner: &str) -> Result<Option<Fault>, OpenError> {
    let not_writable = |what, source| OpenError::NotWritable { dir: dir.to_owned(), what, source };
    let there = dir.ancestors().find(|place| place.symlink_metadata().is_ok());
    let place = there.unwrap_or_else(|| Path::new("."));
    if !place.is_dir() {
        return Err(OpenError::NotAFolder { dir: place.to_owned() });
    }
    let what = if place == dir { "written" } else { "made" };
    access(place, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| not_writable(what, error.into()))?;
    if place == dir {
        check_owner(dir)?;
        if let Some(pid) = holder(dir) {
            return Err(OpenError::InUse { dir: dir.to_owned(), pid: Some(pid) });
        }
    }
    let disk = RealDisk::look(place);
    if place == dir {
        let found = crate::recover::owner(&disk).map_err(|newer| OpenError::newer(newer, dir))?;
        OpenError::unless_owner(&found, owner, dir)?;
    }
    Ok((!disk.is_durable()).then_some(Fault::NotDurable))
}
