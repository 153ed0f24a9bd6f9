//! What a host tells whose clock is behind or ahead: it stands in the order in which it was told.

use proptest::prelude::*;
use rowcall_core::id::Epoch;

use super::history::{check, hello_of, history, history_of, machine, told_at};
use super::*;

const LAG: i64 = 10;

/// Lets some minutes pass for a host: all that is known of it is so much older.
async fn pass(bench: &Bench, host: i32, minutes: i64) {
    let sql = format!(
        "UPDATE host_info_history SET valid_from = valid_from - d, valid_to = valid_to - d,
             first_told_at = first_told_at - d, last_told_at = last_told_at - d
             FROM make_interval(mins => {minutes}) AS d WHERE host_id = {host};
         UPDATE host_info SET \"timestamp\" = \"timestamp\" - make_interval(mins => {minutes}) WHERE id = {host};
         UPDATE rowcall.facts_anchor SET told_at = told_at - d, clock = clock - d
             FROM make_interval(mins => {minutes}) AS d WHERE host_id = {host}"
    );
    bench.sql.batch_execute(&sql).await.unwrap();
}

/// A Hello of a host whose clock is 10 minutes behind.
async fn hello_behind(bench: &Bench, cpus: i32, next: u64) -> (OpenedSession, UnixMicros) {
    let clock = minutes_before(bench.now().await, LAG);
    let next = Sequence::new(next).unwrap();
    (bench.open(&Hello { next, clock, ..hello_of(cpus, 16) }).await, clock)
}

/// Has everything sent again.
async fn forget_marks(bench: &Bench) {
    bench.sql.batch_execute("UPDATE host_latest SET mark = 0").await.unwrap();
}

#[tokio::test]
async fn a_change_told_after_a_handshake_follows_it_though_the_clock_says_before() {
    let bench = Bench::new().await;
    hello_behind(&bench, 8, 1).await;
    pass(&bench, 1, 60).await;
    let (session, clock) = hello_behind(&bench, 16, 1).await;
    pass(&bench, 1, 5).await;
    // The handshake is 5 minutes older now, and it is as late as it was then.
    let first = told_at(&session, 1, clock, machine(32, 16));
    bench.store.ingest(std::slice::from_ref(&first)).await.unwrap();
    assert_eq!(bench.number("SELECT cpu_number::bigint FROM host_info").await, 32);
    let rows = history(&bench).await;
    let told: Vec<_> = rows.iter().map(|row| row.0).collect();
    assert_eq!(told, [8, 16, 32]);
    // By its own clock 5 minutes passed in between.
    let (from, to) = (rows[0].1.unwrap(), rows[1].1.unwrap());
    assert_eq!(to.since(from), 300_000_000);
    // Told again it changes nothing, nor does what was told later.
    pass(&bench, 1, 2).await;
    let before = history(&bench).await;
    forget_marks(&bench).await;
    let first = told_at(&session, 1, minutes_before(clock, 2), machine(32, 16));
    let second = told_at(&session, 2, clock, machine(64, 16));
    bench.store.ingest(std::slice::from_ref(&first)).await.unwrap();
    assert_eq!(history(&bench).await, before);
    bench.store.ingest(std::slice::from_ref(&second)).await.unwrap();
    let all = history(&bench).await;
    assert_eq!(all.iter().map(|row| row.0).collect::<Vec<_>>(), [8, 16, 32, 64]);
    forget_marks(&bench).await;
    bench.store.ingest(&[first, second]).await.unwrap();
    assert_eq!(history(&bench).await, all);
}

#[tokio::test]
async fn a_change_that_is_delivered_after_the_next_handshake_lies_between_both() {
    let bench = Bench::new().await;
    hello_behind(&bench, 8, 1).await;
    pass(&bench, 1, 60).await;
    let (_, clock) = hello_behind(&bench, 16, 1).await;
    pass(&bench, 1, 5).await;
    // Made now, and the connection is gone.
    let made = minutes_before(clock, 3);
    pass(&bench, 1, 3).await;
    let (session, _) = hello_behind(&bench, 32, 2).await;
    bench.store.ingest(&[told_at(&session, 1, made, machine(32, 16))]).await.unwrap();
    let rows = history(&bench).await;
    assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), [8, 16, 32]);
    assert_eq!(rows[1].1.unwrap().since(rows[0].1.unwrap()), 300_000_000);
}

#[tokio::test]
async fn another_epoch_has_its_own_order() {
    let bench = Bench::new().await;
    hello_behind(&bench, 8, 1).await;
    pass(&bench, 1, 60).await;
    let (_, clock) = hello_behind(&bench, 16, 1).await;
    pass(&bench, 1, 2).await;
    // The same machine with a new spool.
    let epoch = Epoch::new(2).unwrap();
    let hello = Hello { epoch, next: Sequence::FIRST, clock, ..hello_of(16, 16) };
    let session = bench.open(&hello).await;
    bench.store.ingest(&[told_at(&session, 1, clock, machine(32, 16))]).await.unwrap();
    let told: Vec<_> = history(&bench).await.into_iter().map(|row| row.0).collect();
    assert_eq!(told, [8, 16, 32]);
}

#[tokio::test]
async fn what_is_old_keeps_its_own_time() {
    let bench = Bench::new().await;
    let (session, clock) = hello_behind(&bench, 8, 1).await;
    let days = 3 * 1_440;
    pass(&bench, 1, days).await;
    // Two days after that handshake, told only now.
    let time = minutes_before(clock, 1_440);
    bench.store.ingest(&[told_at(&session, 1, time, machine(16, 16))]).await.unwrap();
    assert_eq!(history(&bench).await, [(8, Some(time)), (16, None)]);
    // What was made before the next handshake told another state is no news after it.
    let hello = Hello { clock, ..hello_of(64, 16) };
    let session = bench.open(&hello).await;
    let time = minutes_before(clock, 60);
    bench.store.ingest(&[told_at(&session, 2, time, machine(32, 16))]).await.unwrap();
    let told: Vec<_> = history(&bench).await.into_iter().map(|row| row.0).collect();
    assert_eq!(told, [8, 16, 32, 64]);
    assert_eq!(bench.number("SELECT cpu_number::bigint FROM host_info").await, 64);
}

#[tokio::test]
async fn a_clock_that_is_ahead_or_goes_back_never_hides_the_present() {
    let bench = Bench::new().await;
    let session = bench.open(&hello_of(8, 16)).await;
    // A year ahead: so now, and nothing later is older than that.
    let year = bench.now().await.plus_micros(31_536_000_000_000);
    bench.store.ingest(&[told_at(&session, 1, year, machine(16, 16))]).await.unwrap();
    assert_eq!(bench.number("SELECT cpu_number::bigint FROM host_info").await, 16);
    let both = [
        told_at(&session, 2, year.plus_micros(1), machine(32, 16)),
        told_at(&session, 3, year.plus_micros(2), machine(64, 16)),
    ];
    // Within a minute the last one counts.
    bench.store.ingest(&both).await.unwrap();
    assert_eq!(bench.number("SELECT cpu_number::bigint FROM host_info").await, 64);
    // The database's clock was ahead, too.
    let ahead = "UPDATE host_info_history SET last_told_at = now() + interval '1 hour' WHERE valid_to = 'infinity'";
    bench.sql.batch_execute(ahead).await.unwrap();
    bench.open(&hello_of(8, 16)).await;
    let told: Vec<_> = history(&bench).await.into_iter().map(|row| row.0).collect();
    assert_eq!(told, [8, 64, 8]);
}

#[tokio::test]
async fn what_a_clock_that_is_ahead_told_changes_nothing_when_it_is_told_again() {
    let bench = Bench::new().await;
    let session = bench.open(&Hello { next: Sequence::FIRST, ..hello_of(8, 16) }).await;
    pass(&bench, 1, 60).await;
    let ahead = bench.now().await.plus_micros(300_000_000);
    bench.store.ingest(&[told_at(&session, 1, ahead, machine(16, 16))]).await.unwrap();
    pass(&bench, 1, 3).await;
    bench.store.ingest(&[told_at(&session, 2, ahead, machine(32, 16))]).await.unwrap();
    pass(&bench, 1, 10).await;
    let before = history(&bench).await;
    assert_eq!(before.iter().map(|row| row.0).collect::<Vec<_>>(), [8, 16, 32]);
    forget_marks(&bench).await;
    let again = [(13, 16), (10, 32)].map(|(ago, cpus)| (minutes_before(ahead, ago), cpus));
    let again: Vec<_> = (1_u64..)
        .zip(again)
        .map(|(n, (time, cpus))| told_at(&session, n, time, machine(cpus, 16)))
        .collect();
    bench.store.ingest(&again).await.unwrap();
    assert_eq!(history(&bench).await, before);
}

#[tokio::test]
async fn anchors_are_bounded_and_written_by_what_tells_something() {
    let bench = Bench::new().await;
    for n in 1..=20 {
        hello_behind(&bench, n, u64::try_from(n).unwrap()).await;
    }
    let anchors = "SELECT count(*) FROM rowcall.facts_anchor";
    assert_eq!(bench.number(anchors).await, 8);
    let (session, _) = hello_behind(&bench, 20, 30).await;
    assert_eq!(bench.number("SELECT max(sequence) FROM rowcall.facts_anchor").await, 20);
    // By a clock that is right.
    let time = bench.now().await;
    bench.store.ingest(&[told_at(&session, 1, time, machine(64, 16))]).await.unwrap();
    assert_eq!(bench.number("SELECT max(sequence) FROM rowcall.facts_anchor").await, 20);
}

/// What happens to a host, so many minutes after what happened before.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// It changes, and a record tells it.
    Told,
    /// It changes, and the record is delivered after the next handshake.
    ToldLate,
    /// It changes while its agent does not run, and the handshake tells it.
    Started,
    /// A handshake tells what it is.
    Reconnected,
}

/// How far its clock is behind, in minutes, and what happens.
fn course() -> impl Strategy<Value = (i64, Vec<(i64, Event)>)> {
    let event = prop::sample::select(vec![
        Event::Told,
        Event::ToldLate,
        Event::Started,
        Event::Reconnected,
    ]);
    let lag = prop_oneof![Just(0_i64), 1..60_i64];
    (lag, prop::collection::vec((2..20_i64, event), 1..7))
}

/// One host, seen by the function that decides.
struct Told<'a> {
    bench: &'a Bench,
    host: i32,
    lag: i64,
    cpus: i32,
    /// Host's clock, sequence and CPUs of each record.
    records: Vec<(UnixMicros, i64, i32)>,
    delivered: usize,
}

impl Told<'_> {
    async fn clock(&self) -> UnixMicros {
        minutes_before(self.bench.now().await, self.lag)
    }

    async fn tell(&self, clock: UnixMicros, is_now: bool, sequence: i64, cpus: i32) {
        let sql = "SELECT rowcall.tell_facts($1, $2, $3, jsonb_build_object('cpu_number', $4::integer), NULL, NULL, 1, $5)";
        let parameters: [&(dyn postgres_types::ToSql + Sync); 5] =
            [&self.host, &Time(clock), &is_now, &cpus, &sequence];
        self.bench.sql.query(sql, &parameters).await.unwrap();
    }

    async fn record(&mut self) {
        let sequence = i64::try_from(self.records.len()).unwrap() + 1;
        self.records.push((self.clock().await, sequence, self.cpus));
    }

    async fn deliver(&mut self, from: usize) {
        for &(clock, sequence, cpus) in &self.records[from..] {
            self.tell(clock, false, sequence, cpus).await;
        }
        self.delivered = self.records.len();
    }

    async fn shake_hands(&mut self) {
        let next = i64::try_from(self.records.len()).unwrap() + 1;
        self.tell(self.clock().await, true, next, self.cpus).await;
        self.deliver(self.delivered).await;
    }

    async fn pass(&mut self, minutes: i64) {
        pass(self.bench, self.host, minutes).await;
        for record in &mut self.records {
            record.0 = minutes_before(record.0, minutes);
        }
    }

    async fn happens(&mut self, event: Event) {
        self.cpus += i32::from(!matches!(event, Event::Reconnected));
        match event {
            Event::Told | Event::ToldLate => {
                self.record().await;
                // In order: not before one that waits.
                if matches!(event, Event::Told) && self.delivered + 1 == self.records.len() {
                    self.deliver(self.delivered).await;
                }
            }
            Event::Started | Event::Reconnected => self.shake_hands().await,
        }
    }
}

#[test]
fn whatever_the_clock_says_states_stand_in_order_and_the_last_is_the_present() {
    check(60, course(), async |bench, host, (lag, events)| {
        let records = Vec::new();
        let mut told = Told { bench, host, lag, cpus: 1, records, delivered: 0 };
        told.shake_hands().await;
        for (minutes, event) in events.clone() {
            told.pass(minutes).await;
            told.happens(event).await;
            history_of(bench, host).await;
        }
        told.shake_hands().await;
        let rows = history_of(bench, host).await;
        let states: Vec<_> = rows.iter().map(|row| row.0).collect();
        assert!(states.is_sorted(), "{states:?}");
        assert_eq!(states.last(), Some(&told.cpus), "{events:?}");
        if lag == 0 {
            assert_eq!(states, (1..=told.cpus).collect::<Vec<_>>());
        }
        told.deliver(0).await;
        assert_eq!(history_of(bench, host).await, rows, "told twice");
    });
}
