//! Quoting for URLs, connection strings, shells and PostgreSQL's files, and reading ends of logs.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// Lines of a log that an error shows.
const TAIL_LINES: usize = 15;
/// Bytes that are read for them.
const TAIL_BYTES: u64 = 16 * 1024;

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub(crate) fn percent(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a String cannot fail");
        }
        out
    })
}

/// A value of a libpq connection string, quoted only where it must be.
pub(crate) fn conninfo(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}

/// One word for a POSIX shell.
pub(crate) fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The last lines of the file from byte `from` on, for an error message; empty if unreadable.
pub(crate) fn tail(path: &Path, from: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(end.saturating_sub(TAIL_BYTES)).min(end)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_or_else(|_| String::new(), |bytes| last_lines(&bytes))
}

/// The last lines of a program's output, for an error message.
pub(crate) fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let skip = lines.len().saturating_sub(TAIL_LINES);
    lines.into_iter().skip(skip).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_they_must_be() {
        assert_eq!(percent(b"/tmp/rc-a b"), "%2Ftmp%2Frc-a%20b");
        assert_eq!(conninfo("/tmp/rc-a"), "/tmp/rc-a");
        assert_eq!(conninfo(r"a 'b\"), r"'a \'b\\'");
        assert_eq!(shell("/usr/bin/psql"), "/usr/bin/psql");
        assert_eq!(shell("it's"), r"'it'\''s'");
    }

    #[test]
    fn the_tail_keeps_the_last_lines_of_this_start() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "old\nnew 1\n\nnew 2\n").unwrap();
        assert_eq!(tail(file.path(), 4), "new 1\nnew 2");
        assert_eq!(tail(file.path(), 4000), "");
        let many: Vec<u8> = (0..100).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        assert!(last_lines(&many).starts_with("85\n"));
    }
}
