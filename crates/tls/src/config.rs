//! rustls configurations for both ends, and the rules for client certificates.
//!
//! Both ends: TLS 1.3 only, ring, ALPN `h2`, no resumption. rustls checks the client's chain,
//! dates and that it is no CA; a rule of our own adds that the purpose `clientAuth` is present,
//! since rustls takes a client certificate without any purpose for one with all.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error,
    ExtendedKeyPurpose, ServerConfig, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::load::Material;

/// The one protocol spoken inside: HTTP/2.
pub const ALPN: &[u8] = b"h2";

/// Why no configuration could be made of loaded material.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// rustls refuses it.
    #[error("TLS cannot be configured: {0}")]
    Tls(#[from] Error),
    /// The CA certificates make no verifier.
    #[error("client certificates cannot be checked with these CA certificates: {0}")]
    Verifier(#[from] VerifierBuilderError),
}

/// The cryptography of every connection. Never the process-wide default, which whoever links
/// another provider could change.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// For an aggregator: its own certificate, and client certificates of `material`'s authorities
/// required.
///
/// # Errors
/// [`ConfigError`] when rustls refuses the material.
pub fn server_config(material: &Material) -> Result<ServerConfig, ConfigError> {
    let provider = provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(
        Arc::clone(material.roots()),
        Arc::clone(&provider),
    )
    .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(ClientRules { chain: verifier }))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(material.certified_key()))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session brings its old client certificate along unchecked: no dates, no purpose,
    // no revocation. Streams live for days, so full handshakes cost next to nothing.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// For an agent, a viewer or an operator: its own certificate, and a server certificate of
/// `material`'s authorities expected, for the name or address dialled.
///
/// # Errors
/// [`ConfigError`] when rustls refuses the material.
pub fn client_config(material: &Material) -> Result<ClientConfig, ConfigError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(Arc::clone(material.roots()))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(
            material.certified_key(),
        ))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// rustls's own checks, then ours. Rules that need more than a TLS alert to explain (identity,
/// role) are left to the services, see `accept::PeerInfo`.
#[derive(Debug)]
struct ClientRules {
    chain: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for ClientRules {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        purpose_is_client(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

fn purpose_is_client(der: &CertificateDer<'_>) -> Result<(), CertificateError> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|_| CertificateError::BadEncoding)?;
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
