//! A reading in records.

use prost::Message;
use rowcall_core::convert::record_to_wire;
use rowcall_core::devices::Devices;
use rowcall_core::id::{Sequence, UnixMicros};
use rowcall_core::record::{Body, Record};

/// Most bytes of a part, encoded: a record of the spool holds 16 KiB, and some of it is for what
/// stands around a body.
const MAX_PART_BYTES: usize = 12 * 1024;

/// A reading in parts that each encode to at most 12 KiB; one part, if it fits. Each
/// device is in one part, and their order stays.
#[must_use]
pub fn parts(devices: Devices) -> Vec<Devices> {
    let (bytes, devices) = encoded(devices);
    if bytes <= MAX_PART_BYTES {
        return vec![devices];
    }
    let mut parts = Parts::default();
    macro_rules! divide {
        ($($kind:ident),*) => {
            let Devices { $($kind),* } = devices;
            $(for it in $kind {
                let (bytes, single) = encoded(Devices { $kind: vec![it], ..Devices::default() });
                parts.with_room_for(bytes).$kind.extend(single.$kind);
            })*
        };
    }
    divide!(
        filesystems,
        disks,
        interfaces,
        sensors,
        md_arrays,
        memory_controllers,
        cgroups,
        processes,
        metrics,
        skipped
    );
    parts.all
}

#[derive(Default)]
struct Parts {
    all: Vec<Devices>,
    /// Of the last one.
    bytes: usize,
}

impl Parts {
    /// The part that so many bytes more go into. What alone is larger than a part has one for
    /// itself; no device is, as its texts are bounded.
    fn with_room_for(&mut self, bytes: usize) -> &mut Devices {
        if self.all.is_empty() || self.bytes + bytes > MAX_PART_BYTES {
            self.all.push(Devices::default());
            self.bytes = 0;
        }
        self.bytes += bytes;
        // It has one: the line above saw to that.
        let last = self.all.len() - 1;
        &mut self.all[last]
    }
}

/// How many bytes a reading takes in a record, and the reading.
fn encoded(devices: Devices) -> (usize, Devices) {
    let record = Record {
        sequence: Sequence::FIRST,
        time: UnixMicros(0),
        due_ticks: 0,
        body: Body::Devices(Box::new(devices)),
    };
    let bytes = record_to_wire(&record).encoded_len();
    match record.body {
        Body::Devices(devices) => (bytes, *devices),
        _ => (bytes, Devices::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rowcall_core::devices::{Filesystem, Interface, Metric, SkipReason, Skipped};

    fn interface(n: usize) -> Interface {
        Interface {
            name: format!("veth{n:04}"),
            counted_since: u32::MAX,
            rx_bytes: i64::MAX,
            tx_bytes: i64::MAX,
            rx_packets: i64::MAX,
            tx_packets: i64::MAX,
            ..Interface::default()
        }
    }

    #[test]
    fn what_fits_stays_together_and_an_empty_reading_is_one_part() {
        assert_eq!(parts(Devices::default()), [Devices::default()]);
        let small = Devices { interfaces: vec![interface(0)], ..Devices::default() };
        assert_eq!(parts(small.clone()), [small]);
    }

    #[test]
    fn no_part_is_larger_than_a_record_of_the_spool_takes() {
        for devices in 1..400 {
            let interfaces = (0..devices).map(interface).collect();
            let parts = parts(Devices { interfaces, ..Devices::default() });
            let sizes = parts.into_iter().map(|part| encoded(part).0);
            assert!(sizes.max().unwrap() <= MAX_PART_BYTES, "{devices}");
        }
    }

    #[test]
    fn a_large_reading_is_divided_and_nothing_is_lost() {
        let metric = |n: usize| Metric {
            name: format!("m{n}"),
            labels: vec![("a".into(), "x".repeat(250)), ("b".into(), "y".repeat(250))],
            value: 1.0,
        };
        let whole = Devices {
            filesystems: vec![Filesystem { mount: "/".into(), ..Filesystem::default() }],
            interfaces: (0..1000).map(interface).collect(),
            metrics: (0..100).map(metric).collect(),
            skipped: vec![Skipped {
                collector: "disks".into(),
                item: None,
                reason: SkipReason::Limit,
                count: 3,
            }],
            ..Devices::default()
        };
        let parts = parts(whole.clone());
        assert!(parts.len() > 5 && parts.len() < 20, "{}", parts.len());
        let mut together = Devices::default();
        for part in parts {
            let (bytes, part) = encoded(part);
            assert!(bytes <= MAX_PART_BYTES, "{bytes}");
            together.filesystems.extend(part.filesystems);
            together.interfaces.extend(part.interfaces);
            together.metrics.extend(part.metrics);
            together.skipped.extend(part.skipped);
        }
        assert_eq!(together, whole);
    }
}
