//! TLS to the database: what a URL can ask for, and the files that it takes.
//!
//! The files are read for every new connection, so that renewed ones are in force from then on.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::files::{self, Access};
use super::verify::{Authorities, Check, verifier};
use crate::error::{Error, Kind};

/// What PostgreSQL speaks inside TLS; needed where no word is exchanged before it.
const PROTOCOL: &[u8] = b"postgresql";

/// Where distributions keep the authorities of the system: Debian, Red Hat, SUSE, Alpine.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// `sslmode`, from weak to strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// Never.
    Disable,
    /// Only if the server insists.
    Allow,
    /// If the server has it.
    Prefer,
    /// Always, with whatever certificate; with a signed one where `sslrootcert` is given.
    Require,
    /// Always, with a certificate signed by an authority in `sslrootcert`.
    VerifyCa,
    /// Always, with one that also names the host of the URL.
    VerifyFull,
}

impl Mode {
    pub(super) const ALL: [Self; 6] =
        [Self::Disable, Self::Allow, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.word() == word)
    }
}

/// `sslrootcert`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    None,
    System,
    File(PathBuf),
}

/// `sslcert` and `sslkey`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientFiles {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// What a URL asks for.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) mode: Mode,
    pub(super) roots: Roots,
    pub(super) client: Option<ClientFiles>,
}

impl Tls {
    /// Reads the files and puts them together for rustls.
    ///
    /// # Errors
    /// [`Kind::Config`]: a file that is missing, unreadable, too open, empty, or does not fit.
    pub(super) fn load(&self) -> Result<Arc<ClientConfig>, Error> {
        let check = match (self.mode, &self.roots) {
            (Mode::VerifyFull, _) => Check::ChainAndName,
            (_, Roots::None) => Check::Nothing,
            _ => Check::Chain,
        };
        let authorities = match &self.roots {
            Roots::None => Authorities { anchors: RootCertStore::empty(), certificates: vec![] },
            Roots::File(path) => authorities(path)?,
            Roots::System => system_authorities()?,
        };
        let provider = provider();
        let verifier = verifier(check, authorities, &provider);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(Kind::Internal, format!("TLS: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let chain = certificates("sslcert", &files.certificate)?;
                let key = private_key(&files.key)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| match error {
                    rustls::Error::InconsistentKeys(_) => refuse(format!(
                        "sslkey {} is not the key of sslcert {}; give the two that were made \
                         together, with the client's own certificate first in sslcert",
                        files.key.display(),
                        files.certificate.display()
                    )),
                    error => refuse(format!(
                        "sslcert {} and sslkey {}: {error}",
                        files.certificate.display(),
                        files.key.display()
                    )),
                })?
            }
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Arc::new(config))
    }

    /// The files, for messages.
    pub(super) fn roots_text(&self) -> String {
        match &self.roots {
            Roots::None => "sslrootcert".into(),
            Roots::System => "the system's authorities (sslrootcert=system)".into(),
            Roots::File(path) => format!("sslrootcert {}", path.display()),
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

fn certificates(parameter: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = files::read(parameter, path, Access::Public)?;
    let broken = |error: pem::Error| {
        refuse(format!("{parameter} {} is no good PEM: {error}", path.display()))
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(broken)?;
    if found.is_empty() {
        return Err(refuse(format!(
            "{parameter} {} holds no certificate; it must be PEM, with BEGIN CERTIFICATE in it",
            path.display()
        )));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let bytes = files::read("sslkey", path, Access::Secret)?;
    let has = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    if has("ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
        return Err(refuse(format!(
            "sslkey {} is encrypted, and a service has nobody to ask for its password; decrypt it \
             with `openssl pkey -in KEY -out PLAIN` and protect PLAIN with chmod 0600",
            path.display()
        )));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => refuse(format!(
            "sslkey {} holds no private key; it must be PEM, with BEGIN PRIVATE KEY in it",
            path.display()
        )),
        error => refuse(format!("sslkey {} is no good PEM: {error}", path.display())),
    })
}

fn authorities(path: &Path) -> Result<Authorities, Error> {
    let certificates = certificates("sslrootcert", path)?;
    let mut anchors = RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        anchors.add(certificate.clone()).map_err(|error| {
            let number = index + 1;
            refuse(format!("sslrootcert {}, certificate {number}: {error}", path.display()))
        })?;
    }
    Ok(Authorities { anchors, certificates })
}

/// What the system believes, where OpenSSL looks for it: `SSL_CERT_FILE`, else the distribution's.
fn system_authorities() -> Result<Authorities, Error> {
    let given = env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
    let bundles = SYSTEM_BUNDLES.iter().map(OsString::from);
    let mut places = given.into_iter().chain(bundles).map(PathBuf::from);
    let Some(path) = places.find(|path| path.is_file()) else {
        return Err(refuse(format!(
            "sslrootcert=system, but none of {} is there; install the package ca-certificates, or \
             set SSL_CERT_FILE",
            SYSTEM_BUNDLES.join(", ")
        )));
    };
    let mut anchors = RootCertStore::empty();
    let certificates = certificates("sslrootcert=system,", &path)?;
    // Some distributions keep odd ones; what rustls does not understand it cannot believe.
    anchors.add_parsable_certificates(certificates.iter().cloned());
    Ok(Authorities { anchors, certificates })
}

fn refuse(why: String) -> Error {
    Error::new(Kind::Config, format!("database URL: {why}"))
}
