//! Revocation lists: in the handshake, on live peers, and as files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, SanType,
};
use rowcall_tls::accept::{Limits, Refusal};
use rowcall_tls::certificate::PeerCertificate;
use rowcall_tls::config::{client_config, server_config};
use rowcall_tls::issue::{Authority, Issued, Purpose};
use rowcall_tls::load::{LoadError, Material};
use rowcall_tls::trust::{ClientTrust, TrustError};
use rustls::HandshakeKind;
use rustls::client::Resumption;

use crate::pki::{DAY, Pki, agent_params, as_authority, days, der, self_signed};
use crate::support::{EchoServer, connector, echo};

fn peer(issued: &Issued) -> PeerCertificate {
    PeerCertificate::from_chain(&[der(&issued.certificate_pem)]).unwrap()
}

fn with_list(pki: &Pki, list: &Path) -> Material {
    pki.server().with_revocations(list).unwrap()
}

#[tokio::test]
async fn revoked_certificate_is_refused_and_its_neighbour_is_not() {
    let pki = Pki::new();
    let (stolen, other) = (pki.agent(), pki.agent());
    let list = pki.revocations(&[&peer(&stolen).serial], days(0));
    let config = server_config(&with_list(&pki, &list)).unwrap();
    let server = EchoServer::start(config, Limits::default()).await;
    let port = server.address.port();
    let refusal = pki.connector(&stolen).connect("localhost", port).await.unwrap_err();
    assert!(refusal.is_certificate_refused());
    assert!(refusal.to_string().contains("(TLS alert certificate_revoked)"), "{refusal}");
    assert!(!refusal.to_string().contains("enrol"), "people cannot: {refusal}");
    assert_eq!(server.counts.refused(Refusal::RevokedCertificate), 1);
    echo(&mut pki.connector(&other).connect("localhost", port).await.unwrap()).await;
}

#[tokio::test]
async fn list_out_of_date_refuses_everybody_of_its_authority() {
    let pki = Pki::new();
    let list = pki.revocations(&[], days(-2));
    let material = with_list(&pki, &list);
    assert!(material.revocations_until().unwrap() < days(0));
    let server = EchoServer::start(server_config(&material).unwrap(), Limits::default()).await;
    let client = pki.connector(&pki.agent());
    let refusal = client.connect("localhost", server.address.port()).await.unwrap_err();
    let text = refusal.to_string();
    assert!(
        text.contains("(TLS alert unknown_ca)") && text.contains("out of date there"),
        "{text}"
    );
    assert_eq!(server.counts.refused(Refusal::RevokedCertificate), 1);
    let trust = ClientTrust::new(&material).unwrap();
    let said = trust.verify(&[der(&pki.agent().certificate_pem)], days(0)).unwrap_err();
    assert!(said.to_string().contains("should have been replaced by "), "{said}");
}

#[tokio::test]
async fn client_that_kept_its_session_is_refused_after_it_was_revoked() {
    let pki = Pki::new();
    let server = EchoServer::start(pki.server_config(), Limits::default()).await;
    let port = server.address.port();
    let agent = pki.agent();
    let mut config = client_config(&pki.material(&agent, pki.root.cert_pem())).unwrap();
    config.resumption = Resumption::in_memory_sessions(8);
    let client = connector(config);
    for _ in 0..2 {
        let mut stream = client.connect("localhost", port).await.unwrap();
        echo(&mut stream).await;
        let tls = stream.get_ref().get_ref().1;
        assert_eq!(tls.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(tls.tls13_tickets_received(), 0);
    }
    let list = pki.revocations(&[&peer(&agent).serial], days(0));
    server.config.store(Arc::new(server_config(&with_list(&pki, &list)).unwrap()));
    let refusal = client.connect("localhost", port).await.unwrap_err();
    assert!(refusal.to_string().contains("certificate_revoked"), "{refusal}");
}

#[test]
fn authority_without_a_list_is_believed_and_named() {
    let pki = Pki::new();
    let second = pki.root.create_issuing(Purpose::Clients, days(-1)).unwrap();
    let both = second.cert_pem().to_owned() + pki.clients.cert_pem();
    let list = pki.revocations(&[], days(0));
    let material = pki.material(&pki.server_certificate(), &both).with_revocations(&list).unwrap();
    let unlisted = material.authorities_without_revocations();
    assert!(matches!(unlisted.as_slice(), [name] if name.contains("client CA")), "{unlisted:?}");
    let trust = ClientTrust::new(&material).unwrap();
    for ca in [&second, &pki.clients] {
        let agent =
            ca.issue_client(rowcall_tls::identity::Role::Agent, &crate::pki::node1(), days(0), DAY);
        let chain = [der(&agent.unwrap().certificate_pem)];
        assert_eq!(trust.verify(&chain, days(0)), Ok(()));
    }
    assert!(pki.server().authorities_without_revocations().is_empty());
}

#[test]
fn the_newest_of_several_lists_counts() {
    let pki = Pki::new();
    let agent = peer(&pki.agent());
    let list = |serials: &[&str], at| pki.clients.revocation_list(serials, at, DAY * 9).unwrap();
    let lists = list(&[], days(-2)) + &list(&[&agent.serial], days(-1)) + &list(&[], days(-3));
    let material = with_list(&pki, &pki.file("lists.pem", &lists));
    let trust = ClientTrust::new(&material).unwrap();
    assert_eq!(trust.verify(&agent.chain, days(0)), Err(TrustError::Revoked));
}

#[test]
fn live_peers_are_checked_again_for_what_changed_and_not_for_their_age() {
    let pki = Pki::new();
    let agent = peer(&pki.agent());
    let trust = |material: &Material| ClientTrust::new(material).unwrap();
    let plain = trust(&pki.server());
    // A stream outlives its certificate.
    for now in [days(0), days(20), days(-20)] {
        assert_eq!(plain.recheck(&agent, now), Ok(()));
    }
    assert!(matches!(plain.verify(&agent.chain, days(20)), Err(TrustError::Expired { .. })));
    assert!(matches!(plain.verify(&agent.chain, days(-20)), Err(TrustError::NotYetValid { .. })));

    let stale = with_list(&pki, &pki.revocations(&[], days(-2)));
    assert_eq!(trust(&stale).recheck(&agent, days(0)), Ok(()));
    let revoked = with_list(&pki, &pki.revocations(&[&agent.serial], days(-2)));
    assert_eq!(trust(&revoked).recheck(&agent, days(0)), Err(TrustError::Revoked));
    let others = Pki::new().server();
    assert_eq!(trust(&others).recheck(&agent, days(0)), Err(TrustError::UnknownAuthority));
}

fn error(pki: &Pki, path: &Path) -> String {
    let error = pki.server().with_revocations(path).unwrap_err();
    assert!(!matches!(error, LoadError::KeyMismatch { .. }));
    let folder = path.parent().unwrap();
    error.to_string().replace(&format!("{}/", folder.display()), "")
}

/// With what follows "revocation list 1 in crl.pem cannot be used: ".
fn list_error(pki: &Pki, path: &Path) -> String {
    let said = error(pki, path);
    said.strip_prefix("revocation list 1 in crl.pem cannot be used: ").unwrap_or(&said).to_owned()
}

fn signed_by(pki: &Pki, authority: &Authority) -> PathBuf {
    pki.file("crl.pem", &authority.revocation_list(&[], days(0), DAY).unwrap())
}

#[test]
fn lists_that_say_nothing_about_our_clients_are_refused_with_words() {
    let pki = Pki::new();
    let path = signed_by(&pki, &Pki::new().clients);
    let said = list_error(&pki, &path);
    assert!(said.starts_with("its issuer is \"O=Rowcall, CN=example.org client CA "), "{said}");
    assert!(said.contains("none of the authorities in the CA file; add"), "{said}");

    // The key is another, the name the same.
    let namesake = {
        let foreign = Pki::new();
        let text = foreign.clients.revocation_list(&[], days(0), DAY).unwrap();
        let ours = pki.clients.certificate_der();
        let (_, ours) = x509_parser::parse_x509_certificate(ours).unwrap();
        let foreign = foreign.clients.certificate_der();
        let (_, foreign) = x509_parser::parse_x509_certificate(foreign).unwrap();
        let mut list = rustls::pki_types::pem::PemObject::from_pem_slice(text.as_bytes())
            .map(|der: rustls::pki_types::CertificateRevocationListDer<'_>| der.to_vec())
            .unwrap();
        let (old, new) = (foreign.subject().as_raw(), ours.subject().as_raw());
        let at = list.windows(old.len()).position(|part| part == old).unwrap();
        list[at..at + old.len()].copy_from_slice(new);
        to_pem_block("X509 CRL", &list)
    };
    let said = list_error(&pki, &pki.file("crl.pem", &namesake));
    assert!(said.starts_with("it was not signed by \"O=Rowcall, CN=example.org"), "{said}");

    let whole = fs::read_to_string(signed_by(&pki, &pki.clients)).unwrap();
    let (half, _) = whole.split_at(whole.len() / 2);
    let said = error(&pki, &pki.file("crl.pem", half));
    assert!(said.starts_with("revocation list file crl.pem is not valid PEM: "), "{said}");
    let said = list_error(&pki, &pki.file("crl.pem", &to_pem_block("X509 CRL", b"abc")));
    assert!(said.ends_with("; write it again"), "{said}");
    let said = error(&pki, &pki.file("crl.pem", pki.clients.cert_pem()));
    assert_eq!(
        said,
        "revocation list file crl.pem holds no PEM block of X509 CRL; it must be PEM (text); \
         convert DER with `openssl crl -inform der`"
    );
}

#[test]
fn lists_in_force_give_way_to_no_older_ones_and_to_none_out_of_date() {
    let pki = Pki::new();
    let listed = |at, lifetime| {
        let list = pki.clients.revocation_list(&[], at, lifetime).unwrap();
        with_list(&pki, &pki.file("crl.pem", &list))
    };
    let in_force = listed(days(-1), DAY * 2);
    let why = |new: &Material| new.revocations_go_back(&in_force, days(0));
    assert_eq!(why(&in_force), None);
    assert_eq!(why(&listed(days(0), DAY)), None);
    let said = why(&listed(days(-2), DAY * 9)).unwrap();
    assert!(said.contains(" client CA ") && said.contains("older than that in force"), "{said}");
    let over = listed(days(-1).plus_micros(3_600_000_000), DAY / 24);
    let said = why(&over).unwrap();
    assert!(said.contains("is out of date since ") && said.contains("is good until "), "{said}");
    let said = why(&pki.server()).unwrap();
    assert!(said.starts_with("there is no revocation list of ") && said.contains("put"), "{said}");
    // Worse it cannot get.
    assert_eq!(over.revocations_go_back(&in_force, days(2)), None);
    // Whoever is not believed any more needs no list.
    assert_eq!(why(&Pki::new().server()), None);
}

#[test]
fn an_authority_that_may_not_sign_lists_has_none() {
    let pki = Pki::new();
    let key = KeyPair::generate().unwrap();
    let authority = |usages: &[KeyUsagePurpose]| {
        agent_params(|params| {
            as_authority(params);
            params.key_usages = usages.to_vec();
        })
    };
    let may_not = authority(&[KeyUsagePurpose::KeyCertSign]).self_signed(&key).unwrap();
    let claims = authority(&[KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]);
    let pair = KeyPair::from_pem(&key.serialize_pem()).unwrap();
    let list = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(2096, 1, 1),
        crl_number: vec![1].into(),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
    .signed_by(&Issuer::new(claims, pair));
    let path = pki.file("crl.pem", &list.unwrap().pem().unwrap());
    let material = pki.material(&pki.server_certificate(), &may_not.pem());
    let said = material.with_revocations(&path).unwrap_err().to_string();
    assert!(said.ends_with("may not sign revocation lists (no key usage cRLSign)"), "{said}");
}

#[test]
fn two_keys_under_one_name_have_no_list() {
    let pki = Pki::new();
    let namesake = |name: &str| {
        let params = agent_params(|params| {
            as_authority(params);
            params.key_usages.push(KeyUsagePurpose::CrlSign);
            params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
        });
        let issued = self_signed(&params);
        Authority::load(&issued.certificate_pem, &issued.key_pem).unwrap()
    };
    let [first, second] = [namesake("spiffe://example.org"), namesake("spiffe://example.org")];
    let path = signed_by(&pki, &first);
    let own = pki.server_certificate();
    assert!(pki.material(&own, first.cert_pem()).with_revocations(&path).is_ok());
    let both = first.cert_pem().to_owned() + second.cert_pem();
    let said = pki.material(&own, &both).with_revocations(&path).unwrap_err().to_string();
    assert!(said.contains("two authorities with the name of its issuer, \"CN=node1\""), "{said}");
}

fn to_pem_block(label: &str, der: &[u8]) -> String {
    let certificate = rowcall_tls::certificate::to_pem([&der.to_vec().into()]);
    certificate.replace("CERTIFICATE", label)
}

#[test]
fn serial_numbers_that_are_none_are_not_revoked_silently() {
    let pki = Pki::new();
    let error = pki.clients.revocation_list(&["4f", "node1"], days(0), DAY).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"node1\" is no serial number: give hexadecimal digits, 20 bytes at most"
    );
}
