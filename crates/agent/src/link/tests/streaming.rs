//! What goes over a stream, in which order, and when it ends.

use rowcall_core::clock::TestClock;
use rowcall_core::id::UnixMicros;
use rowcall_core::record::{Gap, GapCause, GapState};

use super::super::stream::beat_every;
use super::*;

#[tokio::test]
async fn what_waits_goes_in_one_batch_and_live_samples_one_by_one() {
    let mut peer = Peer::start().await;
    let agent = Agent::start(peer.config(), 3).await;
    let (mut call, hello) = peer.welcomed(None).await;
    assert_eq!((hello.host_name.as_str(), hello.spool_epoch, hello.run_id), ("node1", 77, 9));
    assert_eq!((hello.oldest_sequence, hello.next_sequence), (1, 4));
    assert_eq!(hello.epoch_origin(), pb::EpochOrigin::New);
    assert!(hello.host_info.as_ref().unwrap().total_mem_kib.is_some());
    let first = call.batch().await;
    assert_eq!(sequences(&first), [1, 2, 3]);
    let status = first.spool.unwrap();
    assert_eq!((status.unacknowledged_records, status.due_ticks), (3, 3));
    assert_eq!((status.dropped_records, status.damaged_records), (0, 0));
    assert!(status.clock_unix_us > 0 && status.size_bytes > 0, "{status:?}");
    call.ack(&hello, 2).await;
    agent.unacknowledged(1).await;
    for time in 4..=6 {
        agent.sample(time);
        let live = call.batch().await;
        assert_eq!(sequences(&live), [u64::try_from(time).unwrap()]);
        assert_eq!(live.spool, None, "at most once a minute");
        assert_eq!(live.records[0].due_ticks, live.records[0].sequence);
    }
    assert_eq!(call.encoding, None, "a few records are not worth it");
    call.ack(&hello, 6).await;
    agent.unacknowledged(0).await;
    agent.stopped().await;
}

#[tokio::test]
async fn a_lower_mark_makes_it_send_again_and_is_told_with_both_numbers() {
    let mut peer = Peer::start().await;
    let lines = Lines::of_this_thread();
    let agent = Agent::start(peer.config(), 4).await;
    let (mut call, hello) = peer.welcomed(None).await;
    call.batch().await;
    call.ack(&hello, 4).await;
    agent.unacknowledged(0).await;
    drop(call);
    // The database lost all but the first record.
    let (mut call, _) = peer.welcomed(Some((1, 1))).await;
    assert_eq!(sequences(&call.batch().await), [2, 3, 4]);
    let text = lines.text();
    let said = "WARN rowcall_agent::link::open: the aggregator's mark is 1, below 4 that was \
                acknowledged: its database lost rows, as after a restored backup; sending again \
                from 2";
    assert!(text.contains(said), "{text}");
    assert_eq!(agent.health.counts().refills, 1);
    agent.stopped().await;
}

#[tokio::test]
async fn a_database_that_loses_the_same_rows_again_and_again_is_filled_less_and_less_often() {
    let peer = Peer::start().await;
    let (mut link, _folder) = link(peer.config()).await;
    fill(&link.queue, 1..=2);
    assert!(link.queue.spool.flush(LONG));
    link.queue.spool.release(Sequence::new(2).unwrap());
    link.backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(100)).unwrap();
    let mut waits = Vec::new();
    for _ in 0..5 {
        link.compare(None, Sequence::FIRST);
        link.progressed();
        waits.push(link.backoff.next(1.0).as_secs());
    }
    assert_eq!(waits, [1, 2, 4, 8, 16], "though everything is acknowledged each time");
    link.compare(welcome(Some((2, 2))).mark.as_ref(), Sequence::FIRST);
    link.progressed();
    assert_eq!(link.backoff.next(1.0).as_secs(), 1, "it keeps what it has now");
}

#[tokio::test]
async fn only_progress_makes_a_refill_start_over() {
    let peer = Peer::start().await;
    let (mut link, _folder) = link(peer.config()).await;
    fill(&link.queue, 1..=9);
    assert!(link.queue.spool.flush(LONG));
    link.queue.spool.release(Sequence::new(9).unwrap());
    let mut found = Vec::new();
    for mark in [None, None, Some((3, 3)), Some((5, 5)), Some((5, 5)), Some((9, 9)), Some((4, 4))] {
        let mark = welcome(mark).mark;
        link.compare(mark.as_ref(), Sequence::FIRST);
        found.push(link.course.refill.map(|refill| refill.times));
    }
    assert_eq!(found, [Some(1), Some(2), Some(1), Some(1), Some(2), None, Some(1)]);
}

#[tokio::test]
async fn an_acknowledgement_for_another_epoch_is_ignored_and_said() {
    let mut peer = Peer::start().await;
    let lines = Lines::of_this_thread();
    let agent = Agent::start(peer.config(), 2).await;
    let (mut call, hello) = peer.welcomed(None).await;
    call.batch().await;
    call.send(Response::Ack(pb::Ack { spool_epoch: 78, through_sequence: 2, clock_unix_us: 0 }))
        .await;
    call.ack(&hello, 1).await;
    agent.unacknowledged(1).await;
    assert!(lines.text().contains("acknowledged 2 of epoch 78, which is not ours: ignored"));
    agent.stopped().await;
}

#[tokio::test]
async fn what_the_spool_no_longer_holds_is_told_with_its_ticks() {
    let mut peer = Peer::start().await;
    let (link, folder) = link(peer.config()).await;
    let spool = link.queue.spool.clone();
    fill(&link.queue, 1..=150);
    let missed = Gap {
        through: Sequence::FIRST,
        ticks: 10,
        state: GapState::Missed,
        cause: GapCause::Off,
        from: at(150),
        to: at(151),
    };
    spool.append(at(151), SystemClock.since_boot(), Body::Gap(missed));
    // More than fits, and all of it acknowledged: the oldest go without a word.
    let mut next = 152;
    while spool.oldest() == Sequence::FIRST {
        fill(&link.queue, next..=next + 999);
        next += 1000;
        let held = spool.clone();
        assert!(tokio::task::spawn_blocking(move || held.flush(LONG)).await.unwrap());
        spool.release(Sequence::new(u64::try_from(next - 1).unwrap()).unwrap());
    }
    let oldest = spool.oldest().as_u64();
    let agent = Agent::running(link, folder);
    // The database lost all but the first 100 records.
    let (mut call, hello) = peer.welcomed(Some((100, 100))).await;
    assert_eq!(hello.oldest_sequence, oldest);
    let batch = call.batch().await;
    assert_eq!(sequences(&batch)[..2], [101, oldest]);
    let Some(pb::record::Body::Gap(gap)) = &batch.records[0].body else { panic!("no gap") };
    assert_eq!((gap.through_sequence, gap.state()), (oldest - 1, pb::GapState::Forgotten));
    // One of those records stood for ten ticks.
    assert_eq!((gap.ticks, batch.records[0].due_ticks), (oldest - 101 + 9, oldest - 1 + 9));
    assert_eq!(batch.records[1].due_ticks, oldest + 9);
    agent.stopped().await;
}

#[tokio::test]
async fn a_mark_that_knows_more_than_the_queue_starts_a_new_epoch() {
    let mut peer = Peer::start().await;
    let agent = Agent::start(peer.config(), 2).await;
    let (_call, hello) = peer.welcomed(Some((2, 999))).await;
    let (mut call, renewed) = peer.welcomed(None).await;
    assert_ne!(renewed.spool_epoch, hello.spool_epoch);
    assert_eq!(renewed.epoch_origin(), pb::EpochOrigin::RolledBack);
    assert_eq!(sequences(&call.batch().await), [1, 2]);
    call.ack(&renewed, 2).await;
    agent.unacknowledged(0).await;
    agent.stopped().await;
}

#[tokio::test]
async fn the_window_holds_a_backlog_back() {
    let mut peer = Peer::start().await;
    let agent = Agent::start(peer.config(), 3000).await;
    let (mut call, hello) = peer.call().await;
    let window = 10_000;
    let narrow = pb::Welcome { max_in_flight_bytes: window, ..welcome(None) };
    call.send(Response::Welcome(narrow)).await;
    assert_eq!(call.encoding.as_deref(), Some("gzip"), "a backlog is");
    let (mut in_flight, mut through, mut batches) = (0, 0, 0);
    while through < 3000 {
        // Take what comes; acknowledge only when no more can come.
        let batch = call.batch().await;
        assert_eq!(batch.records[0].sequence, through + 1);
        assert!(batch.encoded_len() >= 256, "no crumbs while there is a backlog");
        through = batch.records.last().unwrap().sequence;
        in_flight += batch.encoded_len();
        batches += 1;
        assert!(in_flight <= usize::try_from(window).unwrap(), "{in_flight} bytes in flight");
        if usize::try_from(window).unwrap() - in_flight < 4096 {
            // The agent shares this thread: give it every chance to send too much.
            for _ in 0..2000 {
                tokio::task::yield_now().await;
            }
            let early = timeout(Duration::ZERO, call.inbox.message()).await;
            assert!(early.is_err(), "sent beyond the window");
            call.ack(&hello, through).await;
            in_flight = 0;
        }
    }
    assert!(batches > 3);
    call.ack(&hello, through).await;
    agent.unacknowledged(0).await;
    agent.stopped().await;
}

#[tokio::test]
async fn a_stop_sends_what_is_left_then_bye_and_waits_for_the_acknowledgement() {
    let mut peer = Peer::start().await;
    let config = Config { stop_wait: LONG, ..peer.config() };
    let agent = Agent::start(config, 1).await;
    let (mut call, hello) = peer.welcomed(None).await;
    call.batch().await;
    call.ack(&hello, 1).await;
    agent.unacknowledged(0).await;
    let queue = Arc::clone(&agent.queue);
    fill(&queue, 2..=2);
    let stopped = tokio::spawn(agent.stopped());
    assert_eq!(sequences(&call.batch().await), [2]);
    let Some(Request::Bye(bye)) = call.next().await else { panic!("no Bye") };
    assert_eq!((bye.reason(), bye.unacknowledged_records), (pb::ByeReason::Stopped, 1));
    assert_eq!(call.next().await, None, "Bye is the last frame");
    assert!(!stopped.is_finished());
    call.ack(&hello, 2).await;
    let released = || queue.spool.status().unacknowledged_records == 0;
    rowcall_testkit::poll::wait_for("the release", LONG, || async { released().then_some(()) })
        .await;
    assert!(!stopped.is_finished(), "Bye is on its way until the aggregator ends the stream");
    drop(call);
    stopped.await.unwrap();
    assert_eq!(queue.spool.status().unacknowledged_records, 0);
}

#[tokio::test]
async fn a_stop_does_not_wait_forever_for_a_silent_peer() {
    let mut peer = Peer::start().await;
    let config = Config { stop_wait: Duration::from_millis(20), ..peer.config() };
    let agent = Agent::start(config, 1).await;
    let (mut call, _) = peer.welcomed(None).await;
    call.batch().await;
    agent.stopped().await;
}

#[tokio::test]
async fn an_interval_below_the_agents_minimum_is_raised() {
    let mut peer = Peer::start().await;
    let config = Config { min_interval: Duration::from_secs(5), ..peer.config() };
    let mut agent = Agent::start(config, 0).await;
    let (call, _) = peer.call().await;
    call.send(Response::Welcome(pb::Welcome { interval_ms: 10, ..welcome(None) })).await;
    timeout(LONG, agent.interval.changed()).await.unwrap().unwrap();
    assert_eq!(*agent.interval.borrow(), Duration::from_secs(5));
    agent.stopped().await;
}

#[tokio::test]
async fn an_agent_slower_than_asked_shows_that_it_is_there() {
    let mut peer = Peer::start().await;
    let config = Config { min_interval: Duration::from_millis(50), ..peer.config() };
    let agent = Agent::start(config, 0).await;
    let (mut call, _) = peer.call().await;
    call.send(Response::Welcome(pb::Welcome { interval_ms: 10, ..welcome(None) })).await;
    for _ in 0..3 {
        let batch = call.batch().await;
        assert!(batch.records.is_empty() && batch.spool.is_some(), "{batch:?}");
    }
    drop(call);
    agent.stopped().await;
}

#[test]
fn an_aggregator_that_asks_for_signs_of_life_too_often_gets_no_flood() {
    let (fast, second) = (Duration::from_millis(20), Duration::from_secs(1));
    for (asked_ms, min_interval, every) in [
        (1, LONG, Some(second)),
        (10_000, LONG, Some(Duration::from_secs(10))),
        (1, second, Some(second)),
        (1, fast, Some(fast)),
        (50, fast, None),
    ] {
        let found = beat_every(Duration::from_millis(asked_ms), min_interval);
        assert_eq!(found, every, "{asked_ms} ms, {min_interval:?}");
    }
}

#[tokio::test]
async fn what_an_aggregator_says_of_itself_fills_no_log() {
    let mut peer = Peer::start().await;
    let lines = Lines::of_this_thread();
    let mut agent = Agent::start(peer.config(), 0).await;
    let aggregator_version = format!("9.9\n{}", "x".repeat(100_000));
    let (call, _) = peer.call().await;
    let welcome = pb::Welcome { aggregator_version, interval_ms: 90_000, ..welcome(None) };
    call.send(Response::Welcome(welcome)).await;
    timeout(LONG, agent.interval.changed()).await.unwrap().unwrap();
    rowcall_testkit::poll::wait_for("the line", LONG, || async {
        lines.text().contains("version=").then_some(())
    })
    .await;
    let text = lines.text();
    assert!(text.contains("9.9 xxx") && text.len() < 2_000, "{text}");
    agent.stopped().await;
}

#[tokio::test]
async fn what_was_read_before_the_clock_was_set_gets_its_time_by_the_aggregators() {
    let mut peer = Peer::start().await;
    let (mut link, folder) = link(peer.config()).await;
    // An hour after boot.
    link.clock = Arc::new(TestClock::at(UnixMicros(0)));
    let sample = Body::Sample(Sample::default());
    let since_boot = Duration::from_secs(3500);
    link.queue.spool.append(UnixMicros(0), since_boot, sample);
    assert!(link.queue.spool.flush(LONG));
    assert_eq!(link.queue.spool.next(), Sequence::FIRST, "nobody knows its time");
    let agent = Agent::running(link, folder);
    let (mut call, hello) = peer.call().await;
    assert_eq!((hello.next_sequence, hello.clock_unix_us), (2, 0));
    let clock_unix_us = at(0).0;
    call.send(Response::Welcome(pb::Welcome { clock_unix_us, ..welcome(None) })).await;
    let batch = call.batch().await;
    assert_eq!(batch.records[0].time_unix_us, at(-100_000_000).0);
    agent.stopped().await;
}
