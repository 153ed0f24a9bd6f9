//! Who holds a host's stream, when several claim it.

use std::slice::from_ref;

use super::*;
use crate::testing::certificate;
use rowcall_core::id::HostName;
use rowcall_testkit::database::{connect, test_options};
use rowcall_testkit::poll::{DEADLINE, wait_for};

/// The run of a process of host node1's agent.
fn of(run: u64) -> Hello {
    Hello {
        run: RunId::new(run).unwrap(),
        machine_id: Some(format!("machine{run}")),
        ..hello("node1", 1)
    }
}

fn party(run: u64) -> Party {
    let run_id = RunId::new(run).unwrap();
    Party {
        run: run_id,
        peer: format!("192.0.2.{run}:1"),
        machine_id: Some(format!("machine{run}")),
    }
}

impl Bench {
    async fn ask(&self, hello: &Hello, aggregator: u64) -> Result<OpenedSession, SessionRefusal> {
        let shown = certificate(&hello.host_name);
        self.store.asked(hello, MINUTE, &shown, aggregator).await.unwrap()
    }

    async fn alive(&self, aggregator: u64, stopping: bool) {
        let run = RunId::new(aggregator).unwrap();
        self.store.observed(&format!("aggregator{aggregator}"), run, stopping).await.unwrap();
    }

    /// As if all of it had happened so many seconds earlier.
    async fn wait(&self, seconds: i64) {
        let script = format!(
            "UPDATE rowcall.session SET opened_at = opened_at - interval '{seconds} s';
             UPDATE rowcall.aggregator_span SET from_ts = from_ts - interval '{seconds} s',
                 through_ts = through_ts - interval '{seconds} s';
             UPDATE rowcall.conflict SET first_at = first_at - interval '{seconds} s',
                 last_at = last_at - interval '{seconds} s'"
        );
        self.sql.batch_execute(&script).await.unwrap();
    }
}

#[tokio::test]
async fn another_process_is_refused_while_the_aggregator_that_holds_the_stream_lives() {
    let bench = Bench::new().await;
    bench.alive(1, false).await;
    let first = bench.ask(&of(1), 1).await.unwrap();
    let refused = bench.ask(&of(2), 2).await.unwrap_err();
    let SessionRefusal::AlreadyConnected(holder) = &refused else { panic!("{refused}") };
    assert_eq!(holder.party.run, of(1).run);
    assert_eq!(holder.party.machine_id.as_deref(), Some("machine1"));
    assert_eq!(
        (holder.party.peer.as_str(), holder.aggregator.as_str()),
        ("192.0.2.1:1", "aggregator1")
    );
    assert!(refused.to_string().contains("connected from 192.0.2.1:1 to aggregator aggregator1"));
    // Nothing of the newcomer is written, its epoch neither.
    let before = bench.everything().await;
    bench
        .ask(&Hello { epoch: rowcall_core::id::Epoch::new(9).unwrap(), ..of(2) }, 2)
        .await
        .unwrap_err();
    assert_eq!(bench.everything().await, before);

    bench.wait(59).await;
    bench.ask(&of(2), 2).await.unwrap_err();
    bench.wait(300).await;
    bench.alive(1, false).await;
    bench.ask(&of(2), 2).await.unwrap_err();
    // Nobody has heard of the aggregator for a minute.
    bench.wait(61).await;
    let second = bench.ask(&of(2), 2).await.unwrap();
    assert_eq!(bench.store.sessions_lost(&[first.lease]).await.unwrap(), [second.host_id]);
    assert_eq!(bench.store.sessions_lost(&[second.lease]).await.unwrap(), []);
}

#[tokio::test]
async fn the_stream_goes_to_the_same_process_and_from_an_aggregator_that_stopped() {
    let bench = Bench::new().await;
    bench.alive(1, false).await;
    let first = bench.ask(&of(1), 1).await.unwrap();
    let host = first.host_id;
    let second = bench.ask(&of(1), 2).await.unwrap();
    assert_eq!(bench.store.sessions_lost(&[first.lease]).await.unwrap(), [host]);
    let third = bench.ask(&of(1), 1).await.unwrap();
    assert_eq!(bench.store.sessions_lost(&[second.lease]).await.unwrap(), [host]);
    // The same aggregator knows itself what lives.
    bench.ask(&of(2), 1).await.unwrap();
    assert_eq!(bench.store.sessions_lost(&[third.lease]).await.unwrap(), [host]);
    bench.ask(&of(3), 2).await.unwrap_err();
    bench.alive(1, true).await;
    bench.ask(&of(3), 2).await.unwrap();
}

#[tokio::test]
async fn the_aggregator_itself_says_what_still_lives() {
    let bench = Bench::new().await;
    let first = bench.ask(&of(1), 1).await.unwrap();
    let lives = |host: HostId, run: RunId| host == first.host_id && run == of(1).run;
    let holder = SessionHolder {
        aggregator: "aggregator1",
        aggregator_run: RunId::new(1).unwrap(),
        peer: "",
        still_lives: &lives,
    };
    let shown = certificate(&of(1).host_name);
    let asked =
        async |run| bench.store.open_session(&of(run), MINUTE, &shown, &holder).await.unwrap();
    asked(1).await.unwrap();
    let refused = asked(2).await.unwrap_err();
    assert!(matches!(refused, SessionRefusal::AlreadyConnected(_)), "{refused}");
    // One that was never seen, so that it is looked at in the transaction.
    let renamed = Hello { host_name: HostName::parse("other").unwrap(), ..of(2) };
    asked(1).await.unwrap();
    bench.store.opened(&renamed, MINUTE).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_ended_gives_back_its_own_row_only() {
    let bench = Bench::new().await;
    bench.alive(1, false).await;
    let first = bench.ask(&of(1), 1).await.unwrap();
    let second = bench.ask(&of(1), 1).await.unwrap();
    assert_eq!(bench.store.close_sessions(from_ref(&first.lease)).await.unwrap(), 0);
    bench.ask(&of(2), 2).await.unwrap_err();
    assert_eq!(bench.store.sessions_lost(from_ref(&second.lease)).await.unwrap(), []);
    assert_eq!(bench.store.close_sessions(&[first.lease, second.lease.clone()]).await.unwrap(), 1);
    bench.ask(&of(2), 2).await.unwrap();
    assert_eq!(bench.store.close_sessions(&[second.lease]).await.unwrap(), 0);
    assert_eq!(bench.store.close_sessions(&[]).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_claim_a_host_at_once_on_many_aggregators_one_gets_it() {
    let bench = Bench::new().await;
    bench.host("node1").await;
    bench.sql.batch_execute("DELETE FROM rowcall.session").await.unwrap();
    let hellos: Vec<_> = (2..=21).map(of).collect();
    let asked = hellos.iter().zip(1..).map(|(hello, aggregator)| bench.ask(hello, aggregator));
    let results = join_all(asked).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let (all, open) = ("SELECT count(*) FROM rowcall.session", "SELECT count(*) FROM rowcall.run");
    assert_eq!((bench.number(all).await, bench.number(open).await), (1, 2));
}

#[tokio::test]
async fn a_conflict_is_one_row_while_it_goes_on_and_over_when_the_holder_is_gone() {
    let bench = Bench::new().await;
    bench.ask(&of(1), 1).await.unwrap();
    let name = HostName::parse("node1").unwrap();
    let rows = async || {
        let sql = "SELECT array_agg(concat_ws(' ', newcomer_run, attempts, round(extract(epoch FROM last_at - first_at)),
                holder_run, holder_peer, holder_machine_id, newcomer_peer, newcomer_machine_id, resolved_at IS NOT NULL)
                ORDER BY first_at) FROM rowcall.conflict";
        let row = bench.sql.query_one(sql, &[]).await.unwrap();
        row.get::<_, Option<Vec<String>>>(0).unwrap_or_default()
    };
    for seconds in [0, 30, 31] {
        bench.wait(seconds).await;
        bench.store.conflict(&name, &party(1), &party(2)).await.unwrap();
    }
    let parties = "1 192.0.2.1:1 machine1 192.0.2.2:1 machine2";
    // Each wait moved what was before; the first one came before all of them.
    assert_eq!(rows().await.len(), 1);
    assert_eq!(rows().await[0], format!("2 3 61 {parties} f"));
    // The holder itself coming back ends nothing; after a while it is another stretch.
    bench.ask(&of(1), 1).await.unwrap();
    bench.wait(601).await;
    bench.store.conflict(&name, &party(1), &party(2)).await.unwrap();
    assert_eq!(rows().await.len(), 2);
    assert!(rows().await.iter().all(|row| row.ends_with(" f")));
    bench.ask(&of(2), 1).await.unwrap();
    assert!(rows().await.iter().all(|row| row.ends_with(" t")));
    bench.store.conflict(&name, &party(2), &party(1)).await.unwrap();
    assert_eq!(rows().await.len(), 3);
    // Nobody of that name.
    let other = HostName::parse("other").unwrap();
    bench.store.conflict(&other, &party(1), &party(2)).await.unwrap();
    assert_eq!(rows().await.len(), 3);
}

#[tokio::test]
async fn a_certificate_is_seen_at_its_first_hello_and_then_once_an_hour() {
    let bench = Bench::new().await;
    bench.host("node1").await;
    let seen = "SELECT (extract(epoch FROM last_seen_at) * 1e6)::bigint FROM rowcall.certificate";
    let first = bench.number(seen).await;
    let origin = "SELECT count(*) FROM rowcall.certificate WHERE origin = 'seen' AND key_sha256 IS NULL AND serial = '01'";
    assert_eq!(bench.number(origin).await, 1);
    bench.host("node1").await;
    assert_eq!(bench.number(seen).await, first);
    let later =
        "UPDATE rowcall.certificate SET last_seen_at = last_seen_at - interval '61 minutes'";
    bench.sql.batch_execute(later).await.unwrap();
    bench.host("node1").await;
    assert!(bench.number(seen).await > first);
    assert_eq!(bench.number("SELECT count(*) FROM rowcall.certificate").await, 1);
}

#[tokio::test]
async fn a_stream_that_is_taken_again_updates_its_row_in_place() {
    // A server of its own: what others do on it would keep old rows in the way.
    let start = || test_options().start();
    let server = tokio::task::spawn_blocking(start).await.unwrap().unwrap();
    let store = Store::connect(&crate::Settings::new(server.url("postgres"))).await.unwrap();
    store.migrate().await.unwrap();
    for _ in 0..5 {
        for number in 0..50 {
            store.opened(&hello(&format!("node{number}"), 1), MINUTE).await.unwrap();
        }
    }
    // A connection tells its counts when it ends.
    drop(store);
    let sql = connect(&server.url("postgres")).await.unwrap();
    let counts = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'rowcall.session'::regclass";
    let hot = wait_for("the counts of updates", DEADLINE, || async {
        let row = sql.query_one(counts, &[]).await.unwrap();
        (row.get::<_, i64>(0) == 200).then(|| row.get::<_, i64>(1))
    });
    let hot = hot.await;
    assert!(hot >= 190, "{hot} of 200");
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
}

#[tokio::test]
async fn what_is_new_is_on_the_disk_before_it_is_told() {
    // A server of its own: its log is of this test alone.
    let start = || test_options().start();
    let server = tokio::task::spawn_blocking(start).await.unwrap().unwrap();
    let store = Store::connect(&crate::Settings::new(server.url("postgres"))).await.unwrap();
    store.migrate().await.unwrap();
    let sql = connect(&server.url("postgres")).await.unwrap();
    for epoch in 1..20 {
        let written = "SELECT pg_current_wal_insert_lsn()::text";
        let before: String = sql.query_one(written, &[]).await.unwrap().get(0);
        store.opened(&hello("node1", epoch), MINUTE).await.unwrap();
        let safe = format!("SELECT pg_current_wal_flush_lsn() > '{before}'");
        assert!(sql.query_one(&safe, &[]).await.unwrap().get::<_, bool>(0), "epoch {epoch}");
        // Whoever comes back as it was changes no setting for those who come after.
        store.opened(&hello("node1", epoch), MINUTE).await.unwrap();
    }
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
}
