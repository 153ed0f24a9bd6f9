//! What was run, when and where.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};
use procfs::{CpuInfo, Current as _, Meminfo};
use rowcall_core::clock::{Clock as _, SystemClock};

use crate::stage::{SERVER_SETTINGS, Stage};
use crate::stats::Spread;

/// Writes to disk that are timed.
const SYNCS: u32 = 100;
const PAGE: [u8; 8192] = [0; 8192];

/// Names and values, for the head of the report.
pub(crate) async fn describe(stage: &Stage, quick: bool) -> Result<Vec<(&'static str, String)>> {
    let client = stage.admin().await?;
    let postgres: String = client.query_one("SHOW server_version", &[]).await?.try_get(0)?;
    let mut shown = Vec::new();
    for name in ["fsync", "synchronous_commit"] {
        let value: String = client.query_one(&format!("SHOW {name}"), &[]).await?.try_get(0)?;
        shown.push(format!("{name} {value}"));
    }
    shown.extend(SERVER_SETTINGS.map(|(name, value)| format!("{name} {value}")));
    let folder = stage.folder().to_owned();
    let sync_ms = tokio::task::spawn_blocking(move || sync_ms(&folder)).await??;

    let mut lines = vec![
        ("command", command()),
        (
            "date",
            jiff::Timestamp::from_microsecond(SystemClock.wall().0)?
                .strftime("%Y-%m-%d %H:%M UTC")
                .to_string(),
        ),
        ("machine", machine()?),
        ("disk", format!("8 KiB written and synced in {sync_ms:.2} ms")),
        ("kernel", read("/proc/sys/kernel/osrelease")?),
        ("PostgreSQL", format!("{postgres}; {}", shown.join(", "))),
        ("rustc", said("rustc", &["--version"])),
        ("commit", commit()),
        ("aggregator", "as it comes: 2 threads, flushes of 1,000 rows or after 100 ms".to_owned()),
    ];
    if quick {
        lines.push(("caution", "small sizes (--quick): the figures mean nothing".to_owned()));
    }
    if cfg!(debug_assertions) {
        lines.push(("caution", "a debug build: the figures mean nothing".to_owned()));
    }
    Ok(lines)
}

/// As one types it.
fn command() -> String {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.is_empty() {
        return "make bench".to_owned();
    }
    format!("make bench ARGS='{}'", arguments.join(" "))
}

fn machine() -> Result<String> {
    let cpus = CpuInfo::current().context("read /proc/cpuinfo")?;
    let model = cpus.model_name(0).unwrap_or("CPU of unknown model").trim();
    let memory = Meminfo::current().context("read /proc/meminfo")?.mem_total;
    let gib = memory.div_ceil(1 << 30);
    Ok(format!(
        "{} x {model}, {gib} GiB, shared by clients, aggregator and PostgreSQL",
        cpus.num_cores()
    ))
}

/// How long the disk takes to keep a page: what each commit waits for.
fn sync_ms(folder: &Path) -> Result<f64> {
    let mut file = File::create(folder.join("sync")).context("make a file to time the disk")?;
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&PAGE)?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Spread::of(times).context("nothing was timed")?.median)
}

fn read(path: &str) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    Ok(text.trim().to_owned())
}

fn commit() -> String {
    let commit = said("git", &["rev-parse", "--short", "HEAD"]);
    match said("git", &["status", "--porcelain", "--untracked-files=no"]).as_str() {
        "" | UNKNOWN => commit,
        _ => format!("{commit} and changes"),
    }
}

const UNKNOWN: &str = "unknown";

/// What a program prints, if it is there.
fn said(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => UNKNOWN.to_owned(),
    }
}
