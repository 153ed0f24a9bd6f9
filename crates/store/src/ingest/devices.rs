//! Readings of devices: names become ids, numbers become arrays. Everything here happens
//! while the hosts are locked, so what is found stays, and nobody else names a host's devices.

mod pack;

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use postgres_types::ToSql;
use rowcall_core::devices::Devices;

use super::write::{prepared, query};
use super::{Committed, Item};
use crate::error::Error;
use crate::time::Time;
use pack::{Kind, Packed};

macro_rules! query {
    ($name:ident, $file:literal) => {
        const $name: &str = include_str!(concat!("../../../../sql/queries/ingest/", $file, ".sql"));
    };
}

query!(ACCEPTABLE, "acceptable");
query!(DEVICES, "devices");
query!(NEW_DEVICES, "new_devices");
query!(SEEN_DEVICES, "seen_devices");
query!(DEVICE_SAMPLES, "device_samples");
query!(METRICS, "metrics");

/// All of them.
#[cfg(test)]
pub(super) const QUERIES: &[&str] =
    &[ACCEPTABLE, DEVICES, NEW_DEVICES, SEEN_DEVICES, DEVICE_SAMPLES, METRICS];

/// Rows of `host_device` of one host and kind; what is beyond is one row, (other), which is among
/// them. A host whose devices come and go with new names all the time gets there.
pub(super) const MOST_OF_A_KIND: i64 = 2_000;

/// What becomes of a reading, by its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Take,
    /// Older than readings are kept.
    Expired,
    /// Not an acceptable time, and why.
    Refuse(String),
}

/// How long things are kept, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) samples_s: f64,
    pub(super) devices_s: f64,
}

/// What becomes of each of the readings of these times, by the database's clock.
pub(super) async fn judge(
    transaction: &Transaction<'_>,
    times: &[Time],
    kept: Kept,
) -> Result<Vec<Verdict>, Error> {
    let parameters: [&(dyn ToSql + Sync); 3] = [&times, &kept.samples_s, &kept.devices_s];
    let mut verdicts = Vec::with_capacity(times.len());
    for row in prepared(transaction, ACCEPTABLE, &parameters).await? {
        verdicts.push(match (row.try_get(0)?, row.try_get(1)?) {
            (Some(reason), _) => Verdict::Refuse(reason),
            (None, true) => Verdict::Expired,
            (None, false) => Verdict::Take,
        });
    }
    Ok(verdicts)
}

/// A device, as its host calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Device<'a> {
    host_id: i32,
    kind: Kind,
    name: &'a str,
    counted_since: u32,
    /// JSON, its keys in order.
    attributes: String,
}

/// Ids of devices; 0 while it is not known.
type Ids<'a> = BTreeMap<Device<'a>, i32>;

/// Stores readings whose times are acceptable.
pub(super) async fn store(
    transaction: &Transaction<'_>,
    readings: &[(&Item<'_>, &Devices)],
) -> Result<Committed, Error> {
    let mut ids = Ids::new();
    for (item, devices) in readings {
        pack::each_device(item.incoming.host_id.0, devices, &mut |device| {
            ids.entry(device).or_default();
        });
    }
    find(transaction, &mut ids).await?;

    let mut packed = Packed::default();
    let mut metrics = Metrics::default();
    for (item, devices) in readings {
        packed.push(item, devices, &ids);
        for metric in &devices.metrics {
            metrics.push(item, metric);
        }
    }
    let new = query(transaction, DEVICE_SAMPLES, &packed.parameters()).await?;
    let mut committed = Committed { device_rows: super::count(new), ..Committed::default() };
    committed.duplicates = super::count(readings.len().saturating_sub(new));
    if !metrics.host_id.is_empty() {
        let new = query(transaction, METRICS, &metrics.parameters()).await?;
        committed.metric_rows = super::count(new);
    }
    Ok(committed)
}

/// Looks the ids up; names what is new.
async fn find(transaction: &Transaction<'_>, ids: &mut Ids<'_>) -> Result<(), Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(ids.keys());
    let found = prepared(transaction, DEVICES, &columns.parameters()).await?;
    let (mut stale_hosts, mut stale_ids) = (Vec::new(), Vec::new());
    for ((device, id), row) in ids.iter_mut().zip(found) {
        *id = row.try_get::<_, Option<i32>>(0)?.unwrap_or_default();
        if row.try_get(1)? {
            stale_hosts.push(device.host_id);
            stale_ids.push(*id);
        }
    }
    if !stale_ids.is_empty() {
        query(transaction, SEEN_DEVICES, &[&stale_hosts, &stale_ids]).await?;
    }
    let columns = Columns::of(ids.iter().filter(|(_, id)| **id == 0).map(|(device, _)| device));
    if columns.host_id.is_empty() {
        return Ok(());
    }
    let mut parameters: Vec<&(dyn ToSql + Sync)> = columns.parameters().into();
    parameters.push(&MOST_OF_A_KIND);
    let made = prepared(transaction, NEW_DEVICES, &parameters).await?;
    for (id, row) in ids.values_mut().filter(|id| **id == 0).zip(made) {
        *id = row.try_get(0)?;
    }
    Ok(())
}

/// The parameters of `devices.sql` and `new_devices.sql`.
#[derive(Default)]
struct Columns<'a> {
    host_id: Vec<i32>,
    kind: Vec<&'static str>,
    name: Vec<&'a str>,
    counted_since: Vec<i64>,
    attributes: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(devices: impl Iterator<Item = &'a Device<'a>>) -> Self {
        let mut columns = Self::default();
        for device in devices {
            columns.host_id.push(device.host_id);
            columns.kind.push(device.kind.as_str());
            columns.name.push(device.name);
            columns.counted_since.push(device.counted_since.into());
            columns.attributes.push(&device.attributes);
        }
        columns
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 5] {
        [&self.host_id, &self.kind, &self.name, &self.counted_since, &self.attributes]
    }
}

/// The parameters of `metrics.sql`.
#[derive(Default)]
struct Metrics<'a> {
    time: Vec<Time>,
    value: Vec<f64>,
    host_id: Vec<i32>,
    name: Vec<&'a str>,
    labels: Vec<String>,
}

impl<'a> Metrics<'a> {
    fn push(&mut self, item: &Item<'_>, metric: &'a rowcall_core::devices::Metric) {
        self.time.push(Time(item.incoming.record.time));
        self.value.push(metric.value);
        self.host_id.push(item.incoming.host_id.0);
        self.name.push(&metric.name);
        let labels =
            metric.labels.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
        self.labels.push(serde_json::Value::Object(labels.collect()).to_string());
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 5] {
        [&self.time, &self.value, &self.host_id, &self.name, &self.labels]
    }
}
