use rowcall_core::clock::{Clock as _, TestClock};
use rowcall_core::id::{Sequence, UnixMicros};
use rowcall_core::record::{Body, Sample};
use std::os::unix::net::UnixDatagram;

use super::*;
use crate::testing::{START, queue};

struct Rig {
    manager: UnixDatagram,
    health: Arc<Health>,
    queue: Arc<Queue>,
    clock: Arc<TestClock>,
    stop: CancellationToken,
    _folders: [tempfile::TempDir; 2],
}

/// A service whose clock the test moves.
fn start(watchdog: Option<Duration>) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_nonblocking(true).unwrap();
    let clock = Arc::new(TestClock::at(START));
    let (queue, spool) = queue(Arc::<TestClock>::clone(&clock), 8 << 20);
    let health = Arc::new(Health::default());
    let stop = CancellationToken::new();
    let service = Service {
        notifier: Notifier::new(path.as_os_str(), watchdog).unwrap(),
        health: Arc::clone(&health),
        queue: Arc::clone(&queue),
        aggregator: "https://db1:7443".to_owned(),
    };
    let token = stop.clone();
    tokio::spawn(async move { match service.run(token).await {} });
    Rig { manager, health, queue, clock, stop, _folders: [folder, spool] }
}

impl Rig {
    /// Everything told within this time.
    async fn told(&self, within: Duration) -> Vec<String> {
        let end = Instant::now() + within;
        let mut told = Vec::new();
        loop {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            let mut bytes = [0; 4096];
            while let Ok(length) = self.manager.recv(&mut bytes) {
                told.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
            }
            if Instant::now() >= end {
                return told;
            }
            tokio::time::advance(Duration::from_millis(500)).await;
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn nothing_is_told_before_sampling_has_started() {
    let rig = start(Some(2 * SECOND));
    assert_eq!(rig.told(10 * SECOND).await, [""; 0]);
    rig.health.has_started();
    let told = rig.told(Duration::ZERO).await;
    assert_eq!(told.first().map(String::as_str), Some("READY=1\n"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn it_is_alive_while_its_tasks_come_back_or_wait_for_others() {
    let rig = start(Some(20 * SECOND));
    rig.health.has_started();
    let alive = async |seconds: u32| {
        let told = rig.told(seconds * SECOND).await;
        told.iter().filter(|line| *line == "WATCHDOG=1\n").count()
    };
    assert_eq!(alive(100).await, 11, "at half of the time allowed");
    rig.health.link.back_within(10 * SECOND);
    assert_eq!(alive(40).await, 4, "late within the slack");
    assert_eq!(alive(100).await, 0, "the link hangs");
    rig.health.link.waits_for_others();
    assert_eq!(alive(100).await, 10);
    rig.health.sampling.back_within(SECOND);
    assert_eq!(alive(31).await, 3);
    assert_eq!(alive(100).await, 0, "sampling hangs");
}

#[tokio::test(start_paused = true)]
async fn the_status_follows_the_link_and_no_reason_forges_a_message() {
    let rig = start(None);
    rig.health.has_started();
    let sample = Body::Sample(Sample::default());
    rig.queue.spool.append(START, rig.clock.since_boot(), sample);
    let told = rig.told(Duration::ZERO).await;
    let status =
        "STATUS=connecting to https://db1:7443; nothing acknowledged yet; 1 record waiting\n";
    assert_eq!(told, ["READY=1\n", status]);
    rig.health.link_is(LinkState::Connected("https://db2:7443".into()));
    rig.clock.set_wall(UnixMicros(1_795_365_212_000_000));
    assert!(rig.queue.spool.flush(60 * SECOND));
    rig.queue.spool.release(Sequence::FIRST);
    rig.health.acknowledged();
    let status = "STATUS=connected to https://db2:7443; last acknowledged 2026-11-22T16:33:32Z; \
                  0 records waiting\n";
    assert_eq!(rig.told(Duration::ZERO).await, [status]);
    assert_eq!(rig.told(59 * SECOND).await, [""; 0]);
    assert_eq!(rig.told(SECOND).await, [status], "again after a minute");
    let reason = format!("no\nSTOPPING=1\nMAINPID=1 {}", "ä".repeat(5000));
    rig.health.link_is(LinkState::NotConnected("https://db1:7443".into(), reason));
    let told = rig.told(Duration::ZERO).await.concat();
    assert!(
        told.starts_with("STATUS=not connected to https://db1:7443; 0 records waiting; last ack"),
        "{told}"
    );
    assert!(told.contains("; no STOPPING=1 MAINPID=1 ää"), "{told}");
    assert_eq!(told.lines().count(), 1);
    assert!(told.len() < 600, "{}", told.len());
    rig.stop.cancel();
    let told = rig.told(Duration::ZERO).await;
    assert_eq!(told.first().map(String::as_str), Some("STOPPING=1\n"));
    assert!(told.concat().contains("STATUS=stopping; last ack"), "{told:?}");
}
