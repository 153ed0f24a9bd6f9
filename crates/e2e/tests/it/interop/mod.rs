//! Certificates that other tools made, and clients of another make.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use rowcall_testkit::ca::Paths;

use crate::readme::grpcurl;
use crate::stack::{Aggregator, Stack, TRUST_DOMAIN, agent, root};

#[tokio::test]
async fn an_ec_authority_of_plain_openssl_serves_all_parties() -> Result<()> {
    all_parties("openssl", "prime256v1", "none", "prime256v1").await
}

#[tokio::test]
async fn an_rsa_authority_with_rsa_certificates_serves_all_parties() -> Result<()> {
    all_parties("openssl", "rsa", "none", "rsa").await
}

#[tokio::test]
async fn an_rsa_root_with_an_intermediate_serves_all_parties() -> Result<()> {
    all_parties("openssl", "rsa", "rsa", "secp384r1").await
}

#[tokio::test]
async fn a_step_style_ec_chain_serves_all_parties() -> Result<()> {
    all_parties("step", "prime256v1", "prime256v1", "prime256v1").await
}

#[tokio::test]
async fn a_step_style_chain_under_an_rsa_root_serves_all_parties() -> Result<()> {
    all_parties("step", "rsa", "prime256v1", "rsa").await
}

/// With certificates of such an authority an agent's samples arrive, and grpcurl and Python's grpcio
/// read the report.
async fn all_parties(style: &str, root: &str, intermediate: &str, leaf: &str) -> Result<()> {
    let stack = Stack::new().await?;
    let folder = stack.site.folder();
    let script = here().join("ca.sh");
    let made = Command::new("sh")
        .arg(script)
        .arg(folder)
        .args([style, root, intermediate, leaf])
        .output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let files = |name: &str| Paths {
        certificate: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
        authorities: folder.join("root.pem"),
    };
    let url = stack.database.url();
    let aggregator = Aggregator::start(&files("aggregator"), TRUST_DOMAIN, &url, "100ms").await?;
    let _agent = agent(&files("agent"), aggregator.address)?;
    stack.number("SELECT count(*) FROM host_usage", "rows", |n| n >= 2).await?;
    let viewer = files("viewer");
    for asked in [by_grpcurl(&viewer, aggregator.address)?, by_grpcio(&viewer, aggregator.address)?]
    {
        let told = String::from_utf8_lossy(&asked.stdout);
        let failed = String::from_utf8_lossy(&asked.stderr);
        ensure!(asked.status.success() && told.contains("node1.example"), "{told}{failed}");
    }
    Ok(())
}

fn by_grpcurl(viewer: &Paths, aggregator: SocketAddr) -> Result<Output> {
    let mut command = Command::new(grpcurl()?);
    command.arg("-cacert").arg(&viewer.authorities);
    command.arg("-cert").arg(&viewer.certificate).arg("-key").arg(&viewer.key);
    command.arg(format!("localhost:{}", aggregator.port()));
    Ok(command.arg("rowcall.v1.SummaryService/Summary").output()?)
}

fn by_grpcio(viewer: &Paths, aggregator: SocketAddr) -> Result<Output> {
    let python = root().join(".tools/venv/bin/python3");
    ensure!(python.is_file(), "the tests' Python is missing: run `make deps`");
    let mut command = Command::new(python);
    command.arg(here().join("viewer.py")).arg(format!("localhost:{}", aggregator.port()));
    command.arg(&viewer.authorities).arg(&viewer.certificate).arg(&viewer.key);
    Ok(command.output()?)
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/interop")
}
