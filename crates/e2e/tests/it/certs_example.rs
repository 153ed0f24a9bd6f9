//! certs-example/make-certs.sh makes certificates that complete a session.

use std::process::Command;

use anyhow::Result;
use rowcall_testkit::ca::Paths;

use crate::stack::{Aggregator, Stack, agent, command, root};

#[tokio::test]
async fn a_session_and_a_report_with_the_scripts_certificates() -> Result<()> {
    let stack = Stack::new().await?;
    let out = stack.site.folder().join("out");
    let made = Command::new(root().join("certs-example/make-certs.sh"))
        .args(["--agent", "node1.example.com", "--trust-domain", "example.com", "--out"])
        .arg(&out)
        .output()?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let files = |name: &str| Paths {
        certificate: out.join(format!("{name}.pem")),
        key: out.join(format!("{name}-key.pem")),
        authorities: out.join("ca.pem"),
    };
    let url = stack.database.url();
    let aggregator = Aggregator::start(&files("aggregator"), "example.com", &url, "100ms").await?;
    let _agent = agent(&files("agent-node1.example.com"), aggregator.address)?;
    let rows = "SELECT count(*) FROM host_usage u JOIN host_info i ON i.id = u.host_id
                WHERE hostname = 'node1.example.com'";
    stack.number(rows, "rows", |n| n >= 2).await?;

    let viewer = files("viewer-viewer");
    let output = command("rowcall")?
        .args(["summary", "--report", "hardware", "--server"])
        .arg(format!("localhost:{}", aggregator.address.port()))
        .arg("--ca")
        .arg(&viewer.authorities)
        .arg("--cert")
        .arg(&viewer.certificate)
        .arg("--key")
        .arg(&viewer.key)
        .output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        told.contains("node1.example.com"),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
