use std::sync::atomic::{AtomicI32, Ordering};

use rowcall_core::clock::TestClock;
use rowcall_core::id::{Epoch, Sequence};
use rowcall_store::EpochId;
use rowcall_tls::accept::PeerInfo;
use rowcall_tls::identity::Identity;

use super::live::Progress;
use super::*;

const SILENCE: Duration = Duration::from_secs(150);

/// A session that nobody registered.
pub(crate) fn live(name: &str) -> Arc<Live> {
    Arc::clone(&registry().1.admit(newcomer(name, 1)).unwrap().live)
}

/// A connection with the certificate of this host.
pub(crate) fn visit(name: &str) -> Arc<Visit> {
    let identity = Identity::from_uri(&format!("spiffe://d/agent/{name}"));
    let address = ([192, 0, 2, 1], 4).into();
    Visit::alone(Arc::new(PeerInfo { address, identity, certificate: None }))
}

/// A session of a host that the database knows.
pub(crate) fn let_in(registry: &Arc<Registry>, name: &str) -> Ticket {
    static HOSTS: AtomicI32 = AtomicI32::new(100);
    let ticket = registry.admit(newcomer(name, 1)).unwrap();
    registry.opened(&ticket.live, numbers(HOSTS.fetch_add(1, Ordering::Relaxed)), None);
    ticket
}

pub(crate) fn newcomer(name: &str, run: u64) -> Newcomer {
    Newcomer {
        name: HostName::parse(name).unwrap(),
        run: RunId::new(run).unwrap(),
        peer: ([192, 0, 2, 1], 4).into(),
        machine_id: None,
        visit: visit(name),
        agent_version: Some("0.1.0".into()),
        clock: UnixMicros(1_500_000),
        era: 0,
    }
}

fn numbers(host: i32) -> Numbers {
    let epoch = Epoch::new(7).unwrap();
    Numbers { host: HostId(host), epoch_id: EpochId(host * 10), epoch }
}

fn mark(numbers: Numbers, mark: i64) -> LiveMark {
    let Numbers { host: host_id, epoch_id, epoch } = numbers;
    LiveMark { host_id, epoch_id, epoch, mark }
}

fn shared(clock: &Arc<TestClock>) -> SharedClock {
    Arc::<TestClock>::clone(clock)
}

fn registry() -> (Arc<TestClock>, Arc<Registry>) {
    let clock = Arc::new(TestClock::at(UnixMicros(1_000_000)));
    let registry = Registry::new(shared(&clock), Duration::from_secs(60), SILENCE);
    (clock, registry)
}

#[test]
fn the_same_process_replaces_its_old_session() {
    let (_, registry) = registry();
    let old = registry.admit(newcomer("n", 1)).unwrap();
    let new = registry.admit(newcomer("n", 1)).unwrap();
    assert_eq!(old.live.progress().end, Some(End::Replaced));
    assert_eq!(new.live.progress().end, None);
    drop(old);
    assert_eq!(
        registry.status(|_| true).connected.len(),
        1,
        "the old session must not take the new one's place away"
    );
    drop(new);
    assert_eq!(registry.status(|_| true).connected.len(), 0);
}

#[test]
fn another_process_is_refused_while_the_first_is_heard() {
    let (clock, registry) = registry();
    let first = registry.admit(newcomer("n", 1)).unwrap();
    clock.advance(SILENCE);
    let refused = registry.admit(newcomer("n", 2)).unwrap_err().to_string();
    assert!(refused.contains("192.0.2.1:4") && refused.contains("heard 150 s ago"), "{refused}");
    first.live.heard(&shared(&clock));
    clock.advance(SILENCE);
    assert!(registry.admit(newcomer("n", 2)).is_err());
    assert_eq!(first.live.progress().end, None);
}

#[test]
fn another_process_takes_over_from_one_that_is_silent_for_too_long_or_gone() {
    let (clock, registry) = registry();
    let first = registry.admit(newcomer("n", 1)).unwrap();
    clock.advance(SILENCE + Duration::from_millis(1));
    let second = registry.admit(newcomer("n", 2)).unwrap();
    assert_eq!(first.live.progress().end, Some(End::Replaced));
    drop(second);
    assert!(registry.admit(newcomer("n", 3)).is_ok());
}

#[test]
fn a_wall_clock_that_jumps_changes_nobodys_silence() {
    let (clock, registry) = registry();
    let _first = registry.admit(newcomer("n", 1)).unwrap();
    clock.set_wall(UnixMicros(i64::MAX));
    assert!(registry.admit(newcomer("n", 2)).is_err());
}

#[test]
fn status_lists_by_name_and_counts_who_is_gone() {
    let (clock, registry) = registry();
    let b = registry.admit(newcomer("b", 1)).unwrap();
    let _a = registry.admit(newcomer("a", 1)).unwrap();
    drop(let_in(&registry, "c"));
    b.live.sampled(UnixMicros(7));
    b.live.sampled(UnixMicros(5));
    b.live.set_spool(pb::SpoolStatus { size_bytes: 9, ..Default::default() }, &shared(&clock));
    clock.advance(Duration::from_secs(1));
    b.live.heard(&shared(&clock));
    // Nobody let these in.
    drop(registry.admit(newcomer("c", 2)).unwrap());
    drop(registry.admit(newcomer("refused", 1)).unwrap());
    let Shown { connected, gone, gone_in_all } = registry.status(|_| true);
    let named = |gone: &[pb::GoneHost]| -> Vec<_> {
        gone.iter()
            .map(|host| (host.host_name.clone(), host.last_heard_at.unwrap().seconds))
            .collect()
    };
    assert_eq!((named(&gone), gone_in_all), (vec![("c".to_owned(), 1)], 1));
    let others = registry.status(|name| name != "c");
    assert_eq!((others.gone.len(), others.gone_in_all), (0, 1));
    let names: Vec<_> = connected.iter().map(|host| host.host_name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let host = &connected[1];
    assert_eq!(host.last_sample_at.unwrap().nanos, 7_000, "the newest counts");
    assert_eq!(host.last_heard_at.unwrap().seconds, 2);
    assert_eq!(host.clock_offset_ms, 500);
    assert_eq!(host.spool.unwrap().size_bytes, 9);
    assert_eq!(connected[0].last_sample_at, None);
    assert_eq!(registry.status(|name| name == "a").connected.len(), 1);
}

#[test]
fn presence_tells_who_is_live_silent_or_gone() {
    let (clock, registry) = registry();
    let [loud, _mute, gone] = ["loud", "mute", "gone"].map(|name| let_in(&registry, name));
    clock.advance(Duration::from_secs(10));
    gone.live.heard(&shared(&clock));
    drop(gone);
    clock.advance(Duration::from_secs(80));
    loud.live.heard(&shared(&clock));
    let present = || {
        let mut hosts = registry.presence();
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        let told = |host: Presence| {
            (host.name.to_string(), host.state.as_str(), host.last_heard_at.0 / 1_000_000)
        };
        hosts.into_iter().map(told).collect::<Vec<_>>()
    };
    let row = |name: &str, state, heard| (name.to_owned(), state, heard);
    let expected = [row("gone", "gone", 11), row("loud", "live", 91), row("mute", "live", 1)];
    assert_eq!(present(), expected);
    clock.advance(Duration::from_millis(1));
    let expected = [row("gone", "gone", 11), row("loud", "live", 91), row("mute", "silent", 1)];
    assert_eq!(present(), expected);
    assert_eq!(registry.connected(), 2);
    assert_eq!(registry.end_all(End::Forgotten), 2);
    assert_eq!(loud.live.progress().end, Some(End::Forgotten));
}

#[test]
fn progress_only_grows_and_the_first_reason_to_end_stays() {
    let (_, registry) = registry();
    let ticket = registry.admit(newcomer("n", 1)).unwrap();
    let sequence = |n| Sequence::new(n).unwrap();
    ticket.live.committed(sequence(5), 0);
    ticket.live.committed(sequence(3), 0);
    ticket.live.end(End::Superseded);
    ticket.live.end(End::Replaced);
    let progress = ticket.live.progress();
    assert_eq!(progress, Progress { through: Some(sequence(5)), end: Some(End::Superseded) });
}

#[test]
fn marks_are_the_highest_that_is_known_of_each_session_that_goes_on() {
    let (_, registry) = registry();
    let sequence = |n| Sequence::new(n).unwrap();
    let admit = |name, host| {
        let ticket = registry.admit(newcomer(name, 1)).unwrap();
        (ticket, numbers(host))
    };
    let (fresh, numbers) = admit("fresh", 1);
    registry.opened(&fresh.live, numbers, None);
    assert_eq!(registry.marks(), [mark(numbers, 0)], "its numbers could be given to others");
    fresh.live.end(End::Forgotten);
    let (old, numbers) = admit("old", 2);
    registry.opened(&old.live, numbers, Some(sequence(7)));
    assert_eq!(registry.marks(), [mark(numbers, 7)]);
    old.live.committed(sequence(5), 0);
    assert_eq!(registry.marks(), [mark(numbers, 7)], "a replay does not lower it");
    old.live.committed(sequence(9), 0);
    assert_eq!(registry.marks(), [mark(numbers, 9)]);
    let (_unopened, _) = admit("unopened", 3);
    assert_eq!(registry.marks().len(), 1);
    old.live.end(End::Refill);
    assert_eq!(registry.marks(), [], "a connection is not refused for who is told to come back");
}

#[test]
fn a_host_has_one_session_whatever_the_names_of_its_certificates() {
    let (clock, registry) = registry();
    let of = |hosts: &[i32]| -> Vec<String> {
        let hosts = hosts.iter().map(|host| HostId(*host)).collect();
        let mut names: Vec<_> = registry
            .sessions(Some(&hosts))
            .iter()
            .map(|live| live.newcomer.name.to_string())
            .collect();
        names.sort();
        names
    };
    let run = |n| RunId::new(n).unwrap();
    let old = registry.admit(newcomer("old", 1)).unwrap();
    assert!(registry.holds(HostId(4), run(1)), "it may be this host's");
    assert_eq!(of(&[9]), ["old"], "nor is it known not to be this one's");
    registry.opened(&old.live, numbers(4), None);
    let other = registry.admit(newcomer("other", 3)).unwrap();
    registry.opened(&other.live, numbers(5), None);
    assert!(registry.holds(HostId(4), run(1)) && !registry.holds(HostId(5), run(1)));
    assert_eq!((of(&[4]), of(&[5])), (vec!["old".to_owned()], vec!["other".to_owned()]));
    assert_eq!(registry.sessions(None).len(), 2);
    clock.advance(SILENCE + Duration::from_millis(1));
    assert!(!registry.holds(HostId(4), run(1)), "it is silent for too long");
    old.live.heard(&shared(&clock));
    assert!(registry.holds(HostId(4), run(1)));
    let new = registry.admit(newcomer("new", 2)).unwrap();
    registry.opened(&new.live, numbers(4), None);
    assert_eq!(old.live.progress().end, Some(End::Replaced));
    assert_eq!((new.live.progress().end, other.live.progress().end), (None, None));
    assert!(!registry.holds(HostId(4), run(1)), "it must end");
    drop(old);
    drop(registry.admit(newcomer("new", 2)).unwrap());
    let newer = registry.admit(newcomer("newer", 7)).unwrap();
    registry.opened(&newer.live, numbers(4), None);
    assert_eq!(newer.live.progress().end, None);
}

#[test]
fn clocks_off_by_more_than_half_the_interval_are_taken_once_and_status_shows_the_newest() {
    let (clock, registry) = registry();
    let ticket = registry.admit(newcomer("n", 1)).unwrap();
    registry.opened(&ticket.live, numbers(4), None);
    assert_eq!(registry.take_clocks(), [], "half a second is nothing");
    let told = |offset_s: i64| {
        let theirs = rowcall_core::clock::Clock::wall(&*clock).plus_micros(offset_s * 1_000_000);
        let spool = pb::SpoolStatus { clock_unix_us: theirs.0, ..Default::default() };
        ticket.live.set_spool(spool, &shared(&clock));
        theirs
    };
    told(30);
    assert_eq!(registry.take_clocks(), []);
    let theirs = told(-31);
    clock.advance(Duration::from_secs(3));
    assert_eq!(registry.take_clocks(), [(HostId(4), theirs, Duration::from_secs(3))]);
    assert_eq!(registry.take_clocks(), [], "once each");
    assert_eq!(registry.status(|_| true).connected[0].clock_offset_ms, -31_000);
    ticket.live.set_spool(pb::SpoolStatus::default(), &shared(&clock));
    assert_eq!(
        registry.status(|_| true).connected[0].clock_offset_ms,
        -31_000,
        "not told: as before"
    );
}

#[test]
fn what_a_host_told_of_its_spool_outlives_its_session() {
    let (clock, registry) = registry();
    let ticket = let_in(&registry, "n");
    let spool = pb::SpoolStatus { dropped_records: 3, ..Default::default() };
    ticket.live.set_spool(spool, &shared(&clock));
    let told = || registry.presence()[0].spool.map(|spool| spool.dropped_records);
    assert_eq!(told(), Some(3));
    drop(ticket);
    assert_eq!(told(), Some(3));
    let _back = registry.admit(newcomer("n", 2)).unwrap();
    assert_eq!(told(), Some(3), "until the next one is told");
}

#[test]
fn what_waits_on_a_host_is_what_it_told_without_what_was_committed_since() {
    let (clock, registry) = registry();
    let ticket = registry.admit(newcomer("n", 1)).unwrap();
    let sequence = |n| Sequence::new(n).unwrap();
    let told = |due_ticks| pb::SpoolStatus {
        unacknowledged_records: 100,
        oldest_unacknowledged_age_s: 6_000,
        due_ticks,
        ..Default::default()
    };
    let waiting = || {
        let spool = registry.status(|_| true).connected[0].spool.unwrap();
        (spool.unacknowledged_records, spool.oldest_unacknowledged_age_s)
    };
    ticket.live.set_spool(told(1_000), &shared(&clock));
    assert_eq!(waiting(), (100, 6_000));
    ticket.live.committed(sequence(5), 940);
    assert_eq!(waiting(), (60, 6_000));
    ticket.live.committed(sequence(9), 1_001);
    assert_eq!(waiting(), (0, 0));
    // It fell behind again; and one that does not count is taken at its word.
    ticket.live.set_spool(told(2_000), &shared(&clock));
    assert_eq!(waiting(), (100, 6_000));
    ticket.live.set_spool(told(0), &shared(&clock));
    assert_eq!(waiting(), (100, 6_000));
}
