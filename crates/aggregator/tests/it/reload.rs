//! Files that change while the aggregator serves.

use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;
use rowcall_testkit::pki::{LIFETIME, Pki, now};
use rowcall_testkit::poll::wait_for;
use rowcall_tls::connect::{Connector, ServerStream};
use rowcall_tls::identity::Role;
use rowcall_tls::issue::{Authority, Purpose};
use rowcall_tls::load::Material;
use tonic::Code;

use crate::enrol::refused;
use crate::issuing::{DAY, Issuing};
use crate::rig::{Agent, PATIENCE, dial_at, hello};

const PROBLEM: &str = "rowcall_certificate_problem 1";
const NO_PROBLEM: &str = "rowcall_certificate_problem 0";

async fn stream(aggregator: &Issuing, name: &str, run: u64) -> Agent {
    let mut agent = Agent::open(aggregator.channel(Role::Agent, name).await).await;
    agent.hello(hello(name, run)).await;
    agent.welcome().await;
    agent
}

/// It is still the same session: what it sends is acknowledged.
async fn goes_on(agent: &mut Agent, sequence: u64) {
    agent.samples(sequence..=sequence).await;
    agent.acknowledged(sequence).await;
}

fn gauge(certificate: &str, at: rowcall_core::id::UnixMicros) -> String {
    let seconds = f64::from(u32::try_from(at.0 / 1_000_000).unwrap());
    format!(
        "rowcall_certificate_expiry_timestamp_seconds{{certificate=\"{certificate}\"}} {seconds:?}"
    )
}

/// The certificate that the stream's port shows now.
async fn shown(aggregator: &Issuing) -> Vec<u8> {
    let files = (&aggregator.pki.client(Role::Viewer, "alice").unwrap()).into();
    let config = rowcall_tls::config::client_config(&Material::load(&files).unwrap()).unwrap();
    let connector = Connector::new(std::sync::Arc::new(arc_swap::ArcSwap::from_pointee(config)));
    let address = aggregator.handle.local_addr();
    let connection: ServerStream =
        connector.connect(&address.ip().to_string(), address.port()).await.unwrap();
    let chain = connection.get_ref().get_ref().1.peer_certificates().unwrap().to_vec();
    chain.first().unwrap().to_vec()
}

#[tokio::test]
async fn a_new_server_certificate_is_served_without_touching_streams() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let mut agent = stream(&aggregator, "node1", 1).await;
    let before = shown(&aggregator).await;
    // From a new authority under the same root.
    let servers = aggregator.pki.root.create_issuing(Purpose::Servers, now()).unwrap();
    let addresses = ["127.0.0.1".parse().unwrap()];
    let new = servers.issue_server(&["localhost"], &addresses, now(), DAY * 3).unwrap();
    aggregator.pki.put_pair("server", &new).unwrap();
    aggregator.handle.reload();
    wait_for("another certificate", PATIENCE, || async {
        (shown(&aggregator).await != before).then_some(())
    })
    .await;
    goes_on(&mut agent, 1).await;
    assert!(aggregator.enroll(&aggregator.any_token().await, "node2").await.is_ok());
    drop(agent);
    aggregator.stop().await;
}

#[tokio::test]
async fn a_bad_file_keeps_what_was_in_force_and_is_told_until_it_is_good() {
    let database = Database::create().await.unwrap();
    let pki = Pki::create().unwrap();
    // Not the file that this test's own peers trust.
    let trusted = pki.put("nodes-trust.pem", pki.root.cert_pem()).unwrap();
    let more = format!("server_ca = '{}'", trusted.display());
    let mut aggregator = Issuing::start_on(pki, &database.url(), &more, |_| {}).await;
    assert!(aggregator.handle.ready().await);
    let mut agent = stream(&aggregator, "node1", 1).await;
    let good = |name: &str| std::fs::read_to_string(aggregator.pki.dir().join(name)).unwrap();
    let stranger = Pki::create().unwrap();
    for (round, (name, bad, part)) in [
        ("server.key", String::new(), "is empty"),
        ("server.pem", "-----BEGIN CERTIFICATE-----\nx\n".to_owned(), "is not valid PEM"),
        ("client-ca.pem", good("server.pem"), "is not a CA certificate"),
        ("client-ca.key", good("server.key"), "does not belong"),
        (
            "nodes-trust.pem",
            stranger.root.cert_pem().to_owned(),
            "certifies our server certificate",
        ),
        ("client-crl.pem", "no list".to_owned(), "client-crl.pem"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = aggregator.pki.dir().join(name);
        let before = std::fs::read_to_string(&path).ok();
        aggregator.pki.put(name, &bad).unwrap();
        aggregator.reloaded(PROBLEM).await;
        let error = aggregator.status().await.certificate_error;
        assert!(error.contains(part), "{name}: {error}");
        // Everything of before still works.
        let token = aggregator.any_token().await;
        aggregator.enroll(&token, &format!("new{round}")).await.unwrap();
        match before {
            Some(text) => drop(aggregator.pki.put(name, &text).unwrap()),
            None => std::fs::remove_file(&path).unwrap(),
        }
        aggregator.reloaded(NO_PROBLEM).await;
        assert_eq!(aggregator.status().await.certificate_error, "");
    }
    goes_on(&mut agent, 1).await;
    drop(agent);
    aggregator.stop().await;
}

#[tokio::test]
async fn a_pipe_in_the_place_of_a_file_is_a_bad_file_and_ends_no_looking() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    for name in ["server.pem", "client-ca.key", "client-crl.pem"] {
        let path = aggregator.pki.dir().join(name);
        let before = std::fs::read(&path).ok();
        drop(std::fs::remove_file(&path));
        let (fifo, rights) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, rights, 0).unwrap();
        aggregator.reloaded(PROBLEM).await;
        let error = aggregator.status().await.certificate_error;
        assert!(
            error.contains(name) && error.contains("no file but a device or a pipe"),
            "{error}"
        );
        std::fs::remove_file(&path).unwrap();
        before.into_iter().for_each(|bytes| std::fs::write(&path, bytes).unwrap());
        aggregator.reloaded(NO_PROBLEM).await;
    }
    aggregator.stop().await;
}

#[tokio::test]
async fn a_new_client_authority_is_trusted_beside_the_old_one_until_that_is_taken_out() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let old = aggregator.enroll(&aggregator.any_token().await, "old").await.unwrap();
    let mut old_stream = aggregator.stream("old", &old, 1).await;
    old_stream.welcome().await;
    let before = aggregator.pki.clients.cert_pem().to_owned();
    let clients: Authority = aggregator.pki.root.create_issuing(Purpose::Clients, now()).unwrap();
    // The bundle first: an issuer that is not in it is a bad file.
    aggregator.pki.put("client-ca.pem", &format!("{}{before}", clients.cert_pem())).unwrap();
    aggregator.pki.put("client-ca.key", &clients.key_pem()).unwrap();
    aggregator.reloaded(&gauge("issuer", clients.not_after())).await;
    aggregator.reloaded(NO_PROBLEM).await;
    goes_on(&mut old_stream, 1).await;
    let new = aggregator.enroll(&aggregator.any_token().await, "new").await.unwrap();
    let issuer = &new.bundle.certificate_chain_der[1];
    assert_eq!(issuer.as_slice(), clients.certificate_der().as_ref());
    let mut new_stream = aggregator.stream("new", &new, 2).await;
    new_stream.welcome().await;

    // Whoever administers has a certificate of the new one by now.
    let admin = clients.issue_client(Role::Viewer, &"alice".parse().unwrap(), now(), LIFETIME);
    aggregator.pki.put_pair("alice", &admin.unwrap()).unwrap();
    aggregator.pki.put("client-ca.pem", clients.cert_pem()).unwrap();
    aggregator.handle.reload();
    let status = old_stream.refused().await;
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().contains("not issued by an authority"), "{status}");
    let files = aggregator.files("old", &old);
    assert!(dial_at(aggregator.handle.local_addr(), files).await.is_err());
    goes_on(&mut new_stream, 1).await;
    drop((old_stream, new_stream));
    aggregator.stop().await;
}

#[tokio::test]
async fn a_revocation_list_cuts_a_live_stream_and_refuses_the_next_one() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let bad = aggregator.enroll(&aggregator.any_token().await, "bad").await.unwrap();
    let mut bad_stream = aggregator.stream("bad", &bad, 1).await;
    bad_stream.welcome().await;
    let mut good_stream = stream(&aggregator, "good", 2).await;
    let certificate = rowcall_tls::certificate::PeerCertificate::from_chain(&[bad.leaf().into()]);
    let serial = certificate.unwrap().serial;
    let lists = |serials: &[&str], lifetime| {
        aggregator.pki.clients.revocation_list(serials, now(), lifetime).unwrap()
    };
    aggregator.pki.put("client-crl.pem", &lists(&[serial.as_str()], DAY)).unwrap();
    aggregator.handle.reload();
    let status = bad_stream.refused().await;
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().contains("revocation list"), "{status}");
    let files = aggregator.files("bad", &bad);
    assert!(dial_at(aggregator.handle.local_addr(), files).await.is_err());
    goes_on(&mut good_stream, 1).await;
    let metrics = aggregator.metrics().await;
    for line in [
        "rowcall_refused_total{reason=\"revoked\"} 1",
        "rowcall_handshakes_total{listener=\"stream\",result=\"revoked_certificate\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is missing");
    }
    // By proof of key neither.
    let key = rowcall_tls::request::NewKey::generate().unwrap();
    let csr_der = key.request_der("x").unwrap();
    let request = pb::RenewRequest {
        signature: bad.key.sign_renewal(&csr_der).unwrap(),
        certificate_der: bad.leaf().to_vec(),
        csr_der,
    };
    let status = aggregator.strangers().await.renew(request).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");

    // A list that is taken away revokes no less.
    let path = aggregator.pki.dir().join("client-crl.pem");
    std::fs::remove_file(&path).unwrap();
    aggregator.reloaded(PROBLEM).await;
    let files = aggregator.files("bad", &bad);
    assert!(dial_at(aggregator.handle.local_addr(), files).await.is_err());
    drop((bad_stream, good_stream));
    aggregator.stop().await;
}

#[tokio::test]
async fn an_older_revocation_list_undoes_no_revocation() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let bad = aggregator.enroll(&aggregator.any_token().await, "bad").await.unwrap();
    let certificate = rowcall_tls::certificate::PeerCertificate::from_chain(&[bad.leaf().into()]);
    let serial = certificate.unwrap().serial;
    let put = |serials: &[&str], seconds: i64, lifetime| {
        let at = now().plus_micros(seconds * 1_000_000);
        let list = aggregator.pki.clients.revocation_list(serials, at, lifetime).unwrap();
        aggregator.pki.put("client-crl.pem", &list).unwrap();
    };
    put(&[&serial], 60, DAY);
    let line = "rowcall_certificate_expiry_timestamp_seconds{certificate=\"client_crl\"}";
    aggregator.handle.reload();
    wait_for(line, PATIENCE, || async { aggregator.metrics().await.contains(line).then_some(()) })
        .await;
    for (seconds, lifetime, part) in
        [(0, DAY, "older than that in force"), (120, DAY / 24, "is out of date since")]
    {
        aggregator.clock.advance(if seconds > 0 { DAY / 12 } else { DAY / 48 });
        put(&[], seconds, lifetime);
        aggregator.reloaded(PROBLEM).await;
        let error = aggregator.status().await.certificate_error;
        assert!(error.contains("client-crl.pem") && error.contains(part), "{error}");
        let files = aggregator.files("bad", &bad);
        assert!(dial_at(aggregator.handle.local_addr(), files).await.is_err());
        put(&[&serial], 60, DAY);
        aggregator.reloaded(NO_PROBLEM).await;
    }
    aggregator.stop().await;
}

#[tokio::test]
async fn a_revocation_list_out_of_date_is_told() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let list = aggregator.pki.clients.revocation_list(&[], now(), DAY).unwrap();
    aggregator.pki.put("client-crl.pem", &list).unwrap();
    let line = "rowcall_certificate_expiry_timestamp_seconds{certificate=\"client_crl\"}";
    aggregator.handle.reload();
    wait_for(line, PATIENCE, || async { aggregator.metrics().await.contains(line).then_some(()) })
        .await;
    aggregator.reloaded(NO_PROBLEM).await;
    aggregator.clock.advance(DAY + DAY / 24);
    let error = aggregator.status().await.certificate_error;
    assert!(!error.is_empty(), "out of date");
    refused(aggregator.enroll("rc1.x", "n").await, Code::Unauthenticated, "token");
    aggregator.stop().await;
}
