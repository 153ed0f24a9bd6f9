//! Sessions that succeed, and what tonic makes of them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rowcall_testkit::ca::{Leaf, TestCa};
use rowcall_tls::accept::Acceptor;
use rowcall_tls::config::{client_config, server_config};
use rowcall_tls::connect::ConnectError;
use rowcall_tls::identity::{Role, TrustDomain};
use rustls::HandshakeKind;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{AGENT, DOMAIN, World, connector, echo, material};

#[tokio::test]
async fn session_carries_bytes_and_the_peers_identity() {
    let mut world = World::new().await;
    let mut stream = world.connect(&world.client(&Leaf::client(AGENT))).await.unwrap();
    echo(&mut stream).await;
    let peer = world.server.peers.recv().await.unwrap();
    assert_eq!(peer.require(&[Role::Agent]).unwrap().to_string(), AGENT);
    assert!(peer.address.ip().is_loopback());
    assert_eq!(world.server.counts.accepted(), 1);
}

#[tokio::test]
async fn intermediate_authorities_are_followed_in_both_directions() {
    let root = TestCa::root("root").unwrap();
    let servers = root.intermediate("servers").unwrap();
    let clients = root.intermediate("clients").unwrap();
    let mut world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let server = servers.write(folder.path(), "s", &Leaf::server()).unwrap();
    world.server.config.store(Arc::new(server_config(&material(&server)).unwrap()));
    let client = clients.write(folder.path(), "c", &Leaf::client(AGENT)).unwrap();
    let client = connector(client_config(&material(&client)).unwrap());
    echo(&mut world.connect(&client).await.unwrap()).await;
    let peer = world.server.peers.recv().await.unwrap();
    assert_eq!(peer.identity.as_ref().unwrap().name.as_str(), "node1");
}

#[tokio::test]
async fn stored_configuration_serves_the_next_connection_and_leaves_the_last_alone() {
    let world = World::new().await;
    let client = world.client(&Leaf::client(AGENT));
    let mut before = world.connect(&client).await.unwrap();

    let other = TestCa::root("other root").unwrap();
    let paths = other.write(world.folder.path(), "other", &Leaf::server()).unwrap();
    world.server.config.store(Arc::new(server_config(&material(&paths)).unwrap()));

    let refusal = world.refusal(&client).await;
    assert!(matches!(refusal, ConnectError::ServerCertificate(_)), "{refusal}");
    echo(&mut before).await;
}

#[tokio::test]
async fn sessions_are_never_resumed_even_for_a_client_that_wants_to() {
    let world = World::new().await;
    let paths = world.ca.write(world.folder.path(), "eager", &Leaf::client(AGENT)).unwrap();
    let mut config = client_config(&material(&paths)).unwrap();
    config.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let client = connector(config);
    for _ in 0..3 {
        let mut stream = world.connect(&client).await.unwrap();
        echo(&mut stream).await;
        let tls = stream.get_ref().get_ref().1;
        assert_eq!(tls.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(tls.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    }
}

struct Grpc {
    endpoint: Endpoint,
    stop: CancellationToken,
}

async fn grpc(world: &World) -> Grpc {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(ArcSwap::new(world.server.config.load_full()));
    let stop = CancellationToken::new();
    let incoming =
        Acceptor::new(listener, config, TrustDomain::parse(DOMAIN).unwrap()).start(&stop);
    let (_, health) = tonic_health::server::health_reporter();
    tokio::spawn(
        Server::builder()
            .add_service(health)
            .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned()),
    );
    let endpoint = Channel::from_shared(format!("https://localhost:{port}")).unwrap();
    Grpc { endpoint, stop }
}

#[tokio::test]
async fn tonic_speaks_through_connector_and_acceptor() {
    let world = World::new().await;
    let grpc = grpc(&world).await;
    let client = world.client(&Leaf::client(AGENT));
    let channel = grpc.endpoint.connect_with_connector(client).await.unwrap();
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().status, 1);
    grpc.stop.cancel();
}

#[tokio::test]
async fn reason_of_a_refusal_is_found_in_tonics_error() {
    let world = World::new().await;
    let grpc = grpc(&world).await;
    let stranger = TestCa::root("stranger").unwrap();
    let client = world.client_of(&stranger, &Leaf::client(AGENT));
    let error = grpc.endpoint.connect_with_connector(client).await.unwrap_err();
    let found = ConnectError::find(&error).expect("tonic's error has our reason as a cause");
    assert!(found.is_certificate_refused(), "{found}");
    grpc.stop.cancel();
}
