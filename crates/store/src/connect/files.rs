//! Reading the files that a URL names: small, and secret ones not open to others. A pipe where a
//! file belongs is refused at once, not waited for.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Kind};

/// A bundle of all public authorities has a quarter of it.
const MAX_BYTES: u64 = 1 << 20;

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody.
    Public,
    /// Its owner; its group too where root owns it, as libpq has it for keys.
    Secret,
}

/// Reads the file that the parameter names.
///
/// # Errors
/// [`Kind::Config`], with the parameter, the path and what to do.
pub(super) fn read(parameter: &str, path: &Path, access: Access) -> Result<Vec<u8>, Error> {
    let refuse = |why: String| {
        Error::new(Kind::Config, format!("database URL: {parameter} {}: {why}", path.display()))
    };
    let failed = |error: io::Error| refuse(format!("{error}; {}", advice(&error)));
    // Or a named pipe would have us wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty());
    let file = File::from(file.map_err(|error| failed(error.into()))?);
    let facts = file.metadata().map_err(failed)?;
    if !facts.is_file() {
        return Err(refuse(format!("it is {}; give the path of a file", other(&facts))));
    }
    let open_bits = if facts.uid() == 0 { 0o037 } else { 0o077 };
    if access == Access::Secret && facts.mode() & open_bits != 0 {
        return Err(refuse(format!(
            "others may read or change it (mode {:04o}); chmod 0600, or 0640 where root owns it",
            facts.mode() & 0o7777
        )));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_BYTES) {
        return Err(refuse(format!("it is larger than {MAX_BYTES} bytes; is it the right file?")));
    }
    Ok(bytes)
}

/// What there is instead of a file.
fn other(facts: &Metadata) -> &'static str {
    let kind = facts.file_type();
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a named pipe"
    } else {
        "no file"
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "check the path in the URL",
        io::ErrorKind::PermissionDenied => {
            "make it and its folders readable for the user that runs this program"
        }
        _ => "check the path and the file system",
    }
}
