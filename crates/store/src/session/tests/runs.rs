//! The processes of an agent: when each began, what was different, and its Bye.

use super::*;

/// A Hello of a process, on a boot, of a version.
fn of_run(run: u64, boot: &str, version: &str) -> Hello {
    Hello {
        run: RunId::new(run).unwrap(),
        boot_id: Some(boot.into()),
        agent_version: Some(version.into()),
        ..telling("node1", 1)
    }
}

#[tokio::test]
async fn what_is_different_from_the_process_before_is_told_once() {
    let bench = Bench::new().await;
    let upgrade = |from: &str| Some(Started::Upgrade { from: Some(from.into()) });
    for (run, boot, version, started) in [
        (1, "a", "0.1.0", Some(Started::First)),
        (1, "a", "0.1.0", None),
        (2, "a", "0.1.0", Some(Started::Restart)),
        (3, "b", "0.1.0", Some(Started::Reboot)),
        (4, "b", "0.2.0", upgrade("0.1.0")),
        (5, "c", "0.3.0", Some(Started::Reboot)),
        (6, "c", "0.2.0", upgrade("0.3.0")),
        (2, "a", "0.1.0", None),
    ] {
        let session = bench.open(&of_run(run, boot, version)).await;
        assert_eq!(session.started, started, "run {run}");
    }
    let rows = "SELECT array_agg(how ORDER BY run) FROM rowcall.run WHERE ended_at IS NULL";
    let row = bench.sql.query_one(rows, &[]).await.unwrap();
    let told: Vec<String> = row.get(0);
    assert_eq!(told, ["first", "restart", "reboot", "upgrade", "reboot", "upgrade"]);
    let about = "SELECT count(*) FROM rowcall.run WHERE run = 4 AND boot_id = 'b' AND agent_version = '0.2.0'";
    assert_eq!(bench.number(about).await, 1);
}

#[tokio::test]
async fn a_host_that_was_known_before_processes_were_recorded_did_not_restart() {
    let bench = Bench::new().await;
    bench.open(&of_run(1, "a", "0.1.0")).await;
    bench.sql.batch_execute("DELETE FROM rowcall.run").await.unwrap();
    assert_eq!(bench.open(&of_run(2, "b", "0.2.0")).await.started, Some(Started::First));
}

#[tokio::test]
async fn a_bye_excuses_a_host_for_a_while_and_a_second_one_changes_nothing() {
    let bench = Bench::new().await;
    let session = bench.open(&of_run(1, "a", "0.1.0")).await;
    let run = RunId::new(1).unwrap();
    let excused = "SELECT extract(epoch FROM excused_until - ended_at)::bigint FROM rowcall.run
        WHERE ended_at BETWEEN now() - interval '1 hour' AND now()";
    let end = async |host, run, excused, waited| {
        let (excused, waited) = (Duration::from_secs(excused), Duration::from_secs(waited));
        bench.store.end_run(host, run, excused, waited).await.unwrap();
    };
    // From when it came on, however late the database hears of it.
    end(session.host_id, run, 900, 600).await;
    assert_eq!(bench.number(excused).await, 900);
    let waited = "SELECT extract(epoch FROM now() - ended_at)::bigint FROM rowcall.run";
    assert!((600..660).contains(&bench.number(waited).await));
    end(session.host_id, run, 60, 0).await;
    assert_eq!(bench.number(excused).await, 900);
    // One that is not known, as after the database was made anew.
    end(HostId(99), run, 60, 0).await;
    end(session.host_id, RunId::new(9).unwrap(), 60, 0).await;
    assert_eq!(bench.number("SELECT count(*) FROM rowcall.run").await, 1);
}

#[tokio::test]
async fn a_process_that_is_back_after_its_bye_has_not_ended() {
    let bench = Bench::new().await;
    let hello = of_run(1, "a", "0.1.0");
    let session = bench.open(&hello).await;
    let before = bench.everything().await;
    bench.store.end_run(session.host_id, hello.run, MINUTE, Duration::ZERO).await.unwrap();
    let back = bench.open(&hello).await;
    assert_eq!(back.started, None);
    assert_eq!(bench.everything().await, before);
}
