//! rustls configurations for both ends.
//!
//! Both ends: TLS 1.3 only, ring, ALPN `h2`, no resumption.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, Error, ServerConfig};

use crate::load::Material;
use crate::trust::ClientTrust;

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
/// required, checked against its revocation lists.
///
/// # Errors
/// [`ConfigError`] when rustls refuses the material.
pub fn server_config(material: &Material) -> Result<ServerConfig, ConfigError> {
    let trust = ClientTrust::new(material)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(trust))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(material.certified_key()))));
    Ok(without_resumption(config))
}

/// For an aggregator's enrolment listener: its own certificate, and after it `authorities`, so
/// that a client which knows nothing but a pin finds the authority pinned. No client certificate
/// is asked for.
///
/// # Errors
/// [`ConfigError`] when rustls refuses the material.
pub fn server_auth_only_config(
    material: &Material,
    authorities: &[CertificateDer<'static>],
) -> Result<ServerConfig, ConfigError> {
    let own = material.certified_key();
    let mut chain = own.cert.clone();
    for authority in authorities {
        if !chain.contains(authority) {
            chain.push(authority.clone());
        }
    }
    let key = Arc::new(CertifiedKey::new(chain, Arc::clone(&own.key)));
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    Ok(without_resumption(config))
}

/// A resumed session brings its old client certificate along unchecked: no dates, no purpose, no
/// revocation. Streams live for days, so full handshakes cost next to nothing.
fn without_resumption(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
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
