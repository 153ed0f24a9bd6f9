//! What `rowcall.audit` says of changes, done and refused.

use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;
use tonic::Code;

use crate::revocation::{restore, revoke};
use crate::rig::{Rig, until};

/// A row: identity, action, target, result.
type Row = (String, String, String, String);

async fn rows(database: &Database) -> Vec<Row> {
    let sql = database.connect().await.unwrap();
    let query = "SELECT identity, action, target, result FROM rowcall.audit \
                 WHERE peer LIKE '127.0.0.1:%' AND aggregator = 'here' ORDER BY id";
    let rows = sql.query(query, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

async fn rig(database: &Database) -> Rig {
    let mut rig = Rig::start_with(&database.url(), |config| {
        config.name = "here".parse().unwrap();
    })
    .await;
    assert!(rig.handle.ready().await);
    rig
}

#[tokio::test]
async fn every_change_of_a_host_leaves_a_row() {
    let database = Database::create().await.unwrap();
    let rig = rig(&database).await;
    drop(rig.connected("a", 1).await);
    let mut operator = rig.admin("operator").await;
    let label = pb::LabelHostRequest {
        host_name: "a".into(),
        set: [("rack".to_owned(), "7".to_owned())].into(),
        remove: Vec::new(),
    };
    operator.label_host(label).await.unwrap();
    revoke(&rig, "a", "stolen").await.unwrap();
    restore(&rig, "a").await.unwrap();
    operator.retire_host(pb::RetireHostRequest { host_name: "a".into() }).await.unwrap();
    let rename = pb::RenameHostRequest { host_name: "a".into(), new_name: "b".into() };
    operator.rename_host(rename).await.unwrap();
    let told = rows(&database).await;
    let ok = |action: &str| {
        ("spiffe://d/operator/alice".to_owned(), action.to_owned(), "a".to_owned(), "ok".to_owned())
    };
    let expected = ["host.label", "host.revoke", "host.restore", "host.retire", "host.rename"];
    assert_eq!(told, expected.map(ok));
}

#[tokio::test]
async fn every_refused_change_leaves_a_row_wherever_it_is_refused() {
    let database = Database::create().await.unwrap();
    let rig = rig(&database).await;
    // What is not there; what makes no sense; who may not.
    assert_eq!(revoke(&rig, "nobody", "").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(restore(&rig, "no body").await.unwrap_err().code(), Code::InvalidArgument);
    let long = "x".repeat(256);
    assert_eq!(revoke(&rig, "a", &long).await.unwrap_err().code(), Code::InvalidArgument);
    let token = pb::RevokeTokenRequest { id: "00".into() };
    let status = rig.admin("operator").await.revoke_token(token.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let unknown = pb::RevokeTokenRequest { id: "0123456789abcdef".into() };
    let status = rig.admin("operator").await.revoke_token(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let create = pb::CreateTokenRequest::default();
    let status = rig.admin("operator").await.create_token(create.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "this one does not issue");
    let label = pb::LabelHostRequest {
        host_name: "a".into(),
        set: [("rack".to_owned(), "7".to_owned())].into(),
        remove: Vec::new(),
    };
    for role in ["viewer", "agent"] {
        let mut admin = rig.admin(role).await;
        let name = || "a".to_owned();
        let denied = [
            admin.label_host(label.clone()).await.err(),
            admin.retire_host(pb::RetireHostRequest { host_name: name() }).await.err(),
            admin.revoke_host(pb::RevokeHostRequest::default()).await.err(),
            admin.restore_host(pb::RestoreHostRequest { host_name: name() }).await.err(),
            admin.rename_host(pb::RenameHostRequest::default()).await.err(),
            admin.create_token(create.clone()).await.err(),
            admin.revoke_token(token.clone()).await.err(),
            admin.list_tokens(pb::ListTokensRequest::default()).await.err(),
        ];
        for status in denied {
            assert_eq!(status.unwrap().code(), Code::PermissionDenied);
        }
    }
    until(&database, "SELECT count(*) = 20 FROM rowcall.audit").await;
    let told = rows(&database).await;
    let row = |identity: &str, action: &str, target: &str, why: &str| {
        let found = told.iter().find(|(who, what, on, result)| {
            who == identity && what == action && on == target && result.contains(why)
        });
        let (.., result) = found.unwrap_or_else(|| panic!("{action} {target} not in {told:#?}"));
        assert!(result.starts_with("refused: "), "{result}");
    };
    let operator = "spiffe://d/operator/alice";
    row(operator, "host.revoke", "nobody", "no");
    row(operator, "host.restore", "no body", "host_name: ");
    row(operator, "host.revoke", "a", "256 bytes");
    row(operator, "token.revoke", "00", "16 hexadecimal digits");
    row(operator, "token.revoke", "0123456789abcdef", "no such token");
    row(operator, "token.create", "", "does not issue");
    for role in ["viewer", "agent"] {
        let identity = format!("spiffe://d/{role}/alice");
        for (action, target) in
            [("label", "a"), ("retire", "a"), ("revoke", ""), ("restore", "a"), ("rename", "")]
        {
            row(&identity, &format!("host.{action}"), target, &format!("has role {role}"));
        }
        row(&identity, "token.create", "", "for role operator");
        row(&identity, "token.revoke", "00", "for role operator");
    }
}

#[tokio::test]
async fn what_was_refused_while_the_database_could_not_be_told_is_told_later() {
    let database = Database::create().await.unwrap();
    let rig = rig(&database).await;
    let sql = database.connect().await.unwrap();
    sql.batch_execute("ALTER TABLE rowcall.audit RENAME TO away").await.unwrap();
    let mut viewer = rig.admin("viewer").await;
    let retire = pb::RetireHostRequest { host_name: "a".into() };
    let status = viewer.retire_host(retire).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "it is refused all the same");
    sql.batch_execute("ALTER TABLE rowcall.away RENAME TO audit").await.unwrap();
    until(&database, "SELECT count(*) = 1 FROM rowcall.audit WHERE action = 'host.retire'").await;
}

#[tokio::test]
async fn a_flood_of_refused_changes_does_not_fill_the_table() {
    let database = Database::create().await.unwrap();
    let rig = rig(&database).await;
    for n in 0..100 {
        revoke(&rig, &format!("no body {n}"), "").await.unwrap_err();
    }
    // What was taken before it waits in order, so the last one is the last.
    until(&database, "SELECT count(*) >= 30 FROM rowcall.audit").await;
    rig.stop().await.unwrap();
    let told = rows(&database).await.len();
    assert!((30..60).contains(&told), "{told} rows");
}
