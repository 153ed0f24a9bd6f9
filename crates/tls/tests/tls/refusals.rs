//! Every certificate that is refused, for its own reason, as the other side sees it.

use std::sync::Arc;

use rowcall_testkit::ca::{Leaf, TestCa};
use rowcall_tls::accept::{Limits, Refusal};
use rowcall_tls::config::{ALPN, client_config, provider};
use rowcall_tls::connect::ConnectError;
use rowcall_tls::identity::Role;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Code;

use crate::support::{AGENT, World, connector, echo, material, until};

#[tokio::test]
async fn client_certificates_are_refused_with_an_alert_that_the_client_names() {
    let world = World::new().await;
    let stranger = TestCa::root("stranger").unwrap();
    let namesake = TestCa::root("test root").unwrap();
    let ours = &world.ca;
    let good = Leaf::client(AGENT);
    let cases = [
        ("of another authority", &stranger, good.clone(), "unknown_ca", "add ours to that file"),
        ("of an authority of the same name", &namesake, good.clone(), "decrypt_error", "made anew"),
        ("expired", ours, good.clone().expired(), "certificate_expired", "renew it"),
        (
            "not yet valid",
            ours,
            good.clone().not_yet_valid(),
            "certificate_expired",
            "set the clocks",
        ),
        ("for servers", ours, good.clone().for_servers(), "unsupported_certificate", "clientAuth"),
        (
            "of no purpose",
            ours,
            good.clone().without_purpose(),
            "unsupported_certificate",
            "clientAuth",
        ),
        ("a CA's", ours, good.as_authority(), "certificate_unknown", "perhaps it is a CA"),
    ];
    let count = u64::try_from(cases.len()).unwrap();
    for (what, issuer, leaf, alert, advice) in cases {
        let refusal = world.refusal(&world.client_of(issuer, &leaf)).await;
        let text = refusal.to_string();
        assert!(refusal.is_certificate_refused(), "{what}: {text}");
        assert!(text.contains(&format!("(TLS alert {alert})")), "{what}: {text}");
        assert!(text.contains(advice), "{what}: {text}");
    }
    assert_eq!(world.server.counts.refused(Refusal::BadCertificate), count);
    assert_eq!(world.server.counts.accepted(), 0);
}

fn without_certificate(world: &World) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let pem = world.ca.root_pem().as_bytes();
    roots.add(rustls::pki_types::pem::PemObject::from_pem_slice(pem).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(Arc::new(roots))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

#[tokio::test]
async fn client_without_a_certificate_is_told_to_bring_one() {
    let world = World::new().await;
    let refusal = world.refusal(&connector(without_certificate(&world))).await;
    assert_eq!(
        refusal.to_string(),
        "the server refuses our certificate (TLS alert certificate_required): it asks for a \
         client certificate and got none; give a certificate and its key"
    );
    assert_eq!(world.server.counts.refused(Refusal::NoCertificate), 1);
}

#[tokio::test]
async fn missing_intermediate_is_an_unknown_authority() {
    let world = World::new().await;
    let mut issued = world.ca.intermediate("between").unwrap().issue(&Leaf::client(AGENT)).unwrap();
    let end = issued.chain_pem.find("-----END CERTIFICATE-----").unwrap() + 26;
    issued.chain_pem.truncate(end);
    let paths = issued.write(world.folder.path(), "cut", world.ca.root_pem()).unwrap();
    let client = connector(client_config(&material(&paths)).unwrap());
    let text = world.refusal(&client).await.to_string();
    assert!(text.contains("unknown_ca"), "{text}");
}

#[tokio::test]
async fn alert_is_named_every_time() {
    let world = World::new().await;
    let stranger = TestCa::root("stranger").unwrap();
    let client = world.client_of(&stranger, &Leaf::client(AGENT));
    for attempt in 0..40 {
        let refusal = world.refusal(&client).await;
        assert!(refusal.is_certificate_refused(), "attempt {attempt}: {refusal}");
    }
}

#[tokio::test]
async fn client_that_writes_before_it_reads_still_sees_the_alert() {
    let world = World::new().await;
    let stranger = TestCa::root("stranger").unwrap();
    let issued = stranger.issue(&Leaf::client(AGENT)).unwrap();
    let paths = issued.write(world.folder.path(), "hasty", world.ca.root_pem()).unwrap();
    let connector = TlsConnector::from(Arc::new(client_config(&material(&paths)).unwrap()));
    for attempt in 1..=10 {
        let tcp = TcpStream::connect(world.server.address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let mut stream = connector.connect(name, tcp).await.unwrap();
        until("it is refused", || world.server.counts.refused(Refusal::BadCertificate) == attempt)
            .await;
        // To a closed socket the first write brings a reset back, and the next one fails.
        for _ in 0..3 {
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
            stream.flush().await.unwrap();
        }
        let error = stream.read(&mut [0; 9]).await.unwrap_err();
        assert!(error.to_string().contains("UnknownCA"), "attempt {attempt}: {error}");
    }
}

#[tokio::test]
async fn certificates_without_an_identity_connect_and_every_call_is_answered_with_the_reason() {
    let mut world = World::new().await;
    let cases: [(&[&str], &str); 5] = [
        (&[], "certificate has no URI SAN; expected spiffe://<trust domain>/<role>/<name>"),
        (
            &[AGENT, "spiffe://example.org/viewer/alice"],
            "certificate has 2 URI SANs; expected exactly one, \
             spiffe://<trust domain>/<role>/<name>",
        ),
        (
            &["spiffe://example.net/agent/node1"],
            "certificate of spiffe://example.net/agent/node1 is of trust domain example.net, \
             expected example.org",
        ),
        (
            &["spiffe://example.org/root/node1"],
            "URI SAN \"spiffe://example.org/root/node1\": role is \"root\", expected agent, \
             viewer or operator",
        ),
        (
            &["spiffe://example.org/agent/node%31"],
            "URI SAN \"spiffe://example.org/agent/node%31\": host name contains '%', only a-z, \
             0-9, '.', '_' and '-' are allowed",
        ),
    ];
    for (uris, reason) in cases {
        let client = world.client(&Leaf::client(AGENT).uris(uris));
        echo(&mut world.connect(&client).await.unwrap()).await;
        let denied = world.server.peers.recv().await.unwrap().require(&Role::ALL).unwrap_err();
        assert_eq!((denied.code(), denied.message()), (Code::Unauthenticated, reason));
    }
}

#[tokio::test]
async fn wrong_role_is_denied_in_words() {
    let mut world = World::new().await;
    let client = world.client(&Leaf::client("spiffe://example.org/viewer/alice"));
    echo(&mut world.connect(&client).await.unwrap()).await;
    let denied = world.server.peers.recv().await.unwrap().require(&[Role::Agent]).unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    assert_eq!(
        denied.message(),
        "certificate of spiffe://example.org/viewer/alice has role viewer, this call is for role \
         agent"
    );
}

#[tokio::test]
async fn server_certificates_are_refused_for_what_is_wrong_with_them() {
    let cases = [
        (Leaf::server().expired(), "it expired at "),
        (Leaf::server().not_yet_valid(), "it is valid only from "),
        (Leaf::server().dns_names(&["elsewhere"]), "it is not for \"localhost\" but for "),
        (Leaf::client(AGENT).dns_names(&["localhost"]), "it is not for TLS servers"),
    ];
    for (leaf, reason) in cases {
        let world = World::with(leaf, Limits::default()).await;
        let refusal = world.refusal(&world.client(&Leaf::client(AGENT))).await;
        assert!(!refusal.is_certificate_refused());
        let text = refusal.to_string();
        let expected = format!("the server's certificate is not accepted: {reason}");
        assert!(text.starts_with(&expected), "{text}");
        assert_eq!(world.server.counts.accepted(), 0);
    }
}

#[tokio::test]
async fn server_of_an_unknown_authority_is_refused_and_counted_there() {
    let world = World::new().await;
    let other = TestCa::root("other").unwrap();
    let paths = other.write(world.folder.path(), "other", &Leaf::client(AGENT)).unwrap();
    let client = connector(client_config(&material(&paths)).unwrap());
    let text = world.refusal(&client).await.to_string();
    assert!(text.contains("its issuer is not among the authorities in our CA file"), "{text}");
    until("the alert is counted", || world.server.counts.refused(Refusal::RefusedByPeer) == 1)
        .await;
}

#[tokio::test]
async fn server_name_can_be_given_instead_of_the_uris_host() {
    let leaf = Leaf::server().dns_names(&["aggregator.example"]);
    let world = World::with(leaf, Limits::default()).await;
    let client = world.client(&Leaf::client(AGENT));
    let refusal = world.refusal(&client).await;
    assert!(matches!(refusal, ConnectError::ServerCertificate(_)), "{refusal}");
    let client = client.with_server_name("aggregator.example".try_into().unwrap());
    echo(&mut world.connect(&client).await.unwrap()).await;
}
