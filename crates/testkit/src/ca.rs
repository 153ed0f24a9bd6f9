//! An authority that issues certificates as they should not be.
//!
//! Good certificates come from `rowcall_tls::issue`; this one breaks one rule at a time.

use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rowcall_core::clock::{Clock as _, SystemClock};
use rowcall_tls::load::Files;

/// What goes into one certificate. Starts good; each method breaks or changes one thing.
#[derive(Clone, Debug)]
#[must_use]
pub struct Leaf {
    common_name: String,
    uris: Vec<String>,
    dns_names: Vec<String>,
    addresses: Vec<IpAddr>,
    purposes: Vec<ExtendedKeyUsagePurpose>,
    authority: bool,
    age: Age,
}

#[derive(Clone, Copy, Debug)]
enum Age {
    Valid,
    Expired,
    NotYetValid,
}

impl Leaf {
    /// A client with this URI.
    pub fn client(uri: &str) -> Self {
        Self {
            common_name: "test".to_owned(),
            uris: vec![uri.to_owned()],
            dns_names: Vec::new(),
            addresses: Vec::new(),
            purposes: vec![ExtendedKeyUsagePurpose::ClientAuth],
            authority: false,
            age: Age::Valid,
        }
    }

    /// A server on this machine: `localhost`, 127.0.0.1 and `::1`.
    pub fn server() -> Self {
        Self {
            common_name: "test".to_owned(),
            uris: Vec::new(),
            dns_names: vec!["localhost".to_owned()],
            addresses: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            purposes: vec![ExtendedKeyUsagePurpose::ServerAuth],
            authority: false,
            age: Age::Valid,
        }
    }

    /// Its subject is this common name, and nothing else. Without: `test`.
    pub fn common_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.common_name);
        self
    }

    /// Its time ended an hour ago or more.
    pub fn expired(mut self) -> Self {
        self.age = Age::Expired;
        self
    }

    /// Its time starts in an hour or more.
    pub fn not_yet_valid(mut self) -> Self {
        self.age = Age::NotYetValid;
        self
    }

    /// Exactly these URIs among its names.
    pub fn uris(mut self, uris: &[&str]) -> Self {
        self.uris = uris.iter().map(|uri| (*uri).to_owned()).collect();
        self
    }

    /// Exactly these DNS names, and no address.
    pub fn dns_names(mut self, names: &[&str]) -> Self {
        self.dns_names = names.iter().map(|name| (*name).to_owned()).collect();
        self.addresses.clear();
        self
    }

    /// No purpose at all.
    pub fn without_purpose(mut self) -> Self {
        self.purposes.clear();
        self
    }

    /// The purpose of servers.
    pub fn for_servers(mut self) -> Self {
        self.purposes = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self
    }

    /// `CA:TRUE`.
    pub fn as_authority(mut self) -> Self {
        self.authority = true;
        self
    }
}

/// A certificate, what comes after it in its file, and its key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate, then its intermediates, PEM.
    pub chain_pem: String,
    /// The private key, PEM.
    pub key_pem: String,
}

/// The files of one end of a connection.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Certificate and intermediates.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// Certificates of the authorities believed.
    pub authorities: PathBuf,
}

impl From<&Paths> for Files {
    fn from(paths: &Paths) -> Self {
        Self {
            certificate: paths.certificate.clone(),
            key: paths.key.clone(),
            authorities: paths.authorities.clone(),
        }
    }
}

/// The authority: a root, or an intermediate under one.
#[derive(Debug)]
pub struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
    /// Put after every certificate issued; empty for a root.
    between_pem: String,
}

impl TestCa {
    /// A root of this name.
    ///
    /// # Errors
    /// What rcgen says.
    pub fn root(name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let params = authority_params(name);
        let root_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), root_pem, between_pem: String::new() })
    }

    /// An intermediate under this authority.
    ///
    /// # Errors
    /// What rcgen says.
    pub fn intermediate(&self, name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let params = authority_params(name);
        let own_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            root_pem: self.root_pem.clone(),
            between_pem: own_pem + &self.between_pem,
        })
    }

    /// The root's certificate, PEM.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// Issues a certificate with a new key.
    ///
    /// # Errors
    /// What rcgen says.
    pub fn issue(&self, leaf: &Leaf) -> Result<Issued> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, &leaf.common_name);
        for uri in &leaf.uris {
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        }
        for name in &leaf.dns_names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        for address in &leaf.addresses {
            params.subject_alt_names.push(SanType::IpAddress(*address));
        }
        params.is_ca = if leaf.authority {
            IsCa::Ca(BasicConstraints::Unconstrained)
        } else {
            IsCa::ExplicitNoCa
        };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages.clone_from(&leaf.purposes);
        match leaf.age {
            Age::Valid => date(&mut params, -1, 12),
            Age::Expired => date(&mut params, -3, -1),
            Age::NotYetValid => date(&mut params, 2, 12),
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            chain_pem: certificate.pem() + &self.between_pem,
            key_pem: key.serialize_pem(),
        })
    }

    /// Issues a certificate and writes `NAME.pem`, `NAME-key.pem` and `NAME-ca.pem` (this
    /// authority's root) to a folder.
    ///
    /// # Errors
    /// What rcgen or the file system says.
    pub fn write(&self, folder: &Path, name: &str, leaf: &Leaf) -> Result<Paths> {
        self.issue(leaf)?.write(folder, name, &self.root_pem)
    }
}

impl Issued {
    /// Writes `NAME.pem`, `NAME-key.pem` and `NAME-ca.pem` to a folder; the key for its owner only.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, folder: &Path, name: &str, authorities_pem: &str) -> Result<Paths> {
        let write = |suffix: &str, text: &str, mode: u32| {
            let path = folder.join(format!("{name}{suffix}"));
            let written = || {
                let mut file = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(mode)
                    .open(&path)?;
                // One that was there keeps its mode.
                file.set_permissions(Permissions::from_mode(mode))?;
                file.write_all(text.as_bytes())
            };
            written().with_context(|| format!("write {}", path.display()))?;
            anyhow::Ok(path)
        };
        Ok(Paths {
            certificate: write(".pem", &self.chain_pem, 0o644)?,
            key: write("-key.pem", &self.key_pem, 0o600)?,
            authorities: write("-ca.pem", authorities_pem, 0o644)?,
        })
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    date(&mut params, -24, 24);
    params
}

/// Valid from and to these hours from the machine's time: rustls checks dates by it, and takes
/// no other.
fn date(params: &mut CertificateParams, from_hours: i64, to_hours: i64) {
    let hours = SystemClock.wall().0 / 1_000_000 / 3600;
    let at = |offset: i64| {
        let seconds = u64::try_from((hours + offset) * 3600).unwrap_or(0);
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    (params.not_before, params.not_after) = (at(from_hours), at(to_hours));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_for_its_owner_only_even_where_a_file_was_before() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mode = |path: &Path| anyhow::Ok(path.metadata()?.permissions().mode() & 0o777);
        let before = folder.path().join("a-key.pem");
        std::fs::write(&before, "longer than any key\n".repeat(1_000))?;
        std::fs::set_permissions(&before, Permissions::from_mode(0o644))?;
        let authority = TestCa::root("authority")?;
        let paths = authority.write(folder.path(), "a", &Leaf::client("spiffe://test/agent/a"))?;
        assert_eq!(paths.key, before);
        assert_eq!(mode(&paths.key)?, 0o600);
        assert_eq!(mode(&paths.certificate)?, 0o644);
        let key = std::fs::read_to_string(&paths.key)?;
        assert!(key.ends_with("-----END PRIVATE KEY-----\n"), "nothing of the old file is left");
        Ok(())
    }
}
