//! The ledger: due = samples + quarantined + dropped + missed at every mark, each tick once.

use super::*;
use rowcall_core::id::Epoch;

/// due, told_due, samples, quarantined, dropped, missed, duplicates.
async fn ledger(bench: &Bench, session: &OpenedSession) -> [i64; 7] {
    let sql = "SELECT due, told_due, samples, quarantined, dropped, missed, duplicates
        FROM host_latest WHERE host_id = $1";
    let row = bench.sql.query_one(sql, &[&session.host_id.0]).await.unwrap();
    std::array::from_fn(|column| row.get(column))
}

/// Epochs whose sum is wrong.
async fn wrong_sums(bench: &Bench) -> i64 {
    bench.number("SELECT count(*) FROM rowcall.ledger WHERE difference <> 0").await
}

fn missing(through: u64, ticks: i64, state: GapState, time: UnixMicros) -> Body {
    let through = Sequence::new(through).unwrap();
    Body::Gap(Gap { through, ticks, state, cause: GapCause::Size, from: time, to: time })
}

/// One spool's records as an agent numbers them, each with the ticks due up to it.
struct Agent {
    session: OpenedSession,
    start: UnixMicros,
    records: Vec<Incoming>,
    next: u64,
    due: i64,
}

impl Agent {
    async fn new(bench: &Bench, name: &str) -> Self {
        let session = bench.host(name).await;
        let start = minutes_before(bench.now().await, 300);
        Self { session, start, records: Vec::new(), next: 1, due: 0 }
    }

    /// The next record; how many sequences it covers, and how many ticks it stands for.
    fn add(&mut self, body: impl FnOnce(u64, UnixMicros) -> Body, covers: u64, ticks: i64) {
        let time = minutes_before(self.start, -self.next.cast_signed());
        self.due += ticks;
        let mut incoming = record(&self.session, self.next, time, body(self.next, time));
        incoming.record.due_ticks = self.due;
        incoming.told_due = Some(self.due);
        self.next += covers;
        self.records.push(incoming);
    }

    fn sample(&mut self) {
        self.add(|_, _| Body::Sample(Sample::default()), 1, 1);
    }

    /// A sample from before anything that is kept.
    fn ancient_sample(&mut self) {
        self.sample();
        let sequence = i64::try_from(self.next).unwrap();
        self.records.last_mut().unwrap().record.time = UnixMicros(sequence);
    }

    fn gap(&mut self, covers: u64, ticks: i64, state: GapState) {
        self.add(|first, time| missing(first + covers - 1, ticks, state, time), covers, ticks);
    }
}

#[tokio::test]
async fn each_tick_is_counted_once_by_what_became_of_it() {
    let bench = Bench::new().await;
    let mut agent = Agent::new(&bench, "node1").await;
    agent.sample();
    agent.sample();
    agent.gap(1, 7, GapState::Missed);
    agent.gap(5, 4, GapState::Dropped);
    agent.gap(2, 3, GapState::Corrupt);
    agent.gap(3, 2, GapState::Forgotten);
    agent.gap(1, 9, GapState::Unknown);
    agent.ancient_sample();
    agent.add(|_, _| Body::HostFacts(Box::new(facts())), 1, 0);
    agent.add(|_, _| Body::Invalid("nonsense"), 1, 6);
    agent.sample();
    bench.store.ingest(&agent.records).await.unwrap();
    let expected = [35, 35, 3, 7, 18, 7, 0];
    assert_eq!(ledger(&bench, &agent.session).await, expected);
    assert_eq!(wrong_sums(&bench).await, 0);
    // Again: 4 samples, one of which had been put aside.
    bench.store.ingest(&agent.records).await.unwrap();
    assert_eq!(ledger(&bench, &agent.session).await[..6], expected[..6]);
    assert_eq!(ledger(&bench, &agent.session).await[6], 4);
}

#[tokio::test]
async fn what_is_told_but_not_sent_yet_is_spooled() {
    let bench = Bench::new().await;
    let mut agent = Agent::new(&bench, "node1").await;
    (0..10).for_each(|_| agent.sample());
    let mut some = agent.records[..4].to_vec();
    some[1].told_due = Some(10);
    some[3].told_due = None;
    bench.store.ingest(&some).await.unwrap();
    let spooled =
        "SELECT spooled FROM rowcall.ledger WHERE due = 10 AND committed = 4 AND difference = 0";
    assert_eq!(bench.number(spooled).await, 6);
    bench.store.ingest(&agent.records[4..]).await.unwrap();
    assert_eq!(ledger(&bench, &agent.session).await[..3], [10, 10, 10]);
}

#[tokio::test]
async fn an_agent_that_tells_no_ticks_has_no_sum_to_be_wrong() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let now = bench.now().await;
    let records =
        [sample(&session, 1, now), record(&session, 2, now, missing(2, 5, GapState::Missed, now))];
    bench.store.ingest(&records).await.unwrap();
    assert_eq!(ledger(&bench, &session).await, [0, 0, 1, 0, 0, 5, 0]);
    assert_eq!(wrong_sums(&bench).await, 0);
}

#[tokio::test]
async fn a_part_of_what_comes_may_be_known_already() {
    let bench = Bench::new().await;
    let mut agent = Agent::new(&bench, "node1").await;
    (0..10).for_each(|_| agent.sample());
    agent.ancient_sample();
    agent.ancient_sample();
    bench.store.ingest(&agent.records[..11]).await.unwrap();
    // Two samples of the old ones and one refused, then one refused that is new; and twice in a call.
    let mut again = agent.records[8..].to_vec();
    again.extend_from_slice(&agent.records[11..]);
    bench.store.ingest(&again).await.unwrap();
    assert_eq!(ledger(&bench, &agent.session).await, [12, 12, 10, 2, 0, 0, 4]);
    // A gap that reaches back before the mark counts only for what is beyond.
    let (first, time) = (agent.next - 2, agent.start);
    agent.due += 3;
    let mut gap =
        record(&agent.session, first, time, missing(agent.next + 2, 5, GapState::Forgotten, time));
    gap.record.due_ticks = agent.due;
    bench.store.ingest(&[gap]).await.unwrap();
    assert_eq!(ledger(&bench, &agent.session).await, [15, 12, 10, 2, 3, 0, 4]);
    assert_eq!(wrong_sums(&bench).await, 0);
}

#[tokio::test]
async fn two_streams_that_bring_the_same_at_once_are_counted_once() {
    let bench = Bench::new().await;
    let mut agent = Agent::new(&bench, "node1").await;
    (0..3).for_each(|_| agent.sample());
    let replaced = agent.records.clone();
    // The spool gave up what the replaced stream still brings.
    agent.records.truncate(1);
    (agent.next, agent.due) = (2, 1);
    agent.gap(3, 3, GapState::Dropped);
    agent.sample();
    let both: Vec<_> = replaced.into_iter().chain(agent.records.clone()).collect();
    bench.store.ingest(&both).await.unwrap();
    let told = ledger(&bench, &agent.session).await;
    assert_eq!(told[0], 5);
    assert_eq!(told[2..6].iter().sum::<i64>(), 5, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_another_writer_counts_by_the_mark_that_it_left() {
    let bench = Bench::new().await;
    let mut agents = Vec::new();
    for n in 0..6 {
        let mut agent = Agent::new(&bench, &format!("node{n}")).await;
        for round in 0..60_u64 {
            match (round + n) % 10 {
                3 => agent.gap(1 + round % 3, 2, GapState::Dropped),
                5 => agent.ancient_sample(),
                7 if round % 4 == 0 => agent.add(|_, _| Body::Invalid("nonsense"), 1, 1),
                8 if round % 3 == 0 => agent.add(|_, _| Body::HostFacts(Box::new(facts())), 1, 0),
                _ => agent.sample(),
            }
        }
        agents.push(agent);
    }
    let other = Store::connect(&Settings::new(bench.database.url())).await.unwrap();
    let stores = [bench.store.clone(), other.clone(), bench.store.clone(), other];
    // Each writer brings the same records cut at other places, and some of what it brought before.
    let writers = stores.into_iter().enumerate().map(|(writer, store)| {
        let length = 3 + 2 * writer;
        let calls: Vec<Vec<Incoming>> = (0..60_usize.div_ceil(length))
            .map(|call| {
                let part = |agent: &Agent| {
                    let end = ((call + 1) * length).min(agent.records.len());
                    agent.records[(call * length).saturating_sub(writer)..end].to_vec()
                };
                agents.iter().flat_map(part).collect()
            })
            .collect();
        tokio::spawn(async move {
            for call in calls {
                store.ingest(&call).await.unwrap();
            }
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    for agent in &agents {
        let told = ledger(&bench, &agent.session).await;
        assert_eq!(told[0], agent.due);
        assert_eq!(told[2..6].iter().sum::<i64>(), agent.due, "{told:?}");
        let rows =
            format!("SELECT count(*) FROM host_usage WHERE host_id = {}", agent.session.host_id.0);
        assert_eq!(told[2], bench.number(&rows).await);
    }
    assert_eq!(wrong_sums(&bench).await, 0);
}

#[tokio::test]
async fn a_bad_row_cut_out_by_bisection_is_counted_once_as_put_aside() {
    let bench = Bench::new().await;
    let mut agent = Agent::new(&bench, "node1").await;
    (0..20).for_each(|_| agent.sample());
    let refuse = "ALTER TABLE host_usage ADD CHECK (sequence <> 13)";
    bench.sql.batch_execute(refuse).await.unwrap();
    bench.store.ingest(&agent.records).await.unwrap();
    bench.store.ingest(&agent.records).await.unwrap();
    assert_eq!(ledger(&bench, &agent.session).await, [20, 20, 19, 1, 0, 0, 20]);
}

#[tokio::test]
async fn counts_that_no_clock_reaches_do_not_overflow() {
    let bench = Bench::new().await;
    let mut agent = Agent::new(&bench, "node1").await;
    for _ in 0..5 {
        agent.add(|first, time| missing(first, i64::MAX, GapState::Dropped, time), 1, 1);
        agent.add(|first, time| missing(first, i64::MAX, GapState::Missed, time), 1, 1);
        let newest = agent.records.last_mut().unwrap();
        (newest.record.due_ticks, newest.told_due) = (i64::MAX, Some(i64::MAX));
    }
    for record in &agent.records {
        bench.store.ingest(std::slice::from_ref(record)).await.unwrap();
    }
    bench.sql.query("SELECT * FROM rowcall.ledger", &[]).await.unwrap();
    assert_eq!(ledger(&bench, &agent.session).await[4], 1 << 60);
}

#[tokio::test]
async fn a_spool_that_is_replaced_takes_its_ledger_along_and_brings_it_back() {
    let bench = Bench::new().await;
    let mut agent = Agent::new(&bench, "node1").await;
    agent.sample();
    agent.gap(1, 4, GapState::Missed);
    bench.store.ingest(&agent.records).await.unwrap();
    let before = ledger(&bench, &agent.session).await;
    let replacing = rowcall_core::convert::Hello {
        epoch: Epoch::new(2).unwrap(),
        epoch_origin: rowcall_core::record::EpochOrigin::RolledBack,
        ..hello("node1", 2)
    };
    let other = bench.open(&replacing).await;
    assert_eq!(ledger(&bench, &other).await, [0; 7]);
    let kept = "SELECT count(*) FROM rowcall.ledger
        WHERE epoch = 1 AND closed_at IS NOT NULL AND due = 5 AND committed = 1 AND missed = 4 AND origin = 'new'";
    assert_eq!(bench.number(kept).await, 1);
    let origin = "SELECT count(*) FROM rowcall.ledger WHERE epoch = 2 AND origin = 'rolled_back'";
    assert_eq!(bench.number(origin).await, 1);
    let back = bench.host("node1").await;
    assert_eq!(ledger(&bench, &back).await, before);
    assert_eq!(back.mark.unwrap().due_ticks, 5);
    let moved = "SELECT count(*) FROM rowcall.epoch WHERE epoch = 1 AND closed_at IS NULL";
    assert_eq!(bench.number(moved).await, 1);
    agent.sample();
    bench.store.ingest(&agent.records[2..]).await.unwrap();
    assert_eq!(wrong_sums(&bench).await, 0);
    assert_eq!(ledger(&bench, &agent.session).await[..3], [6, 6, 2]);
}
