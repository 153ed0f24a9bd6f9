//! One process's line in /proc/PID/stat, and its numbers in /proc/PID/io.

/// The kernel's flag of its own threads.
const PF_KTHREAD: u64 = 0x0020_0000;

/// What is used of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat<'a> {
    /// Its command's name, up to 15 bytes; a thread of the kernel may have more.
    pub(super) name: &'a [u8],
    /// For example b'S'.
    pub(super) state: u8,
    pub(super) is_kernel: bool,
    /// CPU time of all its threads, user and system, in ticks.
    pub(super) cpu_ticks: u64,
    /// When it was started, in ticks since boot.
    pub(super) started_ticks: u64,
    /// Resident memory, in pages.
    pub(super) resident_pages: u64,
}

/// `1 (name) S ...`; a name may hold anything, also ") ".
pub(super) fn parse(line: &[u8]) -> Option<Stat<'_>> {
    let open = line.iter().position(|byte| *byte == b'(')?;
    let close = line.iter().rposition(|byte| *byte == b')')?;
    let name = line.get(open + 1..close)?;
    let mut words = line.get(close + 2..)?.split(|byte| *byte == b' ');
    let state = *words.next()?.first()?;
    // Counted from what comes after the state, which is the third of the line.
    let mut at = 4;
    let mut field = |number: usize| {
        let word = words.nth(number - at)?;
        at = number + 1;
        Some(word)
    };
    let flags = integer(field(9)?)?;
    let user = integer(field(14)?)?;
    let system = integer(field(15)?)?;
    let started_ticks = integer(field(22)?)?;
    // It counts without a lock, and may be below 0 for a moment.
    let resident = field(24)?;
    let resident_pages = if resident.first() == Some(&b'-') { 0 } else { integer(resident)? };
    Some(Stat {
        name,
        state,
        is_kernel: flags & PF_KTHREAD != 0,
        cpu_ticks: user.checked_add(system)?,
        started_ticks,
        resident_pages,
    })
}

/// Bytes read from and written to disks, from /proc/PID/io.
pub(super) fn io(text: &[u8]) -> Option<(u64, u64)> {
    let value = |key: &[u8]| {
        let mut lines = text.split(|byte| *byte == b'\n');
        integer(lines.find_map(|line| line.strip_prefix(key))?)
    };
    Some((value(b"read_bytes: ")?, value(b"write_bytes: ")?))
}

/// Digits alone, up to a line's end.
fn integer(word: &[u8]) -> Option<u64> {
    let word = word.strip_suffix(b"\n").unwrap_or(word);
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "4242 (a) b (c) S 1 4242 4242 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 9 0 123456 1000000 777 18446744073709551615 1 2\n";

    #[test]
    fn a_line_is_understood_whatever_the_name_is() {
        let expected = Stat {
            name: b"a) b (c",
            state: b'S',
            is_kernel: false,
            cpu_ticks: 200,
            started_ticks: 123_456,
            resident_pages: 777,
        };
        assert_eq!(parse(LINE.as_bytes()), Some(expected));
        let kernel = LINE.replace("4194560", "69238880");
        assert!(parse(kernel.as_bytes()).unwrap().is_kernel);
        let below = LINE.replace(" 777 ", " -3 ");
        assert_eq!(parse(below.as_bytes()).unwrap().resident_pages, 0);
        let short = LINE.split_at(LINE.find(" 1844").unwrap()).0;
        assert_eq!(parse(format!("{short}\n").as_bytes()).unwrap().resident_pages, 777);
    }

    #[test]
    fn what_is_cut_or_no_number_is_none() {
        for end in 0..LINE.find("777").unwrap() {
            assert_eq!(parse(&LINE.as_bytes()[..end]), None, "{end}");
        }
        for (from, to) in [("150", "x"), (" 50 ", " 18446744073709551615 "), ("123456", "-1")] {
            assert_eq!(parse(LINE.replace(from, to).as_bytes()), None, "{to}");
        }
        for line in [&b")("[..], b"() ", b"(a)", b"\xff\xff", b"1 (a) S 9999999999999999999999"] {
            assert_eq!(parse(line), None);
        }
    }

    #[test]
    fn io_is_what_went_to_and_from_disks() {
        let text = b"rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 6\ncancelled_write_bytes: 7\n";
        assert_eq!(io(text), Some((5, 6)));
        assert_eq!(io(b"read_bytes: 5\n"), None);
        assert_eq!(io(b""), None);
    }
}
