//! Trust in a server of which nothing is known but the pin of its authority.
//!
//! The server sends its whole chain, the authority included. The certificate whose public key has
//! the pinned hash becomes the one authority believed, for this connection; everything else is
//! checked as always: chain, dates, name, purpose. There is no other way in: nothing is believed
//! because it was seen first.

use std::sync::Arc;

use rowcall_core::token::Pin;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use crate::config::{ALPN, ConfigError, provider};
use crate::pin::pin_of;
use crate::x509;

/// For a node that has a pin and no certificate yet. The server's certificate must be for the
/// name dialled, of the authority pinned; ours is none.
///
/// # Errors
/// [`ConfigError`] when rustls refuses the settings.
pub fn pinned_config(pin: Pin) -> Result<ClientConfig, ConfigError> {
    let provider = provider();
    let verifier = Arc::new(PinnedVerifier { pin, provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The server is not certified by the authority that was pinned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// None of its certificates has the key pinned.
    #[error(
        "the server is not certified by the authority pinned, {pinned}, but shows {}; either it is \
         another server than meant, someone stands in between, or the authority was made anew: \
         compare with `rowcall pki show` there, and make a new token",
        list(presented)
    )]
    Mismatch {
        /// What was expected.
        pinned: Pin,
        /// The pins of what the server presented, its own certificate first.
        presented: Vec<Pin>,
    },
    /// None of its certificates has the key pinned, and none is an authority's own: as the port for
    /// streams shows itself.
    #[error(
        "the server shows no authority's own certificate (but {}): is this the port for enrolment, \
         7444 unless told otherwise? That for streams, 7443, does not show it; else it is another \
         server than meant, or someone stands in between. Expected is {pinned}",
        list(presented)
    )]
    NoAuthority {
        /// What was expected.
        pinned: Pin,
        /// The pins of what the server presented, its own certificate first.
        presented: Vec<Pin>,
    },
    /// The key pinned is no authority's.
    #[error("the certificate pinned, {0}, is no authority's own; give the pin of the root")]
    NotAnAuthority(Pin),
}

/// A chain of ours has three certificates; a stranger may send hundreds.
const SHOWN_PINS: usize = 4;

fn list(pins: &[Pin]) -> String {
    match pins {
        [] => "no certificate".to_owned(),
        pins => {
            let shown = pins.iter().take(SHOWN_PINS).map(ToString::to_string);
            let more = pins.len().saturating_sub(SHOWN_PINS);
            let more = (more > 0).then(|| format!("{more} more"));
            shown.chain(more).collect::<Vec<_>>().join(", ")
        }
    }
}

impl From<PinError> for Error {
    fn from(error: PinError) -> Self {
        CertificateError::Other(OtherError(Arc::new(error))).into()
    }
}

#[derive(Debug)]
struct PinnedVerifier {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl PinnedVerifier {
    /// The certificate pinned, among those presented.
    fn authority<'a>(
        &self,
        presented: impl Iterator<Item = &'a CertificateDer<'a>>,
    ) -> Result<&'a CertificateDer<'a>, PinError> {
        let mut pins = Vec::new();
        let mut shows_authority = false;
        for der in presented {
            let Ok(pin) = pin_of(der) else { continue };
            if pin == self.pin {
                return if is_authority(der) {
                    Ok(der)
                } else {
                    Err(PinError::NotAnAuthority(self.pin))
                };
            }
            // Each costs a signature, and a stranger may send hundreds.
            shows_authority |= pins.len() < SHOWN_PINS && !shows_authority && is_authority(der);
            pins.push(pin);
        }
        let (pinned, presented) = (self.pin, pins);
        Err(if shows_authority || presented.len() > SHOWN_PINS {
            PinError::Mismatch { pinned, presented }
        } else {
            PinError::NoAuthority { pinned, presented }
        })
    }
}

/// A CA that signed its own certificate: only then is all of the certificate its word.
fn is_authority(der: &CertificateDer<'_>) -> bool {
    x509::read(der)
        .is_ok_and(|certificate| certificate.is_ca() && certificate.verify_signature(None).is_ok())
}

/// The authority's own dates, which no verifier looks at.
fn check_dates(der: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let certificate = x509::read(der).map_err(|_| CertificateError::BadEncoding)?;
    let time = |seconds: i64| {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            u64::try_from(seconds).unwrap_or(0),
        ))
    };
    let not_before = time(certificate.validity().not_before.timestamp());
    let not_after = time(certificate.validity().not_after.timestamp());
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before });
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after });
    }
    Ok(())
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let presented = std::iter::once(end_entity).chain(intermediates);
        let authority = self.authority(presented)?;
        check_dates(authority, now)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_hundreds_of_pins_a_few_are_shown() {
        let pins = vec![Pin::new([7; 32]); 300];
        assert!(list(&pins).ends_with(", 296 more"));
        assert_eq!(list(&pins[..4]).matches("sha256:").count(), 4);
        assert!(!list(&pins[..4]).contains("more"));
        assert_eq!(list(&[]), "no certificate");
    }
}
