//! Spools on a full disk, or copied back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rowcall_testkit::database::Database;
use rowcall_testkit::proxy::Proxy;
use tokio::time::{Instant, sleep};

use crate::scene::{Outcome, Say, Scene};

/// A folder in memory that is as small as it was asked to be.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts a tmpfs at a folder; none where that isn't permitted, which takes root.
    ///
    /// # Errors
    /// What the file system says.
    pub fn mount(at: &Path, bytes: u64) -> Result<Option<Self>> {
        fs::create_dir_all(at)?;
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700"), "rowcall-test"])
            .arg(at)
            .output();
        let mounted = mount.is_ok_and(|output| output.status.success());
        Ok(mounted.then(|| Self(at.to_owned())))
    }

    /// Leaves this much free, by a file that takes the rest.
    ///
    /// # Errors
    /// What the file system says.
    pub fn leave(&self, bytes: u64) -> Result<()> {
        let filler = self.filler();
        fs::write(&filler, [])?;
        let free = rustix::fs::statvfs(&self.0)?;
        let taken = (free.f_bavail * free.f_frsize).saturating_sub(bytes);
        let file = fs::OpenOptions::new().write(true).open(&filler)?;
        Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, taken)?)
    }

    /// Frees what [`SmallDisk::leave`] took.
    ///
    /// # Errors
    /// What the file system says.
    pub fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still holds a file there keeps it until it ends.
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct FullDisk {
    /// Of the disk.
    pub bytes: u64,
    /// Samples that come while nothing can be written.
    pub samples: u64,
}

/// The disk under a spool is full while the aggregator is away, then both come back. None where a
/// small disk cannot be had.
///
/// # Errors
/// When the agent dies, or its memory grows.
pub async fn full_disk(size: FullDisk, say: Say<'_>) -> Result<Option<Outcome>> {
    let mut scene = Scene::new(1, "10ms", say)?;
    let database = Database::create().await?;
    let url = database.url();
    let aggregator = scene.aggregator(&url).await?;
    let proxy = Proxy::to(aggregator.address).await?;
    let Some(disk) = SmallDisk::mount(&scene.hosts[0].spool, size.bytes)? else { return Ok(None) };
    scene.outcome.may_give_up = true;
    // What cannot be written is kept in memory, and not said to be on disk.
    scene.hosts[0].keeps_in_memory = true;
    // Small segments: what is allocated ahead is soon used up.
    scene.hosts[0].settings.push(("ROWCALL_SPOOL_MAX_BYTES".into(), "1MiB".into()));
    scene.start(&[proxy.address()])?;
    scene.recovered(&url).await?;
    proxy.close();
    disk.leave(0)?;
    let before = resident(scene.hosts[0].process()?.pid())?;
    let begun = Instant::now();
    let lasts = Duration::from_millis(10 * size.samples);
    say(&format!("the disk is full for {lasts:?}"));
    while begun.elapsed() < lasts {
        sleep(Duration::from_millis(100)).await;
        ensure!(!scene.hosts[0].process()?.has_ended(), "{}", scene.hosts[0].tail());
    }
    let grown = resident(scene.hosts[0].process()?.pid())?.saturating_sub(before);
    ensure!(grown < 10 << 20, "the agent has grown by {grown} bytes while the disk was full");
    disk.free()?;
    proxy.open();
    scene.outcome.faults += 1;
    let mut outcome = scene.settle(&url).await?;
    let (in_memory, given_up) = (outcome.verdict.unsaid, outcome.verdict.accounted);
    ensure!(in_memory + given_up > 0, "the disk was not full: {}", outcome.verdict);
    outcome.notes.push(format!(
        "full disk: the agent grew by {} KiB; {given_up} samples that were on disk were given up and \
         counted, {in_memory} came out of its memory",
        grown >> 10
    ));
    Ok(Some(outcome))
}

/// The folder of a stopped agent is put back as it was some samples ago, as a snapshot of a virtual
/// machine does; some of what it holds was not acknowledged then.
///
/// # Errors
/// When samples don't come back, or no new epoch began.
pub async fn rolled_back(samples: u64, say: Say<'_>) -> Result<Outcome> {
    let mut scene = Scene::new(1, "10ms", say)?;
    let database = Database::create().await?;
    let url = database.url();
    let aggregator = scene.aggregator(&url).await?;
    let proxy = Proxy::to(aggregator.address).await?;
    scene.start(&[proxy.address()])?;
    scene.recovered(&url).await?;
    proxy.close();
    let held = count(&mut scene)?;
    scene.produced(held + samples).await?;
    let host = &mut scene.hosts[0];
    host.kill().await;
    let snapshot = host.spool.with_extension("snapshot");
    copy(&host.spool, &snapshot)?;
    host.start(&[proxy.address()])?;
    proxy.open();
    scene.recovered(&url).await?;
    let host = &mut scene.hosts[0];
    host.stop().await?;
    fs::remove_dir_all(&host.spool)?;
    fs::rename(&snapshot, &host.spool)?;
    host.start(&[proxy.address()])?;
    scene.outcome.kills += 1;
    scene.outcome.faults += 1;
    let outcome = scene.settle(&url).await?;
    let sql = database.connect().await?;
    let origins = "SELECT count(*) FROM rowcall.epoch WHERE origin = 'rolled_back'";
    let rolled_back: i64 = sql.query_one(origins, &[]).await?.get(0);
    ensure!(rolled_back == 1, "{rolled_back} epochs are told to come of a spool that was put back");
    // What was acknowledged after the snapshot was in it unacknowledged, and came again.
    let committed = "SELECT sum(committed)::int8 FROM rowcall.ledger";
    let committed: i64 = sql.query_one(committed, &[]).await?.get(0);
    let rows = i64::try_from(outcome.verdict.rows)?;
    ensure!(committed > rows, "{committed} samples came for {rows} rows: none came twice");
    Ok(outcome)
}

/// Samples that the first host has produced.
fn count(scene: &mut Scene<'_>) -> Result<u64> {
    Ok(u64::try_from(scene.hosts[0].said()?.samples().len())?)
}

/// A process's memory that is in RAM, in bytes.
pub(super) fn resident(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")).context("no VmRSS")?;
    Ok(kib.trim().parse::<u64>()? << 10)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().context("run cp")?;
    ensure!(status.success(), "cp failed");
    Ok(())
}
