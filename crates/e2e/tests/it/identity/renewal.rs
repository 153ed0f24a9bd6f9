//! Certificates that come to their end: their dates are moved, not the clock.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rowcall_e2e::cluster::printed;
use rowcall_testkit::pki::{before, now};
use rowcall_testkit::poll::{DEADLINE, wait_for};
use rowcall_tls::certificate::to_pem;
use rowcall_tls::csr::CsrKey;
use rowcall_tls::identity::Role;
use rowcall_tls::issue::Authority;

use super::{Cluster, Node, samples_of};

const DAY: Duration = Duration::from_secs(86_400);
/// As long as a node's certificate lasts.
const LIFETIME: Duration = DAY.saturating_mul(30);
/// Of the authorities here.
const AGE: Duration = DAY.saturating_mul(300);

#[tokio::test]
async fn a_certificate_past_a_third_of_its_life_is_renewed_on_the_open_stream() -> Result<()> {
    let cluster = Cluster::aged(AGE).await?;
    let aggregator = cluster.aggregator("50ms").await?;
    let node = cluster.joined(&aggregator, "node1")?;
    let old = age(&cluster, &node, DAY * 13)?;
    let agent = node.start()?;
    renewed(&node, &old).await;
    let rows = cluster.number(&samples_of("node1"), "rows", |n| n >= 1).await?;
    cluster.number(&samples_of("node1"), "more rows", |n| n >= rows + 5).await?;
    let ends = "rowcall_streams_ended_total{end=\"lost\"}";
    assert_eq!(aggregator.metric(ends)?.unwrap_or_default(), 0.0);
    // The next stream is opened by the new one.
    agent.stop().await;
    let _agent = node.start()?;
    let seen = "SELECT count(*) FROM rowcall.certificate WHERE origin = 'renewed' AND last_seen_at IS NOT NULL";
    cluster.number(seen, "the new one to be seen", |n| n == 1).await?;
    Ok(())
}

#[tokio::test]
async fn an_expired_certificate_is_renewed_by_proof_of_its_key() -> Result<()> {
    let cluster = Cluster::aged(AGE).await?;
    let aggregator = cluster.aggregator("50ms").await?;
    let node = cluster.joined(&aggregator, "node1")?;
    let old = age(&cluster, &node, LIFETIME + DAY * 89)?;
    let _agent = node.start()?;
    renewed(&node, &old).await;
    cluster.number(&samples_of("node1"), "rows", |n| n >= 2).await?;
    cluster.number("SELECT count(*) FROM host_info", "one host", |n| n == 1).await?;
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_expired_91_days_ago_is_not_renewed() -> Result<()> {
    let cluster = Cluster::aged(AGE).await?;
    let aggregator = cluster.aggregator("50ms").await?;
    let node = cluster.joined(&aggregator, "node1")?;
    let old = age(&cluster, &node, LIFETIME + DAY * 91)?;
    let agent = node.start()?;
    agent.line("90 days").await;
    assert_eq!(fs::read(node.file("agent.pem"))?, old);
    Ok(())
}

#[tokio::test]
async fn a_revoked_host_gets_no_new_certificate_by_its_old_key() -> Result<()> {
    let cluster = Cluster::aged(AGE).await?;
    let aggregator = cluster.aggregator("50ms").await?;
    let node = cluster.joined(&aggregator, "node1")?;
    cluster.rowcall(&aggregator, &["host", "revoke", "node1", "--reason", "stolen", "--yes"])?;
    let old = age(&cluster, &node, LIFETIME + DAY)?;
    let agent = node.start()?;
    agent.line("stolen").await;
    assert_eq!(fs::read(node.file("agent.pem"))?, old);
    Ok(())
}

/// The certificate as if it had been issued so long ago, for the same key: its file's bytes.
fn age(cluster: &Cluster, node: &Node, age: Duration) -> Result<Vec<u8>> {
    let request = Command::new("openssl")
        .args(["req", "-new", "-subj", "/CN=x", "-outform", "DER", "-key"])
        .arg(node.file("agent.key"))
        .output()?;
    ensure!(request.status.success(), "{}", String::from_utf8_lossy(&request.stderr));
    let read = |name: &str| fs::read_to_string(cluster.pki_dir().join(name));
    let authority = Authority::load(&read("client-ca.pem")?, &read("client-ca.key")?)?;
    let (key, name) = (CsrKey::read(&request.stdout)?, node.name.parse()?);
    let then = before(now(), age);
    let issued = authority.issue_for_key(Role::Agent, &name, &key, then, LIFETIME)?;
    fs::write(node.file("agent.pem"), to_pem(&issued.chain_der))?;
    let about = node.file("identity.toml");
    let renew = before(now(), age.saturating_sub(LIFETIME / 3));
    fs::write(&about, dates(&fs::read_to_string(&about)?, then.0, renew.0))?;
    Ok(fs::read(node.file("agent.pem"))?)
}

/// The text with other times of issue and renewal.
fn dates(about: &str, issued: i64, renew: i64) -> String {
    let lines = about.lines().map(|line| match line.split_once(" = ") {
        Some(("issued_unix_us", _)) => format!("issued_unix_us = {issued}\n"),
        Some(("renew_unix_us", _)) => format!("renew_unix_us = {renew}\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// Waits for another certificate with its life ahead.
async fn renewed(node: &Node, old: &[u8]) {
    wait_for("another certificate", DEADLINE, || async {
        let new = fs::read(node.file("agent.pem")).ok()?;
        (new != old && good_for_29_days(&node.file("agent.pem")).is_ok()).then_some(())
    })
    .await;
}

fn good_for_29_days(certificate: &Path) -> Result<()> {
    let checked = Command::new("openssl")
        .args(["x509", "-noout", "-checkend", "2505600", "-in"])
        .arg(certificate)
        .output()?;
    printed(&checked).context("it ends within 29 days").map(drop)
}
