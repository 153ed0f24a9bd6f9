//! Our own authorities, and certificates that they, or others in their place, issue.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rowcall_core::clock::{Clock as _, SystemClock};
use rowcall_core::id::{HostName, UnixMicros};
use rowcall_tls::config::{client_config, server_config};
use rowcall_tls::connect::Connector;
use rowcall_tls::identity::{Role, TrustDomain};
use rowcall_tls::issue::{Authority, Issued, Purpose};
use rowcall_tls::load::{Files, Material};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;

use crate::support::{AGENT, DOMAIN, connector};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// The machine's time, which rustls goes by, and so many days from it.
pub(crate) fn days(from_now: i64) -> UnixMicros {
    SystemClock.wall().plus_micros(from_now * 86_400 * 1_000_000)
}

pub(crate) fn node1() -> HostName {
    HostName::parse("node1").unwrap()
}

/// A root and its two issuing authorities, a year old.
pub(crate) struct Pki {
    pub(crate) root: Authority,
    pub(crate) servers: Authority,
    pub(crate) clients: Authority,
    folder: TempDir,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let root = Authority::create_root(TrustDomain::parse(DOMAIN).unwrap(), days(-365)).unwrap();
        let issuing = |purpose| root.create_issuing(purpose, days(-365)).unwrap();
        let (servers, clients) = (issuing(Purpose::Servers), issuing(Purpose::Clients));
        Self { root, servers, clients, folder: tempfile::tempdir().unwrap() }
    }

    /// A file with this content.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn material(&self, issued: &Issued, authorities_pem: &str) -> Material {
        Material::load(&Files {
            certificate: self.file("own.pem", &issued.certificate_pem),
            key: self.file("own.key", &issued.key_pem),
            authorities: self.file("ca.pem", authorities_pem),
        })
        .unwrap()
    }

    pub(crate) fn server_certificate(&self) -> Issued {
        let loopback = [Ipv4Addr::LOCALHOST.into()];
        self.servers.issue_server(&["localhost"], &loopback, days(0), DAY).unwrap()
    }

    /// What an aggregator has: it believes the client authority, not the root.
    pub(crate) fn server(&self) -> Material {
        self.material(&self.server_certificate(), self.clients.cert_pem())
    }

    pub(crate) fn server_config(&self) -> ServerConfig {
        server_config(&self.server()).unwrap()
    }

    pub(crate) fn agent(&self) -> Issued {
        self.clients.issue_client(Role::Agent, &node1(), days(0), DAY).unwrap()
    }

    /// What a node has: it believes the root.
    pub(crate) fn connector(&self, issued: &Issued) -> Connector {
        connector(client_config(&self.material(issued, self.root.cert_pem())).unwrap())
    }

    /// A revocation list in a file.
    pub(crate) fn revocations(&self, serials: &[&str], at: UnixMicros) -> PathBuf {
        let list = self.clients.revocation_list(serials, at, DAY).unwrap();
        self.file("crl.pem", &list)
    }
}

pub(crate) fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Someone who has the key of this authority and none of our rules.
pub(crate) fn rogue(authority: &Authority) -> Issuer<'static, KeyPair> {
    let key = KeyPair::from_pem(&authority.key_pem()).unwrap();
    Issuer::from_ca_cert_der(authority.certificate_der(), key).unwrap()
}

/// An agent's certificate as it should be, with one thing to change.
pub(crate) fn agent_params(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "node1");
    params.subject_alt_names = vec![SanType::URI(AGENT.try_into().unwrap())];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    params
}

/// Makes it an authority's.
pub(crate) fn as_authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
}

/// A certificate and its key, and `after` behind it.
pub(crate) fn signed(
    params: &CertificateParams,
    issuer: &Issuer<'_, KeyPair>,
    after: &str,
) -> Issued {
    let key = KeyPair::generate().unwrap();
    let certificate_pem = params.signed_by(&key, issuer).unwrap().pem() + after;
    Issued { certificate_pem, key_pem: key.serialize_pem() }
}

pub(crate) fn self_signed(params: &CertificateParams) -> Issued {
    let key = KeyPair::generate().unwrap();
    let certificate_pem = params.self_signed(&key).unwrap().pem();
    Issued { certificate_pem, key_pem: key.serialize_pem() }
}
