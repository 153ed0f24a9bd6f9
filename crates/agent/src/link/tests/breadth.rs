//! A whole agent against the scripted peer: what it sends by its profile.

use rowcall_core::clock::SystemClock;

use super::*;
use crate::collect::{Collect, Profile};

/// Samples every 20 ms, and the clock with each acknowledgement; ends when `enough` says so of all
/// records.
async fn sent(
    collect: Collect,
    enough: impl Fn(&[pb::record::Body]) -> bool,
) -> Vec<pb::record::Body> {
    let mut peer = Peer::start().await;
    let config =
        Config { collect, min_interval: Duration::from_millis(20), align: true, ..peer.config() };
    let stop = CancellationToken::new();
    let agent = tokio::spawn(crate::run(config, SystemClock::shared(), stop.clone()));
    let (mut call, hello) = peer.call().await;
    call.send(Response::Welcome(pb::Welcome { interval_ms: 20, ..welcome(None) })).await;
    let mut bodies = Vec::new();
    while !enough(&bodies) {
        assert!(bodies.len() < MOST_RECORDS, "not among the first ones: {:?}", bodies.last());
        let batch = call.batch().await;
        let Some(last) = batch.records.last() else { continue };
        let (spool_epoch, through_sequence) = (hello.spool_epoch, last.sequence);
        let clock_unix_us = SystemClock.wall().plus_micros(HOUR_US).0;
        call.send(Response::Ack(pb::Ack { spool_epoch, through_sequence, clock_unix_us })).await;
        bodies.extend(batch.records.into_iter().filter_map(|record| record.body));
    }
    drop((call, peer));
    stop.cancel();
    agent.await.unwrap().unwrap();
    bodies
}

/// What is waited for comes before these, or never.
const MOST_RECORDS: usize = 500;

/// By how much the peer's clock is ahead.
const HOUR_US: i64 = 3_600_000_000;

fn samples(bodies: &[pb::record::Body]) -> Vec<&pb::Sample> {
    fn sample(body: &pb::record::Body) -> Option<&pb::Sample> {
        match body {
            pb::record::Body::Sample(sample) => Some(sample),
            _ => None,
        }
    }
    bodies.iter().filter_map(sample).collect()
}

fn devices(bodies: &[pb::record::Body]) -> Vec<&pb::Devices> {
    fn devices(body: &pb::record::Body) -> Option<&pb::Devices> {
        match body {
            pb::record::Body::Devices(devices) => Some(devices),
            _ => None,
        }
    }
    bodies.iter().filter_map(devices).collect()
}

fn offset(sample: &pb::Sample) -> Option<i64> {
    sample.vitals.as_ref().and_then(|vitals| vitals.clock_offset_us)
}

#[tokio::test]
async fn by_default_each_sample_has_vitals_and_devices_come_with_the_first() {
    let enough = |bodies: &[_]| {
        let told = samples(bodies).into_iter().any(|sample| offset(sample).is_some());
        told && !devices(bodies).is_empty()
    };
    let bodies = sent(Collect::default(), enough).await;
    let samples = samples(&bodies);
    assert!(samples.iter().all(|sample| sample.vitals.is_some()));
    assert_eq!(offset(samples[0]), None, "nothing was acknowledged before it");
    let told = samples.iter().find_map(|sample| offset(sample)).unwrap();
    // What an acknowledgement takes to come makes it too low, whatever that is here.
    assert!(told <= HOUR_US && told > 0, "{told}");
    let load = |sample: &&pb::Sample| sample.vitals.as_ref().unwrap().load_1.is_some();
    assert!(samples.iter().all(load));
    let is_root = |filesystem: &pb::Filesystem| filesystem.mount == "/";
    let found = devices(&bodies).iter().any(|part| part.filesystems.iter().any(is_root));
    assert!(found, "what every machine has, however little its processes do");
}

#[tokio::test]
async fn a_classic_agent_sends_neither_vitals_nor_devices() {
    let bodies = sent(Collect::of(Profile::Classic), |bodies| samples(bodies).len() >= 20).await;
    assert!(samples(&bodies).iter().all(|sample| sample.vitals.is_none()));
    assert_eq!(devices(&bodies), Vec::<&pb::Devices>::new());
}
