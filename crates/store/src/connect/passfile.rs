//! Passwords in a file, in the format of PostgreSQL's own programs: lines of
//! `host:port:database:user:password`, the first that fits counts, `*` fits everything, `\` goes
//! before a `:` or `\` that is meant.

use std::path::Path;

use super::files::{self, Access};
use crate::error::Error;

/// The folders where clients look for a socket by themselves; there the host is `localhost`.
const DEFAULT_SOCKETS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// The lines of a file. It holds passwords, and so has no `Debug`.
pub(super) struct Passfile(Vec<u8>);

/// What a password is wanted for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// A name, an address, or the folder of a socket.
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

impl Passfile {
    /// Reads the file.
    ///
    /// # Errors
    /// As [`files::read`]: missing, unreadable, or open to others.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        files::read("passfile", path, Access::Secret).map(Self)
    }

    /// The password of the first line that fits.
    pub(super) fn find(&self, wanted: Wanted<'_>) -> Option<Vec<u8>> {
        let port = wanted.port.to_string();
        let host = if DEFAULT_SOCKETS.contains(&wanted.host) { "localhost" } else { wanted.host };
        let fields = [host, port.as_str(), wanted.database, wanted.user];
        let lines = self.0.split(|byte| *byte == b'\n');
        let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        lines.filter(|line| !line.starts_with(b"#")).find_map(|line| {
            let rest = fields.iter().try_fold(line, |rest, field| after(rest, field.as_bytes()))?;
            let (password, _) = field(rest);
            (!password.is_empty()).then_some(password)
        })
    }
}

/// What comes after the line's first field, if that fits.
fn after<'a>(line: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    if let Some(rest) = line.strip_prefix(b"*:") {
        return Some(rest);
    }
    let (found, rest) = field(line);
    if found == wanted { rest } else { None }
}

/// The line's first field without escapes, and what comes after its `:`.
fn field(line: &[u8]) -> (Vec<u8>, Option<&[u8]>) {
    let mut found = Vec::new();
    let mut bytes = line.iter().enumerate();
    while let Some((index, byte)) = bytes.next() {
        match byte {
            b':' => return (found, line.get(index + 1..)),
            b'\\' => found.push(bytes.next().map_or(b'\\', |(_, escaped)| *escaped)),
            byte => found.push(*byte),
        }
    }
    (found, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"# db:5432:x:u:commented\n\
        other:5432:x:u:not this\n\
        db:5432:x:u\n\
        \n\
        db:5432:x:u:\n\
        db:5432:x:u:first \\: with \\\\ escapes:not this\n\
        db:5432:x:u:second\r\n\
        *:*:x:*:any host\r\n\
        ::1:5432:y:u:broken up\n\
        \\:\\:1:5432:y:u:address\n\
        localhost:5432:z:u:socket\n\
        /srv/pg:5432:z:u:folder\n\
        *:5432:star:a\\*:named star\n\
        *:*:last:u:\xff\xfe";

    fn find(host: &str, database: &str, user: &str) -> Option<Vec<u8>> {
        Passfile(FILE.to_vec()).find(Wanted { host, port: 5432, database, user })
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        for (host, database, user, password) in [
            ("db", "x", "u", Some(b"first : with \\ escapes".as_slice())),
            ("elsewhere", "x", "somebody", Some(b"any host")),
            ("::1", "y", "u", Some(b"address")),
            ("/var/run/postgresql", "z", "u", Some(b"socket")),
            ("/tmp", "z", "u", Some(b"socket")),
            ("/srv/pg", "z", "u", Some(b"folder")),
            ("db", "star", "a*", Some(b"named star")),
            ("db", "star", "ab", None),
            ("db", "last", "u", Some(b"\xff\xfe")),
            ("db", "last", "v", None),
            ("DB", "y", "u", None),
        ] {
            let found = find(host, database, user);
            assert_eq!(found.as_deref(), password, "{host} {database} {user}");
        }
    }
}
