//! A certificate for the next one: by its connection, or by a proof of its key.

use rowcall_proto::v1 as pb;
use rowcall_proto::v1::enrollment_service_client::EnrollmentServiceClient;
use rowcall_testkit::database::Database;
use rowcall_tls::identity::Role;
use rowcall_tls::request::NewKey;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::issuing::{DAY, Enrolled, Issuing};
use crate::rig::{Agent, count};

/// Renews on a connection with a certificate, with this key.
async fn renew(channel: Channel, key: NewKey) -> Result<Enrolled, Status> {
    let request = pb::RenewRequest { csr_der: key.request_der("x").unwrap(), ..Default::default() };
    let answer = EnrollmentServiceClient::new(channel).renew(request).await?;
    Ok(Enrolled { bundle: answer.into_inner().bundle.unwrap(), key })
}

/// A request with a proof, by the key of what a host got.
fn proof(enrolled: &Enrolled, key: &NewKey) -> pb::RenewRequest {
    let csr_der = key.request_der("x").unwrap();
    pb::RenewRequest {
        signature: enrolled.key.sign_renewal(&csr_der).unwrap(),
        certificate_der: enrolled.leaf().to_vec(),
        csr_der,
    }
}

async fn revoke(aggregator: &Issuing, name: &str) {
    let request = pb::RevokeHostRequest { host_name: name.into(), reason: "stolen".into() };
    aggregator.admin().await.revoke_host(request).await.unwrap();
}

fn is(status: &Status, code: Code, part: &str) {
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(part), "{part}: {status}");
}

#[tokio::test]
async fn an_agent_renews_beside_its_stream_and_a_lost_reply_costs_nothing() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let token = aggregator.any_token().await;
    let old = aggregator.enroll(&token, "node1").await.unwrap();
    let channel = aggregator.dial("node1", &old).await;
    let mut stream = Agent::open(channel.clone()).await;
    stream.hello(crate::rig::hello("node1", 1)).await;
    let first = stream.welcome().await;
    let key = NewKey::generate().unwrap();
    let again = NewKey::from_pem(&key.pkcs8_pem()).unwrap();
    let new = renew(channel.clone(), key).await.unwrap();
    assert_ne!(new.leaf(), old.leaf());
    assert_eq!(renew(channel.clone(), again).await.unwrap().leaf(), new.leaf());
    stream.samples(1..=1).await;
    stream.acknowledged(1).await;
    // The old one stays good until it expires: a node may lose what it just got.
    let reuse = NewKey::from_pem(&old.key.pkcs8_pem()).unwrap();
    is(&renew(channel, reuse).await.unwrap_err(), Code::InvalidArgument, "key");
    drop(stream);
    let mut stream = aggregator.stream("node1", &new, 1).await;
    assert_eq!(stream.welcome().await.host_id, first.host_id);
    let origins = "SELECT count(DISTINCT origin) FROM rowcall.certificate";
    assert_eq!(count(&database, origins).await, 2);
    drop(stream);
    aggregator.stop().await;
}

#[tokio::test]
async fn only_agents_renew_and_only_with_their_own_connection() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    for (role, code) in
        [(Role::Viewer, Code::PermissionDenied), (Role::Operator, Code::PermissionDenied)]
    {
        let channel = aggregator.channel(role, "alice").await;
        let status = renew(channel, NewKey::generate().unwrap()).await.unwrap_err();
        is(&status, code, "role");
    }
    let one = aggregator.enroll(&aggregator.any_token().await, "one").await.unwrap();
    let other = aggregator.enroll(&aggregator.any_token().await, "other").await.unwrap();
    let mut client = EnrollmentServiceClient::new(aggregator.dial("one", &one).await);
    let proof = proof(&other, &NewKey::generate().unwrap());
    let status = client.renew(proof).await.unwrap_err();
    is(&status, Code::InvalidArgument, "connection's own certificate");
    let enrollment = crate::issuing::enrollment("rc1.x", "two", &NewKey::generate().unwrap());
    assert_eq!(client.enroll(enrollment).await.unwrap_err().code(), Code::Unimplemented);
    aggregator.stop().await;
}

#[tokio::test]
async fn an_expired_certificate_is_renewed_by_proof_for_90_days() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let old = aggregator.enroll(&aggregator.any_token().await, "node1").await.unwrap();
    let other = aggregator.enroll(&aggregator.any_token().await, "node2").await.unwrap();
    aggregator.clock.advance(DAY * 119);
    let key = NewKey::generate().unwrap();
    let mut client = aggregator.strangers().await;
    let good = proof(&old, &key);
    for (wrong, part) in [
        (pb::RenewRequest { signature: vec![], ..good.clone() }, "proof of its key"),
        (pb::RenewRequest { certificate_der: vec![], ..good.clone() }, "proof of its key"),
        (pb::RenewRequest { signature: vec![1; 70], ..good.clone() }, "not by the key"),
        // By the key of another host.
        (
            pb::RenewRequest { certificate_der: other.leaf().to_vec(), ..good.clone() },
            "not by the key",
        ),
        // Over another request.
        (
            pb::RenewRequest {
                csr_der: NewKey::generate().unwrap().request_der("x").unwrap(),
                ..good.clone()
            },
            "not by the key",
        ),
        (pb::RenewRequest { certificate_der: b"no".to_vec(), ..good.clone() }, "cannot be"),
    ] {
        is(&client.renew(wrong).await.unwrap_err(), Code::Unauthenticated, part);
    }
    let bundle = client.renew(good).await.unwrap().into_inner().bundle.unwrap();
    let new = Enrolled { bundle, key };
    assert_eq!(
        new.bundle.expires_at.unwrap().seconds,
        old.bundle.expires_at.unwrap().seconds + 119 * 86_400
    );

    aggregator.clock.advance(DAY * 2);
    let late = proof(&other, &NewKey::generate().unwrap());
    is(&client.renew(late).await.unwrap_err(), Code::Unauthenticated, "more than 90 days ago");
    aggregator.stop().await;
}

#[tokio::test]
async fn a_revoked_host_renews_nowhere() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let token = aggregator.any_token().await;
    let enrolled = aggregator.enroll(&token, "node1").await.unwrap();
    let channel = aggregator.dial("node1", &enrolled).await;
    revoke(&aggregator, "node1").await;
    let status = renew(channel, NewKey::generate().unwrap()).await.unwrap_err();
    is(&status, Code::PermissionDenied, "revoked");
    let proof = proof(&enrolled, &NewKey::generate().unwrap());
    let status = aggregator.strangers().await.renew(proof).await.unwrap_err();
    is(&status, Code::PermissionDenied, "revoked");
    // Nor does the token that it came by give it anything.
    let again = NewKey::from_pem(&enrolled.key.pkcs8_pem()).unwrap();
    let status = aggregator.enroll_with(&token, "node1", again).await.unwrap_err();
    is(&status, Code::PermissionDenied, "revoked");
    aggregator.stop().await;
}

#[tokio::test]
async fn a_host_that_renews_all_the_time_is_told_to_wait() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let enrolled = aggregator.enroll(&aggregator.any_token().await, "node1").await.unwrap();
    let channel = aggregator.dial("node1", &enrolled).await;
    let (mut newest, mut refused) = (None, Vec::new());
    for _ in 0..8 {
        match renew(channel.clone(), NewKey::generate().unwrap()).await {
            Ok(new) => newest = Some(new),
            Err(status) => refused.push(status),
        }
    }
    assert_eq!(refused.len(), 2);
    is(&refused[0], Code::ResourceExhausted, "come back in");
    // Nor with the next one.
    let channel = aggregator.dial("new", &newest.unwrap()).await;
    let status = renew(channel, NewKey::generate().unwrap()).await.unwrap_err();
    is(&status, Code::ResourceExhausted, "node1 renews too often; come back in");
    aggregator.stop().await;
}

#[tokio::test]
async fn a_certificate_that_is_refused_takes_no_renewal_from_the_host() {
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let stolen = aggregator.enroll(&aggregator.any_token().await, "node1").await.unwrap();
    let wanted = pb::CreateTokenRequest { replace: true, ..Default::default() };
    let token = aggregator.token(wanted).await;
    let honest = aggregator.enroll(&token, "node1").await.unwrap();
    let mut client = aggregator.strangers().await;
    for asked in 0..8 {
        let proof = proof(&stolen, &NewKey::generate().unwrap());
        let status = client.renew(proof).await.unwrap_err();
        let code = if asked < 6 { Code::PermissionDenied } else { Code::ResourceExhausted };
        assert_eq!(status.code(), code, "{status}");
    }
    let channel = aggregator.dial("node1", &honest).await;
    renew(channel, NewKey::generate().unwrap()).await.unwrap();
    aggregator.stop().await;
}
