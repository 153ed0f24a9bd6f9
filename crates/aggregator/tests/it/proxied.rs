//! Balancers in front: the client that their header names is the one that counts.

use std::net::SocketAddr;

use rowcall_testkit::database::Database;
use rowcall_tls::identity::Role;
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

use crate::enrol::refused;
use crate::issuing::{Issuing, dial_pinned, enrollment};
use crate::rig::{Agent, dial_at, hello};

/// A balancer to this address, which says that its clients come from 192.0.2.`last`:4711.
async fn balancer(to: SocketAddr, last: u8) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await.unwrap();
                let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
                header.extend([192, 0, 2, last, 127, 0, 0, 1]);
                header.extend(4711_u16.to_be_bytes());
                header.extend(to.port().to_be_bytes());
                server.write_all(&header).await.unwrap();
                drop(copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
    address
}

#[tokio::test]
async fn behind_a_balancer_the_clients_address_is_the_one_that_it_names() {
    let database = Database::create().await.unwrap();
    let more = "proxy_from = '127.0.0.1'\nenroll_per_source = 1";
    let mut aggregator = Issuing::start_on(
        rowcall_testkit::pki::Pki::create().unwrap(),
        &database.url(),
        more,
        |_| {},
    )
    .await;
    assert!(aggregator.handle.ready().await);
    let address = balancer(aggregator.handle.local_addr(), 7).await;
    let dial = async |role, name: &str| {
        let files = (&aggregator.pki.client(role, name).unwrap()).into();
        dial_at(address, files).await
    };
    let mut agent = Agent::open(dial(Role::Agent, "node1").await.unwrap()).await;
    agent.hello(hello("node1", 1)).await;
    agent.welcome().await;
    let channel = dial(Role::Viewer, "alice").await.unwrap();
    let mut admin = rowcall_proto::v1::admin_service_client::AdminServiceClient::new(channel);
    let status = admin.status(rowcall_proto::v1::StatusRequest::default()).await.unwrap();
    assert_eq!(status.into_inner().connected[0].peer_address, "192.0.2.7:4711");

    // Each client of the balancer has a minute of its own.
    let enroll = aggregator.handle.enroll_addr().unwrap();
    for last in [1, 2] {
        let through = balancer(enroll, last).await;
        for code in [Code::Unauthenticated, Code::ResourceExhausted] {
            let channel = dial_pinned(through, aggregator.pin()).await.unwrap();
            let mut client =
                rowcall_proto::v1::enrollment_service_client::EnrollmentServiceClient::new(channel);
            let key = rowcall_tls::request::NewKey::generate().unwrap();
            let status = client.enroll(enrollment("rc1.x", "n", &key)).await.unwrap_err();
            assert_eq!(status.code(), code, "{status}");
        }
    }

    // Without its header nobody gets in from there.
    let files = (&aggregator.pki.client(Role::Agent, "node2").unwrap()).into();
    assert!(dial_at(aggregator.handle.local_addr(), files).await.is_err());
    assert!(dial_pinned(enroll, aggregator.pin()).await.is_err());
    let metrics = aggregator.metrics().await;
    for listener in ["stream", "enrollment"] {
        let line = format!(
            "rowcall_handshakes_total{{listener=\"{listener}\",result=\"proxy_header\"}} 1"
        );
        assert!(metrics.lines().any(|found| found == line), "{line} is missing");
    }
    drop(agent);
    aggregator.stop().await;
}

#[tokio::test]
async fn a_header_from_anybody_else_is_no_tls() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let through = balancer(aggregator.handle.enroll_addr().unwrap(), 1).await;
    assert!(dial_pinned(through, aggregator.pin()).await.is_err());
    let token = aggregator.any_token().await;
    assert!(aggregator.enroll(&token, "node1").await.is_ok());
    refused(aggregator.enroll(&token, "node2").await, Code::Unauthenticated, "used");
    aggregator.stop().await;
}
