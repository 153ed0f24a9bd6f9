//! What a token is good for, and what not.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use rowcall_e2e::cluster::printed;
use rowcall_testkit::proxy::Proxy;

use super::{Cluster, refused};

const IDENTITIES: &str = "SELECT count(*) FROM rowcall.certificate";

#[tokio::test]
async fn a_token_that_is_no_longer_good_is_refused_with_its_reason() -> Result<()> {
    let cluster = Cluster::new().await?;
    let aggregator = cluster.aggregator("1s").await?;
    let sql = cluster.database.connect().await?;
    let used = cluster.token(&aggregator, &[])?;
    printed(&cluster.node("first")?.enroll(aggregator.enrollment, &used)?)?;
    let expired = cluster.token(&aggregator, &[])?;
    let id = expired.split('.').nth(1).context("a token's id")?;
    let expire = "UPDATE rowcall.token SET expires_at = now() - interval '1 s' WHERE id = $1";
    sql.execute(expire, &[&id]).await?;
    let elsewhere = cluster.token(&aggregator, &["--host", "db*"])?;
    let revoked = cluster.token(&aggregator, &[])?;
    let id = revoked.split('.').nth(1).context("a token's id")?;
    cluster.rowcall(&aggregator, &["token", "revoke", id])?;
    let other = cluster.token(&aggregator, &[])?;
    let mixed = mix(&other, &revoked)?;
    for (token, code, reason) in [
        (&used, 3, "used"),
        (&expired, 3, "expired"),
        (&elsewhere, 6, "db*"),
        (&revoked, 3, "revoked"),
        (&mixed, 3, "not known here"),
    ] {
        let said = refused(&cluster.node("node1")?.enroll(aggregator.enrollment, token)?, code);
        assert!(said.contains(reason), "{reason}: {said}");
    }
    cluster.number(IDENTITIES, "one identity", |n| n == 1).await?;
    Ok(())
}

#[tokio::test]
async fn a_server_of_another_authority_never_gets_the_secret() -> Result<()> {
    let (cluster, other) = (Cluster::new().await?, Cluster::new().await?);
    let (ours, theirs) = (cluster.aggregator("1s").await?, other.aggregator("1s").await?);
    let token = cluster.token(&ours, &[])?;
    let said = refused(&cluster.node("node1")?.enroll(theirs.enrollment, &token)?, 4);
    assert!(said.contains("pin") || said.contains("authority"), "{said}");
    assert!(!theirs.process.output().contains("node1"), "it was told the name");
    // Nobody has used it.
    printed(&cluster.node("node1")?.enroll(ours.enrollment, &token)?)?;
    Ok(())
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_again_and_gives_the_same_identity() -> Result<()> {
    let cluster = Cluster::new().await?;
    let aggregator = cluster.aggregator("1s").await?;
    let proxy = Proxy::to(aggregator.enrollment).await?;
    let token = cluster.token(&aggregator, &[])?;
    let node = cluster.node("node1")?;
    // The request waits in the database until the way back is closed.
    let mut sql = cluster.database.connect().await?;
    let held = sql.transaction().await?;
    held.batch_execute("LOCK TABLE rowcall.token IN ACCESS EXCLUSIVE MODE").await?;
    let mut command = node.enrolling(proxy.address(), &token)?;
    let mut enrolling = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    // Of all that may wait for this table, the enrolment.
    let waits = "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND wait_event_type = 'Lock'
                    AND query LIKE '%t.secret_sha256 = $2%'";
    cluster.number(waits, "the request to wait", |n| n >= 1).await?;
    proxy.hold_answers(true);
    held.commit().await?;
    cluster.number(IDENTITIES, "a certificate", |n| n == 1).await?;
    proxy.cut();
    enrolling.kill()?;
    enrolling.wait()?;
    assert!(!node.file("agent.pem").exists(), "the answer was not lost");
    printed(&node.enroll(aggregator.enrollment, &token)?)?;
    let shown = Command::new("openssl")
        .args(["x509", "-noout", "-serial", "-in"])
        .arg(node.file("agent.pem"))
        .output()?;
    let issued =
        sql.query_one("SELECT serial, count(*) OVER () FROM rowcall.certificate", &[]).await?;
    assert_eq!(issued.get::<_, i64>(1), 1);
    let serial: String = issued.get(0);
    assert!(printed(&shown)?.to_lowercase().contains(&serial));
    Ok(())
}

#[tokio::test]
async fn of_100_who_enrol_at_once_with_a_single_use_token_one_gets_in() -> Result<()> {
    let cluster = Cluster::new().await?;
    let aggregator = cluster
        .aggregator_with("1s", |command| {
            command.args(["--exempt-sources", "127.0.0.0/8"]);
        })
        .await?;
    let token = cluster.token(&aggregator, &[])?;
    let mut enrolling = Vec::new();
    for number in 0..100 {
        let node = cluster.node(&format!("node{number}"))?;
        let mut command = node.enrolling(aggregator.enrollment, &token)?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        enrolling.push(command.spawn()?);
    }
    let mut joined = 0;
    for child in enrolling {
        let output = child.wait_with_output()?;
        if output.status.success() {
            joined += 1;
        } else {
            let said = refused(&output, 3);
            assert!(said.contains("used"), "{said}");
        }
    }
    assert_eq!(joined, 1);
    cluster.number(IDENTITIES, "one identity", |n| n == 1).await?;
    cluster.number("SELECT count(*) FROM host_info", "one host", |n| n == 1).await?;
    let secret = token.split('.').nth(2).context("a token's secret")?;
    assert!(!aggregator.process.output().contains(secret), "the secret is in the log");
    let row = cluster.database.connect().await?;
    let stored = "SELECT count(*) FROM rowcall.token t WHERE t::text LIKE '%' || $1 || '%'";
    assert_eq!(row.query_one(stored, &[&secret]).await?.get::<_, i64>(0), 0);
    Ok(())
}

#[tokio::test]
async fn a_secret_is_in_no_output_of_those_who_use_it() -> Result<()> {
    let cluster = Cluster::new().await?;
    let aggregator = cluster
        .aggregator_with("1s", |command| {
            command.args(["--log-level", "trace"]);
        })
        .await?;
    let token = cluster.token(&aggregator, &[])?;
    let secret = token.split('.').nth(2).context("a token's secret")?;
    let node = cluster.node("node1")?;
    let mut command = node.enrolling(aggregator.enrollment, &token)?;
    let output = command.env("ROWCALL_LOG_LEVEL", "trace").output()?;
    let again = cluster.node("node2")?.enroll(aggregator.enrollment, &token)?;
    let listed = cluster.rowcall(&aggregator, &["token", "list", "--all"])?;
    let id = token.split('.').nth(1).context("a token's id")?;
    assert!(listed.contains(id), "{listed}");
    let outputs = [&output.stdout, &output.stderr, &again.stdout, &again.stderr];
    let mut said: Vec<_> = outputs.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).into();
    said.extend([listed, aggregator.process.output()]);
    for text in said {
        assert!(!text.contains(secret), "{text}");
    }
    // Nor does it stay on the node.
    let found = Command::new("grep").args(["-rl", secret]).arg(node.identity_dir()).output()?;
    assert_eq!(found.status.code(), Some(1), "{}", String::from_utf8_lossy(&found.stdout));
    assert!(fs::metadata(node.file("agent.pem")).is_ok());
    Ok(())
}

/// The id of one token with the secret of another.
fn mix(one: &str, other: &str) -> Result<String> {
    let (one, other): (Vec<_>, Vec<_>) = (one.split('.').collect(), other.split('.').collect());
    let [format, id, _, pin] = one.as_slice() else { anyhow::bail!("no token") };
    let secret = other.get(2).context("a token's secret")?;
    Ok(format!("{format}.{id}.{secret}.{pin}"))
}
