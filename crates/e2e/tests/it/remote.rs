//! PostgreSQL as companies run it: over TCP, TLS checked to the server's name, password in a file.

use anyhow::{Context, Result};
use rowcall_testkit::database::connect;
use rowcall_testkit::poll::wait_for;
use rowcall_testkit::remote::{PASSWORD, Remote, Role};

use crate::stack::{Aggregator, Stack, TRUST_DOMAIN};
use rowcall_testkit::poll::DEADLINE;

#[tokio::test]
async fn samples_reach_a_server_with_tls_and_a_passfile() -> Result<()> {
    let stack = Stack::new().await?;
    let remote = Remote::shared().await?;
    let url = remote.database(Role::EitherWay).await?;
    let name = url.rsplit('/').next().context("the database's name")?;
    let pass = format!("localhost:{}:{name}:either_way:{PASSWORD}\n", remote.port());
    let pass = remote.client_file("pass", &pass)?;
    let told = format!(
        "{}?sslmode=verify-full&sslrootcert={}&passfile={}",
        url.replace(&format!(":{PASSWORD}@"), "@"),
        remote.root_file()?.display(),
        pass.display()
    );
    assert!(!told.contains(PASSWORD), "{told}");
    let server = stack.site.server()?;
    let aggregator = Aggregator::start(&server, TRUST_DOMAIN, &told, "50ms").await?;
    let agent = stack.agent("node1", aggregator.address)?;
    // The same user without TLS.
    let sql = connect(&format!("{url}?sslmode=disable")).await?;
    wait_for("rows", DEADLINE, || async {
        let row = sql.query_one("SELECT count(*) FROM host_usage", &[]).await.ok()?;
        (row.get::<_, i64>(0) >= 5).then_some(())
    })
    .await;
    let ways = remote
        .admin()
        .await?
        .query_one(
            "SELECT count(*), count(*) FILTER (WHERE s.ssl AND s.version LIKE 'TLSv1.%')
             FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid)
             WHERE a.datname = $1 AND a.application_name = 'rowcall-aggregator'",
            &[&name],
        )
        .await?;
    let (all, over_tls): (i64, i64) = (ways.get(0), ways.get(1));
    assert!(all > 0 && all == over_tls, "{over_tls} of {all} connections have TLS");
    assert_eq!(agent.stop().await, Some(0), "{}", agent.output());
    agent.line("stopped unacknowledged_records=0").await;
    assert_eq!(aggregator.process.stop().await, Some(0), "{}", aggregator.process.output());
    assert!(!aggregator.process.output().contains(PASSWORD));
    Ok(())
}
