//! Whether a certificate would be let in, asked without a stream.

use rowcall_proto::v1 as pb;
use rowcall_proto::v1::enrollment_service_client::EnrollmentServiceClient;
use rowcall_testkit::database::Database;
use rowcall_testkit::pki::Pki;
use rowcall_tls::identity::Role;
use rowcall_tls::request::NewKey;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::issuing::Issuing;
use crate::rig::count;

async fn check(channel: &Channel) -> Result<String, Status> {
    let mut client = EnrollmentServiceClient::new(channel.clone());
    Ok(client.check(pb::CheckRequest {}).await?.into_inner().host_name)
}

async fn refused(channel: &Channel, part: &str) {
    let status = check(channel).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().contains(part), "{part}: {status}");
}

#[tokio::test]
async fn it_tells_what_a_hello_would_be_told_and_changes_nothing() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let enrolled = aggregator.enroll(&aggregator.any_token().await, "node1").await.unwrap();
    let channel = aggregator.dial("node1", &enrolled).await;
    assert_eq!(check(&channel).await.unwrap(), "node1");
    // Of a trusted authority, and never seen.
    let own = aggregator.channel(Role::Agent, "own").await;
    assert_eq!(check(&own).await.unwrap(), "own");
    let rows = "SELECT count(*) FROM rowcall.certificate";
    assert_eq!(count(&database, rows).await, 1, "who only asks is not kept");

    let mut admin = aggregator.admin().await;
    let host_name = "node1".to_owned();
    let renamed = pb::RenameHostRequest { host_name, new_name: "node9".to_owned() };
    admin.rename_host(renamed).await.unwrap();
    assert_eq!(check(&channel).await.unwrap(), "node9");
    let host_name = "node9".to_owned();
    let request = pb::RevokeHostRequest { host_name: host_name.clone(), reason: "stolen".into() };
    admin.revoke_host(request).await.unwrap();
    refused(&channel, "this host's access is revoked (stolen)").await;
    admin.restore_host(pb::RestoreHostRequest { host_name: host_name.clone() }).await.unwrap();
    assert_eq!(check(&channel).await.unwrap(), "node9");
    let wanted = pb::CreateTokenRequest { replace: true, ..Default::default() };
    let token = aggregator.token(wanted).await;
    let other = aggregator.enroll(&token, &host_name).await.unwrap();
    refused(&channel, "replaced").await;
    let other = aggregator.dial("other", &other).await;
    assert_eq!(check(&other).await.unwrap(), "node9");
    assert_eq!(check(&own).await.unwrap(), "own", "others are not concerned");
    aggregator.stop().await;
}

#[tokio::test]
async fn only_agents_ask_on_the_streams_port_and_each_certificate_so_often() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    for role in [Role::Viewer, Role::Operator] {
        refused(&aggregator.channel(role, "alice").await, "role").await;
    }
    let status = aggregator.strangers().await.check(pb::CheckRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status}");

    let enrolled = aggregator.enroll(&aggregator.any_token().await, "node1").await.unwrap();
    let channel = aggregator.dial("node1", &enrolled).await;
    for _ in 0..6 {
        check(&channel).await.unwrap();
    }
    let status = check(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("come back in 11 s"), "{status}");
    // That takes nothing from what the host needs.
    let csr_der = NewKey::generate().unwrap().request_der("x").unwrap();
    let renewal = pb::RenewRequest { csr_der, ..Default::default() };
    EnrollmentServiceClient::new(channel.clone()).renew(renewal).await.unwrap();
    let another = aggregator.channel(Role::Agent, "node1").await;
    check(&another).await.unwrap();
    aggregator.clock.advance(std::time::Duration::from_secs(10));
    check(&channel).await.unwrap();
    aggregator.stop().await;
}

#[tokio::test]
async fn without_the_database_nobody_is_told_that_all_is_well() {
    let nowhere = "postgres://nobody@127.0.0.1:1/none";
    let aggregator = Issuing::start_on(Pki::create().unwrap(), nowhere, "", |_| {}).await;
    let channel = aggregator.channel(Role::Agent, "node1").await;
    let status = check(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    aggregator.stop().await;
}
