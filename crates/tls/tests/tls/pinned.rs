//! A node that knows nothing but a pin: what it believes, and what it says when it does not.

use rowcall_core::token::Pin;
use rowcall_tls::accept::Limits;
use rowcall_tls::config::server_auth_only_config;
use rowcall_tls::connect::{ConnectError, Connector, PinError, ServerFault, pinned_config};
use rowcall_tls::identity::{IdentityError, TrustDomain};
use rowcall_tls::issue::{Authority, Issued};
use rowcall_tls::pin::pin_of;
use rustls::pki_types::CertificateDer;

use crate::pki::{DAY, Pki, days};
use crate::support::{DOMAIN, EchoServer, connector, echo};

fn pinned(pin: Pin) -> Connector {
    connector(pinned_config(pin).unwrap())
}

fn pin(authority: &Authority) -> Pin {
    pin_of(authority.certificate_der()).unwrap()
}

async fn serve(pki: &Pki, certificate: &Issued, extra: &[CertificateDer<'static>]) -> EchoServer {
    let material = pki.material(certificate, pki.clients.cert_pem());
    let config = server_auth_only_config(&material, extra).unwrap();
    EchoServer::start(config, Limits::default()).await
}

async fn fault(server: &EchoServer, pin: Pin) -> ServerFault {
    match pinned(pin).connect("localhost", server.address.port()).await {
        Err(ConnectError::ServerCertificate(fault)) => fault,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the server should not be believed"),
    }
}

#[tokio::test]
async fn server_of_the_authority_pinned_is_believed_and_asks_for_no_certificate() {
    let pki = Pki::new();
    let root = [pki.root.certificate_der().clone()];
    let mut server = serve(&pki, &pki.server_certificate(), &root).await;
    let client = pinned(pin(&pki.root));
    for host in ["localhost", "127.0.0.1"] {
        echo(&mut client.connect(host, server.address.port()).await.unwrap()).await;
        let peer = server.peers.recv().await.unwrap();
        assert_eq!(peer.identity, Err(IdentityError::NoCertificate));
        assert_eq!(peer.certificate, None);
    }
}

#[tokio::test]
async fn another_pin_is_a_mismatch_that_shows_both_and_nothing_is_sent() {
    let pki = Pki::new();
    let root = [pki.root.certificate_der().clone()];
    let server = serve(&pki, &pki.server_certificate(), &root).await;
    let meant = pin(&Pki::new().root);
    let fault = fault(&server, meant).await;
    let ServerFault::Pin(PinError::Mismatch { pinned, presented }) = &fault else {
        panic!("{fault}")
    };
    assert_eq!(*pinned, meant);
    assert_eq!(presented.len(), 3);
    assert_eq!(presented[2], pin(&pki.root));
    assert!(fault.to_string().contains(&meant.to_string()), "{fault}");
    // The handshake never ended there: no byte of ours could have come through.
    assert_eq!(server.counts.accepted(), 0);
}

#[tokio::test]
async fn a_copy_of_the_pinned_certificate_makes_no_other_server_believed() {
    let pki = Pki::new();
    let attacker = Pki::new();
    let root = [pki.root.certificate_der().clone()];
    let server = serve(&attacker, &attacker.server_certificate(), &root).await;
    let fault = fault(&server, pin(&pki.root)).await;
    assert!(matches!(fault, ServerFault::Authority(_)), "{fault}");
    assert_eq!(server.counts.accepted(), 0);
}

#[tokio::test]
async fn a_server_that_does_not_send_the_authority_is_not_believed() {
    let pki = Pki::new();
    let server = serve(&pki, &pki.server_certificate(), &[]).await;
    let fault = fault(&server, pin(&pki.root)).await;
    assert!(matches!(fault, ServerFault::Pin(PinError::NoAuthority { .. })), "{fault}");
    // So it is where streams go, the commonest slip.
    let said = fault.to_string();
    assert!(said.contains("is this the port for enrolment, 7444"), "{said}");
    assert!(said.contains(&pin(&pki.root).to_string()), "{said}");
}

#[tokio::test]
async fn the_pin_of_a_servers_own_key_or_of_no_self_signed_authority_is_no_authoritys() {
    let pki = Pki::new();
    let certificate = pki.server_certificate();
    let root = [pki.root.certificate_der().clone()];
    let server = serve(&pki, &certificate, &root).await;
    let own = pin_of(&crate::pki::der(&certificate.certificate_pem)).unwrap();
    for pin in [own, pin(&pki.servers)] {
        let fault = fault(&server, pin).await;
        assert_eq!(fault, ServerFault::Pin(PinError::NotAnAuthority(pin)));
    }
}

#[tokio::test]
async fn dates_and_names_are_checked_as_ever_and_told_apart() {
    let pki = Pki::new();
    let root = [pki.root.certificate_der().clone()];
    let issue = |names: &[&str], at| pki.servers.issue_server(names, &[], at, DAY).unwrap();
    for (at, words) in [(days(-2), "it expired at "), (days(2), "it is valid only from ")] {
        let server = serve(&pki, &issue(&["localhost"], at), &root).await;
        let fault = fault(&server, pin(&pki.root)).await;
        assert!(matches!(&fault, ServerFault::Clock(said) if said.starts_with(words)), "{fault}");
    }
    let server = serve(&pki, &issue(&["db1.example.org"], days(0)), &root).await;
    let fault = fault(&server, pin(&pki.root)).await;
    assert!(
        matches!(&fault, ServerFault::Name(said) if said.contains("db1.example.org")),
        "{fault}"
    );
}

#[tokio::test]
async fn a_root_that_is_not_valid_yet_is_a_matter_of_the_clock() {
    let pki = Pki::new();
    let domain = TrustDomain::parse(DOMAIN).unwrap();
    for created in [days(3), days(-9_000)] {
        let root = Authority::create_root(domain.clone(), created).unwrap();
        let server =
            serve(&pki, &pki.server_certificate(), &[root.certificate_der().clone()]).await;
        let fault = fault(&server, pin(&root)).await;
        assert!(matches!(fault, ServerFault::Clock(_)), "{fault}");
    }
}
