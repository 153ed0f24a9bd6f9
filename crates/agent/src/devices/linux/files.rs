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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_too_long_ends_with_its_last_whole_line_and_leaves_no_room_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        let line = "a line of some length\n";
        std::fs::write(&path, line.repeat(MAX_TABLE_BYTES / line.len() + 100)).unwrap();
        let mut table = Table::new(path.clone());
        let text = table.read().unwrap();
        assert!(text.len() <= MAX_TABLE_BYTES && text.len() > MAX_TABLE_BYTES - line.len());
        assert!(text.ends_with(b"\n"));
        std::fs::write(&path, line).unwrap();
        assert_eq!(table.read().unwrap(), line.as_bytes());
        assert!(table.bytes.capacity() <= 4 * TABLE_BYTES, "{}", table.bytes.capacity());
    }

    #[test]
    fn a_table_whose_descriptor_fails_is_opened_anew_and_what_cannot_be_read_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        std::fs::write(&path, "whole\n").unwrap();
        // A folder can be opened, and every read of it fails.
        let broken = File::open(folder.path()).unwrap();
        let mut table = Table { file: Some(broken), ..Table::new(path) };
        assert_eq!(table.read().unwrap(), b"whole\n");
        let mut none = Table::new(folder.path().to_owned());
        assert!(none.read().is_err() && none.file.is_none());
    }

    #[test]
    fn a_value_is_read_whole_up_to_its_bound_and_one_key_is_not_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        std::fs::write(&path, "oom 1\noom_kill 2\nlast\t3").unwrap();
        let of = |key| keyed::<i64>(&path, key);
        assert_eq!(["oom_kill", "oom", "last", "kill"].map(of), [Some(2), Some(1), Some(3), None]);
        std::fs::write(&path, " -7\n").unwrap();
        assert_eq!((number::<i64>(&path), number::<u64>(&path)), (Some(-7), None));
        std::fs::write(&path, [b'x'; 2 * MAX_VALUE_BYTES]).unwrap();
        assert_eq!(with_value(&path, |bytes| Some(bytes.len())), Some(MAX_VALUE_BYTES));
        assert_eq!(text(&path).map(|text| text.len()), Some(MAX_NAME_BYTES));
        assert_eq!(with_value(folder.path(), |bytes| Some(bytes.len())), None, "a folder");
    }
}
