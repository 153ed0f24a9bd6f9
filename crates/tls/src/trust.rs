//! Which client certificates are believed: in the handshake, and again later.
//!
//! rustls checks the client's chain, dates, purpose and that it is no CA. Ours on top: the purpose
//! `clientAuth` must be present, since rustls takes a certificate without any purpose for one with
//! all; and revocation lists. A certificate whose authority has a list must be found good by it,
//! and the list must be in time; a certificate of an authority without a list is not asked for one.

use std::sync::Arc;

use rowcall_core::id::UnixMicros;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertRevocationListError, CertificateError, DigitallySignedStruct, DistinguishedName, Error,
    ExtendedKeyPurpose, SignatureScheme,
};

use crate::certificate::PeerCertificate;
use crate::config::{self, ConfigError};
use crate::load::{Material, Revocations, Rfc3339};
use crate::x509;

/// Why a client certificate is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// There is none.
    #[error("no certificate was presented")]
    NoCertificate,
    /// Its time is over.
    #[error("the certificate expired at {}, it is now {}; renew it, or set the clocks", Rfc3339(*not_after), Rfc3339(*now))]
    Expired {
        /// The end of its time.
        not_after: UnixMicros,
        /// The time asked for.
        now: UnixMicros,
    },
    /// Its time has not come.
    #[error("the certificate is valid only from {}, it is now {}; set the clocks", Rfc3339(*not_before), Rfc3339(*now))]
    NotYetValid {
        /// The start of its time.
        not_before: UnixMicros,
        /// The time asked for.
        now: UnixMicros,
    },
    /// No authority of the CA file issued it.
    #[error("the certificate was not issued by an authority of the CA file")]
    UnknownAuthority,
    /// An authority of the CA file has the name of its issuer, but did not sign it.
    #[error(
        "the certificate was not signed by the authority that the CA file has under its issuer's \
         name"
    )]
    BadSignature,
    /// It is not for TLS clients.
    #[error("the certificate is not for TLS clients (no extended key usage clientAuth)")]
    NotForClients,
    /// It stands on the revocation list of its authority.
    #[error("the certificate is revoked by its authority's revocation list")]
    Revoked,
    /// Nobody can say whether it is revoked.
    #[error("whether the certificate is revoked cannot be said: {0}")]
    StaleRevocations(String),
    /// Something else is wrong with it.
    #[error("the certificate cannot be accepted: {0}")]
    Other(String),
}

/// The authorities whose clients are believed, and what they revoked.
#[derive(Debug, Clone)]
pub struct ClientTrust {
    /// For certificates of authorities without a revocation list.
    plain: Arc<dyn ClientCertVerifier>,
    listed: Option<Listed>,
    revocations: Revocations,
}

/// For certificates of authorities with one.
#[derive(Debug, Clone)]
struct Listed {
    /// A list that is out of date refuses.
    strict: Arc<dyn ClientCertVerifier>,
    /// It still says what it said.
    lenient: Arc<dyn ClientCertVerifier>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lists {
    InTime,
    OfAnyAge,
}

impl ClientTrust {
    /// Of a server's material: its authorities and their revocation lists.
    ///
    /// # Errors
    /// [`ConfigError`] when rustls refuses them.
    pub fn new(material: &Material) -> Result<Self, ConfigError> {
        let revocations = material.revocations().clone();
        let builder = || {
            WebPkiClientVerifier::builder_with_provider(
                Arc::clone(material.roots()),
                config::provider(),
            )
        };
        let listed = if revocations.lists.is_empty() {
            None
        } else {
            let with_lists = || {
                builder()
                    .with_crls(revocations.lists.iter().map(|list| list.der.clone()))
                    .only_check_end_entity_revocation()
            };
            Some(Listed {
                strict: with_lists().enforce_revocation_expiration().build()?,
                lenient: with_lists().build()?,
            })
        };
        Ok(Self { plain: builder().build()?, listed, revocations })
    }

    /// What a handshake at this time would say of a chain, the client's own certificate first.
    ///
    /// # Errors
    /// [`TrustError`], the first reason.
    pub fn verify(&self, chain: &[CertificateDer<'_>], at: UnixMicros) -> Result<(), TrustError> {
        self.check_chain(chain, at, Lists::InTime)
    }

    /// Whether a peer that connected before may stay: its authority is still believed and did not
    /// revoke it. That its time is over meanwhile, or a revocation list out of date, is for its
    /// next connection.
    ///
    /// # Errors
    /// [`TrustError`], the first reason.
    pub fn recheck(&self, peer: &PeerCertificate, now: UnixMicros) -> Result<(), TrustError> {
        let at = now.min(peer.not_after).max(peer.not_before);
        self.check_chain(&peer.chain, at, Lists::OfAnyAge)
    }

    /// As [`verify`](Self::verify) at the last moment when the certificate was valid, or now, with
    /// revocation lists that are in time now.
    pub(crate) fn verify_even_expired(
        &self,
        peer: &PeerCertificate,
        now: UnixMicros,
    ) -> Result<(), TrustError> {
        self.check_chain(&peer.chain, now.min(peer.not_after), Lists::OfAnyAge)?;
        let issuer = issuer(peer.chain.first().ok_or(TrustError::NoCertificate)?)
            .map_err(TrustError::Other)?;
        match self.revocations.of(&issuer).find(|list| now >= list.next_update) {
            Some(list) => Err(TrustError::StaleRevocations(list.too_old(now))),
            None => Ok(()),
        }
    }

    fn check_chain(
        &self,
        chain: &[CertificateDer<'_>],
        at: UnixMicros,
        lists: Lists,
    ) -> Result<(), TrustError> {
        let (end_entity, intermediates) = chain.split_first().ok_or(TrustError::NoCertificate)?;
        let seconds = u64::try_from(at.0.div_euclid(1_000_000)).unwrap_or(0);
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        match self.check(end_entity, intermediates, at, lists) {
            Ok(_) => Ok(()),
            Err(error) => Err(TrustError::of(&error)),
        }
    }

    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        at: UnixTime,
        lists: Lists,
    ) -> Result<ClientCertVerified, Error> {
        let listed = match &self.listed {
            Some(listed) => {
                let issuer = issuer(end_entity).map_err(|_| CertificateError::BadEncoding)?;
                self.revocations.of(&issuer).next().map(|_| listed)
            }
            None => None,
        };
        let verifier = match (listed, lists) {
            (None, _) => &self.plain,
            (Some(listed), Lists::InTime) => &listed.strict,
            (Some(listed), Lists::OfAnyAge) => &listed.lenient,
        };
        let verified = verifier.verify_client_cert(end_entity, intermediates, at)?;
        purpose_is_client(end_entity)?;
        Ok(verified)
    }
}

/// Rules that need more than a TLS alert to explain (identity, role) are left to the services, see
/// `accept::PeerInfo`.
impl ClientCertVerifier for ClientTrust {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.plain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates, now, Lists::InTime)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.plain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.plain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.plain.supported_verify_schemes()
    }
}

fn issuer(der: &CertificateDer<'_>) -> Result<Box<[u8]>, String> {
    Ok(x509::read(der)?.issuer().as_raw().into())
}

fn purpose_is_client(der: &CertificateDer<'_>) -> Result<(), CertificateError> {
    let certificate = x509::read(der).map_err(|_| CertificateError::BadEncoding)?;
    let purposes = certificate.extended_key_usage().map_err(|_| CertificateError::BadEncoding)?;
    if purposes.is_some_and(|purposes| purposes.value.client_auth) {
        return Ok(());
    }
    // What was presented instead is already covered by rustls, except for nothing at all.
    Err(CertificateError::InvalidPurposeContext {
        required: ExtendedKeyPurpose::ClientAuth,
        presented: Vec::new(),
    })
}

impl TrustError {
    /// What the verifier said, in words.
    pub(crate) fn of(error: &Error) -> Self {
        use CertificateError as E;
        let time = |time: &UnixTime| {
            let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
            UnixMicros(seconds.saturating_mul(1_000_000))
        };
        match error {
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidCertificate(E::ExpiredContext { time: now, not_after }) => {
                Self::Expired { not_after: time(not_after), now: time(now) }
            }
            Error::InvalidCertificate(E::NotValidYetContext { time: now, not_before }) => {
                Self::NotYetValid { not_before: time(not_before), now: time(now) }
            }
            Error::InvalidCertificate(E::UnknownIssuer) => Self::UnknownAuthority,
            Error::InvalidCertificate(E::BadSignature) => Self::BadSignature,
            Error::InvalidCertificate(E::InvalidPurpose | E::InvalidPurposeContext { .. }) => {
                Self::NotForClients
            }
            Error::InvalidCertificate(E::Revoked) => Self::Revoked,
            Error::InvalidCertificate(E::ExpiredRevocationListContext {
                time: now,
                next_update,
            }) => Self::StaleRevocations(format!(
                "the revocation list of its authority should have been replaced by {}, it is now \
                 {}; put a new one in its place",
                Rfc3339(time(next_update)),
                Rfc3339(time(now))
            )),
            Error::InvalidCertificate(E::UnknownRevocationStatus) => Self::StaleRevocations(
                "its authority's revocation lists do not cover it".to_owned(),
            ),
            Error::InvalidCertRevocationList(CertRevocationListError::BadSignature) => {
                Self::StaleRevocations("the revocation list is not signed as it should".to_owned())
            }
            other => Self::Other(other.to_string()),
        }
    }
}
