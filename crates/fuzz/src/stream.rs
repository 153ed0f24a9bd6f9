//! What an agent says: Hello, then batches.

use prost::Message as _;
use rowcall_core::convert::{MAX_TEXT_BYTES, record, record_to_wire};
use rowcall_core::devices::{Devices, MAX_INTERFACES, MAX_METRIC_BYTES, MAX_METRICS};
use rowcall_core::id::HostName;
use rowcall_core::proto::v1 as pb;
use rowcall_core::proto::v1::stream_request::Frame;
use rowcall_core::record::{Body, HostFacts};
use rowcall_core::session::aggregator::{Session, greet};

/// Whose certificate the peer has.
const CERTIFIED: &str = "node1.example";

/// Frames, each after its length, as the aggregator takes them from one peer.
///
/// # Panics
/// If what was taken holds text that must not be stored, or a record that changes when it is
/// written out and read again; a bug.
#[must_use]
pub fn stream(bytes: &[u8]) -> bool {
    let Ok(certified) = HostName::parse(CERTIFIED) else { return false };
    let mut rest = bytes;
    let mut next = || pb::StreamRequest::decode_length_delimited(&mut rest).ok();
    let Some(first) = next() else { return false };
    let Ok((hello, protocol)) = greet(first.frame, &certified) else { return false };
    assert!((hello.versions.min..=hello.versions.max).contains(&protocol), "{hello:?}");
    assert_eq!(hello.host_name, certified);
    assert!(hello.oldest <= hello.next);
    for text in [&hello.agent_version, &hello.machine_id, &hello.boot_id] {
        check_text(text.as_deref());
    }
    check_facts(&hello.facts);
    let mut session = Session::new(hello.epoch, None);
    while let Some(frame) = next() {
        let Some(Frame::Batch(batch)) = frame.frame else { break };
        let length = batch.encoded_len();
        let Ok(records) = session.batch(batch, length) else { break };
        for taken in &records {
            match &taken.body {
                Body::HostFacts(facts) => check_facts(facts),
                Body::Devices(devices) => check_devices(devices),
                Body::Sample(_) | Body::Gap(_) | Body::Invalid(_) => {}
            }
            if !matches!(taken.body, Body::Invalid(_)) {
                assert_eq!(record(record_to_wire(taken)).as_ref(), Ok(taken));
            }
        }
        if let Some(last) = records.last() {
            session.committed(last.through());
            assert!(session.is_settled());
        }
    }
    true
}

fn check_facts(facts: &HostFacts) {
    let HostFacts { cpu_architecture, cpu_model, os, kernel, kernel_host_name, .. } = facts;
    let HostFacts { boot_id, virtualization, board, firmware, disks, interfaces, .. } = facts;
    let told = [cpu_architecture, cpu_model, os, kernel, kernel_host_name];
    for text in told.into_iter().chain([boot_id, virtualization, board, firmware]) {
        check_text(text.as_deref());
    }
    assert!([facts.cpu_mhz, facts.memory_mhz].into_iter().flatten().all(f64::is_finite));
    for disk in disks.iter().flatten() {
        check_text(Some(&disk.name));
        check_text(disk.model.as_deref());
    }
    for interface in interfaces.iter().flatten() {
        check_text(Some(&interface.name));
        check_text(interface.mac.as_deref());
        check_text(interface.driver.as_deref());
    }
}

fn check_devices(devices: &Devices) {
    for filesystem in &devices.filesystems {
        check_text(Some(&filesystem.mount));
    }
    for metric in &devices.metrics {
        let labels = metric.labels.iter().map(|(name, value)| name.len() + value.len());
        assert!(metric.name.len() + labels.sum::<usize>() <= MAX_METRIC_BYTES);
        assert!(metric.value.is_finite() && metric.labels.is_sorted());
    }
    for skipped in &devices.skipped {
        check_text(Some(&skipped.collector));
        check_text(skipped.item.as_deref());
    }
    assert!(devices.metrics.len() <= MAX_METRICS && devices.interfaces.len() <= MAX_INTERFACES);
}

fn check_text(text: Option<&str>) {
    let Some(text) = text else { return };
    assert!(!text.is_empty() && text.len() <= MAX_TEXT_BYTES && !text.contains(char::is_control));
    assert_eq!(text, text.trim());
}
