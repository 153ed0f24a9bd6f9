//! What became of every due sample.

use rowcall_core::id::UnixMicros;
use rowcall_store::reports::IntegrityKind::Unbalanced;
use rowcall_store::reports::{Counts, Integrity, Scope};

use crate::world::{World, at, between};

/// An epoch with its numbers: due, told due, samples, quarantined, dropped, missed, duplicates.
async fn epoch(
    world: &World,
    host: i32,
    number: i64,
    (opened, closed): (UnixMicros, Option<UnixMicros>),
    counts: [i64; 7],
) {
    let [due, told, samples, quarantined, dropped, missed, duplicates] = counts;
    let set = "due, told_due, samples, quarantined, dropped, missed, duplicates";
    world
        .run(
            &format!(
                "INSERT INTO rowcall.epoch (host_id, epoch, opened_at, closed_at, {set})
                 VALUES ($1, $2, to_timestamp($3::bigint / 1e6), to_timestamp($4::bigint / 1e6),
                         $5, $6, $7, $8, $9, $10, $11)"
            ),
            &[
                &host,
                &number,
                &opened.0,
                &closed.map(|at| at.0),
                &due,
                &told,
                &samples,
                &quarantined,
                &dropped,
                &missed,
                &duplicates,
            ],
        )
        .await;
    if closed.is_none() {
        // Of the current one the host's own row says more.
        world
            .run(
                &format!(
                    "UPDATE host_latest l SET (epoch_id, {set})
                         = (SELECT e.id, {set} FROM rowcall.epoch e WHERE e.epoch = $2)
                      WHERE l.host_id = $1"
                ),
                &[&host, &number],
            )
            .await;
        world
            .run("UPDATE rowcall.epoch SET due = 0, samples = 0 WHERE epoch = $1", &[&number])
            .await;
    }
}

async fn integrity(world: &World, scope: &Scope) -> Integrity {
    let frame = world.frame(scope).await;
    world.store.integrity(scope, &frame).await.unwrap()
}

fn noon() -> Scope {
    between(at(12, 0, 0), at(13, 0, 0))
}

#[tokio::test]
async fn an_empty_fleet_has_an_empty_ledger() {
    let world = World::new().await;
    let found = integrity(&world, &noon()).await;
    assert_eq!(found.ledger_total, Counts::default());
    assert_eq!(found.ledger, []);
}

#[tokio::test]
async fn all_epochs_open_in_the_range_are_summed_up_whole_and_the_worst_listed() {
    let world = World::new().await;
    let (a, b, c) = (world.host("a").await, world.host("b").await, world.host("c").await);
    // Closed before, opened after, and two that were open.
    epoch(&world, a, 1, (at(1, 0, 0), Some(at(11, 59, 0))), [9, 9, 9, 0, 0, 0, 0]).await;
    epoch(&world, a, 2, (at(11, 59, 0), Some(at(12, 30, 0))), [100, 120, 80, 5, 10, 5, 3]).await;
    epoch(&world, a, 3, (at(12, 30, 0), None), [50, 50, 50, 0, 0, 0, 0]).await;
    epoch(&world, b, 4, (at(1, 0, 0), None), [300, 310, 200, 0, 0, 100, 7]).await;
    epoch(&world, c, 5, (at(13, 0, 0), None), [60, 60, 60, 0, 0, 0, 0]).await;
    let found = integrity(&world, &noon()).await;
    let expected = Counts {
        due: 120 + 50 + 310,
        committed: 80 + 50 + 200,
        quarantined: 5,
        spooled: 20 + 10,
        dropped: 10,
        missed: 105,
        duplicates: 10,
        epochs: 3,
        unbalanced_epochs: 0,
    };
    assert_eq!(found.ledger_total, expected);
    let lines: Vec<_> =
        found.ledger.iter().map(|line| (line.host_name.as_str(), line.epoch)).collect();
    assert_eq!(lines, [("b", 4), ("a", 2)]);
    let line = &found.ledger[1];
    assert_eq!((line.opened_at, line.closed_at), (at(11, 59, 0), Some(at(12, 30, 0))));
    let counts = line.counts;
    assert_eq!((counts.due, counts.spooled, counts.epochs), (120, 20, 1));
    assert_eq!(found.ledger[0].closed_at, None);
    assert!(!found.findings.iter().any(|finding| finding.kind == Unbalanced));
    let one = Scope { name_glob: "a".into(), ..noon() };
    assert_eq!(integrity(&world, &one).await.ledger_total.epochs, 2);
}

#[tokio::test]
async fn an_epoch_that_does_not_add_up_is_the_first_line_and_the_first_finding() {
    let world = World::new().await;
    let (a, b) = (world.host("a").await, world.host("b").await);
    epoch(&world, a, 7, (at(1, 0, 0), None), [500, 500, 0, 0, 500, 0, 0]).await;
    epoch(&world, b, 8, (at(2, 0, 0), None), [100, 103, 96, 1, 1, 1, 0]).await;
    let found = integrity(&world, &noon()).await;
    let lines: Vec<_> = found.ledger.iter().map(|line| line.epoch).collect();
    assert_eq!(lines, [8, 7]);
    assert_eq!(found.ledger[0].counts.unbalanced_epochs, 1);
    assert_eq!(found.ledger_total.unbalanced_epochs, 1);
    let finding = &found.findings[0];
    assert_eq!((finding.host_name.as_str(), finding.kind, finding.samples), ("b", Unbalanced, 1));
    assert_eq!((finding.from, finding.to), (at(2, 0, 0), at(44, 0, 0)));
    let words = "spool 8: 103 due, but 96 committed + 1 quarantined + 3 spooled + 1 dropped + \
                 1 missed = 102";
    assert_eq!(finding.detail, words);
}

#[tokio::test]
async fn the_lines_end_at_1000_and_the_sum_is_over_all() {
    let world = World::new().await;
    world
        .sql
        .batch_execute(
            "INSERT INTO host_info (hostname) SELECT 'h' || i FROM generate_series(1, 1100) AS i;
             INSERT INTO rowcall.epoch (host_id, epoch, opened_at, due, samples, missed)
                 SELECT id, id, '2026-11-03 12:00:00+00', 10 + id, 10, id FROM host_info",
        )
        .await
        .unwrap();
    let found = integrity(&world, &noon()).await;
    assert_eq!((found.ledger.len(), found.ledger_total.epochs), (1_000, 1_100));
    assert_eq!(found.ledger_total.missed, 1_100 * 1_101 / 2);
    assert_eq!(found.ledger[0].counts.missed, 1_100);
}
