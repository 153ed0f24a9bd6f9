//! Everything that the files of the settings give: whole and consistent, or not at all.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rowcall_core::clock::SharedClock;
use rowcall_core::id::UnixMicros;
use rowcall_core::token::Pin;
use rowcall_tls::certificate::list_sha256;
use rowcall_tls::config::{provider, server_auth_only_config, server_config};
use rowcall_tls::identity::TrustDomain;
use rowcall_tls::load::{Authorities, Material};
use rowcall_tls::pin::pin_of;
use rowcall_tls::trust::ClientTrust;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};

use crate::config::{Config, Enrollment};
use crate::enrollment::Issuer;

/// Rights of a key's file for everybody on the machine.
const FOR_OTHERS: u32 = 0o007;

/// What is in force.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// For the stream's listener.
    pub(super) tls: Arc<ServerConfig>,
    pub(super) material: Material,
    pub(super) trust: ClientTrust,
    pub(super) trust_domain: TrustDomain,
    /// None: this aggregator does not issue.
    pub(super) issuing: Option<Arc<Issuing>>,
    /// Of whom clients are believed and whom not any more; for telling whether that changed.
    pub(super) trust_sha256: [u8; 32],
}

/// What certificates are issued with.
#[derive(Debug)]
pub(crate) struct Issuing {
    /// For the enrolment listener.
    pub(super) tls: Arc<ServerConfig>,
    pub(crate) issuer: Issuer,
    /// Whom enrolled nodes trust.
    pub(crate) server_authorities: Arc<[CertificateDer<'static>]>,
    pub(super) server_authorities_sha256: [u8; 32],
    pub(super) server_authorities_not_after: UnixMicros,
    /// Of the one that our certificate stands under.
    pub(super) pin: Pin,
}

/// Reads and checks all of it. What is out of date is no error: the clock may be wrong and be set
/// later, and peers decide by their own. Blocks: some small files.
///
/// # Errors
/// What is wrong, where, and what to do; the first thing.
pub(super) fn load(config: &Config, clock: &SharedClock) -> Result<Loaded, String> {
    let mut material = Material::load(&config.files)
        .map_err(|error| format!("{error}{}", no_folder(&config.files.certificate)))?;
    if let Some(lists) = &config.revocations
        && (!lists.may_be_missing || lists.path.exists())
    {
        material = material.with_revocations(&lists.path).map_err(|error| error.to_string())?;
    }
    let trust_domain = trust_domain(config, material.authorities())?;
    let trust = ClientTrust::new(&material).map_err(|error| error.to_string())?;
    let tls = Arc::new(server_config(&material).map_err(|error| error.to_string())?);
    let now = clock.wall();
    let issuing = match &config.enrollment {
        Some(enrollment) => Some(Arc::new(issuing(enrollment, &material, &trust_domain, now)?)),
        None => None,
    };
    let trust_sha256 = trust_sha256(&material);
    Ok(Loaded { tls, material, trust, trust_domain, issuing, trust_sha256 })
}

/// What makes the certificate's folder, where there is none yet.
fn no_folder(certificate: &Path) -> String {
    match certificate.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) if !folder.exists() => {
            format!("; there is no {0}: `rowcall pki init --dir {0}` makes it", folder.display())
        }
        _ => String::new(),
    }
}

/// The key files that other users of this machine may read, each said in words.
pub(super) fn readable_keys(config: &Config) -> Vec<String> {
    let issuer = config.enrollment.as_ref().map(|enrollment| &enrollment.key);
    let keys = std::iter::once(&config.files.key).chain(issuer);
    keys.filter(|path| {
        std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & FOR_OTHERS != 0)
    })
    .map(|path| {
        let path = path.display();
        format!("every user of this machine can read or change the key file {path}; run chmod 600 {path}")
    })
    .collect()
}

/// All files that a change of is looked for.
pub(super) fn paths(config: &Config) -> Vec<PathBuf> {
    let files = &config.files;
    let mut paths = vec![files.certificate.clone(), files.key.clone(), files.authorities.clone()];
    paths.extend(config.revocations.iter().map(|lists| lists.path.clone()));
    if let Some(enrollment) = &config.enrollment {
        paths.extend(
            [&enrollment.certificate, &enrollment.key, &enrollment.server_ca].map(Clone::clone),
        );
    }
    paths
}

/// The one that is set, or else the one that the first client authority names. Those that name one
/// must name the same.
fn trust_domain(config: &Config, authorities: &Authorities) -> Result<TrustDomain, String> {
    let path = config.files.authorities.display();
    let named = authorities.certificates().iter().map(TrustDomain::from_authority);
    let expected = match (&config.trust_domain, named.clone().next()) {
        (Some(domain), _) => domain.clone(),
        (None, Some(Ok(domain))) => domain,
        (None, Some(Err(error))) => {
            return Err(format!(
                "trust_domain is not set, and the first certificate in {path} does not name one: \
                 {error}; set trust_domain to NAME, as in the spiffe://NAME/agent/... of the clients"
            ));
        }
        (None, None) => return Err(format!("{path} holds no certificate")),
    };
    for (index, domain) in named.enumerate() {
        if let Ok(domain) = domain
            && domain != expected
        {
            return Err(format!(
                "certificate {} in {path} is of trust domain {domain}, and not of {expected}: all \
                 its clients would be refused; correct trust_domain or take the certificate out",
                index + 1
            ));
        }
    }
    Ok(expected)
}

fn issuing(
    enrollment: &Enrollment,
    material: &Material,
    trust_domain: &TrustDomain,
    now: UnixMicros,
) -> Result<Issuing, String> {
    let issuer = Issuer::load(&enrollment.certificate, &enrollment.key)?;
    let named = issuer.trust_domain();
    if named != trust_domain {
        return Err(format!(
            "issuer_certificate {} is of trust domain {named}, and clients are believed of \
             {trust_domain}: what it issues would be refused",
            enrollment.certificate.display()
        ));
    }
    if !material.authorities().certificates().contains(issuer.certificate()) {
        return Err(format!(
            "the first certificate in issuer_certificate {} does not stand in client_ca: what it \
             issues would be refused; add it there",
            enrollment.certificate.display()
        ));
    }
    let authorities =
        Authorities::load(&enrollment.server_ca).map_err(|error| error.to_string())?;
    let server_authorities = authorities.certificates();
    let ours = server_authorities.iter().find(|authority| certifies(authority, material, now));
    let ours = ours.ok_or_else(|| {
        format!(
            "no authority in server_ca {} certifies our server certificate: enrolled nodes would \
             refuse this aggregator; put the root of the server certificate there",
            enrollment.server_ca.display()
        )
    })?;
    let pin = pin_of(ours)?;
    let tls = server_auth_only_config(material, server_authorities).map_err(|e| e.to_string())?;
    Ok(Issuing {
        tls: Arc::new(tls),
        issuer,
        server_authorities: server_authorities.into(),
        server_authorities_sha256: list_sha256(server_authorities),
        server_authorities_not_after: authorities.not_after(),
        pin,
    })
}

/// Whether our certificate stands under this authority, for servers. Dates are not looked at
/// beyond need: by the time, if any, at which our own certificate is valid.
fn certifies(authority: &CertificateDer<'static>, material: &Material, now: UnixMicros) -> bool {
    let Some((own, between)) = material.chain().split_first() else { return false };
    let validity = material.validity();
    let at = now.min(validity.not_after).max(validity.not_before);
    let seconds = u64::try_from(at.0.div_euclid(1_000_000)).unwrap_or(0);
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let mut roots = RootCertStore::empty();
    let Ok(own) = ParsedCertificate::try_from(own) else { return false };
    let algorithms = provider().signature_verification_algorithms.all;
    roots.add(authority.clone()).is_ok()
        && verify_server_cert_signed_by_trust_anchor(&own, &roots, between, at, algorithms).is_ok()
}

fn trust_sha256(material: &Material) -> [u8; 32] {
    let mut sha256 = Sha256::new();
    material.authorities().certificates().iter().for_each(|der| sha256.update(der));
    material.revocation_lists().for_each(|der| sha256.update(der));
    sha256.finalize().into()
}

impl Loaded {
    /// What of it is out of date, if anything is.
    pub(super) fn out_of_date(&self, now: UnixMicros) -> Option<String> {
        if let Err(error) = self.material.check_dates(now) {
            return Some(format!("server certificate: {error}"));
        }
        let lists_end = self.material.revocations_until()?;
        (now > lists_end).then(|| {
            "a revocation list of client_crl is out of date: certificates of its authority are \
             refused; put a new one in its place"
                .to_owned()
        })
    }
}
