//! Join tokens through AdminService, and what becomes of hosts that joined with one.

use rowcall_core::token::Token;
use rowcall_proto::v1 as pb;
use rowcall_proto::v1::admin_service_client::AdminServiceClient;
use rowcall_testkit::database::Database;
use rowcall_testkit::log::Log;
use rowcall_tls::identity::Role;
use tonic::Code;
use tracing::Level;

use crate::issuing::Issuing;
use crate::rig::{count, until};

async fn list(rig: &Issuing, include_spent: bool) -> Vec<pb::Token> {
    let request = pb::ListTokensRequest { include_spent };
    rig.admin().await.list_tokens(request).await.unwrap().into_inner().tokens
}

fn labels() -> std::collections::HashMap<String, String> {
    [("rack".to_owned(), "7".to_owned())].into()
}

#[tokio::test]
async fn a_token_is_shown_once_and_kept_as_a_hash_until_it_is_revoked() {
    let log = Log::start(Level::TRACE);
    let database = Database::create().await.unwrap();
    let rig = Issuing::start(&database).await;
    let request = pb::CreateTokenRequest {
        host_glob: "Node-*".into(),
        labels: labels(),
        uses: 3,
        ttl_s: 120,
        ephemeral_s: 600,
        replace: true,
    };
    let made = rig.admin().await.create_token(request).await.unwrap().into_inner();
    let (token, info) = (Token::parse(&made.token).unwrap(), made.info.unwrap());
    assert_eq!((token.pin, token.id.to_string()), (rig.pin(), info.id.clone()));
    assert_eq!((info.host_glob.as_str(), info.uses, info.used), ("node-*", 3, 0));
    assert_eq!((info.labels.clone(), info.ephemeral_s, info.replace), (labels(), 600, true));
    assert!(info.created_by.ends_with("/operator/admin"), "{}", info.created_by);
    let (made_at, ends_at) = (info.created_at.unwrap(), info.expires_at.unwrap());
    assert_eq!(ends_at.seconds - made_at.seconds, 120);
    assert_eq!(list(&rig, false).await, std::slice::from_ref(&info));
    let secret = made.token.split('.').nth(2).unwrap();
    let sql = database.connect().await.unwrap();
    let rows = "SELECT (SELECT string_agg(t::text, '') FROM rowcall.token t) \
                    || (SELECT string_agg(a::text, '') FROM rowcall.audit a)";
    let rows: String = sql.query_one(rows, &[]).await.unwrap().get(0);
    let hexadecimal: String = token.secret.as_bytes().iter().map(|b| format!("{b:02x}")).collect();
    assert!(rows.contains(&info.id) && !rows.contains(secret) && !rows.contains(&hexadecimal));
    let told = log.take();
    assert!(told.iter().any(|line| line.contains("create token")), "{told:?}");
    assert!(!told.iter().any(|line| line.contains(secret)), "the log holds the secret");
    let revoke = pb::RevokeTokenRequest { id: info.id.clone() };
    let revoked = rig.admin().await.revoke_token(revoke.clone()).await.unwrap().into_inner();
    let revoked = revoked.token.unwrap();
    assert!(revoked.revoked_at.is_some());
    let again = rig.admin().await.revoke_token(revoke).await.unwrap().into_inner();
    assert_eq!(again.token.unwrap().revoked_at, revoked.revoked_at, "the first time stays");
    assert!(list(&rig, false).await.is_empty());
    assert_eq!(list(&rig, true).await, [revoked]);
    assert_eq!(
        rig.enroll(&made.token, "node-1").await.err().unwrap().code(),
        Code::Unauthenticated
    );
    let audited = "SELECT count(*) FROM rowcall.audit WHERE result = 'ok' \
                   AND action IN ('token.create', 'token.revoke')";
    assert_eq!(count(&database, audited).await, 3);
}

#[tokio::test]
async fn only_operators_see_tokens_and_what_is_out_of_bounds_makes_none() {
    let database = Database::create().await.unwrap();
    let rig = Issuing::start(&database).await;
    let mut viewer = AdminServiceClient::new(rig.channel(Role::Viewer, "eve").await);
    let status = viewer.list_tokens(pb::ListTokensRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let labels = [("Rack".to_owned(), "7".to_owned())].into();
    for (request, words) in [
        (pb::CreateTokenRequest { uses: 100_001, ..Default::default() }, "uses: "),
        (pb::CreateTokenRequest { ttl_s: 1, ..Default::default() }, "ttl_s: "),
        (pb::CreateTokenRequest { labels, ..Default::default() }, "Rack"),
    ] {
        let status = rig.admin().await.create_token(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(words), "{status}");
    }
    assert_eq!(count(&database, "SELECT count(*) FROM rowcall.token").await, 0);
    until(
        &database,
        "SELECT count(*) = 3 FROM rowcall.audit \
         WHERE action = 'token.create' AND result LIKE 'refused: %'",
    )
    .await;
}

#[tokio::test]
async fn a_host_enrolled_anew_cuts_the_machine_that_had_its_name_and_stays_the_same_host() {
    let database = Database::create().await.unwrap();
    let rig = Issuing::start(&database).await;
    let token = rig.token(pb::CreateTokenRequest { labels: labels(), ..Default::default() }).await;
    let first = rig.enroll(&token, "a").await.unwrap();
    let mut old = rig.stream("a", &first, 1).await;
    let welcome = old.welcome().await;
    let replacing = pb::CreateTokenRequest { replace: true, ..Default::default() };
    let token = rig.token(replacing).await;
    let second = rig.enroll(&token, "a").await.unwrap();
    let status = old.refused().await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("replaced"), "{status}");
    let mut new = rig.stream("a2", &second, 2).await;
    // The name of the file is not the host's.
    assert_eq!(new.refused().await.code(), Code::PermissionDenied);
    let mut agent = rig.stream("a", &second, 2).await;
    assert_eq!(agent.welcome().await.host_id, welcome.host_id);
    // The old machine is told the same while the new one streams: that is no clone.
    let status = rig.stream("a", &first, 1).await.refused().await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("replaced"), "{status}");
    assert_eq!(count(&database, "SELECT count(*) FROM rowcall.conflict").await, 0);
    let host = pb::GetHostRequest { host_name: "a".into(), ..Default::default() };
    let host = rig.admin().await.get_host(host).await.unwrap().into_inner().host.unwrap();
    assert_eq!(host.labels, labels(), "the token that replaced it takes none away");
    assert_eq!(host.certificates.len(), 1, "the one before is good no more");
    assert_eq!(host.certificates[0].origin, "enrolled");
}

#[tokio::test]
async fn a_host_is_what_its_token_says() {
    let database = Database::create().await.unwrap();
    let rig = Issuing::start(&database).await;
    let request =
        pb::CreateTokenRequest { labels: labels(), ephemeral_s: 90, ..Default::default() };
    let token = rig.token(request).await;
    rig.enroll(&token, "a").await.unwrap();
    let host = pb::GetHostRequest { host_name: "a".into(), ..Default::default() };
    let host = rig.admin().await.get_host(host).await.unwrap().into_inner().host.unwrap();
    assert_eq!((host.labels, host.ephemeral_s), (labels(), 90));
    let spent = list(&rig, true).await;
    assert_eq!((spent[0].uses, spent[0].used), (1, 1));
    assert!(list(&rig, false).await.is_empty(), "it is used up");
}
