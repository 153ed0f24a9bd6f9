//! Who may not speak, and what they are told.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;
use rowcall_testkit::ca::{Leaf, Paths, TestCa};

use crate::stack::{Stack, TRUST_DOMAIN, agent, command};

fn identity(role: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/{role}/x")
}

/// Runs `rowcall summary` with these files: what it prints when it fails.
fn summary_fails(files: &Paths, aggregator: SocketAddr) -> Result<String> {
    let mut command: Command = command("rowcall")?;
    let output = command
        .args(["summary", "--server", &format!("localhost:{}", aggregator.port())])
        .arg("--ca")
        .arg(&files.authorities)
        .arg("--cert")
        .arg(&files.certificate)
        .arg("--key")
        .arg(&files.key)
        .output()?;
    assert!(!output.status.success(), "it was let in");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn each_wrong_certificate_is_refused_with_its_own_reason() -> Result<()> {
    let stack = Stack::new().await?;
    let aggregator = stack.aggregator("1s").await?;
    let other = TestCa::root("other CA")?;
    let viewer = || Leaf::client(&identity("viewer"));
    let ours = |name: &str, leaf: &Leaf| stack.site.ca.write(stack.site.folder(), name, leaf);
    let stranger =
        other.issue(&viewer())?.write(stack.site.folder(), "other", stack.site.ca.root_pem())?;
    let cases = [
        (stranger, "unknown"),
        (ours("expired", &viewer().expired())?, "expired"),
        (ours("no-uri", &viewer().uris(&[]))?, "URI SAN"),
        (ours("two-uris", &viewer().uris(&[&identity("viewer"), &identity("agent")]))?, "URI SAN"),
        (ours("domain", &Leaf::client("spiffe://else.example/viewer/x"))?, "trust domain"),
        (ours("role", &Leaf::client(&identity("guest")))?, "role"),
        (ours("agent", &Leaf::client(&identity("agent")))?, "agent"),
    ];
    for (files, reason) in cases {
        let told = summary_fails(&files, aggregator.address)?;
        assert!(told.contains(reason), "{}: {told}", files.certificate.display());
    }
    Ok(())
}

#[tokio::test]
async fn a_viewer_cannot_write_and_is_told_why() -> Result<()> {
    let stack = Stack::new().await?;
    let aggregator = stack.aggregator("1s").await?;
    let viewer = agent(&stack.site.client("viewer", "x")?, aggregator.address)?;
    viewer.line("role viewer; an agent needs one of role agent").await;
    let hosts = "SELECT count(*) FROM host_info";
    assert_eq!(stack.number(hosts, "no host", |_| true).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_cloned_machine_is_told_in_its_own_log() -> Result<()> {
    let stack = Stack::new().await?;
    let aggregator = stack.aggregator("100ms").await?;
    let _first = stack.agent("node1", aggregator.address)?;
    stack.number("SELECT count(*) FROM host_usage", "a row", |n| n >= 1).await?;
    let clone = stack.agent("node1", aggregator.address)?;
    let told = clone.line("host node1 is connected from 127.0.0.1:").await;
    assert!(told.contains(" WARN "), "{told}");
    Ok(())
}

#[tokio::test]
async fn without_a_certificate_the_refusal_names_it() -> Result<()> {
    let stack = Stack::new().await?;
    let aggregator = stack.aggregator("1s").await?;
    let viewer = stack.site.client("viewer", "x")?;
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &aggregator.address.to_string(), "-alpn", "h2"])
        .args(["-servername", "localhost", "-ign_eof", "-CAfile"])
        .arg(&viewer.authorities)
        .stdin(std::process::Stdio::null())
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(told.contains("certificate required"), "{told}");
    Ok(())
}
