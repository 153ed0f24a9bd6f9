//! Honest agents beside one that attacks: with a good certificate, by an HTTP/2 client that
//! misbehaves (`attacks/attack.py`, Python's h2). What the others notice is measured, and whether
//! the attacker is thrown out.
//!
//! The attacker comes from another address of this machine and runs at the lowest priority: on its
//! own machine it would take no CPU time from those it attacks.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::replay::ENDLESS;
use super::{Sizes, latency, millis, real};
use crate::fleet;
use crate::report::{Aim, Figure, Found, Table};
use crate::resources;
use crate::stage::{Aggregator, Stage};
use crate::stats::percentile;

const SCRIPT: &str = include_str!("../../attacks/attack.py");

/// Name in the script, and what it is.
const ATTACKS: [(&str, &str); 12] = [
    ("rapid-reset", "calls that are cancelled at once"),
    ("continuation", "a header block without an end"),
    ("ping", "PING"),
    ("settings", "SETTINGS"),
    ("empty-data", "empty DATA frames"),
    ("long-prefix", "messages of 2 GiB, as they say"),
    ("gzip-bomb", "250 KiB that inflate to 250 MiB"),
    ("silent", "TCP and not a byte"),
    ("half-tls", "half a ClientHello"),
    ("no-preface", "TLS and not a byte"),
    ("no-hello", "a call without Hello"),
    ("drip", "a Hello of one byte in 10 s"),
];

/// Where the attacker's packets come from.
const SOURCE: &str = "127.0.0.9";

/// Between two samples of an honest agent.
const EVERY: Duration = Duration::from_millis(200);

/// For an attack's traces to go: longer than a handshake may take.
const SETTLE: Duration = Duration::from_secs(12);

/// Between two looks at memory.
const LOOK: Duration = Duration::from_millis(200);

/// More memory than this is not a stream's buffers.
const MAX_GROWTH_MIB: f64 = 16.0;

/// What honest agents saw, and what the aggregator used, for a while.
#[derive(Clone, Copy, Debug)]
struct Seen {
    p50_ms: f64,
    p99_ms: f64,
    /// Resident memory before, at most, and after, in MiB.
    before: f64,
    most: f64,
    after: f64,
    /// Open descriptors before and after.
    descriptors: (usize, usize),
    /// CPU time per second.
    cpu: f64,
}

pub(crate) async fn run(stage: &Arc<Stage>, sizes: &Sizes, only: &[String]) -> Result<Found> {
    for name in only {
        let known = ATTACKS.iter().any(|(known, _)| known == name);
        ensure!(known, "there is no attack {name:?}; there are {:?}", ATTACKS.map(|(n, _)| n));
    }
    let script = stage.folder().join("attack.py");
    std::fs::write(&script, SCRIPT).context("write the attacker's program")?;
    drop(stage.database("bench_attacks").await?);
    let aggregator = stage.aggregator("bench_attacks", "1s").await?;
    let honest = Honest::begin(stage, &aggregator, sizes.honest_agents).await?;
    let pid = aggregator.process.pid();
    let time = sizes.attack_time;
    // Once unmeasured.
    honest.during(pid, async { sleep(time.min(SETTLE)).await }).await?;
    let ((), quiet) = honest.during(pid, sleep(time)).await?;
    let mut table = Table::new(
        "attacks",
        &[
            "attack",
            "frames/s",
            "thrown out",
            "after",
            "honest p50",
            "honest p99",
            "resident before, at most, after",
            "descriptors",
            "CPU",
        ],
    );
    table.row(row("none", "", "", "", &quiet));
    let mut figures = vec![
        Figure::new("attacks.quiet.p50", "p50 of honest agents without attack", quiet.p50_ms)
            .unit("ms"),
        Figure::new("attacks.quiet.p99", "p99 of honest agents without attack", quiet.p99_ms)
            .unit("ms"),
    ];
    for (name, what) in ATTACKS {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        let attacker = Attacker::start(stage, &aggregator, &script, name, sizes).await?;
        let (told, seen) = honest.during(pid, attacker.attack()).await?;
        let told = told.with_context(|| format!("attack by {name}"))?;
        let (rate, ends, after) = shown(&told);
        table.row(row(what, &rate, &ends, &after, &seen));
        crate::progress(&format!("  {name}: {rate}/s, {ends}; p99 {:.1} ms", seen.p99_ms));
        let id = |figure: &str| format!("attacks.{name}.{figure}");
        figures.push(
            Figure::new(
                id("p99"),
                format!("p99 of honest agents over the quiet one: {what}"),
                seen.p99_ms / quiet.p99_ms,
            )
            .aim(Aim::Below(2.0)),
        );
        figures.push(
            Figure::new(
                id("resident"),
                "resident memory of the aggregator meanwhile, over before",
                seen.most - seen.before,
            )
            .unit("MiB")
            .aim(Aim::Below(MAX_GROWTH_MIB)),
        );
        let left = seen.descriptors.1.saturating_sub(seen.descriptors.0);
        figures.push(
            Figure::new(id("descriptors"), "descriptors that it holds longer", real(left)?)
                .aim(Aim::AtMost(0.0)),
        );
    }
    honest.end().await?;
    Ok(Found { figures, table: Some(table) })
}

fn row(what: &str, rate: &str, ends: &str, after: &str, seen: &Seen) -> Vec<String> {
    vec![
        what.to_owned(),
        rate.to_owned(),
        ends.to_owned(),
        after.to_owned(),
        format!("{:.1} ms", seen.p50_ms),
        format!("{:.1} ms", seen.p99_ms),
        format!("{:.1}, {:.1}, {:.1} MiB", seen.before, seen.most, seen.after),
        format!("{} -> {}", seen.descriptors.0, seen.descriptors.1),
        format!("{:.0} %", seen.cpu * 100.0),
    ]
}

/// What the attacker tells: frames in a second, how often it was thrown out, after how long.
fn shown(told: &Value) -> (String, String, String) {
    let number = |key: &str| told.get(key).and_then(Value::as_f64);
    let counts = told.get("ends").and_then(Value::as_object).into_iter().flatten();
    let mut ends: Vec<_> = counts.map(|(how, count)| format!("{count} x {how}")).collect();
    if let Some(open) = number("open").filter(|open| *open > 0.0) {
        let oldest = number("oldest_s").unwrap_or(0.0);
        ends.push(format!("{open:.0} open for up to {oldest:.1} s"));
    }
    let after = match (number("after_s"), number("longest_s")) {
        (Some(median), Some(longest)) => format!("{median:.2} s, at most {longest:.2}"),
        _ => "-".to_owned(),
    };
    (format!("{:.0}", number("frames_per_s").unwrap_or(0.0)), ends.join(", "), after)
}

/// The program that attacks, ready to begin.
struct Attacker {
    process: tokio::process::Child,
}

impl Attacker {
    async fn start(
        stage: &Stage,
        aggregator: &Aggregator,
        script: &std::path::Path,
        name: &str,
        sizes: &Sizes,
    ) -> Result<Self> {
        let files = stage.client("agent", "attacker.example")?;
        let mut process = Command::new("nice")
            .args(["-n", "19", "python3"])
            .arg(script)
            .args([name, "--address", &aggregator.address.to_string(), "--source", SOURCE])
            .arg("--ca")
            .arg(&files.authorities)
            .arg("--certificate")
            .arg(&files.certificate)
            .arg("--key")
            .arg(&files.key)
            .args(["--seconds", &sizes.attack_time.as_secs_f64().to_string()])
            .args(["--connections", &sizes.slow_connections.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start python3")?;
        let output = process.stdout.as_mut().context("the attacker's output")?;
        let mut line = String::new();
        BufReader::with_capacity(1, output).read_line(&mut line).await?;
        ensure!(
            line.trim() == "ready",
            "the attacker did not start: python3 with h2 must be first in PATH, as under `make` \
             after `make deps`"
        );
        Ok(Self { process })
    }

    /// Lets it attack; what it tells.
    async fn attack(mut self) -> Result<Value> {
        let mut input = self.process.stdin.take().context("the attacker's input")?;
        input.write_all(b"go\n").await?;
        let mut told = String::new();
        let output = self.process.stdout.as_mut().context("the attacker's output")?;
        output.read_to_string(&mut told).await?;
        let status = self.process.wait().await?;
        ensure!(status.success(), "the attacker failed: {status}");
        Ok(serde_json::from_str(&told)?)
    }
}

/// Agents that go on whatever happens.
struct Honest {
    taken: Arc<Mutex<Vec<f64>>>,
    living: JoinSet<Result<()>>,
    stop: CancellationToken,
}

impl Honest {
    async fn begin(stage: &Arc<Stage>, aggregator: &Aggregator, count: usize) -> Result<Self> {
        let agents = fleet::connect(stage, aggregator.address, "honest", count, 0).await?;
        let (taken, stop) = (Arc::<Mutex<Vec<f64>>>::default(), CancellationToken::new());
        let apart = EVERY / u32::try_from(count.max(1))?;
        let start = Instant::now();
        let mut living = JoinSet::new();
        for (index, agent) in agents.into_iter().enumerate() {
            let first = start + apart * u32::try_from(index)?;
            let (taken, stop) = (Arc::clone(&taken), stop.clone());
            let note = move |time| {
                taken.lock().unwrap_or_else(PoisonError::into_inner).push(millis(time));
            };
            living.spawn(latency::live(agent, first, EVERY, ENDLESS, stop, note));
        }
        Ok(Self { taken, living, stop })
    }

    fn take(&self) -> Vec<f64> {
        std::mem::take(&mut *self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What they see while something goes on, and what is left of it afterwards.
    async fn during<T>(&self, pid: u32, what: impl Future<Output = T>) -> Result<(T, Seen)> {
        let mib = |memory: resources::Memory| {
            Ok::<_, anyhow::Error>(real(memory.resident >> 10)? / 1024.0)
        };
        let before = mib(resources::memory(pid)?)?;
        let descriptors = resources::descriptors(pid)?;
        let (cpu_before, start) = (resources::cpu(pid)?, Instant::now());
        drop(self.take());
        let mut most = before;
        let mut what = std::pin::pin!(what);
        let done = loop {
            tokio::select! {
                done = &mut what => break done,
                () = sleep(LOOK) => most = most.max(mib(resources::memory(pid)?)?),
            }
        };
        let mut times = self.take();
        let cpu = (resources::cpu(pid)? - cpu_before).as_secs_f64() / start.elapsed().as_secs_f64();
        let until = Instant::now() + SETTLE;
        let mut left = resources::descriptors(pid)?;
        while left > descriptors && Instant::now() < until {
            sleep(LOOK).await;
            left = resources::descriptors(pid)?;
        }
        times.sort_unstable_by(f64::total_cmp);
        let at = |percent| percentile(&times, percent).context("no honest agent was heard");
        let after = mib(resources::memory(pid)?)?;
        let (p50_ms, p99_ms) = (at(50)?, at(99)?);
        Ok((
            done,
            Seen { p50_ms, p99_ms, before, most, after, descriptors: (descriptors, left), cpu },
        ))
    }

    /// They stop; each must have been served to the end.
    async fn end(mut self) -> Result<()> {
        self.stop.cancel();
        while let Some(lived) = self.living.join_next().await {
            lived?.context("an honest agent was cut off")?;
        }
        Ok(())
    }
}
