//! Who may call what, and the reasons that a client sees.

use rowcall_proto::v1 as pb;
use rowcall_proto::v1::admin_service_client::AdminServiceClient;
use rowcall_proto::v1::summary_service_client::SummaryServiceClient;
use rowcall_testkit::ca::{Leaf, TestCa};
use rowcall_testkit::database::Database;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1;
use tonic_reflection::pb::v1alpha;

use crate::rig::{Agent, Rig};

async fn summary_refused(channel: Channel) -> Status {
    let mut client = SummaryServiceClient::new(channel);
    client.summary(pb::SummaryRequest::default()).await.unwrap_err()
}

#[tokio::test]
async fn roles_are_kept_apart_with_a_reason() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let status = Agent::try_open(rig.channel("viewer", "alice").await).await.err().unwrap();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(
        status.message(),
        "certificate of spiffe://d/viewer/alice has role viewer, this call is for role agent"
    );
    let status = summary_refused(rig.channel("agent", "node1").await).await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().ends_with("for role viewer or operator"), "{status}");
    let request = pb::RetireHostRequest { host_name: "node1".into() };
    let mut viewer = AdminServiceClient::new(rig.channel("viewer", "alice").await);
    let status = viewer.retire_host(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let mut operator = AdminServiceClient::new(rig.channel("operator", "root").await);
    let status = operator.retire_host(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(rig.handle.refused(), 3);
}

#[tokio::test]
async fn certificates_without_a_valid_identity_are_unauthenticated_with_the_rule() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    for (leaf, reason) in [
        (Leaf::client("x").uris(&[]), "certificate has no URI SAN"),
        (Leaf::client("spiffe://d/root/n"), "role is \"root\""),
        (Leaf::client("spiffe://other/viewer/n"), "of trust domain other, expected d"),
        (Leaf::client("x").uris(&["spiffe://d/viewer/a", "spiffe://d/agent/a"]), "2 URI SANs"),
    ] {
        let status = summary_refused(rig.dial(&leaf).await.unwrap()).await;
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        assert!(status.message().contains(reason), "{status}");
    }
}

#[tokio::test]
async fn certificates_of_another_authority_or_out_of_date_are_refused_in_the_handshake() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let viewer = Leaf::client("spiffe://d/viewer/alice");
    let refused = rig.dial(&viewer.clone().expired()).await.unwrap_err();
    let reason = format!("{refused:?}");
    assert!(reason.contains("CertificateExpired"), "{reason}");
    let other = TestCa::root("other").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let issued = other.issue(&viewer).unwrap();
    let paths = issued.write(folder.path(), "stranger", rig.ca.root_pem()).unwrap();
    let files = rowcall_tls::load::Files {
        certificate: paths.certificate,
        key: paths.key,
        authorities: paths.authorities,
    };
    let reason = format!("{:?}", rig.dial_with(files).await.unwrap_err());
    assert!(reason.contains("UnknownCA") || reason.contains("BadCertificate"), "{reason}");
}

#[tokio::test]
async fn health_answers_every_role() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let mut health = HealthClient::new(rig.channel("agent", "node1").await);
    for service in ["", "rowcall.v1.TelemetryService", "rowcall.v1.SummaryService"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.into() };
        let answer = rowcall_testkit::poll::wait_for("health", crate::rig::PATIENCE, || {
            let (mut health, request) = (health.clone(), request.clone());
            async move {
                let answer = health.check(request).await.unwrap().into_inner();
                (answer.status() == ServingStatus::Serving).then_some(answer)
            }
        });
        answer.await;
    }
    let request = tonic_health::pb::HealthCheckRequest { service: "nobody".into() };
    assert_eq!(health.check(request).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_versions() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let channel = rig.channel("viewer", "alice").await;
    let expected = [
        "grpc.health.v1.Health",
        "rowcall.v1.AdminService",
        "rowcall.v1.SummaryService",
        "rowcall.v1.TelemetryService",
    ];
    let mut new = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let mut answers =
        new.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
        panic!("no list of services: {answer:?}");
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(expected.iter().all(|name| names.contains(name)), "{names:?}");
    let mut old = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
                "rowcall.v1.SummaryService".into(),
            ),
        ),
    };
    let mut answers =
        old.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    assert!(matches!(
        answer,
        v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_)
    ));
}
