//! Authorities, and what they issue.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType, SubjectPublicKeyInfo,
};
use rowcall_core::id::{HostName, UnixMicros};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::X509Certificate;

use super::params::{for_an_end, name, parameters, uri};
use super::{IssueError, Issued, IssuedForKey, Purpose, failed};
use crate::certificate::{PeerCertificate, to_pem};
use crate::csr::CsrKey;
use crate::identity::{Identity, Role, TrustDomain};
use crate::x509;

/// How long a root's own certificate lasts: twenty years.
pub const ROOT_LIFETIME: Duration = Duration::from_secs(7305 * 86_400);

/// How long an issuing authority's own certificate lasts: ten years.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_secs(3652 * 86_400);

/// An authority with its key.
pub struct Authority {
    pub(super) issuer: Issuer<'static, KeyPair>,
    facts: Facts,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
}

/// What its certificate says.
#[derive(Debug)]
struct Facts {
    trust_domain: TrustDomain,
    not_before: UnixMicros,
    not_after: UnixMicros,
    /// What alone it may issue certificates for; none: everything.
    purpose: Option<Purpose>,
    may_make_authorities: bool,
    is_root: bool,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("trust_domain", &self.facts.trust_domain)
            .field("purpose", &self.facts.purpose)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// A new root with a new key, valid for [`ROOT_LIFETIME`] from `now`, to make
    /// [issuing authorities](Self::create_issuing) under it.
    ///
    /// # Errors
    /// [`IssueError`] when there is no randomness or rcgen refuses.
    pub fn create_root(trust_domain: TrustDomain, now: UnixMicros) -> Result<Self, IssueError> {
        let action = "create an authority";
        let path = BasicConstraints::Constrained(1);
        let forever = UnixMicros(i64::MAX);
        let params = authority_params(&trust_domain, "root", path, now, ROOT_LIFETIME, forever)?;
        let key = KeyPair::generate().map_err(failed(action))?;
        let certificate = params.self_signed(&key).map_err(failed(action))?;
        Self::load(&certificate.pem(), &key.serialize_pem())
    }

    /// A new authority under this root, with a new key, which issues for one purpose and makes no
    /// authorities. Valid for [`AUTHORITY_LIFETIME`] from `now`, but no longer than the root.
    ///
    /// # Errors
    /// [`IssueError`] when this is no root, or out of date.
    pub fn create_issuing(&self, purpose: Purpose, now: UnixMicros) -> Result<Self, IssueError> {
        let action = "create an authority";
        self.must_be_able(now)?;
        self.must_be_for(purpose)?;
        if !self.facts.may_make_authorities {
            return Err(IssueError::NotARoot);
        }
        let kind = match purpose {
            Purpose::Servers => "server CA",
            Purpose::Clients => "client CA",
        };
        let path = BasicConstraints::Constrained(0);
        let mut params = authority_params(
            self.trust_domain(),
            kind,
            path,
            now,
            AUTHORITY_LIFETIME,
            self.not_after(),
        )?;
        params.extended_key_usages = vec![purpose.usage()];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(failed(action))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed(action))?;
        Self::load(&certificate.pem(), &key.serialize_pem())
    }

    /// An authority from its files' content. Of several certificates the first counts.
    ///
    /// # Errors
    /// [`IssueError`] when they are unreadable, not of one pair, not a CA's, or name no trust
    /// domain.
    pub fn load(certificate_pem: &str, key_pem: &str) -> Result<Self, IssueError> {
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| IssueError::Unreadable(error.to_string()))?;
        let certificate = x509::read(&der).map_err(IssueError::Unreadable)?;
        // rcgen would take any certificate for an issuer's.
        if !certificate.is_ca() {
            return Err(IssueError::NotAnAuthority);
        }
        let key = KeyPair::from_pem(key_pem).map_err(failed("read the authority's key"))?;
        if certificate.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(IssueError::KeyMismatch);
        }
        let facts = Facts::read(&der, &certificate)?;
        let issuer = Issuer::from_ca_cert_der(&der, key)
            .map_err(failed("read the authority's certificate"))?;
        let certificate_pem = to_pem([&der]);
        Ok(Self { issuer, facts, certificate: der, certificate_pem })
    }

    /// Whose certificates it issues.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.facts.trust_domain
    }

    /// Its certificate, PEM: what the others' CA file holds.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// When it ends.
    #[must_use]
    pub fn not_after(&self) -> UnixMicros {
        self.facts.not_after
    }

    /// What alone it may issue certificates for; none: everything.
    #[must_use]
    pub fn purpose(&self) -> Option<Purpose> {
        self.facts.purpose
    }

    /// Its private key, PKCS#8: see [`write_private`](super::write_private).
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate for an aggregator that is reached under these names and addresses.
    ///
    /// # Errors
    /// [`IssueError`] when there is no name, or one that is none, or the authority may not.
    pub fn issue_server(
        &self,
        dns_names: &[&str],
        addresses: &[IpAddr],
        now: UnixMicros,
        lifetime: Duration,
    ) -> Result<Issued, IssueError> {
        let mut params = self.params(Purpose::Servers, now, lifetime)?;
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
        self.issue_with_new_key(&params)
    }

    /// A certificate for an agent, a viewer or an operator.
    ///
    /// # Errors
    /// [`IssueError`] when there is no randomness, or the authority may not.
    pub fn issue_client(
        &self,
        role: Role,
        host: &HostName,
        now: UnixMicros,
        lifetime: Duration,
    ) -> Result<Issued, IssueError> {
        self.issue_with_new_key(&self.client_params(role, host, now, lifetime)?)
    }

    /// A certificate for a key that somebody else holds. The request gives the key and nothing
    /// else.
    ///
    /// # Errors
    /// [`IssueError`] when there is no randomness, or the authority may not.
    pub fn issue_for_key(
        &self,
        role: Role,
        host: &HostName,
        key: &CsrKey,
        now: UnixMicros,
        lifetime: Duration,
    ) -> Result<IssuedForKey, IssueError> {
        let params = self.client_params(role, host, now, lifetime)?;
        let key = SubjectPublicKeyInfo::from_der(key.spki()).map_err(failed("read the key"))?;
        let mut chain_der = vec![self.sign(&params, &key)?];
        if !self.facts.is_root {
            chain_der.push(self.certificate.clone());
        }
        let facts = PeerCertificate::from_chain(&chain_der)
            .map_err(|error| IssueError::Unreadable(error.to_string()))?;
        Ok(IssuedForKey {
            chain_der,
            not_before: facts.not_before,
            not_after: facts.not_after,
            serial: facts.serial,
            fingerprint: facts.fingerprint,
        })
    }

    fn client_params(
        &self,
        role: Role,
        host: &HostName,
        now: UnixMicros,
        lifetime: Duration,
    ) -> Result<CertificateParams, IssueError> {
        let mut params = self.params(Purpose::Clients, now, lifetime)?;
        let trust_domain = self.trust_domain().clone();
        let identity = Identity { trust_domain, role, name: host.clone() };
        params.subject_alt_names.push(uri(identity.to_string(), "issue a certificate")?);
        name(&mut params.distinguished_name, host.as_str());
        Ok(params)
    }

    fn params(
        &self,
        purpose: Purpose,
        now: UnixMicros,
        lifetime: Duration,
    ) -> Result<CertificateParams, IssueError> {
        self.must_be_able(now)?;
        self.must_be_for(purpose)?;
        let mut params = parameters(now, lifetime, self.not_after())?;
        for_an_end(&mut params, purpose);
        Ok(params)
    }

    fn issue_with_new_key(&self, params: &CertificateParams) -> Result<Issued, IssueError> {
        let key = KeyPair::generate().map_err(failed("issue a certificate"))?;
        let mut certificate_pem = to_pem([&self.sign(params, &key)?]);
        if !self.facts.is_root {
            certificate_pem.push_str(&self.certificate_pem);
        }
        Ok(Issued { certificate_pem, key_pem: key.serialize_pem() })
    }

    fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<CertificateDer<'static>, IssueError> {
        let certificate =
            params.signed_by(key, &self.issuer).map_err(failed("issue a certificate"))?;
        Ok(certificate.der().clone())
    }

    /// Nobody checks an authority's own dates in a handshake once its certificate is trusted as it
    /// is, so they are kept here.
    pub(super) fn must_be_able(&self, now: UnixMicros) -> Result<(), IssueError> {
        let Facts { not_before, not_after, .. } = self.facts;
        if (not_before..=not_after).contains(&now) {
            return Ok(());
        }
        Err(IssueError::OutOfDate { not_before, not_after, now })
    }

    fn must_be_for(&self, wanted: Purpose) -> Result<(), IssueError> {
        match self.facts.purpose {
            Some(authority) if authority != wanted => {
                Err(IssueError::OtherPurpose { authority, wanted })
            }
            _ => Ok(()),
        }
    }
}

impl Facts {
    fn read(
        der: &CertificateDer<'_>,
        certificate: &X509Certificate<'_>,
    ) -> Result<Self, IssueError> {
        let unreadable = |error| IssueError::Unreadable(x509::explain(&error));
        let path = certificate.basic_constraints().map_err(unreadable)?;
        let usage = certificate.extended_key_usage().map_err(unreadable)?;
        Ok(Self {
            trust_domain: TrustDomain::from_authority(der).map_err(IssueError::TrustDomain)?,
            not_before: x509::micros(certificate.validity().not_before),
            not_after: x509::micros(certificate.validity().not_after),
            purpose: usage.and_then(|usage| {
                match (usage.value.server_auth, usage.value.client_auth) {
                    (true, false) => Some(Purpose::Servers),
                    (false, true) => Some(Purpose::Clients),
                    _ => None,
                }
            }),
            may_make_authorities: path.is_some_and(|p| p.value.path_len_constraint != Some(0)),
            is_root: certificate.subject().as_raw() == certificate.issuer().as_raw(),
        })
    }
}

fn authority_params(
    trust_domain: &TrustDomain,
    kind: &str,
    path: BasicConstraints,
    now: UnixMicros,
    lifetime: Duration,
    until: UnixMicros,
) -> Result<CertificateParams, IssueError> {
    let action = "create an authority";
    let mut params = parameters(now, lifetime, until)?;
    params.is_ca = IsCa::Ca(path);
    // Without cRLSign no revocation list of this authority would ever be believed.
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::OrganizationName, "Rowcall");
    // Verifiers look authorities up by name: one made anew must not have the name of the old.
    let random = getrandom::u32().map_err(IssueError::Random)?;
    let ours = format!("{kind} {random:08x}");
    let domain = trust_domain.as_str();
    let room = domain.floor_char_boundary(63_usize.saturating_sub(ours.len()));
    name(&mut params.distinguished_name, &format!("{} {ours}", domain.get(..room).unwrap_or("")));
    params.subject_alt_names.push(uri(trust_domain.uri(), action)?);
    Ok(params)
}
