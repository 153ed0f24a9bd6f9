//! How long the reports take: from the request to the last byte, through the RPC.
//!
//! An hour is asked from Summary, a longer range from StreamSummary: it has more cells than one
//! answer may.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use prost_types::Timestamp;
use rowcall_core::clock::{Clock as _, SystemClock};
use rowcall_proto::v1 as pb;
use rowcall_proto::v1::summary_service_client::SummaryServiceClient;
use tonic::transport::Channel;

use super::{Sizes, millis, spread};
use crate::report::{Aim, Figure};
use crate::stage::Stage;

const DATABASE: &str = "bench_summary";

/// Makes a fleet with its rows.
const LOAD: &str = include_str!("load.sql");

/// Seconds of a window.
const WINDOW: i64 = 300;
const HOUR: i64 = 3_600;

/// Aim for all reports together over an hour, in milliseconds.
const HOUR_AIM: f64 = 300.0;

const ALL: [(&str, &[pb::Report]); 6] = [
    ("all", &[]),
    ("hardware", &[pb::Report::Hardware]),
    ("memory", &[pb::Report::Memory]),
    ("roll", &[pb::Report::Roll]),
    ("balance", &[pb::Report::Balance]),
    ("integrity", &[pb::Report::Integrity]),
];

pub(crate) async fn run(stage: &Arc<Stage>, sizes: &Sizes) -> Result<Vec<Figure>> {
    let client = stage.database(DATABASE).await?;
    // The newest window that is finished.
    let to = (SystemClock.wall().0 / 1_000_000).div_euclid(WINDOW) * WINDOW;
    let hours = i64::from(sizes.report_hours);
    // One more, so that the range does not begin with the hosts' first samples.
    let load = LOAD
        .replace("$1", &sizes.report_hosts.to_string())
        .replace("$2", &(to - (hours + 1) * HOUR).to_string())
        .replace("$3", &to.to_string());
    client.batch_execute(&load).await?;
    client.batch_execute("VACUUM ANALYZE").await?;
    stage.checkpoint().await?;

    let aggregator = stage.aggregator(DATABASE, "60s").await?;
    let channel = stage.dial(aggregator.address, "viewer", "bench").await?;
    let mut figures = Vec::new();
    for hours in [1, hours] {
        for (name, reports) in ALL {
            let asked = Asked { hosts: sizes.report_hosts, hours, to, reports };
            if hours == 1 {
                // Connections are made, days are read from disk. After that all is as always.
                asked.take(channel.clone()).await?;
            }
            let mut times = Vec::new();
            for _ in 0..sizes.report_repeats {
                times.push(millis(asked.take(channel.clone()).await?));
            }
            let part = if reports.is_empty() { "all reports" } else { name };
            let figure = Figure::of(
                format!("summary.{hours}h.{name}"),
                format!("Summary of {} hosts over {hours} h: {part}", sizes.report_hosts),
                spread(times)?,
            );
            let aimed = hours == 1 && reports.is_empty();
            let figure = if aimed { figure.aim(Aim::Below(HOUR_AIM)) } else { figure };
            figures.push(figure.unit("ms"));
        }
        crate::progress(&format!("  {hours} h"));
    }
    Ok(figures)
}

/// One request.
struct Asked {
    hosts: u32,
    hours: i64,
    to: i64,
    reports: &'static [pb::Report],
}

impl Asked {
    async fn take(&self, channel: Channel) -> Result<Duration> {
        let time = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let request = pb::SummaryRequest {
            reports: self.reports.iter().map(|report| i32::from(*report)).collect(),
            from: time(self.to - self.hours * HOUR),
            to: time(self.to),
            ..pb::SummaryRequest::default()
        };
        let mut client = SummaryServiceClient::new(channel);
        let start = Instant::now();
        let mut seen = Seen::default();
        if self.hours == 1 {
            seen.add(&client.summary(request).await?.into_inner());
        } else {
            let request = pb::StreamSummaryRequest { request: Some(request) };
            let mut parts = client.stream_summary(request).await?.into_inner();
            while let Some(part) = parts.message().await? {
                if let Some(part) = part.part {
                    seen.add(&part);
                }
            }
        }
        let took = start.elapsed();
        seen.check(self)?;
        Ok(took)
    }
}

/// What the answer holds: a fast answer must be a whole one.
#[derive(Debug, Default)]
struct Seen {
    hardware: usize,
    memory: usize,
    complete: u32,
    balance: usize,
    findings: u64,
}

impl Seen {
    fn add(&mut self, part: &pb::SummaryResponse) {
        let groups = part.hardware.iter().flat_map(|report| &report.groups);
        self.hardware += groups.map(|group| group.hosts.len()).sum::<usize>();
        self.memory += part.memory.iter().map(|report| report.hosts.len()).sum::<usize>();
        self.complete += part.roll.iter().map(|report| report.complete_hosts).sum::<u32>();
        self.balance += part.balance.iter().map(|report| report.windows.len()).sum::<usize>();
        self.findings += part.integrity.iter().map(|report| report.total_findings).sum::<u64>();
    }

    fn check(&self, asked: &Asked) -> Result<()> {
        let wants = |report| asked.reports.is_empty() || asked.reports.contains(&report);
        let hosts = usize::try_from(asked.hosts)?;
        let windows = usize::try_from(asked.hours * HOUR / WINDOW)?;
        let counts = [
            (pb::Report::Hardware, self.hardware, hosts),
            (pb::Report::Memory, self.memory, hosts),
            (pb::Report::Roll, usize::try_from(self.complete)?, hosts),
            (pb::Report::Balance, self.balance, windows),
            (pb::Report::Integrity, usize::try_from(self.findings)?, 0),
        ];
        for (report, found, due) in counts {
            let due = if wants(report) { due } else { 0 };
            ensure!(found == due, "{report:?} has {found} where {due} are due: {self:?}");
        }
        Ok(())
    }
}
