//! Reading a certificate, with errors for people: the parser's own are written for its authors.

use x509_parser::error::X509Error;
use x509_parser::nom;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Reads a certificate; an error completes "cannot be read: ".
pub(crate) fn read(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(nom::Err::Incomplete(_)) => Err("it is cut off".to_owned()),
        Err(nom::Err::Error(error) | nom::Err::Failure(error)) => Err(explain(&error)),
    }
}

/// An error of the parser in words.
pub(crate) fn explain(error: &X509Error) -> String {
    match error {
        X509Error::Der(_) | X509Error::NomError(_) | X509Error::Generic => {
            "its bytes are no X.509 certificate".to_owned()
        }
        other => format!("its bytes are no X.509 certificate ({other})"),
    }
}

/// An error of rustls about a key in words.
pub(crate) fn explain_key(error: &rustls::Error) -> String {
    match error {
        rustls::Error::General(detail) => detail.clone(),
        other => other.to_string(),
    }
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
}
