//! What the database holds of each host.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use rowcall_testkit::database::connect;
use serde_json::Value;

/// Every row, with the epoch's own number and the time in microseconds.
const ROWS: &str = "
    SELECT i.hostname, (extract(epoch FROM u.\"timestamp\") * 1000000)::bigint, e.epoch,
           u.sequence, u.memory_free, u.disk_io, v.host_id IS NOT NULL
      FROM host_usage u JOIN host_info i ON i.id = u.host_id
      JOIN rowcall.epoch e ON e.id = u.epoch_id
      LEFT JOIN host_vitals v ON v.\"timestamp\" = u.\"timestamp\" AND v.host_id = u.host_id";
/// Vitals beside no sample.
const VITALS_ALONE: &str = "
    SELECT i.hostname, (extract(epoch FROM v.\"timestamp\") * 1000000)::bigint
      FROM host_vitals v JOIN host_info i ON i.id = v.host_id
     WHERE NOT EXISTS (SELECT FROM host_usage u
                        WHERE u.\"timestamp\" = v.\"timestamp\" AND u.host_id = v.host_id)";
const GAPS: &str = "
    SELECT i.hostname, e.epoch, g.sequence, g.through_sequence, g.ticks, g.state
      FROM rowcall.gap g JOIN host_info i ON i.id = g.host_id
      JOIN rowcall.epoch e ON e.id = g.epoch_id";
const QUARANTINED: &str = "
    SELECT i.hostname, e.epoch, q.sequence
      FROM rowcall.quarantine q JOIN host_info i ON i.id = q.host_id
      JOIN rowcall.epoch e ON e.id = q.epoch_id";
/// As JSON, for the view may have more columns than are looked at.
const LEDGER: &str = "SELECT to_jsonb(l)::text FROM rowcall.ledger l";

/// One row of host_usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The number of its epoch.
    pub epoch: i64,
    /// Its number there.
    pub sequence: i64,
    /// MiB.
    pub memory_free: Option<i64>,
    /// As sent.
    pub disk_io: Option<i64>,
    /// A row of host_vitals has the same key.
    pub has_vitals: bool,
}

/// Records that are told to be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The number of their epoch.
    pub epoch: i64,
    /// The first.
    pub from: i64,
    /// The last.
    pub through: i64,
    /// Due samples among them.
    pub ticks: i64,
    /// What became of them.
    pub state: String,
}

/// All of one host.
#[derive(Debug, Default)]
pub struct Stored {
    /// By time.
    pub rows: BTreeMap<i64, Row>,
    /// Rows that are there besides one of the same time, or of the same epoch and sequence.
    pub doubled: u64,
    /// Times of vitals beside no row.
    pub vitals_alone: Vec<i64>,
    /// What was told to be gone.
    pub gaps: Vec<Gap>,
    /// Epoch and sequence of what was refused.
    pub quarantined: BTreeSet<(i64, i64)>,
}

/// Everything, by host name.
///
/// # Errors
/// What the database says.
pub async fn stored(url: &str) -> Result<BTreeMap<String, Stored>> {
    let client = connect(url).await?;
    let mut hosts: BTreeMap<String, Stored> = BTreeMap::new();
    let mut numbers = BTreeSet::new();
    for row in client.query(ROWS, &[]).await.context("read host_usage")? {
        let name: String = row.get(0);
        let (time, epoch, sequence): (i64, i64, i64) = (row.get(1), row.get(2), row.get(3));
        let is_new = numbers.insert((name.clone(), epoch, sequence));
        let host = hosts.entry(name).or_default();
        let (memory_free, disk_io, has_vitals) = (row.get(4), row.get(5), row.get(6));
        let row = Row { epoch, sequence, memory_free, disk_io, has_vitals };
        let is_alone = host.rows.insert(time, row).is_none();
        host.doubled += u64::from(!is_new || !is_alone);
    }
    for row in client.query(VITALS_ALONE, &[]).await.context("read host_vitals")? {
        hosts.entry(row.get(0)).or_default().vitals_alone.push(row.get(1));
    }
    for row in client.query(GAPS, &[]).await.context("read rowcall.gap")? {
        hosts.entry(row.get(0)).or_default().gaps.push(Gap {
            epoch: row.get(1),
            from: row.get(2),
            through: row.get(3),
            ticks: row.get(4),
            state: row.get(5),
        });
    }
    for row in client.query(QUARANTINED, &[]).await.context("read rowcall.quarantine")? {
        hosts.entry(row.get(0)).or_default().quarantined.insert((row.get(1), row.get(2)));
    }
    Ok(hosts)
}

/// The ledger: what does not add up, each as its whole row, and the duplicates that came.
///
/// # Errors
/// What the database says.
pub async fn ledger(url: &str) -> Result<(Vec<String>, i64)> {
    let client = connect(url).await?;
    let (mut wrong, mut duplicates) = (Vec::new(), 0);
    for row in client.query(LEDGER, &[]).await.context("read rowcall.ledger")? {
        let text: String = row.get(0);
        let row: Value = serde_json::from_str(&text)?;
        let number = |name: &str| row.get(name).and_then(Value::as_i64);
        duplicates += number("duplicates").unwrap_or_default();
        let (difference, spooled) = (number("difference"), number("spooled"));
        if difference != Some(0) || spooled.is_some_and(|spooled| spooled != 0) {
            wrong.push(text);
        }
    }
    Ok((wrong, duplicates))
}

impl Stored {
    /// What is known of a record that is no row: it is in a gap, or was refused.
    #[must_use]
    pub fn accounts_for(&self, epoch: i64, sequence: i64) -> bool {
        self.quarantined.contains(&(epoch, sequence))
            || self
                .gaps
                .iter()
                .any(|gap| gap.epoch == epoch && (gap.from..=gap.through).contains(&sequence))
    }
}
