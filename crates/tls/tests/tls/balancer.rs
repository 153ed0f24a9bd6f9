//! Connections that a load balancer passes on.

use std::sync::Arc;
use std::time::Duration;

use rowcall_tls::accept::{Limits, Refusal};
use rowcall_tls::config::client_config;
use rowcall_tls::identity::Role;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::pki::Pki;
use crate::support::{EchoServer, GREETING, NEVER, until};

const HEADER: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x30\x39\x1d\x13";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn balanced() -> Limits {
    Limits { proxy_from: vec!["127.0.0.0/8".parse().unwrap()], ..Limits::default() }
}

async fn start(pki: &Pki, limits: Limits) -> EchoServer {
    EchoServer::start(pki.server_config(), limits).await
}

/// Writes this, then speaks TLS until the greeting.
async fn greeted_after(pki: &Pki, server: &EchoServer, header: &[u8]) -> bool {
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    tcp.write_all(header).await.unwrap();
    let config = client_config(&pki.material(&pki.agent(), pki.root.cert_pem())).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let Ok(mut tls) = connector.connect("localhost".try_into().unwrap(), tcp).await else {
        return false;
    };
    let mut greeting = vec![0; GREETING.len()];
    tls.read_exact(&mut greeting).await.is_ok()
}

#[tokio::test]
async fn the_client_that_the_balancer_names_is_the_peer() {
    let pki = Pki::new();
    let mut server = start(&pki, balanced()).await;
    assert!(greeted_after(&pki, &server, HEADER).await);
    let peer = server.peers.recv().await.unwrap();
    assert_eq!(peer.address, "192.0.2.7:12345".parse().unwrap());
    assert!(peer.require(&[Role::Agent]).is_ok());
    // Its own health check.
    assert!(greeted_after(&pki, &server, LOCAL).await);
    assert!(server.peers.recv().await.unwrap().address.ip().is_loopback());
}

#[tokio::test]
async fn a_balancer_that_says_nothing_is_refused_and_so_is_a_stranger_that_does() {
    let pki = Pki::new();
    let server = start(&pki, balanced()).await;
    assert!(!greeted_after(&pki, &server, b"").await);
    until("it is counted", || server.counts.refused(Refusal::ProxyHeader) == 1).await;

    let elsewhere = Limits { proxy_from: vec!["192.0.2.0/24".parse().unwrap()], ..balanced() };
    let server = start(&pki, elsewhere).await;
    assert!(!greeted_after(&pki, &server, HEADER).await);
    until("it is counted", || server.counts.refused(Refusal::NotTls) == 1).await;
    assert_eq!(server.counts.accepted(), 0);
}

#[tokio::test]
async fn a_balancer_that_only_looks_whether_the_port_is_open_is_not_held_against_it() {
    let pki = Pki::new();
    let server = start(&pki, balanced()).await;
    drop(TcpStream::connect(server.address).await.unwrap());
    until("it is counted", || server.counts.refused(Refusal::Closed) == 1).await;
    assert_eq!(server.counts.refused(Refusal::ProxyHeader), 0);
}

#[tokio::test]
async fn a_header_that_never_ends_is_cut_off_at_the_handshakes_deadline() {
    let pki = Pki::new();
    let limits = Limits { handshake_deadline: Duration::from_millis(200), ..balanced() };
    let server = start(&pki, limits).await;
    for sent in [0, 1, 15, 16, HEADER.len() - 1] {
        let mut tcp = TcpStream::connect(server.address).await.unwrap();
        tcp.write_all(HEADER.get(..sent).unwrap()).await.unwrap();
        let end = tokio::time::timeout(NEVER, tcp.read_to_end(&mut Vec::new())).await;
        drop(end.expect("the server should close"));
    }
    until("all are counted", || server.counts.refused(Refusal::Deadline) == 5).await;
    until("their places are free", || server.counts.in_flight() == 0).await;
}

#[tokio::test]
async fn the_bound_per_source_is_the_clients_not_the_balancers() {
    let pki = Pki::new();
    let limits = Limits { handshake_deadline: NEVER, in_flight_per_source: 1, ..balanced() };
    let server = start(&pki, limits).await;
    // Silent clients that the balancer passed on.
    let mut silent = Vec::new();
    for client in 1..=3_u8 {
        let mut header = HEADER.to_vec();
        header[19] = client;
        let mut tcp = TcpStream::connect(server.address).await.unwrap();
        tcp.write_all(&header).await.unwrap();
        silent.push(tcp);
    }
    until("all are in", || server.counts.in_flight() == 3).await;
    assert!(greeted_after(&pki, &server, HEADER).await);
    let mut second = HEADER.to_vec();
    second[19] = 1;
    assert!(!greeted_after(&pki, &server, &second).await);
    assert_eq!(server.counts.refused(Refusal::TooManyFromSource), 1);
    drop(silent);
}

#[tokio::test]
async fn exempt_sources_are_bounded_in_all_alone() {
    let pki = Pki::new();
    let limits = Limits {
        handshake_deadline: NEVER,
        in_flight_per_source: 1,
        exempt: vec!["127.0.0.1/32".parse().unwrap()],
        ..Limits::default()
    };
    let server = start(&pki, limits).await;
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    until("all are in", || server.counts.in_flight() == 5).await;
    assert!(greeted_after(&pki, &server, b"").await);
    drop(silent);
}
