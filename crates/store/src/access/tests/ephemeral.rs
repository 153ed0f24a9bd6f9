use super::*;

impl Bench {
    /// An ephemeral host that was heard last so many seconds ago, and the intervals since when an
    /// aggregator was there, as seconds ago.
    async fn silent_for(&self, seconds: i64, spans: &[(i64, i64)]) {
        let script = format!(
            "UPDATE host_latest SET joined_at = now() - interval '1 day', received_at = now() - interval '{seconds} s';
             DELETE FROM rowcall.aggregator_span"
        );
        self.sql.batch_execute(&script).await.unwrap();
        for (from, to) in spans {
            let span = format!(
                "INSERT INTO rowcall.aggregator_span (aggregator, run, from_ts, through_ts)
                 VALUES ('x', {from} + 100, now() - interval '{from} s', now() - interval '{to} s')"
            );
            self.sql.batch_execute(&span).await.unwrap();
        }
    }

    async fn retired(&self) -> Vec<String> {
        let names = self.store.retire_ephemeral().await.unwrap();
        names.iter().map(ToString::to_string).collect()
    }
}

/// A host that retires itself after 10 minutes.
async fn ephemeral() -> Bench {
    let wanted = NewToken { ephemeral: Some(10 * MINUTE), ..token(1) };
    let bench = Bench::with_token(&wanted).await;
    bench.enroll(&enrolment(1, 1, "a")).await.unwrap();
    bench.host("stays").await;
    bench
}

const ALWAYS: &[(i64, i64)] = &[(86_400, 0)];

#[tokio::test]
async fn an_ephemeral_host_that_is_silent_for_too_long_retires_and_may_come_back() {
    let bench = ephemeral().await;
    bench.silent_for(590, ALWAYS).await;
    assert_eq!(bench.retired().await, [""; 0]);
    bench.silent_for(610, ALWAYS).await;
    assert_eq!(bench.retired().await, ["a"]);
    assert_eq!(bench.retired().await, [""; 0]);
    let found = bench.store.host(&host("a")).await.unwrap().unwrap();
    assert!(found.retired_at.is_some());
    assert_eq!(found.revoked_at, None);
    let sql =
        "SELECT identity, detail FROM rowcall.audit WHERE action = 'host.retire' AND target = 'a'";
    let row = bench.sql.query_one(sql, &[]).await.unwrap();
    let told = (row.get::<_, &str>(0), row.get::<_, &str>(1));
    assert_eq!(told, ("rowcall", "ephemeral, and silent for too long"));
    // Its Hello takes it back, and its silence counts from there.
    bench.host("a").await;
    let back = bench.store.host(&host("a")).await.unwrap().unwrap();
    assert_eq!(back.retired_at, None);
    bench.sql.batch_execute("DELETE FROM rowcall.session").await.unwrap();
    assert_eq!(bench.retired().await, [""; 0]);
}

#[tokio::test]
async fn a_host_that_never_said_hello_is_silent_since_its_enrolment() {
    let bench = ephemeral().await;
    bench.silent_for(0, ALWAYS).await;
    let enrolled =
        "UPDATE host_latest SET received_at = NULL, joined_at = now() - interval '601 s'";
    bench.sql.batch_execute(enrolled).await.unwrap();
    assert_eq!(bench.retired().await, ["a"]);
}

#[tokio::test]
async fn time_without_any_aggregator_is_no_silence() {
    let bench = ephemeral().await;
    // Nobody was there for 5 of the 12 minutes, then of the 16.
    bench.silent_for(720, &[(86_400, 600), (300, 0)]).await;
    assert_eq!(bench.retired().await, [""; 0]);
    bench.silent_for(960, &[(86_400, 600), (300, 0)]).await;
    assert_eq!(bench.retired().await, ["a"]);
}

#[tokio::test]
async fn nobody_is_there_now_so_nobody_is_silent() {
    let bench = ephemeral().await;
    bench.silent_for(3_600, &[(86_400, 3_300)]).await;
    assert_eq!(bench.retired().await, [""; 0]);
}

#[tokio::test]
async fn a_host_with_an_open_stream_or_a_long_interval_is_not_silent() {
    let bench = ephemeral().await;
    bench.host("a").await;
    bench.silent_for(610, ALWAYS).await;
    assert_eq!(bench.retired().await, [""; 0], "its stream is open");
    bench.sql.batch_execute("DELETE FROM rowcall.session").await.unwrap();
    let hourly = "UPDATE rowcall.host_interval SET interval_ms = 3600000";
    bench.sql.batch_execute(hourly).await.unwrap();
    bench.silent_for(7_200, ALWAYS).await;
    assert_eq!(bench.retired().await, [""; 0], "two samples take as long");
    bench.silent_for(7_240, ALWAYS).await;
    assert_eq!(bench.retired().await, ["a"]);
}

#[tokio::test]
async fn while_another_one_retires_hosts_this_one_finds_nothing_to_do() {
    let bench = ephemeral().await;
    bench.silent_for(610, ALWAYS).await;
    let mut other = bench.database.connect().await.unwrap();
    let transaction = other.transaction().await.unwrap();
    let lock = "SELECT pg_advisory_xact_lock($1)";
    transaction.execute(lock, &[&crate::locks::EPHEMERAL]).await.unwrap();
    assert_eq!(bench.retired().await, [""; 0]);
    transaction.commit().await.unwrap();
    assert_eq!(bench.retired().await, ["a"]);
}
