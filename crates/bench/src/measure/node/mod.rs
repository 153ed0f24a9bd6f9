//! What it costs a node to be known: the agent with each profile, node_exporter with its default
//! collectors, and a script that cron runs, on one machine in one run, each with few, 300 and 5,000
//! processes around. Where few and where 5,000 are, there is an agent as broad as node_exporter too,
//! which reads no processes.
//!
//! All are asked once a second; agents and node_exporter in the same seconds, so that the machine
//! is as busy and its caches are as cold for both. An agent's figures hold a minute's whole mix: its readings for
//! peaks, its share of readings of devices, encoding, TLS and the spool. CPU time is the kernel's
//! own sum for all threads and children. So the same work once a minute costs this per minute, and
//! somewhat more where the caches have forgotten it by then.

mod agents;
mod cron;
mod relay;
mod sleepers;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rowcall_testkit::database::Client;
use tokio::time::{MissedTickBehavior, interval};

use super::profiles::{self, PROFILES, PerDay};
use super::{Sizes, millis, real};
use crate::coverage::{self, Mapping, State};
use crate::exporter::{self, Exporter};
use crate::report::{Aim, Figure, Found, Table};
use crate::resources::{self, FineCpu};
use crate::stage::{Aggregator, Stage};
use agents::{Agent, BREADTHS, WITHOUT_PROCESSES};
use sleepers::Sleepers;

/// Scrapes that are not measured.
const WARM_UP: u64 = 3;

/// Between two scrapes, and between two samples.
const PERIOD: Duration = Duration::from_secs(1);

const MINUTE_MS: f64 = 60_000.0;

pub(crate) async fn run(stage: &Arc<Stage>, sizes: &Sizes) -> Result<Found> {
    let client = stage.database("bench_node").await?;
    let aggregator = stage.aggregator("bench_node", agents::INTERVAL).await?;
    let cron = cron::prepare(stage).await?;
    let mut days = Vec::new();
    for profile in PROFILES {
        days.push(profiles::per_day(stage, "node", profile, sizes).await?);
    }
    let mut bench = Bench {
        stage,
        sizes,
        client,
        aggregator,
        cron_day: cron::bytes_per_day(&cron).await?,
        cron,
        days,
        figures: Vec::new(),
        table: Table::new("node", &HEAD),
    };
    for crowd in [0, sizes.node_processes[0], sizes.node_processes[1]] {
        bench.crowd(crowd).await?;
    }
    Ok(Found { figures: bench.figures, table: Some(bench.table) })
}

const HEAD: [&str; 9] = [
    "once a second, so that it can be measured",
    "processes",
    "CPU per sample",
    "of a core, at one a minute",
    "resident (own)",
    "wire per sample",
    "rows a host-day",
    "PostgreSQL a host-day",
    "values",
];

struct Bench<'a> {
    stage: &'a Arc<Stage>,
    sizes: &'a Sizes,
    client: Client,
    aggregator: Aggregator,
    cron: Client,
    cron_day: f64,
    /// By profile.
    days: Vec<PerDay>,
    figures: Vec<Figure>,
    table: Table,
}

/// What a scrape costs.
#[derive(Clone, Copy, Debug)]
struct Scraped {
    cpu_ms: f64,
    resident_mb: f64,
    anonymous_mb: f64,
    wire_bytes: f64,
    values: usize,
}

impl Bench<'_> {
    /// Everything with so many processes around; 0: as many as there are.
    async fn crowd(&mut self, crowd: usize) -> Result<()> {
        let sleepers = tokio::task::spawn_blocking(move || Sleepers::until(crowd)).await??;
        let processes = sleepers::processes()?;
        crate::progress(&format!("  with {processes} processes ..."));
        let is_first = crowd == 0;
        let suffix = if is_first { String::new() } else { format!(".{crowd}") };
        let mut breadths = BREADTHS.to_vec();
        if crowd != self.sizes.node_processes[0] {
            breadths.push(WITHOUT_PROCESSES);
        }
        let mut agents = Vec::new();
        for breadth in &breadths {
            agents.push(Agent::start(self.stage, &self.aggregator, *breadth, crowd).await?);
        }
        let samples = self.sizes.node_samples;
        let scraped = async {
            if !exporter::is_there() {
                return Ok(None);
            }
            tokio::try_join!(scrapes(samples, false), scrapes(samples, true)).map(Some)
        };
        let costs = agents::measure(&mut agents, &self.client, samples);
        let (costs, scraped) = tokio::try_join!(costs, scraped)?;
        drop(agents);
        let cron = cron::measure(self.stage, &self.cron, self.sizes.node_runs).await?;
        drop(sleepers);

        // What is stored of a day is known of whole profiles.
        let days = self.days.iter().map(Some).chain(std::iter::repeat(None));
        for ((breadth, cost), day) in breadths.iter().zip(&costs).zip(days) {
            let of_day = |tell: fn(&PerDay) -> String| day.map_or_else(String::new, tell);
            self.table.row(vec![
                format!("agent, profile {}", breadth.name),
                processes.to_string(),
                format!("{:.2} ms", cost.cpu_ms),
                share(cost.cpu_ms),
                memory(cost.resident_mb, cost.anonymous_mb),
                format!("{:.0} B", cost.wire_bytes),
                of_day(|day| format!("{:.0}", day.rows)),
                of_day(|day| format!("{:.2} MB", day.bytes / 1e6)),
                format!("{:.0}", cost.values),
            ]);
            let id = |what: &str| format!("node.{}{suffix}.{what}", breadth.id);
            let what = format!("profile {} with {processes} processes", breadth.name);
            let cpu = Figure::new(
                id("cpu"),
                format!("CPU time of the agent per sample, {what}"),
                cost.cpu_ms,
            );
            self.figures.push(cpu.unit("ms"));
            if is_first {
                let resident = Figure::new(
                    id("resident"),
                    format!("resident memory of the agent, {what}"),
                    cost.resident_mb,
                );
                self.figures.push(resident.unit("MB").aim(Aim::AtMost(8.0)));
            }
        }
        if let Some((plain, gzip)) = scraped {
            for (name, cost) in [("plain", plain), ("gzip", gzip)] {
                self.table.row(vec![
                    format!("node_exporter, {name}"),
                    processes.to_string(),
                    format!("{:.2} ms", cost.cpu_ms),
                    share(cost.cpu_ms),
                    memory(cost.resident_mb, cost.anonymous_mb),
                    format!("{:.0} B", cost.wire_bytes),
                    String::new(),
                    String::new(),
                    cost.values.to_string(),
                ]);
            }
            let lacked = lacked().await?;
            let ids = [("default", "share"), (WITHOUT_PROCESSES.id, "share.without-processes")];
            for (id, share) in ids {
                let found = breadths.iter().zip(&costs).find(|(breadth, _)| breadth.id == id);
                let Some((breadth, agent)) = found else { continue };
                let what = format!(
                    "profile {} over node_exporter, CPU time, {processes} processes ({lacked})",
                    breadth.name
                );
                let id = format!("node.exporter{suffix}.{share}");
                let figure = Figure::new(id, what, agent.cpu_ms / plain.cpu_ms);
                self.figures.push(figure.aim(Aim::AtMost(0.2)));
            }
        }
        self.table.row(vec![
            "bash, vmstat, df, psql".to_owned(),
            processes.to_string(),
            format!("{:.1} ms, and {:.1} ms in PostgreSQL", cron.cpu_ms, cron.server_ms),
            share(cron.cpu_ms),
            String::new(),
            format!("{:.0} B", cron.wire_bytes),
            "1440".to_owned(),
            format!("{:.2} MB", self.cron_day / 1e6),
            cron::VALUES.to_string(),
        ]);
        Ok(())
    }
}

/// A scrape each second.
async fn scrapes(samples: u64, gzip: bool) -> Result<Scraped> {
    let exporter = Exporter::start().await?;
    let values = exporter::families(&exporter.scrape(false).await?)?.1;
    let mut cpu = FineCpu::new(exporter.process.pid());
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut bytes) = (Duration::ZERO, 0);
    for scrape in 0..WARM_UP + samples {
        ticks.tick().await;
        // Its threads stay; the work of one scrape and of what it leaves to be tidied up.
        let used = cpu.look()?;
        if scrape == WARM_UP {
            (before, bytes) = (used, 0);
        }
        bytes += exporter.scrape(gzip).await?.bytes;
    }
    ticks.tick().await;
    let used = cpu.look()? - before;
    let memory = resources::memory(exporter.process.pid())?;
    let mb = |bytes: u64| anyhow::Ok(real(bytes / 1_000)? / 1_000.0);
    Ok(Scraped {
        cpu_ms: millis(used) / real(samples)?,
        resident_mb: mb(memory.resident)?,
        anonymous_mb: mb(memory.anonymous)?,
        wire_bytes: real(bytes)? / real(samples)?,
        values,
    })
}

/// How many of its metrics Rowcall has, on this machine.
async fn lacked() -> Result<String> {
    let scrape = Exporter::start().await?.scrape(false).await?;
    let families = exporter::families(&scrape)?.0;
    let totals = coverage::totals(&Mapping::load()?, &families)?;
    let number = |state| totals.get(&state).copied().unwrap_or(0);
    let told = number(State::Covered) + number(State::Part);
    Ok(format!(
        "of its {} families {told} are covered, {} less detailed; make coverage names them",
        families.len() - number(State::Own),
        number(State::Part),
    ))
}

fn share(cpu_ms: f64) -> String {
    format!("{:.4} %", cpu_ms / MINUTE_MS * 100.0)
}

fn memory(resident_mb: f64, anonymous_mb: f64) -> String {
    format!("{resident_mb:.1} MB ({anonymous_mb:.1})")
}
