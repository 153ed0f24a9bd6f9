//! What stands in certificates, and what is never issued.

use std::collections::HashSet;
use std::time::Duration;

use rowcall_core::id::HostName;
use rustls::pki_types::pem::PemObject as _;

use super::*;
use crate::certificate::{issued_by, list_sha256, to_pem};
use crate::identity::{Identity, Role, TrustDomain};
use crate::x509;

const NOW: UnixMicros = UnixMicros(1_795_365_212_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn root() -> Authority {
    Authority::create_root(TrustDomain::parse("example.org").unwrap(), NOW).unwrap()
}

fn authority_for(purpose: Purpose) -> Authority {
    root().create_issuing(purpose, NOW).unwrap()
}

fn with<T>(pem: &str, look: impl FnOnce(&x509_parser::prelude::X509Certificate<'_>) -> T) -> T {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    look(&x509::read(&der).unwrap())
}

#[test]
fn client_certificate_holds_identity_purpose_dates_and_nothing_more() {
    let authority = authority_for(Purpose::Clients);
    let host = HostName::parse("node1").unwrap();
    let issued = authority.issue_client(Role::Agent, &host, NOW, DAY).unwrap();
    let der = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
    assert_eq!(Identity::from_der(&der).unwrap().to_string(), "spiffe://example.org/agent/node1");
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
fn authorities_sign_certificates_and_lists_and_an_issuing_one_for_its_purpose_alone() {
    let root = root();
    let [servers, clients] =
        [Purpose::Servers, Purpose::Clients].map(|p| root.create_issuing(p, NOW).unwrap());
    let mut names = HashSet::new();
    for (authority, path, purpose) in [
        (&root, 1, None),
        (&servers, 0, Some(Purpose::Servers)),
        (&clients, 0, Some(Purpose::Clients)),
    ] {
        assert_eq!(authority.purpose(), purpose);
        assert_eq!(authority.trust_domain().as_str(), "example.org");
        with(authority.cert_pem(), |certificate| {
            let usage = certificate.key_usage().unwrap().unwrap().value;
            assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
            let constraints = certificate.basic_constraints().unwrap().unwrap();
            assert!(constraints.critical && constraints.value.ca);
            assert_eq!(constraints.value.path_len_constraint, Some(path));
            let purposes = certificate.extended_key_usage().unwrap().map(|usage| usage.value);
            let of =
                |p: &x509_parser::prelude::ExtendedKeyUsage<'_>| (p.server_auth, p.client_auth);
            let expected = purpose.map(|p| (p == Purpose::Servers, p == Purpose::Clients));
            assert_eq!(purposes.map(of), expected);
            assert_eq!(certificate.issuer().as_raw() == certificate.subject().as_raw(), path == 1);
            names.insert(certificate.subject().to_string());
        });
    }
    names.insert(with(authority_for(Purpose::Clients).cert_pem(), |ca| ca.subject().to_string()));
    assert_eq!(names.len(), 4, "no two authorities share a name: {names:?}");
}

#[test]
fn serial_numbers_are_random_and_16_bytes() {
    let authority = authority_for(Purpose::Clients);
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
    let first = authority_for(Purpose::Servers);
    // During a rotation the old one stands behind the new one.
    let bundle = first.cert_pem().to_owned() + root().cert_pem();
    let again = Authority::load(&bundle, &first.key_pem()).unwrap();
    assert_eq!(again.trust_domain().as_str(), "example.org");
    assert_eq!((again.cert_pem(), again.not_after()), (first.cert_pem(), first.not_after()));
    let issued = again.issue_server(&["localhost"], &[], NOW, DAY).unwrap();
    assert!(issued.certificate_pem.ends_with(first.cert_pem()));
    let issuer = with(first.cert_pem(), |ca| ca.subject().to_string());
    assert_eq!(with(&issued.certificate_pem, |leaf| leaf.issuer().to_string()), issuer);
}

#[test]
fn loading_refuses_a_leaf_and_a_foreign_key() {
    let authority = authority_for(Purpose::Servers);
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
    let authority = authority_for(Purpose::Servers);
    assert!(matches!(authority.issue_server(&[], &[], NOW, DAY), Err(IssueError::NoServerName)));
    for bad in ["", "a b", "ä", "-"] {
        assert!(
            matches!(authority.issue_server(&[bad], &[], NOW, DAY), Err(IssueError::DnsName(_))),
            "{bad:?}"
        );
    }
}

#[test]
fn who_issued_a_certificate_is_told_by_its_signature_and_not_by_a_name() {
    let root = root();
    let [ours, theirs] = [&root, &self::root()].map(|r| r.create_issuing(Purpose::Clients, NOW));
    let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
    let host = HostName::parse("node1").unwrap();
    let issued = ours.issue_client(Role::Viewer, &host, NOW, DAY).unwrap();
    let leaf = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
    assert!(issued_by(&leaf, ours.certificate_der()));
    assert!(issued_by(ours.certificate_der(), root.certificate_der()));
    assert!(!issued_by(&leaf, theirs.certificate_der()));
    assert!(!issued_by(&leaf, root.certificate_der()));
    assert!(!issued_by(&leaf, &CertificateDer::from(&b"abc"[..])));
}

#[test]
fn certificates_written_and_read_again_are_the_same_and_known_by_the_same_sum() {
    let [first, second] = [root(), root()];
    let both = [first.certificate_der().clone(), second.certificate_der().clone()];
    let pem = to_pem(&both);
    assert!(pem.lines().all(|line| line.len() <= 64));
    let read: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect();
    assert_eq!(read, both);
    assert_eq!(list_sha256(&read), list_sha256(&both));
    let [first, second] = both;
    assert_ne!(list_sha256(&read), list_sha256(&[second, first.clone()]));
    assert_eq!(list_sha256(std::slice::from_ref(&first)), crate::certificate::fingerprint(&first));
}
