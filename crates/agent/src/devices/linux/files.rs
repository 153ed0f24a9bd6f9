//! Small files of the kernel, in bounds.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rowcall_core::convert::clean_text_within;

/// Most bytes of a file with one value: what sysfs gives at most.
const MAX_VALUE_BYTES: usize = 4096;

/// Most bytes of a table: 10,000 lines of a long one.
const MAX_TABLE_BYTES: usize = 4 * 1024 * 1024;

/// First piece of a table that is asked for, and what is kept between readings.
const TABLE_BYTES: usize = 16 * 1024;

/// Longest name of a device, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 256;

/// A value as clean text; `None` where there is none to be read.
pub(super) fn text(path: &Path) -> Option<String> {
    with_value(path, |bytes| clean_text_within(&String::from_utf8_lossy(bytes), MAX_NAME_BYTES))
}

/// A value as a number.
pub(super) fn number<T: FromStr>(path: &Path) -> Option<T> {
    with_value(path, |bytes| std::str::from_utf8(bytes).ok()?.trim().parse().ok())
}

/// One of the values of a file of "name value" lines.
pub(super) fn keyed<T: FromStr>(path: &Path, key: &str) -> Option<T> {
    with_value(path, |bytes| {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.lines().filter_map(|line| line.split_once([' ', '\t']));
        lines.find(|(name, _)| *name == key)?.1.trim().parse().ok()
    })
}

/// Does something with what a small file holds.
pub(super) fn with_value<T>(path: &Path, f: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
    let mut buffer = [0; MAX_VALUE_BYTES];
    let mut file = File::open(path).ok()?;
    let mut filled = 0;
    loop {
        let room = buffer.get_mut(filled..).filter(|room| !room.is_empty());
        let Some(room) = room else { break };
        match file.read(room) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
        // The kernel gives a value at once; what is shorter than a page was all.
        if filled < MAX_VALUE_BYTES / 2 {
            break;
        }
    }
    f(buffer.get(..filled)?)
}

/// Names in a folder, sorted, without what is no text; none where there is no such folder.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|it| it.file_name().into_string().ok()).collect();
    sort(&mut names);
    names
}

/// Sorts "temp2" before "temp10".
pub(super) fn sort(names: &mut [String]) {
    names.sort_unstable_by(|a, b| natural(a).cmp(&natural(b)));
}

fn natural(name: &str) -> (&str, u64, &str) {
    let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = name.strip_prefix(letters).unwrap_or("");
    (letters, digits.parse().unwrap_or(u64::MAX), digits)
}

/// A table of the kernel that stays open, with its buffer.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    file: Option<File>,
    bytes: Vec<u8>,
}

impl Table {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, bytes: Vec::new() }
    }

    /// Reads it from its beginning, cut after its last whole line when it is too long.
    ///
    /// # Errors
    /// When it cannot be opened or read.
    pub(super) fn read(&mut self) -> io::Result<&[u8]> {
        // A file that was kept may have become useless; one that was opened now has its word.
        if self.file.is_none() || self.read_kept().is_err() {
            self.file = Some(File::open(&self.path)?);
            let read = self.read_kept();
            if read.is_err() {
                self.file = None;
            }
            read?;
        }
        Ok(&self.bytes)
    }

    fn read_kept(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        if self.bytes.capacity() > 4 * TABLE_BYTES {
            self.bytes = Vec::new();
        }
        self.bytes.resize(TABLE_BYTES.max(self.bytes.capacity()), 0);
        let mut filled = 0;
        loop {
            if filled == self.bytes.len() {
                if filled >= MAX_TABLE_BYTES {
                    let lines = self.bytes.iter().rposition(|byte| *byte == b'\n');
                    filled = lines.map_or(0, |at| at + 1);
                    break;
                }
                self.bytes.resize(filled * 2, 0);
            }
            let at = u64::try_from(filled).unwrap_or(u64::MAX);
            match file.read_at(&mut self.bytes[filled..], at) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.truncate(filled);
        Ok(())
    }
}
