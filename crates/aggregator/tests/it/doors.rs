//! Which port serves whom, and what is never logged.

use std::process::Stdio;

use rowcall_core::token::{Token, TokenId, TokenSecret};
use rowcall_proto::v1 as pb;
use rowcall_proto::v1::admin_service_client::AdminServiceClient;
use rowcall_proto::v1::summary_service_client::SummaryServiceClient;
use rowcall_testkit::database::Database;
use rowcall_testkit::pki::Pki;
use rowcall_tls::identity::Role;
use rowcall_tls::request::NewKey;
use tokio::io::AsyncReadExt as _;
use tonic::Code;

use crate::issuing::{Issuing, dial_pinned, enrollment, settings};
use crate::process::{program, signal};
use crate::rig::{Agent, PATIENCE, dial_at};

#[tokio::test]
async fn the_enrolment_port_serves_nothing_else_and_the_streams_port_nobody_without_a_certificate()
{
    let database = Database::create().await.unwrap();
    let aggregator = Issuing::start(&database).await;
    let enroll = aggregator.handle.enroll_addr().unwrap();
    let stranger = dial_pinned(enroll, aggregator.pin()).await.unwrap();
    let unimplemented = |code: Code| assert_eq!(code, Code::Unimplemented);
    unimplemented(Agent::try_open(stranger.clone()).await.err().unwrap().code());
    let mut summary = SummaryServiceClient::new(stranger.clone());
    unimplemented(summary.summary(pb::SummaryRequest::default()).await.unwrap_err().code());
    let mut admin = AdminServiceClient::new(stranger);
    unimplemented(admin.status(pb::StatusRequest::default()).await.unwrap_err().code());
    // Nor to whoever has a certificate: it is not even asked for.
    let files = (&aggregator.pki.client(Role::Operator, "admin").unwrap()).into();
    let mut admin = AdminServiceClient::new(dial_at(enroll, files).await.unwrap());
    unimplemented(admin.status(pb::StatusRequest::default()).await.unwrap_err().code());

    let refused = dial_pinned(aggregator.handle.local_addr(), aggregator.pin()).await;
    assert!(refused.is_err(), "there the root is not in the chain, and a certificate is required");
    aggregator.stop().await;
}

#[tokio::test]
async fn a_stranger_does_not_hear_where_the_database_is() {
    let nowhere = "postgres://nobody@127.0.0.1:1/none";
    let aggregator = Issuing::start_on(Pki::create().unwrap(), nowhere, "", |_| {}).await;
    let (id, secret) = (TokenId::new([1; 8]), TokenSecret::new([2; 32]));
    let token = Token { id, secret, pin: aggregator.pin() }.reveal();
    let status = aggregator.enroll(&token, "node1").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "the aggregator cannot use its database; try again");
    aggregator.stop().await;
}

#[tokio::test]
async fn a_stranger_that_says_nothing_is_cut() {
    let database = Database::create().await.unwrap();
    let more = "handshake_timeout = '200ms'";
    let aggregator = Issuing::start_with(&database, more, |_| {}).await;
    let connection = tokio::net::TcpStream::connect(aggregator.handle.enroll_addr().unwrap());
    let mut connection = connection.await.unwrap();
    let mut rest = Vec::new();
    // Nothing is sent, and TLS never begins.
    let read = connection.read_to_end(&mut rest);
    drop(tokio::time::timeout(PATIENCE, read).await.expect("it is never cut"));
    let metrics = aggregator.metrics().await;
    let line = "rowcall_handshakes_total{listener=\"enrollment\",result=\"deadline\"} 1";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
    aggregator.stop().await;
}

#[tokio::test]
async fn no_token_is_ever_logged() {
    let database = Database::create().await.unwrap();
    let pki = Pki::create().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("aggregator.toml");
    let text = settings(&pki, &database.url(), "log_level = 'trace'\nlog_format = 'json'");
    std::fs::write(&file, text).unwrap();
    let mut command = program();
    command.arg("serve").arg("--config").arg(&file);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    // Read all the time: the pipe is small, and the log is not.
    let (found, mut addresses) = tokio::sync::mpsc::channel(1_024);
    let log = tokio::spawn(async move {
        let (mut log, mut part, mut seen) = (Vec::new(), vec![0; 65_536], 0);
        while let Ok(read @ 1..) = stderr.read(&mut part).await {
            log.extend_from_slice(&part[..read]);
            while let Some(end) = log[seen..].iter().position(|byte| *byte == b'\n') {
                let line: serde_json::Value =
                    serde_json::from_slice(&log[seen..seen + end]).unwrap();
                seen += end + 1;
                for key in ["enrollment", "address"] {
                    if line["message"] != "believed are clients of"
                        && let Some(address) = line[key].as_str()
                    {
                        found.try_send((key, address.to_owned())).ok();
                    }
                }
                if line["message"].as_str().is_some_and(|m| m.starts_with("agents are welcome")) {
                    found.try_send(("ready", String::new())).ok();
                }
            }
        }
        String::from_utf8(log).unwrap()
    });
    let mut next = async |wanted: &str| loop {
        let (key, text) =
            tokio::time::timeout(PATIENCE, addresses.recv()).await.unwrap().expect("it ended");
        if key == wanted {
            return text;
        }
    };
    let enroll = next("enrollment").await.parse().unwrap();
    let address = next("address").await.parse().unwrap();
    next("ready").await;

    let operator = (&pki.client(Role::Operator, "admin").unwrap()).into();
    let mut admin = AdminServiceClient::new(dial_at(address, operator).await.unwrap());
    let mut secrets = Vec::new();
    let channel = dial_pinned(enroll, pki.pin().unwrap()).await.unwrap();
    let mut client = pb::enrollment_service_client::EnrollmentServiceClient::new(channel);
    for (glob, name, code) in [
        ("", "node1", Code::Ok),
        ("web*", "db1", Code::PermissionDenied),
        ("", "a b", Code::InvalidArgument),
    ] {
        let wanted = pb::CreateTokenRequest { host_glob: glob.into(), ..Default::default() };
        let token = admin.create_token(wanted).await.unwrap().into_inner().token;
        let request = enrollment(&token, name, &NewKey::generate().unwrap());
        let result = client.enroll(request).await;
        assert_eq!(result.map_or_else(|status| status.code(), |_| Code::Ok), code);
        secrets.push(token);
    }
    let first = secrets[0].clone();
    let damaged = format!("{first}x");
    let request = enrollment(&damaged, "node2", &NewKey::generate().unwrap());
    assert_eq!(client.enroll(request).await.unwrap_err().code(), Code::Unauthenticated);
    signal(&child, "TERM").await;
    tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    let log = log.await.unwrap();
    assert!(log.contains("\"message\":\"enrolled\"") && log.contains("TRACE"), "it is the log");
    for token in secrets {
        let parts: Vec<_> = token.split('.').collect();
        assert!(!log.contains(&token) && !log.contains(parts[2]), "a token is in the log");
        // As bytes in a list, the way that Debug shows them.
        let secret = Token::parse(&token).unwrap().secret;
        let bytes = format!("{:?}", &secret.as_bytes()[..8]);
        assert!(!log.contains(bytes.trim_matches(['[', ']'])), "a secret is in the log");
    }
    for key in ["PRIVATE KEY", "BEGIN EC"] {
        assert!(!log.contains(key));
    }
}
