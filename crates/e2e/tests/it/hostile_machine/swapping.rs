//! An agent whose memory is taken from under it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rowcall_e2e::scene::Scene;
use rowcall_e2e::stack::number;
use rowcall_testkit::database::Database;
use rowcall_testkit::process::Process;

/// What the agent and the hog may hold together.
const MEMORY: u64 = 96 << 20;

/// Writes all of its memory again and again, which is more than there is. Where the kernel finds no
/// room in time, it is the one to be killed, and begins again.
const HOG: &str = "echo 1000 > /proc/self/oom_score_adj
    trap 'kill $!; exit' TERM
    while :; do timeout 60 dd if=/dev/zero of=/dev/null bs=128M 2>&1 & wait $!; done";

/// A control group that holds so much memory, and swap for the rest.
#[derive(Debug)]
struct Narrow {
    group: PathBuf,
    swap: PathBuf,
}

impl Narrow {
    /// None where neither the one nor the other may be made.
    fn new(folder: &Path) -> Result<Option<Self>> {
        let name = format!("rowcall-test-{}", std::process::id());
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let (parent, limit) = if v1.join("memory.limit_in_bytes").exists() {
            (v1, "memory.limit_in_bytes")
        } else {
            (Path::new("/sys/fs/cgroup"), "memory.max")
        };
        let (group, swap) = (parent.join(name), folder.join("swap"));
        if fs::create_dir(&group).is_err() {
            return Ok(None);
        }
        let narrow = Self { group, swap };
        if fs::write(narrow.group.join(limit), MEMORY.to_string()).is_err() {
            return Ok(None);
        }
        let run = |program: &str, arguments: &[&str]| -> Result<bool> {
            Ok(Command::new(program).args(arguments).arg(&narrow.swap).output()?.status.success())
        };
        let made = run("fallocate", &["--length", "256MiB"])? && run("chmod", &["0600"])?;
        Ok((made && run("mkswap", &[])? && run("swapon", &[])?).then_some(narrow))
    }

    /// What runs a program in it.
    fn inside(&self) -> Vec<String> {
        let procs = self.group.join("cgroup.procs");
        let enter = format!("echo $$ > {} && exec \"$@\"", procs.display());
        ["sh", "-c", &enter, "sh"].map(str::to_owned).to_vec()
    }
}

impl Drop for Narrow {
    fn drop(&mut self) {
        drop(Command::new("swapoff").arg(&self.swap).output());
        // Empty by now: whoever was in it ended.
        drop(fs::remove_dir(&self.group));
    }
}

#[tokio::test]
async fn while_its_memory_is_swapped_out_the_samples_come() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(narrow) = Narrow::new(folder.path())? else {
        return Ok(writeln!(std::io::stderr(), "skipped: it takes root, and room for swap")?);
    };
    let mut scene = Scene::new(1, "2s", &|_| {})?;
    let database = Database::create().await?;
    let url = database.url();
    let aggregator = scene.aggregator(&url).await?;
    scene.hosts[0].within = narrow.inside();
    scene.hosts[0].settings.push(("ROWCALL_PROFILE".into(), "full".into()));
    scene.start(&[aggregator.address])?;
    scene.recovered(&url).await?;
    let hog = [narrow.inside(), ["sh", "-c", HOG].map(str::to_owned).to_vec()].concat();
    let (program, arguments) = hog.split_first().context("a command")?;
    let hog = Process::start("the hog", Command::new(program).args(arguments))?;
    let swapped = "SELECT count(*) FROM host_vitals WHERE swap_out_kib > 1024";
    number(&database, swapped, "samples while it swaps", |found| found >= 2).await?;
    hog.stop().await;
    let missed = "SELECT coalesce(sum(ticks), 0)::bigint FROM rowcall.gap";
    let missed: i64 = database.connect().await?.query_one(missed, &[]).await?.get(0);
    ensure!(missed == 0, "{missed} ticks were missed: {}", scene.hosts[0].tail());
    let outcome = scene.settle(&url).await;
    drop(narrow);
    outcome?.check()
}
