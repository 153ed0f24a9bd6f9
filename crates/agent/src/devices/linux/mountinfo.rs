//! The table of mounts, /proc/PID/mountinfo.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Major and minor number of the filesystem's device, as they stand there.
    pub(super) device: Vec<u8>,
    /// Where it is mounted.
    pub(super) point: PathBuf,
    /// As mounted there, or as a whole.
    pub(super) read_only: bool,
    /// Type, for example "ext4" or "fuse.sshfs".
    pub(super) kind: String,
    /// What is mounted.
    pub(super) source: String,
}

/// Every line, and how many make no sense.
pub(super) fn parse(table: &[u8]) -> (Vec<Mount>, usize) {
    let mut broken = 0;
    let lines = table.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mounts = lines
        .filter_map(|line| {
            let mount = parse_line(line);
            broken += usize::from(mount.is_none());
            mount
        })
        .collect();
    (mounts, broken)
}

/// `36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|byte| *byte == b' ');
    let (_id, _parent, device, _root) =
        (words.next()?, words.next()?, words.next()?, words.next()?);
    let (point, options) = (words.next()?, words.next()?);
    // Optional fields, any number of them, end with a dash.
    words.find(|word| *word == b"-")?;
    let (kind, source) = (words.next()?, words.next()?);
    let super_options = words.next().unwrap_or_default();
    let read_only = |options: &[u8]| options.split(|byte| *byte == b',').any(|it| it == b"ro");
    let text = |word| String::from_utf8_lossy(&unescape(word)).into_owned();
    Some(Mount {
        device: device.to_vec(),
        point: PathBuf::from(OsString::from_vec(unescape(point))),
        read_only: read_only(options) || read_only(super_options),
        kind: text(kind),
        source: text(source),
    })
}

/// Bytes that the kernel wrote as `\040`.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [first, tail @ ..] = rest {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_where_what_and_whether_it_can_be_written() {
        let table = b"27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda1 rw,errors=remount-ro\n28 27 0:40 /sub /mnt/a\\040b\\134\\011\\012c ro,nosuid - btrfs /dev/disk\\040one rw\n29 27 0:41 / /x rw - nfs4 server:/e ro\n30 27 0:42 / /y rw - tmpfs none";
        let (mounts, broken) = parse(table);
        assert_eq!(broken, 0);
        let points: Vec<_> = mounts.iter().map(|it| it.point.to_str().unwrap()).collect();
        assert_eq!(points, ["/", "/mnt/a b\\\t\nc", "/x", "/y"]);
        let read_only: Vec<_> = mounts.iter().map(|it| it.read_only).collect();
        assert_eq!(read_only, [false, true, true, false]);
        assert_eq!((mounts[0].kind.as_str(), mounts[0].source.as_str()), ("ext4", "/dev/vda1"));
        assert_eq!(mounts[1].source, "/dev/disk one");
        assert_eq!(mounts[0].device, b"254:0");
    }

    #[test]
    fn what_makes_no_sense_is_counted() {
        let (mounts, broken) = parse(
            b"\xff\xfe\n27 1 254:0 / /\n27 1 254:0 / / rw shared:1 ext4\n1 2 3 4 5 6 - 7 8\n\n",
        );
        assert_eq!((mounts.len(), broken), (1, 3));
        assert_eq!(unescape(b"\\04\\999\\\\400\\"), b"\\04\\999\\\\400\\");
    }
}
