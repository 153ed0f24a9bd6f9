//! Reading a certificate, with errors for people: the parser's own are written for its authors.

use ring::digest::{SHA256, digest};
use rowcall_core::id::UnixMicros;
use x509_parser::error::X509Error;
use x509_parser::nom;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};
use x509_parser::prelude::{ASN1Time, FromDer as _, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

/// Reads a certificate; an error completes "cannot be read: ".
pub(crate) fn read(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => Err(explain_nom(error, "X.509 certificate")),
    }
}

/// What the parser said about bytes that should be a `what`.
pub(crate) fn explain_nom(error: nom::Err<X509Error>, what: &str) -> String {
    match error {
        nom::Err::Incomplete(_) => "it is cut off".to_owned(),
        nom::Err::Error(error) | nom::Err::Failure(error) => explain_as(&error, what),
    }
}

/// An error of the parser in words.
pub(crate) fn explain(error: &X509Error) -> String {
    explain_as(error, "X.509 certificate")
}

fn explain_as(error: &X509Error, what: &str) -> String {
    match error {
        X509Error::Der(_) | X509Error::NomError(_) | X509Error::Generic => {
            format!("its bytes are no {what}")
        }
        other => format!("its bytes are no {what} ({other})"),
    }
}

/// An error of rustls about a key in words.
pub(crate) fn explain_key(error: &rustls::Error) -> String {
    match error {
        rustls::Error::General(detail) => detail.clone(),
        other => other.to_string(),
    }
}

/// The point of an ECDSA P-256 key, uncompressed. None for a key of another kind.
pub(crate) fn p256_point<'a>(key: &'a SubjectPublicKeyInfo<'_>) -> Option<&'a [u8]> {
    const UNCOMPRESSED_BYTES: usize = 65;
    let curve = key.algorithm.parameters.as_ref()?.as_oid().ok()?;
    let is_p256 = key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == OID_EC_P256;
    let point: &[u8] = &key.subject_public_key.data;
    (is_p256 && point.len() == UNCOMPRESSED_BYTES).then_some(point)
}

/// A time of a certificate.
pub(crate) fn micros(time: ASN1Time) -> UnixMicros {
    UnixMicros(time.timestamp().saturating_mul(1_000_000))
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sum
}

/// A serial number in lower-case hexadecimal, as `openssl x509 -serial` has it in capitals.
pub(crate) fn serial(raw: &[u8]) -> String {
    use std::fmt::Write as _;
    let start =
        raw.iter().position(|byte| *byte != 0).unwrap_or_else(|| raw.len().saturating_sub(1));
    raw.iter().skip(start).fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_words_and_no_names_of_types() {
        for bytes in
            [&b""[..], b"\0\0\0", b"\x30\x82\xff\xff", b"\x30\x03\x02\x01\x01", &[0xff; 99]]
        {
            let said = read(bytes).unwrap_err();
            assert!(
                said == "it is cut off" || said.starts_with("its bytes are no X.509 certificate"),
                "{said}"
            );
            assert!(!said.contains("Error") && !said.contains("::"), "{said}");
        }
    }

    #[test]
    fn serial_numbers_are_shown_without_the_sign_byte() {
        assert_eq!(serial(&[0, 0x8f, 1]), "8f01");
        assert_eq!(serial(&[0x01]), "01");
        assert_eq!(serial(&[0]), "00");
        assert_eq!(serial(&[]), "");
    }
}
