//! Connections that nobody uses, and too many of them.

use std::time::Duration;

use rowcall_proto::v1 as pb;
use rowcall_proto::v1::admin_service_client::AdminServiceClient;
use rowcall_testkit::ca::Leaf;
use rowcall_testkit::database::Database;
use rowcall_testkit::poll::wait_for;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::http2::{PREFACE, frame};
use crate::rig::{PATIENCE, Rig};

#[tokio::test]
async fn tls_without_a_preface_and_a_preface_without_a_call_are_dropped() {
    let database = Database::create().await.unwrap();
    let mut rig = Rig::start_with(&database.url(), |config| {
        config.handshake_timeout = Duration::from_millis(500);
    })
    .await;
    assert!(rig.handle.ready().await);
    let (mut honest, _) = rig.connected("honest", 1).await;
    for start in [&[][..], PREFACE, &[PREFACE, &frame(4, 0, 0, &[])].concat()] {
        let mut stream = rig.tls("agent", "mute").await;
        stream.write_all(start).await.unwrap();
        stream.flush().await.unwrap();
        let mut said = Vec::new();
        // However it ends: it does.
        drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.unwrap());
    }
    wait_for("all to be counted", PATIENCE, || async { (rig.handle.refused() == 3).then_some(()) })
        .await;
    honest.samples(1..=1).await;
    honest.acknowledged(1).await;
}

#[tokio::test]
async fn a_flood_of_connections_with_one_certificate_costs_others_nothing() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut honest, _) = rig.connected("honest", 1).await;
    let (mut session, _) = rig.connected("flooder", 1).await;
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.push(rig.tls("agent", "flooder").await);
    }
    assert_eq!(flood.len(), 20);
    wait_for("the flood to be counted", PATIENCE, || async {
        (rig.handle.refused() >= 13).then_some(())
    })
    .await;
    // Neither the others nor the flooder's own welcomed session pay for it.
    for agent in [&mut honest, &mut session] {
        agent.samples(1..=1).await;
        agent.acknowledged(1).await;
    }
    // The same process comes back over a new connection: it gets in.
    let (mut again, _) = rig.connected("flooder", 1).await;
    again.samples(2..=2).await;
    again.acknowledged(2).await;
}

#[tokio::test]
async fn a_person_with_too_many_busy_connections_is_told_so() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let leaf = Leaf::client("spiffe://d/viewer/alice");
    let mut watched = Vec::new();
    for _ in 0..32 {
        let channel = rig.dial(&leaf).await.unwrap();
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
        let request = tonic_health::pb::HealthCheckRequest::default();
        // A call that lasts.
        watched.push(health.watch(request).await.unwrap());
    }
    assert_eq!(watched.len(), 32);
    let mut admin = AdminServiceClient::new(rig.dial(&leaf).await.unwrap());
    let status = admin.status(pb::StatusRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert_eq!(
        status.message(),
        "this certificate has 32 connections open and all are busy, which is the most for one \
         certificate; close some, or use a certificate of its own for each program"
    );
    assert!(rig.summary_as("bob").await.summary(pb::SummaryRequest::default()).await.is_ok());
}
