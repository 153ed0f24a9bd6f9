//! The words and numbers of the kernel's text files.
//!
//! Only whole lines count: of a file that was cut, the last number may lack digits.

/// The lines that end, without their ends.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"))
}

/// What stands between blanks.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// A word of digits; `None` for anything else, and for more than 64 bits hold.
pub(super) fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// The number that is the first word of the text.
pub(super) fn first_number(text: &[u8]) -> Option<u64> {
    number(words(lines(text).next()?).next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_when_it_ends() {
        let whole: Vec<_> = lines(b"a 1\n\nb 2\nc 12").collect();
        assert_eq!(whole, [&b"a 1"[..], b"", b"b 2"]);
        assert_eq!(lines(b"").count() + lines(b"no end").count(), 0);
    }

    #[test]
    fn blanks_of_any_number_part_words() {
        let found: Vec<_> = words(b"  cpu  1\t2 ").collect();
        assert_eq!(found, [&b"cpu"[..], b"1", b"2"]);
    }

    #[test]
    fn a_number_is_digits_and_fits() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for no in [&b""[..], b"-1", b"+1", b"1.5", b"18446744073709551616", b"0x1", b"\xff", b"1 "]
        {
            assert_eq!(number(no), None, "{no:?}");
        }
        assert_eq!(first_number(b"624\t0\t9223372036854775807\n"), Some(624));
        assert_eq!(first_number(b"62"), None, "cut");
    }
}
