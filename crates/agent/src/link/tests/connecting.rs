//! Finding the way to an aggregator, again and again.

use super::super::dial::Remedy;
use super::*;

#[tokio::test]
async fn an_acknowledgement_beyond_what_was_sent_releases_nothing_and_ends_the_stream() {
    let mut peer = Peer::start().await;
    let agent = Agent::start(peer.config(), 2).await;
    let (mut call, hello) = peer.welcomed(None).await;
    call.batch().await;
    call.ack(&hello, 3).await;
    call.ended().await;
    let (mut call, again) = peer.welcomed(None).await;
    assert_eq!(again.oldest_sequence, 1);
    assert_eq!(sequences(&call.batch().await), [1, 2]);
    agent.unacknowledged(2).await;
    agent.stopped().await;
}

#[tokio::test]
async fn a_peer_that_does_not_welcome_is_left_and_tried_again() {
    let mut peer = Peer::start().await;
    let agent = Agent::start(peer.config(), 1).await;
    let wrong_protocol = pb::Welcome { protocol: 9, ..welcome(None) };
    let no_interval = pb::Welcome { interval_ms: 0, ..welcome(None) };
    for first in [
        Response::Ack(pb::Ack { spool_epoch: 77, through_sequence: 1, clock_unix_us: 0 }),
        Response::Welcome(wrong_protocol),
        Response::Welcome(no_interval),
        Response::Drain(pb::Drain::default()),
    ] {
        let (mut call, _) = peer.call().await;
        call.send(first).await;
        call.ended().await;
    }
    let (call, _) = peer.call().await;
    drop(call);
    let (mut call, _) = peer.welcomed(None).await;
    assert_eq!(sequences(&call.batch().await), [1]);
    agent.unacknowledged(1).await;
    agent.stopped().await;
}

#[tokio::test]
async fn after_drain_nothing_more_is_sent_and_the_rest_comes_on_the_next_stream() {
    let mut peer = Peer::start().await;
    let agent = Agent::start(peer.config(), 2).await;
    let (mut call, hello) = peer.welcomed(None).await;
    assert_eq!(sequences(&call.batch().await), [1, 2]);
    call.send(Response::Drain(pb::Drain { reconnect_within_ms: 1, reason: 1 })).await;
    call.ack(&hello, 1).await;
    // Frames come in order: whoever has read the Ack has read Drain.
    agent.unacknowledged(1).await;
    agent.sample(3);
    call.ack(&hello, 2).await;
    assert_eq!(call.next().await, None, "the stream ends and nothing more was sent");
    drop(call);
    let (mut call, hello) = peer.welcomed(Some((2, 2))).await;
    assert_eq!(sequences(&call.batch().await), [3]);
    call.ack(&hello, 3).await;
    agent.unacknowledged(0).await;
    agent.stopped().await;
}

#[tokio::test]
async fn a_stream_without_acknowledgements_is_left() {
    let mut peer = Peer::start().await;
    let config = Config { ack_timeout: Duration::from_millis(50), ..peer.config() };
    let agent = Agent::start(config, 1).await;
    let (mut call, _) = peer.welcomed(None).await;
    call.batch().await;
    let (mut call, _) = peer.welcomed(None).await;
    assert_eq!(sequences(&call.batch().await), [1], "the same record again");
    agent.stopped().await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_a_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (TestCa::root("ours").unwrap(), TestCa::root("theirs").unwrap());
    let agent = ours.issue(&Leaf::client(AGENT)).unwrap();
    agent.write(folder.path(), "agent", theirs.root_pem()).unwrap();
    let peer = Peer::with_authority(folder, &theirs).await;
    let (link, _folder) = link(peer.config()).await;
    let refused = link.dialer.connect(&link.aggregators[0]).await.unwrap_err();
    assert_eq!(refused.remedy, Remedy::Acceptance, "{}", refused.reason);
    assert!(refused.reason.contains("unknown_ca"), "{}", refused.reason);
    assert!(refused.reason.contains("agent.pem)"), "which file: {}", refused.reason);
}

#[tokio::test]
async fn a_certificate_of_another_role_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::root("test").unwrap();
    let viewer = Leaf::client("spiffe://example.org/viewer/grafana");
    let files = files(ca.write(folder.path(), "viewer", &viewer).unwrap());
    let config = Config::new(Endpoint::default(), files);
    let error = Dialer::load(&config, SystemClock::shared()).unwrap_err();
    assert!(error.to_string().contains("role viewer; an agent needs one of role agent"), "{error}");
}

#[tokio::test]
async fn a_renewed_certificate_is_used_at_the_next_connect_and_a_broken_one_is_not() {
    let mut peer = Peer::start().await;
    let agent = Agent::start(peer.config(), 1).await;
    let (call, _) = peer.welcomed(None).await;
    std::fs::write(peer.folder.path().join("agent.pem"), "cut off").unwrap();
    drop(call);
    let (mut call, _) = peer.welcomed(None).await;
    call.batch().await;
    agent.stopped().await;
}

/// An agent that knows both peers, the first one first.
fn with_both(first: &Peer, second: &Peer) -> Config {
    let aggregators = vec![first.endpoint.clone(), second.endpoint.clone()];
    Config { aggregators, backoff_min: LONG, backoff_max: LONG, ..second.config() }
}

#[tokio::test]
async fn when_one_aggregator_fails_the_next_is_tried_at_once() {
    let (gone, mut peer) = (Peer::start().await, Peer::start().await);
    let config = with_both(&gone, &peer);
    // Its authority is another one: as good as gone.
    let lines = Lines::of_this_thread();
    let agent = Agent::start(config, 1).await;
    let (mut call, hello) = peer.welcomed(None).await;
    call.batch().await;
    call.ack(&hello, 1).await;
    agent.unacknowledged(0).await;
    assert!(lines.text().contains(&format!("aggregator={}", gone.endpoint)), "{}", lines.text());
    let state = agent.health.state().borrow().clone();
    assert_eq!(state, LinkState::Connected(peer.endpoint.to_string()));
    agent.stopped().await;
}

#[tokio::test]
async fn an_aggregator_that_stops_is_left_for_another_one_and_one_that_refills_is_not() {
    let ca = TestCa::root("test").unwrap();
    let (mut first, mut second) = (Peer::of(&ca).await, Peer::of(&ca).await);
    let agent = Agent::start(with_both(&first, &second), 1).await;
    let drain = |reason: pb::DrainReason| {
        Response::Drain(pb::Drain { reconnect_within_ms: 1, reason: reason.into() })
    };
    let (mut call, _) = first.welcomed(None).await;
    call.send(drain(pb::DrainReason::Refill)).await;
    drop(call);
    (call, _) = first.welcomed(None).await;
    call.send(drain(pb::DrainReason::Shutdown)).await;
    drop(call);
    let (mut call, _) = second.welcomed(None).await;
    assert_eq!(sequences(&call.batch().await), [1]);
    agent.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn two_aggregators_that_both_break_again_and_again_make_no_busy_loop() {
    let peer = Peer::start().await;
    let config = with_both(&peer, &peer);
    let (mut link, _folder) = link(config).await;
    link.backoff = Backoff::new(Duration::from_secs(1), LONG).unwrap();
    let mut waits = Vec::new();
    for _ in 0..50 {
        link.progressed();
        waits.push(link.wait_after(End::Failed("it broke".into())).await);
    }
    assert_eq!(waits[0], Duration::ZERO, "the other one at once");
    // The mean of 49 is half a second; half of that is 6 standard deviations away.
    assert!(waits.iter().sum::<Duration>() >= Duration::from_secs(12), "{waits:?}");
    tokio::time::advance(Duration::from_secs(11)).await;
    link.progressed();
    assert_eq!(link.wait_after(End::Failed("it broke".into())).await, Duration::ZERO);
}

fn drain(within: Duration) -> End {
    End::Drained { within, leaves: false }
}

#[tokio::test]
async fn waits_fit_what_happened() {
    let peer = Peer::start().await;
    let config = Config { backoff_max: Duration::from_secs(9), ..peer.config() };
    let (mut link, _folder) = link(config).await;
    let mut drained_at_once = Duration::ZERO;
    for _ in 0..50 {
        let refused = link.wait_after(Status::permission_denied("revoked").into()).await;
        assert!((60..=300).contains(&refused.as_secs()), "{refused:?}");
        let taken = link.wait_after(Status::already_exists("another runs").into()).await;
        assert!((30..=60).contains(&taken.as_secs()), "{taken:?}");
        let drained = link.wait_after(drain(Duration::from_secs(36_000))).await;
        assert!(drained <= LONGEST_DRAIN);
        let at_once = link.wait_after(drain(Duration::ZERO)).await;
        assert!(at_once <= SHORTEST_DRAIN);
        drained_at_once += at_once;
        assert!(link.wait_after(End::Failed("x".into())).await <= Duration::from_secs(9));
    }
    // The mean of 50 is 1 s; half of that is 6 standard deviations away.
    assert!(drained_at_once >= Duration::from_secs(25), "a busy loop: {drained_at_once:?}");
    assert_eq!(link.wait_after(End::NewEpoch).await, Duration::ZERO);
    assert_ne!(link.queue.spool.epoch().as_u64(), 77);
}

#[tokio::test]
async fn the_whole_agent_samples_and_streams() {
    let mut peer = Peer::start().await;
    let min_interval = Duration::from_millis(10);
    let config = Config { min_interval, stop_wait: LONG, ..peer.config() };
    let stop = CancellationToken::new();
    let agent = crate::spawn_thread(config, SystemClock::shared(), stop.clone()).unwrap();
    let (mut call, hello) = peer.call().await;
    call.send(Response::Welcome(pb::Welcome { interval_ms: 10, ..welcome(None) })).await;
    let first = call.batch().await;
    let Some(pb::record::Body::Sample(sample)) = &first.records[0].body else {
        panic!("no sample but {first:?}")
    };
    assert!(sample.elapsed_us.unwrap() >= 1_000_000, "the first spans a second");
    assert!(sample.cpu_idle_percent.is_some() && sample.memory_free_kib.is_some());
    let second = call.batch().await;
    let next = first.records.last().unwrap().sequence + 1;
    assert_eq!(second.records[0].sequence, next);
    call.ack(&hello, second.records.last().unwrap().sequence).await;
    stop.cancel();
    while let Some(frame) = call.next().await {
        if let Request::Batch(batch) = frame {
            call.ack(&hello, batch.records.last().unwrap().sequence).await;
        }
    }
    drop(call);
    tokio::task::spawn_blocking(move || agent.join().unwrap().unwrap()).await.unwrap();
    let left = rowcall_spool::inspect(&peer.folder.path().join("spool")).unwrap();
    assert_eq!((left.held_by, left.status.epoch.as_u64()), (None, hello.spool_epoch));
    assert!(left.status.acknowledged.is_some_and(|(through, _)| through.as_u64() >= next));
}

#[tokio::test]
async fn a_server_of_another_authority_needs_people_and_the_reason_names_the_ca_file() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (TestCa::root("ours").unwrap(), TestCa::root("theirs").unwrap());
    ours.write(folder.path(), "agent", &Leaf::client(AGENT)).unwrap();
    let peer = Peer::with_authority(folder, &theirs).await;
    let (link, _folder) = link(peer.config()).await;
    let untrusted = link.dialer.connect(&link.aggregators[0]).await.unwrap_err();
    assert_eq!(untrusted.remedy, Remedy::People, "{}", untrusted.reason);
    for part in ["the server's certificate is not accepted", "agent-ca.pem)", "; give the CA"] {
        assert!(untrusted.reason.contains(part), "{}", untrusted.reason);
    }
}

#[tokio::test]
async fn a_server_under_another_name_needs_people_and_its_names_are_told_plainly() {
    let peer = Peer::start().await;
    let config = Config { server_name: Some("db7.example".into()), ..peer.config() };
    let (link, _folder) = link(config).await;
    let misnamed = link.dialer.connect(&link.aggregators[0]).await.unwrap_err();
    assert_eq!(misnamed.remedy, Remedy::People, "{}", misnamed.reason);
    let names = "it is not for \"db7.example\" but for localhost, 127.0.0.1, ";
    assert!(misnamed.reason.contains(names), "{}", misnamed.reason);
}

/// Asked for by each look at the files, which takes until the other end is dropped: as with a file
/// server that is gone.
#[derive(Debug)]
struct Hanging(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

impl rowcall_core::clock::Clock for Hanging {
    fn wall(&self) -> rowcall_core::id::UnixMicros {
        assert!(self.0.lock().unwrap().recv().is_err());
        rowcall_testkit::pki::now()
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn since_boot(&self) -> Duration {
        Duration::ZERO
    }
}

#[test]
fn a_file_system_that_hangs_stops_neither_reconnects_nor_name_lookups() {
    let test = async {
        let mut peer = Peer::start().await;
        let by_name = Endpoint { host: "localhost".into(), ..peer.endpoint.clone() };
        let config = Config { aggregators: vec![by_name], ..peer.config() };
        let (mut link, folder) = link(config).await;
        let (_hanging, until) = std::sync::mpsc::channel();
        let material = Arc::get_mut(&mut link.dialer.material).unwrap();
        material.reload_deadline = Duration::from_millis(10);
        material.clock = Arc::new(Hanging(std::sync::Mutex::new(until)));
        let agent = Agent::running(link, folder);
        // More often than there are threads for what blocks.
        for _ in 0..4 {
            drop(peer.welcomed(None).await);
        }
        agent.stopped().await;
    };
    // The agent's own runtime has few of them.
    crate::block_on(test).unwrap();
}

#[tokio::test]
async fn connections_cut_anywhere_lose_nothing_and_the_queue_drains() {
    let mut peer = Peer::start().await;
    let agent = Agent::start(peer.config(), 0).await;
    // Cut before Welcome, after it, with a batch unacknowledged, and with an Ack just sent.
    for (time, cut) in (1..=8).zip([0, 1, 2, 3, 0, 1, 2, 3]) {
        agent.sample(time);
        let (mut call, hello) = peer.call().await;
        if cut > 0 {
            let mark = (time > 4).then_some((4, 4));
            call.send(Response::Welcome(welcome(mark))).await;
        }
        if cut > 1 {
            let batch = call.batch().await;
            let last = batch.records.last().unwrap().sequence;
            assert_eq!(last, u64::try_from(time).unwrap());
            if cut > 2 {
                call.ack(&hello, last).await;
                agent.unacknowledged(0).await;
            }
        }
        drop(call);
    }
    agent.unacknowledged(0).await;
    agent.stopped().await;
}

#[tokio::test]
async fn a_service_manager_learns_how_the_link_stands() {
    let mut peer = Peer::start().await;
    let agent = Agent::start(peer.config(), 1).await;
    let mut state = agent.health.state();
    let mut until = async |wanted: fn(&LinkState) -> bool| {
        timeout(LONG, state.wait_for(wanted)).await.unwrap().unwrap().clone()
    };
    let (mut call, hello) = peer.welcomed(None).await;
    let state_now = until(|state| matches!(state, LinkState::Connected(_))).await;
    assert_eq!(state_now, LinkState::Connected(peer.endpoint.to_string()), "which one it is");
    call.batch().await;
    call.ack(&hello, 1).await;
    agent.unacknowledged(0).await;
    let ended = Status::permission_denied("Hello says host a, but the certificate names b");
    call.outbox.send(Err(ended)).await.unwrap();
    let state = until(|state| matches!(state, LinkState::NotConnected(..))).await;
    let LinkState::NotConnected(aggregator, reason) = state else { panic!("connected") };
    for part in ["refuses this agent: Hello says host a, but", "; or enrol this node anew"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(aggregator, peer.endpoint.to_string());
    agent.stopped().await;
}

#[tokio::test]
async fn after_a_lost_connection_the_next_word_is_connected_however_soon_it_is_back() {
    let mut peer = Peer::start().await;
    let lines = Lines::of_this_thread();
    let agent = Agent::start(peer.config(), 1).await;
    for reason in ["a", "b", "b", "b"] {
        let (mut call, _) = peer.welcomed(None).await;
        call.batch().await;
        call.outbox.send(Err(Status::unavailable(reason))).await.unwrap();
    }
    let (mut call, _) = peer.welcomed(None).await;
    call.batch().await;
    agent.stopped().await;
    let text = lines.text();
    let word = |line: &str| {
        let (_, said) = line.split_once("rowcall_agent::link")?.1.split_once(": ")?;
        Some(said.split_once(" aggregator=").map_or(said, |(word, _)| word).to_owned())
    };
    let words: Vec<_> = text.lines().filter_map(word).collect();
    let lost = "no connection: the aggregator ended the stream: ";
    // The same reason again is not said, and then neither is what follows it: no flood.
    let said = ["connected", &format!("{lost}a"), "connected", &format!("{lost}b"), "connected"];
    assert_eq!(words, said, "{text}");
}

/// What is logged on this thread, level first.
async fn logged(f: impl Future<Output = Duration>) -> Vec<String> {
    let lines = Lines::of_this_thread();
    f.await;
    lines.text().lines().map(|line| line.trim().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_logged_at_once_then_every_ten_minutes_and_each_new_reason_at_once() {
    let peer = Peer::start().await;
    let (mut link, _folder) = link(peer.config()).await;
    for minute in 0..21 {
        let failed = End::Failed("10.0.0.1:7443 refuses connections".into());
        let lines = logged(link.wait_after(failed)).await;
        let expected = match minute {
            0 => "INFO rowcall_agent::link: no connection: 10.0.0.1:7443 refuses connections a",
            10 => {
                "WARN rowcall_agent::link: no connection: 10.0.0.1:7443 refuses connections (for 10 min, 10 times since"
            }
            20 => {
                "WARN rowcall_agent::link: no connection: 10.0.0.1:7443 refuses connections (for 20 min, 10 times since"
            }
            _ => "",
        };
        assert_eq!(lines.len(), usize::from(!expected.is_empty()), "{minute}: {lines:?}");
        assert!(lines.concat().starts_with(expected), "{minute}: {lines:?}");
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    for (end, said) in [
        (End::NeedsPeople("a".into()), "WARN rowcall_agent::link: no connection: a "),
        (
            End::Refused("b".into()),
            "WARN rowcall_agent::link: the aggregator refuses this agent: b ",
        ),
        (End::Failed("c".into()), "INFO rowcall_agent::link: no connection: c "),
    ] {
        let lines = logged(link.wait_after(end)).await;
        assert!(lines.len() == 1 && lines.concat().starts_with(said), "{lines:?}");
    }
}
