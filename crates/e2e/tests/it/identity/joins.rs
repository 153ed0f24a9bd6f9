//! A machine's way in.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use rowcall_e2e::cluster::printed;
use rowcall_testkit::process::Process;

use super::{Cluster, SAMPLES, refused, samples_of};

#[tokio::test]
async fn three_nodes_join_with_one_command_each_and_their_rows_arrive() -> Result<()> {
    let cluster = Cluster::new().await?;
    let aggregator = cluster.aggregator("100ms").await?;
    let token =
        cluster.token(&aggregator, &["--host", "node?", "--uses", "3", "--label", "rack=a1"])?;
    let join = |name: &str| -> Result<Process> {
        let node = cluster.node(name)?;
        let told = printed(&node.enroll(aggregator.enrollment, &token)?)?;
        assert!(told.contains(&format!("enrolled as {name}")), "{told}");
        node.start()
    };
    let _agents = [join("node1")?, join("node2")?, join("node3")?];
    let hosts = "SELECT count(DISTINCT host_id) FROM host_usage";
    cluster.number(hosts, "rows of three hosts", |n| n == 3).await?;
    let listed =
        cluster.rowcall(&aggregator, &["host", "list", "--select", "rack=a1", "--certs"])?;
    for name in ["node1", "node2", "node3"] {
        assert!(listed.contains(name), "{listed}");
    }
    Ok(())
}

#[tokio::test]
async fn a_nodes_key_is_made_on_it_and_what_is_issued_is_ours() -> Result<()> {
    let cluster = Cluster::new().await?;
    let aggregator = cluster.aggregator("1s").await?;
    let node = cluster.joined(&aggregator, "node1")?;
    let mode = fs::metadata(node.file("agent.key"))?.mode();
    assert_eq!(mode & 0o777, 0o600);
    let shown = openssl(&["x509", "-noout", "-text", "-in"], &node.file("agent.pem"))?;
    for text in [
        "URI:spiffe://test.example/agent/node1\n",
        "TLS Web Client Authentication\n",
        "CA:FALSE",
        "Subject: CN = node1\n",
        "id-ecPublicKey",
    ] {
        assert!(shown.contains(text), "no {text:?} in {shown}");
    }
    assert!(!shown.contains("Server Authentication"), "{shown}");
    let days =
        openssl(&["x509", "-noout", "-checkend", "2505600", "-in"], &node.file("agent.pem"))?;
    assert!(days.contains("will not expire"), "29 days: {days}");
    let client = cluster.database.connect().await?;
    let row = client
        .query_one("SELECT serial, origin FROM rowcall.certificate", &[])
        .await
        .context("one certificate")?;
    let serial = openssl(&["x509", "-noout", "-serial", "-in"], &node.file("agent.pem"))?;
    let serial = serial.trim().trim_start_matches("serial=").to_lowercase();
    assert_eq!(row.get::<_, String>(0), serial);
    assert_eq!(row.get::<_, String>(1), "enrolled");
    Ok(())
}

#[tokio::test]
async fn the_same_command_again_changes_nothing() -> Result<()> {
    let cluster = Cluster::new().await?;
    let aggregator = cluster.aggregator("1s").await?;
    let node = cluster.node("node1")?;
    let token = cluster.token(&aggregator, &[])?;
    printed(&node.enroll(aggregator.enrollment, &token)?)?;
    let before = fs::read(node.file("agent.pem"))?;
    let told = printed(&node.enroll(aggregator.enrollment, &token)?)?;
    assert!(told.contains("already enrolled as node1"), "{told}");
    assert_eq!(fs::read(node.file("agent.pem"))?, before);
    Ok(())
}

#[tokio::test]
async fn a_service_enrols_by_itself_once_its_token_is_there() -> Result<()> {
    let cluster = Cluster::new().await?;
    let aggregator = cluster.aggregator("100ms").await?;
    let node = cluster.node("node1")?;
    let file = node.token_file("")?;
    let mut command = node.running(&[])?;
    command
        .env("ROWCALL_ENROLL_SERVER", format!("localhost:{}", aggregator.enrollment.port()))
        .env("ROWCALL_TOKEN_FILE", &file)
        .env("ROWCALL_REFUSED_WAIT", "1s");
    let agent = Process::start("rowcall-agent", &mut command)?;
    agent.line("not enrolled yet").await;
    node.token_file(&cluster.token(&aggregator, &[])?)?;
    agent.line("enrolled").await;
    cluster.number(SAMPLES, "rows", |n| n >= 2).await?;
    Ok(())
}

#[tokio::test]
async fn an_aggregator_without_the_issuers_key_serves_and_does_not_sign() -> Result<()> {
    let cluster = Cluster::new().await?;
    let issuing = cluster.aggregator("100ms").await?;
    let node = cluster.joined(&issuing, "node1")?;
    issuing.process.stop().await;
    fs::remove_file(cluster.pki_dir().join("client-ca.key"))?;
    let mut command = rowcall_e2e::stack::command("rowcall-aggregator")?;
    command
        .args(["serve", "--issuer=false", "--interval", "100ms", "--listen", "127.0.0.1:0"])
        .args(["--http-listen", "off"])
        .env("ROWCALL_DATABASE", cluster.database.url())
        .env("ROWCALL_PKI_DIR", cluster.pki_dir());
    let serving = rowcall_e2e::stack::Aggregator::of(&mut command).await?;
    let _agent = node.start_at(&[serving.address])?;
    cluster.number(&samples_of("node1"), "rows", |n| n >= 2).await?;
    let mut command = rowcall_e2e::stack::command("rowcall")?;
    command.args(["token", "create", "--server", &format!("localhost:{}", serving.address.port())]);
    let output = command.arg("--data-dir").arg(cluster.pki_dir()).output()?;
    let said = refused(&output, 1);
    assert!(said.contains("does not issue certificates"), "{said}");
    Ok(())
}

fn openssl(arguments: &[&str], file: &Path) -> Result<String> {
    printed(&Command::new("openssl").args(arguments).arg(file).output()?)
}
