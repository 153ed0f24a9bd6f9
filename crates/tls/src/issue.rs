//! A small certificate authority: ECDSA P-256, one level, everything in a certificate ours.
//!
//! Nothing that a request brings is copied into a certificate; rcgen's defaults for serial
//! number (a hash of the key) and dates (1975 to 4096) are never used. The caller gives the time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::identity::{Identity, IdentityError, Role, TrustDomain};
use crate::x509;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rowcall_core::id::{HostName, UnixMicros};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A new certificate is valid from this long before now, for machines whose clock is slow.
const BACKDATED: Duration = Duration::from_secs(300);

/// How long [`Authority::create`]'s own certificate lasts: ten years.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_secs(3652 * 86_400);

const SERIAL_BYTES: usize = 16;

/// Longest common name that X.509 allows.
const MAX_COMMON_NAME_BYTES: usize = 64;

/// Why the authority could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The system gives no random numbers.
    #[error("no random numbers for a serial number: {0}")]
    Random(getrandom::Error),
    /// rcgen refuses it.
    #[error("cannot {action}: {error}")]
    Certificate {
        /// What was being done.
        action: &'static str,
        /// What rcgen said.
        error: rcgen::Error,
    },
    /// The authority's certificate is not PEM.
    #[error("the authority's certificate cannot be read: {0}")]
    Unreadable(String),
    /// The certificate loaded is not an authority's.
    #[error("the certificate is not a CA certificate, it cannot issue others")]
    NotAnAuthority,
    /// Key and certificate loaded are not of one pair.
    #[error("the key does not belong to the authority's certificate")]
    KeyMismatch,
    /// The authority's certificate names no trust domain.
    #[error("the authority's certificate names no trust domain: {0}")]
    TrustDomain(IdentityError),
    /// A name for a server is none.
    #[error("{0:?} is no DNS name for a certificate")]
    DnsName(String),
    /// A server certificate without any name fits no server.
    #[error("a server certificate needs at least one DNS name or address")]
    NoServerName,
}

/// An authority with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    trust_domain: TrustDomain,
    certificate_pem: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("trust_domain", &self.trust_domain)
            .finish_non_exhaustive()
    }
}

/// A certificate and its key, both PEM. The key is not shown by `Debug`.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key, PKCS#8: see [`write_private`].
    pub key_pem: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority with a new key, valid for [`AUTHORITY_LIFETIME`] from `now`. Its
    /// certificate names the trust domain, so that it alone is enough to load it again.
    ///
    /// # Errors
    /// [`IssueError`] when there is no randomness or rcgen refuses.
    pub fn create(trust_domain: TrustDomain, now: UnixMicros) -> Result<Self, IssueError> {
        let action = "create an authority";
        let key = KeyPair::generate().map_err(failed(action))?;
        let mut params = parameters(now, AUTHORITY_LIFETIME)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        // Without cRLSign no revocation list of this authority would ever be believed.
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::OrganizationName, "Rowcall");
        name(&mut params.distinguished_name, &format!("{trust_domain} CA"));
        params.subject_alt_names.push(uri(trust_domain.uri(), action)?);
        let certificate_pem = params.self_signed(&key).map_err(failed(action))?.pem();
        Ok(Self { issuer: Issuer::new(params, key), trust_domain, certificate_pem })
    }

    /// An authority from its files' content.
    ///
    /// # Errors
    /// [`IssueError`] when they are unreadable, not of one pair, not a CA's, or name no trust
    /// domain.
    pub fn load(certificate_pem: &str, key_pem: &str) -> Result<Self, IssueError> {
        let unreadable = |error: &dyn std::fmt::Display| IssueError::Unreadable(error.to_string());
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|e| unreadable(&e))?;
        let certificate = x509::read(&der).map_err(IssueError::Unreadable)?;
        // rcgen would take any certificate for an issuer's.
        if !certificate.is_ca() {
            return Err(IssueError::NotAnAuthority);
        }
        let key = KeyPair::from_pem(key_pem).map_err(failed("read the authority's key"))?;
        if certificate.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(IssueError::KeyMismatch);
        }
        let trust_domain = TrustDomain::from_authority(&der).map_err(IssueError::TrustDomain)?;
        let issuer = Issuer::from_ca_cert_der(&der, key)
            .map_err(failed("read the authority's certificate"))?;
        Ok(Self { issuer, trust_domain, certificate_pem: certificate_pem.to_owned() })
    }

    /// Whose certificates it issues.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Its certificate: what the others' CA file holds.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its private key, PKCS#8: see [`write_private`].
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate for an aggregator that is reached under these names and addresses.
    ///
    /// # Errors
    /// [`IssueError`] when there is no name, or one that is none.
    pub fn issue_server(
        &self,
        dns_names: &[&str],
        addresses: &[IpAddr],
        now: UnixMicros,
        lifetime: Duration,
    ) -> Result<Issued, IssueError> {
        let mut params = parameters(now, lifetime)?;
        for text in dns_names {
            let bad = || IssueError::DnsName((*text).to_owned());
            rustls::pki_types::DnsName::try_from(*text).map_err(|_| bad())?;
            let dns_name = Ia5String::try_from(*text).map_err(|_| bad())?;
            params.subject_alt_names.push(SanType::DnsName(dns_name));
        }
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        if params.subject_alt_names.is_empty() {
            return Err(IssueError::NoServerName);
        }
        name(&mut params.distinguished_name, "rowcall aggregator");
        self.issue(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for an agent, a viewer or an operator.
    ///
    /// # Errors
    /// [`IssueError`] when there is no randomness or rcgen refuses.
    pub fn issue_client(
        &self,
        role: Role,
        host: &HostName,
        now: UnixMicros,
        lifetime: Duration,
    ) -> Result<Issued, IssueError> {
        let identity =
            Identity { trust_domain: self.trust_domain.clone(), role, name: host.clone() };
        let mut params = parameters(now, lifetime)?;
        params.subject_alt_names.push(uri(identity.to_string(), "issue a certificate")?);
        name(&mut params.distinguished_name, host.as_str());
        self.issue(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<Issued, IssueError> {
        let action = "issue a certificate";
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(failed(action))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed(action))?;
        Ok(Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

/// Writes a secret: readable for its owner alone from the moment it exists, and whole or not at
/// all, even if the machine stops.
///
/// # Errors
/// What the file system says.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(folder), Some(file_name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the path of a file"));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let random = getrandom::u64().map_err(io::Error::other)?;
    let mut temporary = file_name.to_owned();
    temporary.push(format!(".{random:016x}.new"));
    let temporary = folder.join(temporary);
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        // It may never have come to exist, and the first error says more.
        drop(fs::remove_file(&temporary));
    }
    written
}

fn failed(action: &'static str) -> impl FnOnce(rcgen::Error) -> IssueError {
    move |error| IssueError::Certificate { action, error }
}

fn parameters(now: UnixMicros, lifetime: Duration) -> Result<CertificateParams, IssueError> {
    let mut serial = [0; SERIAL_BYTES];
    getrandom::fill(&mut serial).map_err(IssueError::Random)?;
    // A positive number of always the same length.
    serial[0] = serial[0] & 0x3f | 0x40;

    let mut params = CertificateParams::default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = Duration::from_secs(u64::try_from(now.0 / 1_000_000).unwrap_or(0));
    params.not_before = epoch + since_epoch.saturating_sub(BACKDATED);
    params.not_after = epoch + since_epoch + Duration::from_secs(lifetime.as_secs());
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

/// For people who look at a certificate; no check reads it.
fn name(subject: &mut DistinguishedName, text: &str) {
    let end = text.floor_char_boundary(MAX_COMMON_NAME_BYTES);
    subject.push(DnType::CommonName, text.get(..end).unwrap_or_default());
}

fn uri(text: String, action: &'static str) -> Result<SanType, IssueError> {
    Ia5String::try_from(text).map(SanType::URI).map_err(failed(action))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: UnixMicros = UnixMicros(1_795_365_212_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn authority() -> Authority {
        Authority::create(TrustDomain::parse("example.org").unwrap(), NOW).unwrap()
    }

    fn with<T>(pem: &str, look: impl FnOnce(&x509_parser::prelude::X509Certificate<'_>) -> T) -> T {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        look(&x509::read(&der).unwrap())
    }

    #[test]
    fn client_certificate_holds_identity_purpose_dates_and_nothing_more() {
        let authority = authority();
        let host = HostName::parse("node1").unwrap();
        let issued = authority.issue_client(Role::Agent, &host, NOW, DAY).unwrap();
        let der = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
        assert_eq!(
            Identity::from_der(&der).unwrap().to_string(),
            "spiffe://example.org/agent/node1"
        );
        with(&issued.certificate_pem, |certificate| {
            assert!(!certificate.is_ca());
            let purposes = certificate.extended_key_usage().unwrap().unwrap().value;
            assert!(purposes.client_auth && !purposes.server_auth && !purposes.any);
            let seconds = NOW.0 / 1_000_000;
            assert_eq!(certificate.validity().not_before.timestamp(), seconds - 300);
            assert_eq!(certificate.validity().not_after.timestamp(), seconds + 86_400);
        });
        assert!(!format!("{issued:?}").contains("PRIVATE"));
    }

    #[test]
    fn authority_may_sign_certificates_and_revocation_lists() {
        with(authority().cert_pem(), |certificate| {
            let usage = certificate.key_usage().unwrap().unwrap().value;
            assert!(usage.key_cert_sign() && usage.crl_sign());
            assert_eq!(
                certificate.basic_constraints().unwrap().unwrap().value.path_len_constraint,
                Some(0)
            );
        });
    }

    #[test]
    fn serial_numbers_are_random_and_16_bytes() {
        let authority = authority();
        let host = HostName::parse("node1").unwrap();
        let serials: HashSet<Vec<u8>> = (0..8)
            .map(|_| {
                let issued = authority.issue_client(Role::Agent, &host, NOW, DAY).unwrap();
                with(&issued.certificate_pem, |certificate| certificate.raw_serial().to_vec())
            })
            .collect();
        assert_eq!(serials.len(), 8);
        assert!(serials.iter().all(|serial| serial.len() == 16));
    }

    #[test]
    fn authority_loads_from_its_own_files_and_issues_under_the_same_trust_domain() {
        let first = authority();
        let again = Authority::load(first.cert_pem(), &first.key_pem()).unwrap();
        assert_eq!(again.trust_domain().as_str(), "example.org");
        let issued = again.issue_server(&["localhost"], &[], NOW, DAY).unwrap();
        let issuer = with(first.cert_pem(), |ca| ca.subject().to_string());
        assert_eq!(with(&issued.certificate_pem, |leaf| leaf.issuer().to_string()), issuer);
    }

    #[test]
    fn loading_refuses_a_leaf_and_a_foreign_key() {
        let authority = authority();
        let leaf = authority.issue_server(&["localhost"], &[], NOW, DAY).unwrap();
        assert!(matches!(
            Authority::load(&leaf.certificate_pem, &leaf.key_pem),
            Err(IssueError::NotAnAuthority)
        ));
        assert!(matches!(
            Authority::load(authority.cert_pem(), &leaf.key_pem),
            Err(IssueError::KeyMismatch)
        ));
        assert!(!format!("{authority:?}").to_lowercase().contains("key"));
    }

    #[test]
    fn server_certificate_needs_a_name_that_is_one() {
        let authority = authority();
        assert!(matches!(
            authority.issue_server(&[], &[], NOW, DAY),
            Err(IssueError::NoServerName)
        ));
        for bad in ["", "a b", "ä", "-"] {
            assert!(
                matches!(
                    authority.issue_server(&[bad], &[], NOW, DAY),
                    Err(IssueError::DnsName(_))
                ),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn private_file_is_0600_replaces_the_old_one_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write_private(&folder.path().join("missing/key.pem"), b"x").is_err());
    }
}
