//! A token for a certificate: once, for the right name, and whatever gets lost on the way.

use std::collections::HashSet;
use std::time::Duration;

use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;
use rowcall_testkit::pki::TRUST_DOMAIN;
use rowcall_tls::identity::{Identity, Role};
use rowcall_tls::request::NewKey;
use rustls::pki_types::CertificateDer;
use tonic::{Code, Status};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::issuing::{Enrolled, Issuing, enrollment};
use crate::rig::count;

/// The refusal, with its reason.
pub(crate) fn refused(result: Result<Enrolled, Status>, code: Code, part: &str) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(part), "{status}");
}

#[tokio::test]
async fn a_token_makes_one_identity_and_its_host_is_welcome_with_it() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let labels = [("rack".to_owned(), "r1".to_owned())].into();
    let token = aggregator.token(pb::CreateTokenRequest { labels, ..Default::default() }).await;
    let enrolled = aggregator.enroll(&token, "Node1").await.unwrap();
    let bundle = &enrolled.bundle;
    assert_eq!(bundle.telemetry_port, u32::from(aggregator.handle.local_addr().port()));
    assert_eq!(bundle.server_authorities_der, [aggregator.pki.root.certificate_der().to_vec()]);
    assert_eq!(bundle.certificate_chain_der.len(), 2, "its own, then its authority's");
    let now = bundle.now.unwrap().seconds;
    assert_eq!(bundle.expires_at.unwrap().seconds, now + 30 * 86_400);
    assert_eq!(bundle.renew_after.unwrap().seconds, now - 300 + (30 * 86_400 + 300) / 3);
    let mut agent = aggregator.stream("node1", &enrolled, 1).await;
    let welcome = agent.welcome().await;
    assert_eq!(
        welcome.server_authorities_sha256,
        rowcall_tls::certificate::list_sha256(&[aggregator.pki.root.certificate_der().clone()])
    );
    agent.samples(1..=1).await;
    agent.acknowledged(1).await;
    let request = pb::GetHostRequest { host_name: "node1".into(), ..Default::default() };
    let host = aggregator.admin().await.get_host(request).await.unwrap().into_inner().host.unwrap();
    assert_eq!(host.labels["rack"], "r1");
    assert_eq!(host.certificates[0].origin, "enrolled");

    refused(aggregator.enroll(&token, "node2").await, Code::Unauthenticated, "used");
    assert_eq!(count(&database, "SELECT count(*) FROM host_info").await, 1);
    aggregator.stop().await;
}

#[tokio::test]
async fn no_host_gets_a_name_that_others_read_as_another() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let token = aggregator.any_token().await;
    for name in [".", "..", "node1.", "-node1", "a..b"] {
        let enrolled = aggregator.enroll(&token, name).await;
        refused(enrolled, Code::InvalidArgument, "begins or ends with");
    }
    aggregator.enroll(&token, "node1").await.unwrap();
    for new_name in ["..", "node2."] {
        let (host_name, new_name) = ("node1".to_owned(), new_name.to_owned());
        let request = pb::RenameHostRequest { host_name, new_name };
        let status = aggregator.admin().await.rename_host(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    aggregator.stop().await;
}

#[tokio::test]
async fn nothing_but_the_key_is_taken_from_a_request() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let token = aggregator.any_token().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut wish = rcgen::CertificateParams::default();
    wish.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    wish.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    wish.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    wish.subject_alt_names = vec![
        rcgen::SanType::DnsName("db.example".try_into().unwrap()),
        rcgen::SanType::URI(format!("spiffe://{TRUST_DOMAIN}/operator/eve").try_into().unwrap()),
    ];
    let csr_der = wish.serialize_request(&key).unwrap().der().to_vec();
    let request =
        pb::EnrollRequest { csr_der, ..enrollment(&token, "node1", &NewKey::generate().unwrap()) };
    let bundle =
        aggregator.strangers().await.enroll(request).await.unwrap().into_inner().bundle.unwrap();
    let der = bundle.certificate_chain_der.first().unwrap();
    let identity = Identity::from_der(&CertificateDer::from(der.clone())).unwrap();
    assert_eq!(identity.to_string(), format!("spiffe://{TRUST_DOMAIN}/agent/node1"));
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    assert!(!certificate.is_ca());
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    assert!(matches!(names.value.general_names.as_slice(), [GeneralName::URI(_)]));
    let purposes = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(purposes.client_auth && !purposes.server_auth && !purposes.any);
    let usage = certificate.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign());
    assert_eq!(certificate.subject().to_string(), "CN=node1");
    assert_eq!(certificate.raw_serial().len(), 16);
    assert_eq!(certificate.public_key().subject_public_key.data, key.public_key_raw());
    aggregator.stop().await;
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_again_and_gives_the_same_certificate() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let token = aggregator.any_token().await;
    let key = NewKey::generate().unwrap();
    let pem = key.pkcs8_pem();
    let first = aggregator.enroll_with(&token, "node1", key).await.unwrap();
    let again = NewKey::from_pem(&pem).unwrap();
    let second = aggregator.enroll_with(&token, "node1", again).await.unwrap();
    assert_eq!(first.leaf(), second.leaf());
    refused(aggregator.enroll(&token, "node1").await, Code::Unauthenticated, "used");
    let again = NewKey::from_pem(&pem).unwrap();
    assert!(aggregator.enroll_with(&token, "node2", again).await.is_err(), "for another name");
    assert_eq!(count(&database, "SELECT count(*) FROM rowcall.certificate").await, 1);
    aggregator.stop().await;
}

#[tokio::test]
async fn of_100_that_use_one_token_at_a_time_one_gets_an_identity() {
    let database = Database::create().await.unwrap();
    let more = "exempt_sources = '127.0.0.0/8'";
    let aggregator = Issuing::start_with(&database, more, |_| {}).await;
    let token = aggregator.any_token().await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..100 {
        let mut client = aggregator.strangers().await;
        let key = NewKey::generate().unwrap();
        let request = enrollment(&token, &format!("node{number}"), &key);
        calls.spawn(async move { client.enroll(request).await });
    }
    let results = calls.join_all().await;
    let refusals: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!(refusals.len(), 99);
    let codes: HashSet<_> = refusals.iter().map(|status| status.code()).collect();
    assert_eq!(codes, [Code::Unauthenticated].into(), "{:?}", refusals.first());
    for table in ["host_info", "rowcall.certificate"] {
        assert_eq!(count(&database, &format!("SELECT count(*) FROM {table}")).await, 1, "{table}");
    }
    aggregator.stop().await;
}

#[tokio::test]
async fn a_token_that_is_not_good_is_refused_in_words() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let create = |wanted: pb::CreateTokenRequest| aggregator.token(wanted);
    let expired = create(pb::CreateTokenRequest { ttl_s: 60, ..Default::default() }).await;
    let client = database.connect().await.unwrap();
    let moved = "UPDATE rowcall.token SET expires_at = now() - interval '1 second'";
    assert_eq!(client.execute(moved, &[]).await.unwrap(), 1);
    refused(aggregator.enroll(&expired, "node1").await, Code::Unauthenticated, "expired");

    let host_glob = "web*".to_owned();
    let web = create(pb::CreateTokenRequest { host_glob, ..Default::default() }).await;
    refused(aggregator.enroll(&web, "db1").await, Code::PermissionDenied, "web*");

    let revoked = create(pb::CreateTokenRequest::default()).await;
    let id = revoked.split('.').nth(1).unwrap().to_owned();
    aggregator.admin().await.revoke_token(pb::RevokeTokenRequest { id }).await.unwrap();
    refused(aggregator.enroll(&revoked, "node1").await, Code::Unauthenticated, "revoked");

    // The secret of one with the id of another, and of none.
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (web_parts, other) = (parts(&web), parts(&revoked));
    let mixed = format!("rc1.{}.{}.{}", web_parts[1], other[2], other[3]);
    let unknown = format!("rc1.0000000000000000.{}.{}", other[2], other[3]);
    let said = |result: Result<Enrolled, Status>| result.unwrap_err().message().to_owned();
    let mixed = said(aggregator.enroll(&mixed, "web1").await);
    assert_eq!(mixed, said(aggregator.enroll(&unknown, "web1").await), "both are unknown alike");
    for damaged in ["", "rc1.x", "hello"] {
        refused(aggregator.enroll(damaged, "web1").await, Code::Unauthenticated, "token");
    }
    assert!(aggregator.enroll(&web, "web1").await.is_ok());
    assert_eq!(count(&database, "SELECT count(*) FROM host_info").await, 1);
    aggregator.stop().await;
}

#[tokio::test]
async fn a_request_that_is_none_is_refused_in_words_and_costs_no_use() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let token = aggregator.any_token().await;
    let key = NewKey::generate().unwrap();
    let good = enrollment(&token, "node1", &key);
    let mut forged = good.csr_der.clone();
    *forged.last_mut().unwrap() ^= 1;
    let mut client = aggregator.strangers().await;
    for (wrong, part) in [
        (pb::EnrollRequest { csr_der: vec![], ..good.clone() }, "certificate request"),
        (pb::EnrollRequest { csr_der: vec![0x30; 300], ..good.clone() }, "certificate request"),
        (pb::EnrollRequest { csr_der: vec![0; 20_000], ..good.clone() }, "20000 bytes"),
        (pb::EnrollRequest { csr_der: forged, ..good.clone() }, "not signed with the key"),
        (pb::EnrollRequest { host_name: "a b".into(), ..good.clone() }, "host name"),
        (pb::EnrollRequest { host_name: String::new(), ..good.clone() }, "host name"),
        (pb::EnrollRequest { machine_id: "x".repeat(200), ..good.clone() }, "machine id"),
    ] {
        let status = client.enroll(wrong).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(part), "{part}: {status}");
    }
    let large = pb::EnrollRequest { machine_id: "x".repeat(70_000), ..good.clone() };
    let status = client.enroll(large).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    let rsa = pb::EnrollRequest { csr_der: p384(), ..good.clone() };
    let status = client.enroll(rsa).await.unwrap_err();
    assert!(status.message().contains("not ECDSA P-256"), "{status}");
    client.enroll(good).await.unwrap();
    aggregator.stop().await;
}

/// A request with a key of another kind.
fn p384() -> Vec<u8> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    rcgen::CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
}

#[tokio::test]
async fn a_name_that_exists_is_taken_only_by_a_token_that_may_replace() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let old = aggregator.enroll(&aggregator.any_token().await, "node1").await.unwrap();
    let mut stream = aggregator.stream("node1", &old, 1).await;
    let first = stream.welcome().await;
    let taken = aggregator.enroll(&aggregator.any_token().await, "node1").await;
    refused(taken, Code::AlreadyExists, "node1");

    let may = pb::CreateTokenRequest { replace: true, ..Default::default() };
    let new = aggregator.enroll(&aggregator.token(may).await, "node1").await.unwrap();
    let status = stream.refused().await;
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    let mut again = aggregator.stream("node1", &old, 2).await;
    let status = again.refused().await;
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    let mut stream = aggregator.stream("node1", &new, 3).await;
    assert_eq!(stream.welcome().await.host_id, first.host_id, "it stays the same host");
    aggregator.stop().await;
}

#[tokio::test]
async fn one_source_may_ask_so_often_and_its_next_time_is_told() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start_with(&database, "enroll_per_source = 3", |_| {}).await;
    let token = aggregator.any_token().await;
    for _ in 0..3 {
        refused(aggregator.enroll("rc1.x", "node1").await, Code::Unauthenticated, "token");
    }
    refused(aggregator.enroll(&token, "node1").await, Code::ResourceExhausted, "come back in");
    aggregator.clock.advance(Duration::from_secs(20));
    aggregator.enroll(&token, "node1").await.unwrap();
    let metrics = aggregator.metrics().await;
    for line in [
        "rowcall_certificate_requests_total{kind=\"enrolment\",result=\"unauthenticated\"} 3",
        "rowcall_certificate_requests_total{kind=\"enrolment\",result=\"too_many\"} 1",
        "rowcall_certificate_requests_total{kind=\"enrolment\",result=\"ok\"} 1",
        "rowcall_refused_total{reason=\"too_many_enrolments\"} 1",
        "rowcall_refused_total{reason=\"not_enrolled\"} 3",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is missing");
    }
    aggregator.stop().await;
}

#[tokio::test]
async fn without_the_database_nobody_is_enrolled_and_the_token_stays_good() {
    let pki = rowcall_testkit::pki::Pki::create().unwrap();
    let nowhere = "postgresql://rowcall@127.0.0.1:1/host_agent";
    let aggregator = Issuing::start_on(pki, nowhere, "", |_| {}).await;
    let (id, secret) = (rowcall_core::token::TokenId::new([1; 8]), [2; 32]);
    let secret = rowcall_core::token::TokenSecret::new(secret);
    let token = rowcall_core::token::Token { id, secret, pin: aggregator.pin() }.reveal();
    let status = aggregator.enroll(&token, "node1").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    aggregator.running.abort();
}

#[tokio::test]
async fn an_aggregator_without_the_key_serves_and_never_reads_it() {
    let database = Database::create().await.unwrap();
    let pki = rowcall_testkit::pki::Pki::create().unwrap();
    pki.put("client-ca.key", "no key at all").unwrap();
    let mut aggregator = Issuing::start_on(pki, &database.url(), "issuer = false", |_| {}).await;
    assert!(aggregator.handle.ready().await);
    assert_eq!((aggregator.handle.enroll_addr(), aggregator.handle.pin()), (None, None));
    let channel = aggregator.channel(Role::Agent, "node1").await;
    let mut agent = crate::rig::Agent::open(channel.clone()).await;
    agent.hello(crate::rig::hello("node1", 1)).await;
    assert!(agent.welcome().await.server_authorities_sha256.is_empty());
    let mut client = pb::enrollment_service_client::EnrollmentServiceClient::new(channel);
    let csr_der = NewKey::generate().unwrap().request_der("node1").unwrap();
    let renewal = pb::RenewRequest { csr_der, ..Default::default() };
    let status = client.renew(renewal).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    let refused = aggregator.admin().await.create_token(pb::CreateTokenRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
    assert!(!aggregator.status().await.issues_certificates);
    drop(agent);
    aggregator.stop().await;
}
