//! Peers that come and go, with time paused.

use rowcall_core::clock::SystemClock;
use rowcall_tls::identity::Identity;

use tokio::time::Instant;

use super::visit::{EXPELLED_AT_LAST, READS_WHY};
use super::*;

fn connections(bound: usize) -> Arc<Connections> {
    Connections::new(bound, Duration::from_secs(10), Refusals::new(SystemClock::shared()))
}

fn peer(uri: &str) -> Arc<PeerInfo> {
    let identity = Identity::from_uri(uri);
    Arc::new(PeerInfo { address: ([192, 0, 2, 1], 1).into(), identity, certificate: None })
}

/// Why a connection must end, which it does within days.
async fn over(guest: &Guest) -> Over {
    let limit = Duration::from_secs(7 * 86_400);
    tokio::time::timeout(limit, guest.visit.over()).await.expect("it never ends")
}

fn agent(name: &str) -> Arc<PeerInfo> {
    peer(&format!("spiffe://d/agent/{name}"))
}

fn viewer() -> Arc<PeerInfo> {
    peer("spiffe://d/viewer/alice")
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_call_is_over_after_10_seconds_whoever_it_is() {
    let connections = connections(10);
    for peer in [agent("n"), viewer(), peer("spiffe://d/root/n")] {
        let guest = connections.enter(&peer).unwrap();
        let started = Instant::now();
        assert_eq!(over(&guest).await, Over::NoCall);
        assert_eq!(started.elapsed(), Duration::from_secs(10));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_stream_was_refused_is_over_when_that_can_have_been_read() {
    let connections = connections(10);
    let guest = connections.enter(&agent("n")).unwrap();
    let call = guest.visit.call();
    guest.visit.refuse();
    drop(call);
    let refused = Instant::now();
    assert_eq!(over(&guest).await, Over::Idle);
    assert_eq!(refused.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_call_keeps_a_connection_and_its_end_starts_the_time_anew() {
    let connections = connections(10);
    for (peer, limit) in [(agent("n"), 10), (viewer(), 600)] {
        let guest = connections.enter(&peer).unwrap();
        let visit = Arc::clone(&guest.visit);
        let over = tokio::spawn(async move { visit.over().await });
        let first = guest.visit.call();
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        let second = guest.visit.call();
        drop(first);
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        assert!(!over.is_finished());
        let ended = Instant::now();
        drop(second);
        assert_eq!(over.await.unwrap(), Over::Idle);
        assert_eq!(ended.elapsed(), Duration::from_secs(limit));
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_back_gets_in_and_its_oldest_dead_connection_goes() {
    let connections = connections(100);
    let guests: Vec<_> =
        (0..MAX_OF_AGENT).map(|_| connections.enter(&agent("n")).unwrap()).collect();
    // All look alive, since TCP has not given the dead ones up; one is the session.
    let _calls: Vec<_> = guests.iter().map(|guest| guest.visit.call()).collect();
    let _session = guests[0].visit.welcome();
    let newcomer = connections.enter(&agent("n")).expect("an agent always gets in");
    assert!(newcomer.visit.check().is_ok());
    assert_eq!(over(&guests[1]).await, Over::Evicted);
    for kept in [&guests[0], &guests[2], &guests[MAX_OF_AGENT - 1], &newcomer] {
        assert!(!kept.visit.is_evicted());
    }
    assert_eq!(connections.by_role()[0], ("agent", MAX_OF_AGENT));
    assert_eq!(connections.refusals.of(Reason::TooManyOfIdentity), 1);
}

#[tokio::test(start_paused = true)]
async fn one_identity_s_flood_costs_others_nothing() {
    let connections = connections(MAX_OF_AGENT + 3);
    let honest = connections.enter(&agent("honest")).unwrap();
    let _stream = honest.visit.call();
    let flood: Vec<_> = (0..1_000).filter_map(|_| connections.enter(&agent("flooder"))).collect();
    assert!(!honest.visit.is_evicted());
    assert_eq!(flood.iter().filter(|guest| !guest.visit.is_evicted()).count(), MAX_OF_AGENT);
    assert!(connections.enter(&agent("other")).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_person_s_idle_connection_goes_first_and_a_busy_one_never() {
    let connections = connections(1_000);
    let guests: Vec<_> =
        (0..MAX_OF_PERSON).map(|_| connections.enter(&viewer()).unwrap()).collect();
    let mut calls: Vec<_> = guests.iter().map(|guest| guest.visit.call()).collect();
    drop(calls.remove(5));
    let newcomer = connections.enter(&viewer()).unwrap();
    assert!(newcomer.visit.check().is_ok());
    assert_eq!(over(&guests[5]).await, Over::Evicted);
    let _busy = newcomer.visit.call();
    let told = (0..TURNED_AWAY).map(|_| {
        let guest = connections.enter(&viewer()).unwrap();
        let call = guest.visit.call();
        (guest, call)
    });
    let told: Vec<_> = told.collect();
    let status = told[0].0.visit.check().unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert!(status.message().starts_with("this certificate has 32 connections open"), "{status}");
    assert!(connections.enter(&viewer()).is_none());
    assert!(guests.iter().enumerate().all(|(n, guest)| n == 5 || !guest.visit.is_evicted()));
    assert!(connections.enter(&peer("spiffe://d/viewer/bob")).is_some());
}

#[tokio::test]
async fn there_is_a_bound_in_all_and_places_come_back() {
    let connections = connections(2);
    let first = connections.enter(&agent("a")).unwrap();
    let _second = connections.enter(&agent("b")).unwrap();
    assert!(connections.enter(&agent("c")).is_none());
    assert_eq!(connections.refusals.of(Reason::TooManyConnections), 1);
    drop(first);
    assert!(connections.enter(&agent("c")).is_some());
    assert_eq!(connections.lock().len(), 1, "nothing is left of who has gone");
}

#[test]
fn connections_and_handshakes_share_the_open_files() {
    assert_eq!(budget(20_000, 8, 4_096), (19_928 - 4_096, 4_096));
    assert_eq!(budget(1_024, 8, 4_096), (714, 238));
    assert_eq!(budget(1_024, 8, 100), (852, 100));
    assert_eq!(budget(10, 8, 4_096), (6, 2), "even then somebody is served");
}

#[tokio::test(start_paused = true)]
async fn an_expelled_peer_is_told_why_and_its_connection_is_over_soon_whatever_it_does() {
    let connections = connections(10);
    let guest = connections.enter(&agent("n")).unwrap();
    let streams = [guest.visit.call(), guest.visit.call()];
    let waiting = {
        let visit = Arc::clone(&guest.visit);
        tokio::spawn(async move { visit.expelled().await.to_owned() })
    };
    tokio::time::sleep(Duration::from_secs(60)).await;
    let expelled = Instant::now();
    guest.visit.expel("revoked");
    guest.visit.expel("something else");
    assert_eq!(waiting.await.unwrap(), "revoked");
    let status = guest.visit.check().unwrap_err();
    assert_eq!((status.code(), status.message()), (tonic::Code::PermissionDenied, "revoked"));
    // Its calls do not end, and then they do.
    assert_eq!(over(&guest).await, Over::Expelled);
    assert_eq!(expelled.elapsed(), EXPELLED_AT_LAST);
    let guest = connections.enter(&agent("m")).unwrap();
    let call = guest.visit.call();
    guest.visit.expel("revoked");
    let expelled = Instant::now();
    drop(call);
    assert_eq!(over(&guest).await, Over::Expelled);
    assert_eq!(expelled.elapsed(), READS_WHY);
    drop(streams);
}

/// A peer without a certificate.
fn stranger(address: &str) -> Arc<PeerInfo> {
    let (address, identity) =
        ((address.parse::<IpAddr>().unwrap(), 1).into(), Identity::from_uri(""));
    Arc::new(PeerInfo { address, identity, certificate: None })
}

#[tokio::test(start_paused = true)]
async fn strangers_of_one_source_have_a_bound_and_others_come_in() {
    let connections = Connections::of_strangers(
        1_000,
        Duration::from_secs(10),
        Refusals::new(SystemClock::shared()),
        vec!["198.51.100.0/24".parse().unwrap()],
    );
    // All in one /64, which is what one machine may have.
    let guests: Vec<_> = (0..MAX_OF_SOURCE)
        .map(|n| connections.enter(&stranger(&format!("2001:db8::{n:x}"))).unwrap())
        .collect();
    let newcomer = connections.enter(&stranger("2001:db8::ffff")).expect("idle ones make room");
    assert_eq!(over(&guests[0]).await, Over::Evicted);
    let _calls: Vec<_> = guests.iter().chain([&newcomer]).map(|guest| guest.visit.call()).collect();
    assert!(connections.enter(&stranger("2001:db8::1")).is_none(), "all are busy");
    assert!(connections.enter(&stranger("2001:db8:0:1::1")).is_some());
    assert!(connections.enter(&stranger("192.0.2.1")).is_some());
    let exempt: Vec<_> = (0..=MAX_OF_SOURCE)
        .map(|_| connections.enter(&stranger("198.51.100.7")).expect("it has no bound"))
        .collect();
    let _busy: Vec<_> = exempt.iter().map(|guest| guest.visit.call()).collect();
    assert!(exempt.iter().all(|guest| !guest.visit.is_evicted()));
    // As the same address through a socket for both.
    assert!(connections.enter(&stranger("::ffff:198.51.100.8")).is_some());
}
