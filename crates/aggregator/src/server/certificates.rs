//! Certificate, key and authorities: what is served with, and until when.

use rowcall_core::clock::SharedClock;
use rowcall_tls::config::server_config;
use rowcall_tls::identity::TrustDomain;
use rowcall_tls::load::Material;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tracing::warn;

use crate::Error;
use crate::config::Config;
use crate::metrics::Expiry;

/// What the files of the settings give.
#[derive(Debug)]
pub(super) struct Certificates {
    pub(super) tls: ServerConfig,
    pub(super) trust_domain: TrustDomain,
    pub(super) expiry: Expiry,
}

/// Reads and checks them. What is out of date is only warned of: the clock may be wrong and be
/// set later, and peers decide by their own.
pub(super) fn certificates(config: &Config, clock: &SharedClock) -> Result<Certificates, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Certificates(error.to_string());
    let material = Material::load(&config.files).map_err(|error| failed(&error))?;
    if let Err(error) = material.check_dates(clock.wall()) {
        warn!(%error, "the server certificate is out of date");
    }
    let trust_domain = match &config.trust_domain {
        Some(domain) => domain.clone(),
        None => trust_domain_of(&config.files.authorities)?,
    };
    let expiry = Expiry {
        server: material.validity().not_after,
        client_ca: material.authorities_not_after(),
    };
    let tls = server_config(&material).map_err(|error| failed(&error))?;
    Ok(Certificates { tls, trust_domain, expiry })
}

/// The trust domain that the first client authority names.
fn trust_domain_of(path: &std::path::Path) -> Result<TrustDomain, Error> {
    let unnamed = |error: &dyn std::fmt::Display| {
        Error::Certificates(format!(
            "trust_domain is not set, and the first certificate in {} does not name one: {error}; \
             set trust_domain to NAME, as in the spiffe://NAME/agent/... of the clients",
            path.display()
        ))
    };
    let der = CertificateDer::from_pem_file(path).map_err(|error| unnamed(&error))?;
    TrustDomain::from_authority(&der).map_err(|error| unnamed(&error))
}
