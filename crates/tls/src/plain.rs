//! Reading the files that settings name: what is none, or does not answer, must not hold anybody up.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// The first `max` bytes of a regular file. Waits for nobody to write to a FIFO or a terminal.
/// Blocks: for the disk.
///
/// # Errors
/// What the system said; [`io::ErrorKind::InvalidInput`] for what is neither file nor folder.
pub fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    read_open(&file, max)
}

/// As [`read`], of a file that is open already, without waiting.
///
/// # Errors
/// As [`read`].
pub fn read_open(file: &File, max: u64) -> io::Result<Vec<u8>> {
    let kind = file.metadata()?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        let text = "it is no file but a device or a pipe";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_no_file_is_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let zero = folder.path().join("zero");
        std::os::unix::fs::symlink("/dev/zero", &zero).unwrap();
        for path in [fifo, zero] {
            assert_eq!(read(&path, 10).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert_eq!(read(folder.path(), 10).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        let file = folder.path().join("file");
        fs::write(&file, "0123456789ab").unwrap();
        assert_eq!(read(&file, 10).unwrap(), b"0123456789");
    }
}
