//! Rows and bytes that a host takes in a day with each profile, in PostgreSQL and on the wire.
//!
//! Reference hosts, which do something else each minute, are written through the store's own way,
//! as an aggregator does it. What is counted are the day's own tables with their indexes and what
//! is kept apart of long values, and the names of devices.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use prost::Message as _;
use rowcall_core::clock::{Clock as _, SystemClock};
use rowcall_core::id::{Sequence, UnixMicros};
use rowcall_core::record::{Body, Record};
use rowcall_proto::v1 as pb;
use rowcall_store::{Incoming, OpenedSession};

use super::ingest::{FLUSH_ROWS, sessions};
use super::{Sizes, real};
use crate::fleet::{self, MINUTE};
use crate::reference::{self, Host};
use crate::report::{Aim, Figure, Found, Table};
use crate::stage::Stage;

/// How much is told, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    pub(crate) name: &'static str,
    vitals: bool,
    /// Samples from one reading of devices to the next; 0: they are not read.
    devices_every: u64,
    /// Of each of CPU, memory and I/O; two thirds of them are the same.
    processes: u64,
}

/// As the agent has them.
pub(crate) const PROFILES: [Profile; 3] = [
    Profile { name: "classic", vitals: false, devices_every: 0, processes: 0 },
    Profile { name: "default", vitals: true, devices_every: 5, processes: 6 },
    Profile { name: "full", vitals: true, devices_every: 1, processes: 12 },
];

/// Minutes of a day.
const DAY_MINUTES: i64 = 1_440;

/// Days back: nothing else writes to that day, and readings of devices are still kept.
const DAYS_BACK: i64 = 3;

/// What goes around a message on its way: gRPC's and HTTP/2's heads, and those of a TLS record.
const AROUND_MESSAGE: usize = 5 + 9 + 22;

/// The budget of the default profile.
const MOST_ROWS: f64 = 8_640.0;
const MOST_BYTES: f64 = 1e6;
const MOST_WIRE: f64 = 2_000.0;

/// What grows with each sample and each reading.
const TABLES: [&str; 4] = ["host_usage", "host_vitals", "rowcall.device_sample", "host_metric"];

/// What a host takes in a day.
#[derive(Clone, Debug)]
pub(crate) struct PerDay {
    pub(crate) rows: f64,
    pub(crate) bytes: f64,
    tables: Vec<OfTable>,
    /// Names of devices; for as long as the devices are there, not for each day.
    names: f64,
    /// In a minute, from the agent.
    wire: f64,
}

/// Of that, in one table.
#[derive(Clone, Debug)]
struct OfTable {
    name: &'static str,
    rows: f64,
    bytes: f64,
}

pub(crate) async fn run(stage: &Arc<Stage>, sizes: &Sizes) -> Result<Found> {
    let mut figures = Vec::new();
    let head = ["profile", "table", "rows a host-day", "bytes a host-day, index and all"];
    let mut table = Table::new("profiles", &head);
    for profile in PROFILES {
        let day = per_day(stage, "storage", profile, sizes).await?;
        let id = |what: &str| format!("storage.{}.{what}", profile.name);
        let name = profile.name;
        for part in day.tables.iter().filter(|part| part.rows > 0.0) {
            table.row(vec![
                name.to_owned(),
                part.name.to_owned(),
                format!("{:.0}", part.rows),
                format!("{:.0}", part.bytes),
            ]);
        }
        let has_aim = name == "default";
        let figure = |what: &str, text: &str, value, unit, most| {
            let figure = Figure::new(id(what), format!("{text}, profile {name}"), value).unit(unit);
            if has_aim { figure.aim(Aim::AtMost(most)) } else { figure }
        };
        figures.extend([
            figure("rows", "rows of a host in a day", day.rows, "rows", MOST_ROWS),
            figure("bytes", "bytes of a host in a day in PostgreSQL", day.bytes, "B", MOST_BYTES),
            Figure::new(
                id("names"),
                format!("beside them, once: devices' names, profile {name}"),
                day.names,
            )
            .unit("B"),
            figure("wire", "bytes of a host in a minute on the wire", day.wire, "B", MOST_WIRE),
        ]);
    }
    Ok(Found { figures, table: Some(table) })
}

/// Writes hosts' days into a database of their own.
pub(crate) async fn per_day(
    stage: &Arc<Stage>,
    prefix: &'static str,
    profile: Profile,
    sizes: &Sizes,
) -> Result<PerDay> {
    let database = format!("bench_{prefix}_{}", profile.name);
    let client = stage.database(&database).await?;
    let store = stage.store(&database).await?;
    let sessions = sessions(&store, prefix, sizes.profile_hosts).await?;
    let day = DAY_MINUTES * MINUTE;
    let begin = UnixMicros((SystemClock.wall().0.div_euclid(day) - DAYS_BACK) * day);
    let apart = MINUTE / i64::try_from(sessions.len().max(1))?;
    let names_before = names(&client).await?;
    let mut made = Made { profile, wire: 0, waiting: Vec::new() };
    for minute in 0..sizes.profile_minutes {
        for (slot, session) in (0_i64..).zip(&sessions) {
            let time = begin.plus_micros(i64::try_from(minute)? * MINUTE + slot * apart);
            made.minute(session, minute, time)?;
        }
        if made.waiting.len() >= FLUSH_ROWS {
            store.ingest(&std::mem::take(&mut made.waiting)).await?;
        }
    }
    store.ingest(&made.waiting).await?;
    let host_minutes = real(sizes.profile_minutes)? * real(sessions.len())?;
    let days = host_minutes / real(DAY_MINUTES)?;
    let mut tables = Vec::new();
    for name in TABLES {
        let query = format!(
            "SELECT (SELECT count(*) FROM {name})::float8, coalesce(sum(pg_total_relation_size(relid)), 0)::float8
               FROM pg_partition_tree('{name}') WHERE isleaf AND pg_relation_size(relid) > 0"
        );
        let row = client.query_one(&query, &[]).await.context("sizes")?;
        let (rows, bytes): (f64, f64) = (row.try_get(0)?, row.try_get(1)?);
        tables.push(OfTable { name, rows: rows / days, bytes: bytes / days });
    }
    Ok(PerDay {
        rows: tables.iter().map(|table| table.rows).sum(),
        bytes: tables.iter().map(|table| table.bytes).sum(),
        tables,
        names: (names(&client).await? - names_before) / real(sessions.len())?,
        wire: real(made.wire)? / host_minutes,
    })
}

async fn names(client: &rowcall_testkit::database::Client) -> Result<f64> {
    let query = "SELECT pg_total_relation_size('host_device')::float8";
    Ok(client.query_one(query, &[]).await?.try_get(0)?)
}

/// What hosts tell.
struct Made {
    profile: Profile,
    /// Bytes, so far.
    wire: usize,
    waiting: Vec<Incoming>,
}

impl Made {
    /// A host's minute.
    fn minute(&mut self, session: &OpenedSession, minute: u64, time: UnixMicros) -> Result<()> {
        let every = self.profile.devices_every;
        let host = Host { number: u64::try_from(session.host_id.0)?, minute };
        let due = minute + 1;
        // Before this one: a record for each sample, and one for each reading of devices.
        let earlier = minute + minute.div_ceil(every.max(1)) * u64::from(every > 0);
        let mut record = fleet::record(due, time)?;
        record.sequence = Sequence::new(earlier + 1)?;
        if let Body::Sample(sample) = &mut record.body {
            sample.vitals = self.profile.vitals.then(|| Box::new(host.vitals()));
        }
        self.tell(session, record);
        if every > 0 && minute.is_multiple_of(every) {
            let devices = host.devices(self.profile.processes);
            let body = Body::Devices(Box::new(devices));
            let sequence = Sequence::new(earlier + 2)?;
            let time = time.plus_micros(reference::READING_US);
            self.tell(session, Record { sequence, time, due_ticks: i64::try_from(due)?, body });
        }
        Ok(())
    }

    fn tell(&mut self, session: &OpenedSession, record: Record) {
        let frame = pb::stream_request::Frame::Batch(fleet::batch(std::slice::from_ref(&record)));
        self.wire += pb::StreamRequest { frame: Some(frame) }.encoded_len() + AROUND_MESSAGE;
        let OpenedSession { host_id, epoch_id, .. } = *session;
        self.waiting.push(Incoming { host_id, epoch_id, record, told_due: None });
    }
}
