//! A file of the kernel that is read again and again.
//!
//! It stays open: reading from offset 0 makes /proc and /sys write the text anew, and opening a
//! file costs more than reading most of them.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// Far above what the largest machines have. A longer file is not read at all: a part of it would
/// give sums that lack something.
const MAX_FILE_BYTES: usize = 2 * 1024 * 1024;

/// Most files fit at once.
const FIRST_BYTES: usize = 16 * 1024;

/// Room below which the buffer grows: the kernel hands out long files page by page.
const MIN_ROOM_BYTES: usize = 4096;

/// What files are read into, one after the other.
#[derive(Debug, Default)]
pub(super) struct Buffer(Vec<u8>);

/// A file that is opened when it is first there, and opened again after it could not be read.
#[derive(Debug)]
pub(super) struct ProcFile {
    path: PathBuf,
    file: Option<File>,
}

impl ProcFile {
    /// Opens nothing yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// The whole file as it is now; `None` when it is missing, cannot be read or is too long.
    pub(super) fn read<'a>(&mut self, buffer: &'a mut Buffer) -> Option<&'a [u8]> {
        let again = self.file.as_ref().and_then(|file| buffer.fill(file).ok());
        let length = if let Some(length) = again {
            length
        } else {
            self.file = None;
            let file = File::open(&self.path).ok()?;
            let length = buffer.fill(&file).ok()?;
            self.file = Some(file);
            length
        };
        buffer.0.get(..length)
    }
}

impl Buffer {
    fn fill(&mut self, file: &File) -> io::Result<usize> {
        let mut length = 0;
        loop {
            if self.0.len() - length < MIN_ROOM_BYTES {
                if self.0.len() >= MAX_FILE_BYTES {
                    return Err(ErrorKind::FileTooLarge.into());
                }
                self.0.resize((self.0.len() * 2).clamp(FIRST_BYTES, MAX_FILE_BYTES), 0);
            }
            // A usize always fits.
            match file.read_at(&mut self.0[length..], length as u64) {
                Ok(0) => return Ok(length),
                Ok(read) => length += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn a_file_is_read_as_it_is_now_through_one_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counter");
        let (mut file, mut buffer) = (ProcFile::new(path.clone()), Buffer::default());
        assert_eq!(file.read(&mut buffer), None, "not there yet");
        fs::write(&path, "1000\n").unwrap();
        assert_eq!(file.read(&mut buffer), Some(&b"1000\n"[..]), "appeared later");
        fs::write(&path, "7\n").unwrap();
        assert_eq!(file.read(&mut buffer), Some(&b"7\n"[..]), "nothing is left of the longer one");
        fs::remove_file(&path).unwrap();
        assert_eq!(file.read(&mut buffer), Some(&b"7\n"[..]), "it stayed open");
    }

    #[test]
    fn a_descriptor_that_fails_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "text\n").unwrap();
        // A directory can be opened, and every read of it fails.
        let broken = File::open(folder.path()).unwrap();
        let mut file = ProcFile { path, file: Some(broken) };
        let mut buffer = Buffer::default();
        assert_eq!(file.read(&mut buffer), Some(&b"text\n"[..]));
        assert!(file.file.is_some());
        let mut folder = ProcFile::new(folder.path().to_owned());
        assert_eq!(folder.read(&mut buffer), None);
        assert!(folder.file.is_none(), "what cannot be read is not kept");
    }

    #[test]
    fn a_file_without_end_is_given_up_and_takes_no_more_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        File::create(&path).unwrap().set_len(10 * 1024 * 1024).unwrap();
        let mut buffer = Buffer::default();
        assert_eq!(ProcFile::new(path).read(&mut buffer), None);
        assert_eq!(ProcFile::new("/dev/zero".into()).read(&mut buffer), None);
        assert!(buffer.0.len() <= MAX_FILE_BYTES);
        assert_eq!(
            ProcFile::new("/proc/loadavg".into()).read(&mut buffer).unwrap().last(),
            Some(&b'\n')
        );
    }

    #[test]
    fn a_file_of_many_pages_is_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pages");
        let text: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        fs::write(&path, &text).unwrap();
        let (mut file, mut buffer) = (ProcFile::new(path), Buffer::default());
        for _ in 0..2 {
            assert_eq!(file.read(&mut buffer), Some(&text[..]));
        }
    }

    /// Each file that is kept open, where this kernel has it.
    #[test]
    fn the_kernels_files_start_anew_at_offset_zero() {
        let mut read = 0;
        for path in [
            "proc/stat",
            "proc/meminfo",
            "proc/vmstat",
            "proc/loadavg",
            "proc/diskstats",
            "proc/pressure/cpu",
            "proc/pressure/memory",
            "proc/pressure/io",
            "proc/net/dev",
            "proc/net/snmp",
            "proc/net/netstat",
            "proc/sys/net/netfilter/nf_conntrack_count",
            "proc/sys/fs/file-nr",
        ] {
            let path = Path::new("/").join(path);
            let (mut file, mut buffer) = (ProcFile::new(path.clone()), Buffer::default());
            let Some(first) = file.read(&mut buffer).map(<[u8]>::to_vec) else { continue };
            let again = file.read(&mut buffer).unwrap();
            // The numbers move on; their names stay, and so does the end.
            let shape = |text: &[u8]| {
                let letters = text.iter().filter(|byte| byte.is_ascii_alphabetic());
                letters.copied().collect::<Vec<_>>()
            };
            assert_eq!(shape(again), shape(&first), "{}", path.display());
            assert_eq!(again.last(), Some(&b'\n'), "{}", path.display());
            read += 1;
        }
        assert!(read >= 5, "{read} files");
    }
}
