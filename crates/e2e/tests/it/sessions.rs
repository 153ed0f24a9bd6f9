//! A sample's whole way, and what interrupts it.

use anyhow::Result;

use crate::stack::Stack;

const SAMPLES: &str = "SELECT count(*) FROM host_usage";

/// Records that the mark says are committed and that are nowhere. Readings of devices have no number
/// in the database: there are as many rows of them as holes.
const HOLES: &str = "
    SELECT count(*) - (SELECT count(*) FROM rowcall.device_sample)
      FROM host_latest l, generate_series(1, l.mark) s
    WHERE NOT EXISTS (SELECT FROM host_usage u WHERE (u.host_id, u.epoch_id, u.sequence) = (l.host_id, l.epoch_id, s))
      AND NOT EXISTS (SELECT FROM rowcall.gap g WHERE (g.host_id, g.epoch_id) = (l.host_id, l.epoch_id)
                      AND s BETWEEN g.sequence AND g.through_sequence)";

#[tokio::test]
async fn a_sample_becomes_a_row_with_real_values() -> Result<()> {
    let stack = Stack::new().await?;
    let aggregator = stack.aggregator("100ms").await?;
    let _agent = stack.agent("node1.example", aggregator.address)?;
    stack.number(SAMPLES, "three rows", |n| n >= 3).await?;
    let client = stack.database.connect().await?;
    let row = client
        .query_one(
            "SELECT bool_and(cpu_idle BETWEEN 0 AND 100 AND cpu_kernel BETWEEN 0 AND 100
                             AND memory_free > 0 AND memory_available > 0
                             AND memory_free * 1024 < total_mem AND disk_io >= 0
                             AND disk_available > 0 AND elapsed_s > 0 AND abs(delay_s) < 60),
                    min(hostname), bool_and(cpu_number > 0 AND total_mem > 0 AND cpu_architecture <> ''
                             AND kernel <> '' AND os <> '' AND boot_id <> '' AND booted_at < now()
                             AND agent_version <> '' AND retired_at IS NULL)
             FROM host_usage u JOIN host_info i ON i.id = u.host_id",
            &[],
        )
        .await?;
    assert!(row.get::<_, bool>(0), "host_usage holds values that cannot be");
    assert_eq!(row.get::<_, &str>(1), "node1.example");
    assert!(row.get::<_, bool>(2), "host_info holds values that cannot be");
    let first: f32 = client
        .query_one("SELECT elapsed_s FROM host_usage ORDER BY sequence LIMIT 1", &[])
        .await?
        .get(0);
    assert!(first >= 1.0, "the first sample spans {first} s");
    Ok(())
}

#[tokio::test]
async fn hosts_share_one_aggregator() -> Result<()> {
    let stack = Stack::new().await?;
    let aggregator = stack.aggregator("100ms").await?;
    let names = ["a", "b", "c"];
    let _agents = names.map(|name| stack.agent(name, aggregator.address).expect("start an agent"));
    let hosts = "SELECT count(DISTINCT host_id) FROM host_usage";
    stack.number(hosts, "rows of three hosts", |n| n == 3).await?;
    Ok(())
}

#[tokio::test]
async fn an_aggregator_killed_and_started_again_loses_and_doubles_nothing() -> Result<()> {
    let stack = Stack::new().await?;
    let aggregator = stack.aggregator("50ms").await?;
    let proxy = rowcall_testkit::proxy::Proxy::to(aggregator.address).await?;
    let agent = stack.agent("node1", proxy.address())?;
    let mut before = stack.number(SAMPLES, "rows", |n| n >= 5).await?;
    let mut running = aggregator;
    for _ in 0..3 {
        running.process.kill().await;
        running = stack.aggregator("50ms").await?;
        proxy.retarget(running.address);
        before = stack.number(SAMPLES, "more rows", |n| n >= before + 5).await?;
    }
    assert_eq!(agent.stop().await, Some(0), "{}", agent.output());
    assert_eq!(stack.number(HOLES, "no holes", |_| true).await?, 0);
    let epochs = "SELECT count(*) FROM rowcall.epoch";
    assert_eq!(stack.number(epochs, "one epoch", |_| true).await?, 1);
    Ok(())
}

#[tokio::test]
async fn cut_connections_lose_and_double_nothing() -> Result<()> {
    let stack = Stack::new().await?;
    let aggregator = stack.aggregator("20ms").await?;
    let proxy = rowcall_testkit::proxy::Proxy::to(aggregator.address).await?;
    let agent = stack.agent("node1", proxy.address())?;
    let mut rows = stack.number(SAMPLES, "rows", |n| n >= 3).await?;
    for _ in 0..10 {
        proxy.cut();
        rows = stack.number(SAMPLES, "more rows", |n| n >= rows + 3).await?;
    }
    assert_eq!(agent.stop().await, Some(0), "{}", agent.output());
    assert_eq!(stack.number(HOLES, "no holes", |_| true).await?, 0);
    assert!(proxy.connections() > 10);
    Ok(())
}

#[tokio::test]
async fn what_waited_while_the_aggregator_was_away_arrives() -> Result<()> {
    let stack = Stack::new().await?;
    let aggregator = stack.aggregator("50ms").await?;
    let proxy = rowcall_testkit::proxy::Proxy::to(aggregator.address).await?;
    let agent = stack.agent("node1", proxy.address())?;
    stack.number(SAMPLES, "rows", |n| n >= 3).await?;
    proxy.close();
    agent.line("no connection").await;
    // Nothing can be committed now, so whatever is sampled from here on waits in the agent.
    let seen = stack.number("SELECT max(sequence) FROM host_usage", "a mark", |_| true).await?;
    let database = stack.database.connect().await?;
    let at: i64 =
        database.query_one("SELECT (extract(epoch FROM now()) * 1000)::bigint", &[]).await?.get(0);
    let elapsed = format!("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint - {at}");
    stack.number(&elapsed, "a second without an aggregator", |ms| ms >= 1000).await?;
    proxy.open();
    let arrived = format!("SELECT count(*) FROM host_usage WHERE sequence > {seen} + 15");
    stack.number(&arrived, "what waited", |n| n > 0).await?;
    assert_eq!(agent.stop().await, Some(0), "{}", agent.output());
    assert_eq!(stack.number(HOLES, "no holes", |_| true).await?, 0);
    Ok(())
}

#[tokio::test]
async fn an_aggregator_stops_in_order_and_acknowledges_what_it_got() -> Result<()> {
    let stack = Stack::new().await?;
    let aggregator = stack.aggregator("20ms").await?;
    let _agent = stack.agent("node1", aggregator.address)?;
    stack.number(SAMPLES, "rows", |n| n >= 5).await?;
    assert_eq!(aggregator.process.stop().await, Some(0), "{}", aggregator.process.output());
    aggregator.process.line("stopped in order").await;
    assert_eq!(stack.number(HOLES, "no holes", |_| true).await?, 0);
    Ok(())
}

#[tokio::test]
async fn an_agent_that_stops_says_bye() -> Result<()> {
    let stack = Stack::new().await?;
    let aggregator = stack.aggregator("100ms").await?;
    let agent = stack.agent("node1", aggregator.address)?;
    stack.number(SAMPLES, "a row", |n| n >= 1).await?;
    assert_eq!(agent.stop().await, Some(0), "{}", agent.output());
    aggregator.process.line("agent says bye").await;
    Ok(())
}
