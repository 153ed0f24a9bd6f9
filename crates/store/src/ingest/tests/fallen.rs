//! A database that went back in time: a mark that does not reach up to what comes.

use super::*;

/// As a restored backup would have it: rows and mark up to a sequence only.
async fn restore(bench: &Bench, session: &OpenedSession, mark: i64) {
    let sql = format!(
        "DELETE FROM host_usage WHERE host_id = {0} AND sequence > {mark};
         DELETE FROM rowcall.gap WHERE host_id = {0} AND sequence > {mark};
         UPDATE host_latest SET mark = {mark} WHERE host_id = {0}",
        session.host_id.0
    );
    bench.sql.batch_execute(&sql).await.unwrap();
}

fn fallen(session: &OpenedSession, from: i64, to: i64) -> Vec<Fallen> {
    vec![Fallen { host_id: session.host_id, epoch_id: session.epoch_id, from, to }]
}

/// Sequences of a host that have a row, in order.
async fn stored(bench: &Bench, session: &OpenedSession) -> Vec<i64> {
    let sql = "SELECT sequence FROM host_usage WHERE host_id = $1 ORDER BY 1";
    let rows = bench.sql.query(sql, &[&session.host_id.0]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Two hosts with sequences 1 to 20 each, and samples of theirs.
struct Two {
    bench: Bench,
    lost: OpenedSession,
    other: OpenedSession,
    start: UnixMicros,
}

impl Two {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let (lost, other) = (bench.host("lost").await, bench.host("other").await);
        let start = minutes_before(bench.now().await, 100);
        let two = Self { bench, lost, other, start };
        let mut records = two.samples(&two.lost, 1..=20);
        records.extend(two.samples(&two.other, 1..=20));
        assert_eq!(two.bench.store.ingest(&records).await.unwrap().samples, 40);
        two
    }

    fn samples(
        &self,
        session: &OpenedSession,
        range: std::ops::RangeInclusive<u64>,
    ) -> Vec<Incoming> {
        range.map(|n| sample(session, n, minutes_before(self.start, -n.cast_signed()))).collect()
    }

    /// Of both hosts, one after the other.
    fn both(&self, range: std::ops::RangeInclusive<u64>) -> Vec<Incoming> {
        let mut records = self.samples(&self.lost, range.clone());
        records.extend(self.samples(&self.other, range));
        records
    }

    /// The host that lost rows is as it was restored, at 12.
    async fn is_untouched(&self) {
        assert_eq!(mark(&self.bench, &self.lost).await.0, 12);
        assert_eq!(stored(&self.bench, &self.lost).await, (1..=12).collect::<Vec<_>>());
    }

    /// Sends again what is missing, from the mark on.
    async fn refill(&self) {
        let records = self.samples(&self.lost, 13..=25);
        let committed = self.bench.store.ingest(&records).await.unwrap();
        assert_eq!(committed, Committed { samples: 13, ..Committed::default() });
        assert_eq!(mark(&self.bench, &self.lost).await.0, 25);
        assert_eq!(stored(&self.bench, &self.lost).await, (1..=25).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn samples_beyond_a_mark_that_fell_are_refused_and_their_neighbours_are_stored() {
    let two = Two::new().await;
    restore(&two.bench, &two.lost, 12).await;
    for range in [21..=22, 23..=24] {
        let first = i64::try_from(*range.start()).unwrap();
        let committed = two.bench.store.ingest(&two.both(range)).await.unwrap();
        let fallen = fallen(&two.lost, first - 1, 12);
        assert_eq!(committed, Committed { samples: 2, fallen, ..Committed::default() });
        two.is_untouched().await;
    }
    assert_eq!(mark(&two.bench, &two.other).await.0, 24);
    two.refill().await;
}

#[tokio::test]
async fn records_of_all_kinds_beyond_a_mark_that_fell_are_refused_and_their_neighbours_stored() {
    let two = Two::new().await;
    let (lost, now) = (&two.lost, two.bench.now().await);
    restore(&two.bench, lost, 12).await;
    let mut records = two.both(21..=22);
    records.push(record(lost, 23, now, gap(29, now)));
    records.push(record(lost, 30, minutes_before(now, -1), Body::HostFacts(Box::new(facts()))));
    records.push(record(lost, 31, now, Body::Invalid("nonsense")));
    records.push(record(&two.other, 23, now, gap(29, now)));
    let committed = two.bench.store.ingest(&records).await.unwrap();
    let expected =
        Committed { samples: 2, gaps: 1, fallen: fallen(lost, 20, 12), ..Committed::default() };
    assert_eq!(committed, expected);
    two.is_untouched().await;
    let nothing = "SELECT (SELECT count(*) FROM rowcall.quarantine)
        + (SELECT count(*) FROM host_info WHERE cpu_number IS NOT NULL)";
    assert_eq!(two.bench.number(nothing).await, 0);
    assert_eq!(mark(&two.bench, &two.other).await.0, 29);
    two.refill().await;
}

#[tokio::test]
async fn a_bad_row_among_those_beyond_a_mark_that_fell_does_not_move_it() {
    let two = Two::new().await;
    let refuse = "ALTER TABLE host_usage ADD CHECK (disk_io <> 666)";
    two.bench.sql.batch_execute(refuse).await.unwrap();
    restore(&two.bench, &two.lost, 12).await;
    // Both hosts' number 23 is bad: the flush is taken apart and each put aside by itself.
    let mut records = two.both(21..=25);
    for incoming in &mut records {
        if let (23, Body::Sample(sample)) =
            (incoming.record.sequence.as_u64(), &mut incoming.record.body)
        {
            sample.disk_io = Some(666);
        }
    }
    let committed = two.bench.store.ingest(&records).await.unwrap();
    let fallen = fallen(&two.lost, 20, 12);
    assert_eq!(committed, Committed { samples: 4, quarantined: 1, fallen, ..Committed::default() });
    two.is_untouched().await;
    assert_eq!(mark(&two.bench, &two.other).await.0, 25);
    two.refill().await;
}

#[tokio::test]
async fn what_a_replaced_stream_left_does_not_pass_with_the_refill_of_its_successor() {
    let two = Two::new().await;
    restore(&two.bench, &two.lost, 12).await;
    // 16 to 20 are nowhere: the mark must not pass them.
    let gaps = |n: u64| record(&two.other, n, two.start, gap(n, two.start));
    for extra in [None, Some(gaps(21))] {
        let mut records = two.samples(&two.lost, 21..=25);
        records.extend(two.samples(&two.lost, 13..=15));
        records.extend(extra);
        let committed = two.bench.store.ingest(&records).await.unwrap();
        assert_eq!((committed.samples, committed.fallen), (0, fallen(&two.lost, 20, 12)));
        two.is_untouched().await;
    }
    two.refill().await;
}

#[tokio::test]
async fn records_up_to_the_mark_may_come_again_with_holes() {
    let two = Two::new().await;
    for last in [21, 22] {
        let mut records = two.samples(&two.lost, 3..=4);
        records.extend(two.samples(&two.lost, 8..=9));
        records.extend(two.samples(&two.lost, last..=last));
        if last == 22 {
            records.push(record(&two.other, 21, two.start, gap(21, two.start)));
        }
        let committed = two.bench.store.ingest(&records).await.unwrap();
        assert_eq!((committed.samples, committed.duplicates), (1, 4));
        assert_eq!(committed.fallen, []);
    }
    assert_eq!(mark(&two.bench, &two.lost).await.0, 22);
}

#[tokio::test]
async fn a_gap_covers_its_range() {
    let two = Two::new().await;
    let time = two.start;
    let mut records = two.samples(&two.lost, 21..=21);
    records.push(record(&two.lost, 22, time, gap(40, time)));
    records.extend(two.samples(&two.lost, 41..=42));
    let committed = two.bench.store.ingest(&records).await.unwrap();
    assert_eq!(committed, Committed { samples: 3, gaps: 1, ..Committed::default() });
    assert_eq!(mark(&two.bench, &two.lost).await.0, 42);
}
