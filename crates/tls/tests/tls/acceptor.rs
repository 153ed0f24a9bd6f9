//! Peers that are silent, too many, or no TLS peers at all, on both sides.

use std::sync::Arc;
use std::time::Duration;

use rowcall_testkit::ca::Leaf;
use rowcall_tls::accept::{Acceptor, Limits, Refusal};
use rowcall_tls::connect::{ConnectError, Step};
use rowcall_tls::identity::TrustDomain;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::support::{AGENT, DOMAIN, NEVER, World, echo, until};

/// Waits until the other side has closed.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let end = tokio::time::timeout(NEVER, stream.read_to_end(&mut rest)).await;
    // A reset says the same as an end.
    drop(end.expect("the server should close"));
}

#[tokio::test]
async fn silent_client_is_dropped_at_the_deadline_while_an_honest_one_connects() {
    let limits = Limits { handshake_deadline: Duration::from_millis(300), ..Limits::default() };
    let world = World::with(Leaf::server(), limits).await;
    let mut silent = TcpStream::connect(world.server.address).await.unwrap();
    until("the silent client is in", || world.server.counts.in_flight() == 1).await;

    let client = world.client(&Leaf::client(AGENT));
    echo(&mut world.connect(&client).await.unwrap()).await;

    closed(&mut silent).await;
    until("its place is free", || world.server.counts.in_flight() == 0).await;
    assert_eq!(world.server.counts.refused(Refusal::Deadline), 1);
}

#[tokio::test]
async fn handshakes_over_the_bound_are_shed_and_let_in_again_when_there_is_room() {
    let limits = Limits { handshake_deadline: NEVER, in_flight: 2, ..Limits::default() };
    let world = World::with(Leaf::server(), limits).await;
    let client = world.client(&Leaf::client(AGENT));
    let first = TcpStream::connect(world.server.address).await.unwrap();
    let _second = TcpStream::connect(world.server.address).await.unwrap();
    until("both are in", || world.server.counts.in_flight() == 2).await;

    let refusal = world.refusal(&client).await;
    assert!(matches!(refusal, ConnectError::Closed { step: Step::Handshake, .. }), "{refusal}");
    assert_eq!(world.server.counts.refused(Refusal::TooMany), 1);

    drop(first);
    until("a place is free", || world.server.counts.in_flight() == 1).await;
    echo(&mut world.connect(&client).await.unwrap()).await;
}

#[tokio::test]
async fn one_source_cannot_keep_another_out() {
    let limits = Limits { handshake_deadline: NEVER, in_flight_per_source: 1, ..Limits::default() };
    let world = World::with(Leaf::server(), limits).await;
    let client = world.client(&Leaf::client(AGENT));
    let elsewhere = TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let elsewhere = elsewhere.connect(world.server.address).await.unwrap();
    until("it is in", || world.server.counts.in_flight() == 1).await;
    echo(&mut world.connect(&client).await.unwrap()).await;

    drop(elsewhere);
    until("it is out", || world.server.counts.in_flight() == 0).await;
    let _own = TcpStream::connect(world.server.address).await.unwrap();
    until("it is in", || world.server.counts.in_flight() == 1).await;
    world.refusal(&client).await;
    assert_eq!(world.server.counts.refused(Refusal::TooManyFromSource), 1);
}

#[tokio::test]
async fn plain_text_is_no_tls_and_gets_an_end_not_a_hang() {
    let world = World::new().await;
    let mut stream = TcpStream::connect(world.server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    closed(&mut stream).await;
    assert_eq!(world.server.counts.refused(Refusal::NotTls), 1);
}

#[tokio::test]
async fn client_that_goes_away_in_the_handshake_is_counted() {
    let world = World::new().await;
    drop(TcpStream::connect(world.server.address).await.unwrap());
    until("it is counted", || world.server.counts.refused(Refusal::Closed) == 1).await;
}

#[tokio::test]
async fn stopping_ends_the_stream_and_gives_up_handshakes_but_not_connections() {
    let limits = Limits { handshake_deadline: NEVER * 10, ..Limits::default() };
    let world = World::with(Leaf::server(), limits).await;
    let mut made = world.connect(&world.client(&Leaf::client(AGENT))).await.unwrap();
    let mut silent = TcpStream::connect(world.server.address).await.unwrap();
    until("it is in", || world.server.counts.in_flight() == 1).await;

    world.server.stop.cancel();
    closed(&mut silent).await;
    tokio::time::timeout(NEVER, world.server.ended.cancelled()).await.unwrap();
    assert!(TcpStream::connect(world.server.address).await.is_err());
    echo(&mut made).await;
}

#[tokio::test]
async fn dropping_the_stream_gives_up_handshakes_and_stops_nothing_else() {
    let world = World::new().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = Arc::clone(&world.server.config);
    let limits = Limits { handshake_deadline: NEVER * 10, ..Limits::default() };
    let acceptor =
        Acceptor::new(listener, config, TrustDomain::parse(DOMAIN).unwrap()).with_limits(limits);
    let counts = acceptor.counts();
    let stop = CancellationToken::new();
    let incoming = acceptor.start(&stop);
    let mut silent = TcpStream::connect(address).await.unwrap();
    until("it is in", || counts.in_flight() == 1).await;
    drop(incoming);
    closed(&mut silent).await;
    assert!(!stop.is_cancelled());
}

#[tokio::test]
async fn port_where_nothing_listens_refuses() {
    let world = World::new().await;
    // Bound, so that nobody else takes it, but not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let client = world.client(&Leaf::client(AGENT));
    let error = client.connect("127.0.0.1", port).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "127.0.0.1:{port} refuses connections; check that the aggregator runs and the port \
             is right"
        )
    );
}

#[tokio::test]
async fn name_that_does_not_exist_is_named() {
    let world = World::new().await;
    let client = world.client(&Leaf::client(AGENT));
    // RFC 6761: never a name.
    let error = client.connect("aggregator.invalid", 1).await.unwrap_err();
    assert!(matches!(error, ConnectError::NameNotFound { .. }), "{error}");
    assert!(error.to_string().contains("\"aggregator.invalid\""), "{error}");
    let error = client.connect("not a name", 1).await.unwrap_err();
    assert!(matches!(error, ConnectError::BadAddress(_)), "{error}");
}

#[tokio::test]
async fn server_that_says_nothing_runs_into_the_deadline() {
    let world = World::new().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = world.client(&Leaf::client(AGENT)).with_deadline(Duration::from_millis(100));
    let error = client.connect("127.0.0.1", port).await.unwrap_err();
    assert!(matches!(error, ConnectError::Deadline { step: Step::Handshake, .. }), "{error}");
}

#[tokio::test]
async fn server_of_another_protocol_is_not_tls() {
    let world = World::new().await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await?;
        stream.read_to_end(&mut Vec::new()).await
    });
    let client = world.client(&Leaf::client(AGENT));
    let error = client.connect("127.0.0.1", port).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotTls), "{error}");
}
