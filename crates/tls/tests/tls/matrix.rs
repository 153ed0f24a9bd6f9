//! What the keys of one party cannot do, on real handshakes: each case is refused for its own
//! reason, and the reason is named.

use rcgen::{DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rowcall_tls::accept::{Limits, Refusal};
use rowcall_tls::config::server_config;
use rowcall_tls::csr::CsrKey;
use rowcall_tls::identity::{Identity, Role};
use rowcall_tls::issue::{Authority, Issued, Purpose};

use crate::pki::{DAY, Pki, agent_params, as_authority, days, node1, rogue, self_signed, signed};
use crate::support::{AGENT, EchoServer, echo};

/// What the client is told when it presents this.
async fn refusal(pki: &Pki, server: &EchoServer, presented: &Issued) -> String {
    let client = pki.connector(presented);
    let refusal = client.connect("localhost", server.address.port()).await.unwrap_err();
    assert!(refusal.is_certificate_refused(), "{refusal}");
    refusal.to_string()
}

#[tokio::test]
async fn good_certificates_of_the_two_authorities_connect() {
    let pki = Pki::new();
    let mut server = EchoServer::start(pki.server_config(), Limits::default()).await;
    for (role, host) in Role::ALL.into_iter().zip(["localhost", "127.0.0.1", "localhost"]) {
        let issued = pki.clients.issue_client(role, &node1(), days(0), DAY).unwrap();
        let client = pki.connector(&issued);
        echo(&mut client.connect(host, server.address.port()).await.unwrap()).await;
        let peer = server.peers.recv().await.unwrap();
        assert_eq!(peer.require(&[role]).unwrap().name, node1());
        let certificate = peer.certificate.as_ref().unwrap();
        assert_eq!(certificate.chain.len(), 2);
        assert_eq!(certificate.serial.len(), 32);
    }
}

#[tokio::test]
async fn client_certificates_that_nobody_should_have_are_refused_for_their_own_reasons() {
    let pki = Pki::new();
    let server = EchoServer::start(pki.server_config(), Limits::default()).await;
    let strangers = Pki::new();
    let clients = rogue(&pki.clients);
    let good = || agent_params(|_| {});

    let namesake = {
        let mut params = agent_params(as_authority);
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = pki.clients.certificate_der();
        let (_, name) = x509_parser::parse_x509_certificate(name).unwrap();
        let common = name.subject().iter_common_name().next().unwrap().as_str().unwrap();
        params.distinguished_name.push(DnType::OrganizationName, "Rowcall");
        params.distinguished_name.push(DnType::CommonName, common);
        Issuer::new(params, KeyPair::generate().unwrap())
    };
    let agent = pki.agent();
    let agents_key = {
        let mut params = agent_params(as_authority);
        params.distinguished_name.push(DnType::CommonName, "node1");
        Issuer::new(params, KeyPair::from_pem(&agent.key_pem).unwrap())
    };
    let clients_of = |ca: &Authority, from: i64| {
        ca.issue_client(Role::Agent, &node1(), days(from), DAY).unwrap()
    };

    let cases: [(&str, Issued, &str); 12] = [
        ("expired", clients_of(&pki.clients, -2), "certificate_expired"),
        ("not valid yet", clients_of(&pki.clients, 1), "certificate_expired"),
        ("of another authority", strangers.agent(), "unknown_ca"),
        (
            "of another key under our authority's name",
            signed(&good(), &namesake, ""),
            "decrypt_error",
        ),
        ("a server's own", pki.server_certificate(), "unsupported_certificate"),
        (
            "made with the server authority's key",
            signed(&good(), &rogue(&pki.servers), pki.servers.cert_pem()),
            "unsupported_certificate",
        ),
        (
            "made with the server authority's key, which is not shown",
            signed(&good(), &rogue(&pki.servers), ""),
            "unknown_ca",
        ),
        (
            "made with an agent's key",
            signed(&good(), &agents_key, &agent.certificate_pem),
            "certificate_unknown",
        ),
        (
            "of no purpose",
            signed(&agent_params(|p| p.extended_key_usages.clear()), &clients, ""),
            "unsupported_certificate",
        ),
        (
            "of any purpose",
            signed(
                &agent_params(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]),
                &clients,
                "",
            ),
            "unsupported_certificate",
        ),
        ("self-made, CA:TRUE", self_signed(&agent_params(as_authority)), "certificate_unknown"),
        (
            "of our authority, CA:TRUE",
            signed(&agent_params(as_authority), &clients, ""),
            "certificate_unknown",
        ),
    ];
    let count = u64::try_from(cases.len()).unwrap();
    for (what, presented, alert) in &cases {
        let text = refusal(&pki, &server, presented).await;
        assert!(text.contains(&format!("(TLS alert {alert})")), "{what}: {text}");
    }
    assert_eq!(server.counts.refused(Refusal::BadCertificate), count);
    assert_eq!(server.counts.accepted(), 0);
    echo(&mut pki.connector(&agent).connect("localhost", server.address.port()).await.unwrap())
        .await;
}

#[tokio::test]
async fn even_where_the_root_is_believed_the_server_authority_makes_no_clients() {
    let pki = Pki::new();
    let misled = pki.material(&pki.server_certificate(), pki.root.cert_pem());
    let server = EchoServer::start(server_config(&misled).unwrap(), Limits::default()).await;
    let forged = signed(&agent_params(|_| {}), &rogue(&pki.servers), pki.servers.cert_pem());
    let text = refusal(&pki, &server, &forged).await;
    assert!(text.contains("(TLS alert unsupported_certificate)"), "{text}");
}

#[tokio::test]
async fn names_that_are_none_connect_and_every_call_is_denied() {
    let pki = Pki::new();
    let mut server = EchoServer::start(pki.server_config(), Limits::default()).await;
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    for (uris, reason) in [
        (vec![uri(AGENT), uri("spiffe://example.org/operator/eve")], "2 URI SANs"),
        (vec![uri("spiffe://example.net/agent/node1")], "trust domain example.net"),
        (vec![uri("spiffe://example.org")], "is not of the form"),
    ] {
        let params = agent_params(|params| params.subject_alt_names = uris);
        let client = pki.connector(&signed(&params, &rogue(&pki.clients), ""));
        echo(&mut client.connect("localhost", server.address.port()).await.unwrap()).await;
        let peer = server.peers.recv().await.unwrap();
        let denied = peer.require(&Role::ALL).unwrap_err();
        assert_eq!(denied.code(), tonic::Code::Unauthenticated);
        assert!(denied.message().contains(reason), "{}", denied.message());
        // What a reload checks again must be there for the nameless too.
        assert!(peer.certificate.is_some());
    }
}

/// A server that presents this.
async fn posing(pki: &Pki, presented: &Issued) -> EchoServer {
    let material = pki.material(presented, pki.clients.cert_pem());
    EchoServer::start(server_config(&material).unwrap(), Limits::default()).await
}

#[tokio::test]
async fn server_certificates_that_nobody_should_have_are_refused_by_nodes() {
    let pki = Pki::new();
    let server_params = || {
        agent_params(|params| {
            params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })
    };
    let below = {
        let params = agent_params(|params| {
            as_authority(params);
            params.extended_key_usages.clear();
            params.distinguished_name.push(DnType::CommonName, "below");
        });
        let key = KeyPair::generate().unwrap();
        let own = params.signed_by(&key, &rogue(&pki.servers)).unwrap().pem();
        signed(&server_params(), &Issuer::new(params, key), &(own + pki.servers.cert_pem()))
    };
    let stranger = Pki::new();
    let cases = [
        (
            "made with the client authority's key",
            signed(&server_params(), &rogue(&pki.clients), pki.clients.cert_pem()),
            "it is not for TLS servers",
        ),
        ("an agent's own", pki.agent(), "is not for"),
        ("of an authority below the server authority", below, "PathLenConstraintViolated"),
        ("of another root", stranger.server_certificate(), "its issuer is not among"),
        (
            "expired",
            pki.servers.issue_server(&["localhost"], &[], days(-2), DAY).unwrap(),
            "it expired at ",
        ),
    ];
    for (what, presented, reason) in cases {
        let server = posing(&pki, &presented).await;
        let client = pki.connector(&pki.agent());
        let text = client.connect("localhost", server.address.port()).await.unwrap_err();
        let text = text.to_string();
        assert!(text.starts_with("the server's certificate is not accepted: "), "{what}: {text}");
        assert!(text.contains(reason), "{what}: {text}");
        assert_eq!(server.counts.accepted(), 0, "{what}");
    }
}

#[test]
fn a_request_for_more_gets_the_key_certified_and_nothing_else() {
    let pki = Pki::new();
    let greedy = agent_params(|params| {
        as_authority(params);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Any];
        params.subject_alt_names = vec![
            SanType::URI("spiffe://example.org/operator/root".try_into().unwrap()),
            SanType::DnsName("localhost".try_into().unwrap()),
        ];
        params.distinguished_name.push(DnType::CommonName, "aggregator");
    });
    let key = KeyPair::generate().unwrap();
    let request = greedy.serialize_request(&key).unwrap();
    let csr = CsrKey::read(request.der()).unwrap();
    let life = 30 * DAY;
    let issued = pki.clients.issue_for_key(Role::Agent, &node1(), &csr, days(0), life).unwrap();
    let [leaf, authority] = issued.chain_der.as_slice() else { panic!("leaf and authority") };
    assert_eq!(authority, pki.clients.certificate_der());
    assert_eq!(Identity::from_der(leaf).unwrap().to_string(), AGENT);
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).unwrap();
    assert_eq!(leaf.public_key().subject_public_key.data, key.public_key_raw());
    assert_eq!(leaf.subject().to_string(), "CN=node1");
    assert!(!leaf.is_ca());
    let purposes = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(purposes.client_auth && !purposes.server_auth && !purposes.any);
    assert_eq!(leaf.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 1);
    let seconds = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
    assert_eq!(seconds, 30 * 86_400 + 300);
    assert_eq!(leaf.raw_serial().len(), 16);
}

#[test]
fn an_authority_issues_for_its_purpose_and_its_time_alone() {
    let pki = Pki::new();
    let error = |result: Result<Issued, _>| {
        let error: rowcall_tls::issue::IssueError = result.unwrap_err();
        error.to_string()
    };
    let client = |ca: &Authority, at| ca.issue_client(Role::Agent, &node1(), at, DAY);
    assert_eq!(
        error(client(&pki.servers, days(0))),
        "the authority is for servers, it cannot issue certificates for clients"
    );
    assert_eq!(
        error(pki.clients.issue_server(&["localhost"], &[], days(0), DAY)),
        "the authority is for clients, it cannot issue certificates for servers"
    );
    let said = pki.clients.create_issuing(Purpose::Clients, days(0)).unwrap_err().to_string();
    assert_eq!(said, "the authority may not make other authorities (path length 0); use the root");
    for outside in [days(-400), days(3_700)] {
        let said = error(client(&pki.clients, outside));
        assert!(said.starts_with("the authority's own certificate is valid from "), "{said}");
    }
    let last = pki.clients.not_after().plus_micros(-1_000_000);
    let issued = client(&pki.clients, last).unwrap();
    let issued = crate::pki::der(&issued.certificate_pem);
    let validity = rowcall_tls::load::Validity::of(&issued).unwrap();
    assert_eq!(validity.not_after, pki.clients.not_after());
}
