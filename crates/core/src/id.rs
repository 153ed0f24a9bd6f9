//! Names and numbers that identify things.

use std::fmt;

/// Longest host name in bytes, the limit of DNS.
pub const MAX_HOST_NAME_BYTES: usize = 253;

/// A host's name: lower case, `[a-z0-9._-]`, 1 to 253 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Box<str>);

/// Why a text is no host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHostName {
    /// It has no bytes at all.
    #[error("host name is empty")]
    Empty,
    /// It is longer than [`MAX_HOST_NAME_BYTES`].
    #[error("host name has {0} bytes, at most {MAX_HOST_NAME_BYTES} are allowed")]
    TooLong(usize),
    /// It has a character outside `[a-z0-9._-]`.
    #[error("host name contains {0:?}, only a-z, 0-9, '.', '_' and '-' are allowed")]
    Character(char),
    /// It is no name for a new host.
    #[error(
        "host name begins or ends with '.' or '-', or has two dots in a row; choose one that does not"
    )]
    Dots,
}

impl HostName {
    /// Reads a name, lower-casing ASCII letters.
    ///
    /// # Errors
    /// [`InvalidHostName`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, InvalidHostName> {
        if text.is_empty() {
            return Err(InvalidHostName::Empty);
        }
        if text.len() > MAX_HOST_NAME_BYTES {
            return Err(InvalidHostName::TooLong(text.len()));
        }
        let name = text.to_ascii_lowercase();
        match name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-')) {
            Some(c) => Err(InvalidHostName::Character(c)),
            None => Ok(Self(name.into())),
        }
    }

    /// Reads the name that a host is to have from now on. Hosts that are called otherwise already
    /// keep their names.
    ///
    /// # Errors
    /// As [`HostName::parse`]; [`InvalidHostName::Dots`] for what other programs read as another
    /// name, or as none.
    pub fn parse_new(text: &str) -> Result<Self, InvalidHostName> {
        let name = Self::parse(text)?;
        let ends = ['.', '-'];
        if name.0.starts_with(ends) || name.0.ends_with(ends) || name.0.contains("..") {
            return Err(InvalidHostName::Dots);
        }
        Ok(name)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for HostName {
    type Err = InvalidHostName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// `host_info.id`: the database's number for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub i32);

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number is 0 or does not fit PostgreSQL's `bigint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {value}, it must lie between 1 and 2^63 - 1")]
pub struct OutOfRange {
    /// What the number is, for example "spool epoch".
    pub what: &'static str,
    /// The number.
    pub value: u64,
}

macro_rules! positive_number {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i64);

        impl $name {
            /// Checks a number.
            ///
            /// # Errors
            /// [`OutOfRange`] when it is 0 or above 2^63 - 1.
            pub fn new(value: u64) -> Result<Self, OutOfRange> {
                match i64::try_from(value) {
                    Ok(number) if number > 0 => Ok(Self(number)),
                    _ => Err(OutOfRange { what: $what, value }),
                }
            }

            /// From any random bits: the top bit is cleared, and 0 becomes 1.
            #[must_use]
            pub fn from_random(bits: u64) -> Self {
                Self(i64::try_from(bits >> 1).unwrap_or(1).max(1))
            }

            /// As a column of type `bigint`.
            #[must_use]
            pub fn as_i64(self) -> i64 {
                self.0
            }

            /// As on the wire.
            #[must_use]
            pub fn as_u64(self) -> u64 {
                self.0.unsigned_abs()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

positive_number!(
    /// The random number of one spool's life; sequences count within it.
    Epoch,
    "spool epoch"
);
positive_number!(
    /// The random number of one agent process.
    RunId,
    "run id"
);
positive_number!(
    /// A record's number in its epoch, from 1, without holes.
    Sequence,
    "sequence"
);

impl Sequence {
    /// The first sequence of every epoch.
    pub const FIRST: Self = Self(1);

    /// The next one. Stays where it is at the end of the range, which a sample a microsecond
    /// would reach after 292,000 years.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// An instant by a wall clock, in microseconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMicros(pub i64);

impl UnixMicros {
    /// This instant moved by some microseconds, held within the range.
    #[must_use]
    pub fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds from `earlier` to this instant; negative when it is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_name_is_lower_cased() {
        assert_eq!(HostName::parse("Node-1.Example_x").unwrap().as_str(), "node-1.example_x");
    }

    #[test]
    fn host_name_outside_the_alphabet_is_refused_with_the_character() {
        for (text, bad) in
            [("a b", ' '), ("é", 'é'), ("a/b", '/'), ("a\0", '\0'), ("x\u{202e}", '\u{202e}')]
        {
            assert_eq!(HostName::parse(text), Err(InvalidHostName::Character(bad)));
        }
    }

    #[test]
    fn a_new_host_gets_no_name_that_others_read_as_another() {
        for good in ["a", "_", "node-1.example_x", "1.2.3.4", "a.-b"] {
            assert!(HostName::parse_new(good).is_ok(), "{good}");
        }
        for bad in [".", "..", "-", ".a", "a.", "-a", "a-", "a..b"] {
            assert_eq!(HostName::parse_new(bad), Err(InvalidHostName::Dots), "{bad}");
            assert!(HostName::parse(bad).is_ok(), "{bad} may be there already");
        }
    }

    #[test]
    fn host_name_has_1_to_253_bytes() {
        assert_eq!(HostName::parse(""), Err(InvalidHostName::Empty));
        assert!(HostName::parse(&"a".repeat(253)).is_ok());
        assert_eq!(HostName::parse(&"a".repeat(254)), Err(InvalidHostName::TooLong(254)));
    }

    #[test]
    fn numbers_are_positive_and_fit_bigint() {
        assert!(Epoch::new(0).is_err());
        assert!(Epoch::new(1 << 63).is_err());
        assert_eq!(Epoch::new((1 << 63) - 1).unwrap().as_i64(), i64::MAX);
        assert_eq!(Epoch::from_random(u64::MAX).as_i64(), i64::MAX);
        assert_eq!(Epoch::from_random(1).as_i64(), 1);
    }
}
