//! From when to when certificates are valid, and what is said when they are not.

use std::fmt;
use std::path::PathBuf;

use rowcall_core::id::UnixMicros;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::ASN1Time;

use crate::x509;

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its first second.
    pub not_before: UnixMicros,
    /// Its last second.
    pub not_after: UnixMicros,
}

/// A certificate that is not valid now, by the clock asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DateError {
    /// Its time is over.
    #[error(
        "certificate {number} in {} expired at {}, it is now {}; renew it, or set the clock if \
         that is wrong", path.display(), Rfc3339(*not_after), Rfc3339(*now)
    )]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// Its place in the file, from 1.
        number: usize,
        /// The end of its time.
        not_after: UnixMicros,
        /// The clock's time.
        now: UnixMicros,
    },
    /// Its time has not come.
    #[error(
        "certificate {number} in {} is valid only from {}, it is now {}; set this machine's \
         clock if it is slow, else the issuer's", path.display(), Rfc3339(*not_before), Rfc3339(*now)
    )]
    NotYetValid {
        /// The certificate's file.
        path: PathBuf,
        /// Its place in the file, from 1.
        number: usize,
        /// The start of its time.
        not_before: UnixMicros,
        /// The clock's time.
        now: UnixMicros,
    },
}

impl Validity {
    /// When one certificate is valid.
    ///
    /// # Errors
    /// What is wrong with it, in words that complete "cannot be read: ".
    pub fn of(der: &CertificateDer<'_>) -> Result<Self, String> {
        let certificate = x509::read(der)?;
        let validity = certificate.validity();
        Ok(Self {
            not_before: x509::micros(validity.not_before),
            not_after: x509::micros(validity.not_after),
        })
    }
}

/// An instant as people read it, to the second, in UTC.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339(pub UnixMicros);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.0.div_euclid(1_000_000);
        let Ok(time) = ASN1Time::from_timestamp(seconds) else {
            return write!(f, "{seconds} s after 1970");
        };
        let time = time.to_datetime();
        let (date, (hour, minute, second)) = (time.date(), time.to_hms());
        write!(
            f,
            "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
            date.year(),
            u8::from(date.month()),
            date.day()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_shown_in_rfc_3339() {
        assert_eq!(Rfc3339(UnixMicros(1_795_365_212_999_999)).to_string(), "2026-11-22T16:33:32Z");
        assert_eq!(Rfc3339(UnixMicros(-1)).to_string(), "1969-12-31T23:59:59Z");
        assert_eq!(Rfc3339(UnixMicros(i64::MAX)).to_string(), "9223372036854 s after 1970");
    }
}
