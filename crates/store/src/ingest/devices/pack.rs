//! Which devices a reading names, and its numbers as `rowcall.device_sample` has them: for each kind an
//! array, written as text. The order of the numbers stands at that table's columns.

use std::fmt::Write as _;

use postgres_types::ToSql;
use rowcall_core::devices::{Devices, Filesystem, Interface, MdArray, Sensor};
use serde_json::{Map, Value, json};

use super::{Device, Ids, Item};
use crate::time::Time;

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Filesystem,
    Disk,
    Interface,
    Sensor,
    MdArray,
    MemoryController,
    Cgroup,
    Process,
}

impl Kind {
    /// The word for it in the database.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Filesystem => "filesystem",
            Self::Disk => "disk",
            Self::Interface => "interface",
            Self::Sensor => "sensor",
            Self::MdArray => "md_array",
            Self::MemoryController => "memory_controller",
            Self::Cgroup => "cgroup",
            Self::Process => "process",
        }
    }
}

/// Calls with each device that a reading names.
pub(super) fn each_device<'a>(
    host_id: i32,
    devices: &'a Devices,
    with: &mut impl FnMut(Device<'a>),
) {
    let mut call = |kind, name, counted_since, attributes| {
        with(Device { host_id, kind, name, counted_since, attributes });
    };
    for it in &devices.filesystems {
        call(Kind::Filesystem, it.mount.as_str(), 0, of_filesystem(it));
    }
    for it in &devices.disks {
        call(Kind::Disk, it.name.as_str(), it.counted_since, none());
    }
    for it in &devices.interfaces {
        call(Kind::Interface, it.name.as_str(), it.counted_since, of_interface(it));
    }
    for it in &devices.sensors {
        call(Kind::Sensor, it.name.as_str(), 0, of_sensor(it));
    }
    for it in &devices.md_arrays {
        call(Kind::MdArray, it.name.as_str(), 0, of_md_array(it));
    }
    for it in &devices.memory_controllers {
        call(Kind::MemoryController, it.name.as_str(), it.counted_since, none());
    }
    for it in &devices.cgroups {
        call(Kind::Cgroup, it.name.as_str(), it.counted_since, none());
    }
    for it in &devices.processes {
        call(Kind::Process, it.command.as_str(), 0, none());
    }
}

fn none() -> String {
    "{}".to_owned()
}

/// An object of those attributes that are known.
fn object<const N: usize>(attributes: [(&str, Value); N]) -> String {
    let known = attributes.into_iter().filter(|(_, value)| !value.is_null());
    let object: Map<String, Value> = known.map(|(name, value)| (name.to_owned(), value)).collect();
    Value::Object(object).to_string()
}

// What changes all the time stands beside the numbers instead: the size of a ZFS dataset, or the inodes
// that XFS could make, would be a new device with each reading.
fn of_filesystem(it: &Filesystem) -> String {
    object([
        ("source", json!(it.source)),
        ("type", json!(it.kind)),
        ("read_only", json!(it.read_only)),
    ])
}

fn of_interface(it: &Interface) -> String {
    object([("speed_mbit", json!(it.speed_mbit)), ("up", json!(it.up))])
}

fn of_sensor(it: &Sensor) -> String {
    object([("critical_mc", json!(it.critical_mc))])
}

fn of_md_array(it: &MdArray) -> String {
    object([("level", json!(it.level)), ("state", json!(it.state)), ("disks", json!(it.disks))])
}

/// The parameters of `device_samples.sql`.
#[derive(Default)]
pub(super) struct Packed {
    time: Vec<Time>,
    sequence: Vec<i64>,
    host_id: Vec<i32>,
    epoch_id: Vec<i32>,
    filesystems: Vec<Option<String>>,
    disks: Vec<Option<String>>,
    interfaces: Vec<Option<String>>,
    sensors: Vec<Option<String>>,
    md_arrays: Vec<Option<String>>,
    memory_controllers: Vec<Option<String>>,
    cgroups: Vec<Option<String>>,
    processes: Vec<Option<String>>,
    skipped: Vec<Option<String>>,
}

impl Packed {
    /// A reading of devices whose ids are known.
    pub(super) fn push(&mut self, item: &Item<'_>, devices: &Devices, ids: &Ids<'_>) {
        let host_id = item.incoming.host_id.0;
        // In the order of the lists, one after the other.
        let mut in_order = Vec::new();
        each_device(host_id, devices, &mut |device| in_order.push(ids.get(&device).copied()));
        let mut in_order = in_order.into_iter();
        let mut id = || in_order.next().flatten().map(i64::from);

        self.time.push(Time(item.incoming.record.time));
        self.sequence.push(item.incoming.record.sequence.as_i64());
        self.host_id.push(host_id);
        self.epoch_id.push(item.incoming.epoch_id.0);
        self.filesystems.push(array(&devices.filesystems, |it| {
            [id(), it.size_kib, it.available_kib, it.inodes, it.inodes_free]
        }));
        self.disks.push(array(&devices.disks, |it| {
            let counted = [it.reads, it.writes, it.read_bytes, it.written_bytes].map(Some);
            let [reads, writes, read_bytes, written_bytes] = counted;
            let [read_ms, write_ms, busy_ms] = [it.read_ms, it.write_ms, it.busy_ms].map(Some);
            let (in_flight, busiest) = (Some(it.in_flight), hundredths(it.busy_max_percent));
            [
                id(),
                reads,
                writes,
                read_bytes,
                written_bytes,
                read_ms,
                write_ms,
                busy_ms,
                in_flight,
                busiest,
            ]
        }));
        self.interfaces.push(array(&devices.interfaces, |it| {
            let [rx_bytes, tx_bytes] = [it.rx_bytes, it.tx_bytes].map(Some);
            let [rx_packets, tx_packets] = [it.rx_packets, it.tx_packets].map(Some);
            let [rx_errors, tx_errors] = [it.rx_errors, it.tx_errors].map(Some);
            let [rx_drops, tx_drops] = [it.rx_drops, it.tx_drops].map(Some);
            let (rx_max, tx_max) = (it.rx_max_bytes_per_s, it.tx_max_bytes_per_s);
            [
                id(),
                rx_bytes,
                tx_bytes,
                rx_packets,
                tx_packets,
                rx_errors,
                tx_errors,
                rx_drops,
                tx_drops,
                rx_max,
                tx_max,
            ]
        }));
        self.sensors.push(array(&devices.sensors, |it| [id(), Some(it.temperature_mc.into())]));
        self.md_arrays.push(array(&devices.md_arrays, |it| {
            let [active, failed, spare] = [it.disks_active, it.disks_failed, it.disks_spare]
                .map(|disks| Some(i64::from(disks)));
            [id(), active, failed, spare, hundredths(it.sync_percent).and_then(small)]
        }));
        self.memory_controllers.push(array(&devices.memory_controllers, |it| {
            [id(), Some(it.corrected_errors), Some(it.uncorrected_errors)]
        }));
        self.cgroups.push(array(&devices.cgroups, |it| {
            [
                id(),
                it.cpu_us,
                it.throttled_us,
                it.memory_kib,
                it.read_bytes,
                it.written_bytes,
                it.processes,
                it.oom_kills,
            ]
        }));
        self.processes.push(array(&devices.processes, |it| {
            let thousands = |bytes: Option<i64>| bytes.map(|bytes| bytes / 1024).and_then(small);
            [
                id(),
                Some(it.pid.into()),
                hundredths(it.cpu_percent).and_then(small),
                thousands(it.memory_kib),
                thousands(it.read_bytes_per_s),
                thousands(it.written_bytes_per_s),
            ]
        }));
        self.skipped.push(skipped(devices));
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 13] {
        [
            &self.time,
            &self.sequence,
            &self.host_id,
            &self.epoch_id,
            &self.filesystems,
            &self.disks,
            &self.interfaces,
            &self.sensors,
            &self.md_arrays,
            &self.memory_controllers,
            &self.cgroups,
            &self.processes,
            &self.skipped,
        ]
    }
}

/// An array of so many numbers for each device, the first its id, as text; none of an empty list.
fn array<T, const N: usize>(
    list: &[T],
    numbers: impl FnMut(&T) -> [Option<i64>; N],
) -> Option<String> {
    let mut text = String::new();
    for number in list.iter().flat_map(numbers) {
        text.push(if text.is_empty() { '{' } else { ',' });
        match number {
            // Most are 0, and what is NULL takes no space.
            Some(0) => text.push_str("NULL"),
            // Writing to a text does not fail.
            Some(number) => drop(write!(text, "{number}")),
            None => text.push_str("-1"),
        }
    }
    (!text.is_empty()).then(|| text + "}")
}

#[expect(clippy::cast_possible_truncation, reason = "it saturates, and no percentage gets there")]
fn hundredths(percent: Option<f32>) -> Option<i64> {
    percent.map(|percent| (f64::from(percent) * 100.0).round() as i64)
}

/// What an `integer` holds; else it is unknown.
fn small(number: i64) -> Option<i64> {
    i32::try_from(number).ok().map(i64::from)
}

fn skipped(devices: &Devices) -> Option<String> {
    let list: Vec<_> = devices.skipped.iter().map(|it| {
        json!({"collector": it.collector, "item": it.item, "reason": it.reason.as_str(), "count": it.count})
    }).collect();
    (!list.is_empty()).then(|| Value::Array(list).to_string())
}
