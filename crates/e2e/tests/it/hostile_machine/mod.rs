//! Machines that make reading them hard: the samples still come, in time, and what is not read is
//! named. Each is a room of this machine, which takes root.

mod swapping;

use std::io::Write as _;

use anyhow::{Context as _, Result, ensure};
use rowcall_e2e::host::within;
use rowcall_e2e::oracle::Verdict;
use rowcall_e2e::room::Room;
use rowcall_e2e::scene::Scene;
use rowcall_e2e::stack::{Aggregator, TRUST_DOMAIN, number, root, serve};
use rowcall_testkit::database::{Client, Database};
use rowcall_testkit::poll::{DEADLINE, wait_for};

/// An agent in a room, and its aggregator, which is there with it.
struct Stage {
    scene: Scene<'static>,
    room: Room,
    database: Database,
    sql: Client,
    aggregator: Aggregator,
}

impl Stage {
    /// Reads devices with each sample, one in this time. None where there is no room.
    async fn new(interval: &'static str, settings: &[(&str, &str)]) -> Result<Option<Self>> {
        let Some(room) = Room::new()? else {
            writeln!(std::io::stderr(), "skipped: it takes root")?;
            return Ok(None);
        };
        let mut scene = Scene::new(1, interval, &|_| {})?;
        let database = Database::create().await?;
        let files = scene.site.server()?;
        let mut command = serve(&files, TRUST_DOMAIN, &database.url(), interval)?;
        command.args(["--listen", "127.0.0.1:0", "--http-listen", "off"]);
        let mut command = within(&room.inside(), command);
        let aggregator = Aggregator::of(&mut command).await?;
        let host = &mut scene.hosts[0];
        host.within = room.inside();
        host.settings.push(("ROWCALL_PROFILE".into(), "full".into()));
        for (name, value) in settings {
            host.settings.push(((*name).to_owned(), (*value).to_owned()));
        }
        let sql = database.connect().await?;
        Ok(Some(Self { scene, room, database, sql, aggregator }))
    }

    /// Starts the agent and waits for its first row.
    async fn start(&mut self) -> Result<()> {
        self.scene.start(&[self.aggregator.address])?;
        self.scene.recovered(&self.database.url()).await
    }

    /// Waits until a query gives a number that passes.
    async fn number(&self, query: &str, passes: impl Fn(i64) -> bool) -> Result<i64> {
        let tail = || self.scene.hosts[0].tail();
        number(&self.database, query, "a row", passes).await.with_context(tail)
    }

    /// Stops the agent: nothing was lost, and no tick missed.
    async fn end(mut self) -> Result<()> {
        self.room.stop_agent()?;
        self.scene.hosts[0].process()?.ended().await;
        self.scene.hosts[0].stop().await?;
        let missed = "SELECT coalesce(sum(ticks), 0)::bigint FROM rowcall.gap";
        let missed: i64 = self.sql.query_one(missed, &[]).await?.get(0);
        ensure!(missed == 0, "{missed} ticks were missed: {}", self.scene.hosts[0].tail());
        Verdict::of(&mut self.scene.hosts, &self.database.url()).await?.check()
    }
}

#[tokio::test]
async fn a_mount_that_hangs_is_named_holds_up_nothing_and_is_read_when_it_answers() -> Result<()> {
    let settings = [("ROWCALL_COLLECT_DEADLINE", "300ms")];
    let Some(mut stage) = Stage::new("1s", &settings).await? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let folder = folder.path().to_str().context("its path")?;
    let at = format!("{folder}/0");
    stage.room.hang_mount(&at, "/dev/gone", "fuse.exfat")?;
    stage.start().await?;
    let named = format!(
        "SELECT count(*) FROM host_skipped
          WHERE collector = 'filesystems' AND item = '{at}' AND reason = 'hung'"
    );
    stage.number(&named, |found| found >= 3).await?;
    // The rest of the machine is there.
    let root = "SELECT count(*) FROM host_filesystem WHERE mount = '/' AND size_kib > 0";
    stage.number(root, |found| found >= 3).await?;
    let processes = "SELECT count(*) FROM host_process WHERE command = 'rowcall-agent'";
    stage.number(processes, |found| found > 0).await?;
    // People are told, of the window that is still open too.
    let finished = "date_bin('5 minutes', now(), '1970-01-01 00:00:00+00') AS to_ts";
    let report = include_str!("../../../../../sql/queries/reports/integrity.sql");
    let report = report.replace(finished, "now() AS to_ts");
    let findings = stage.sql.query(&report, &[]).await?;
    let told = findings.iter().find(|row| row.get::<_, &str>("kind") == "not_read");
    let told: &str = told.context("no finding of it")?.get("detail");
    assert_eq!(told, format!("filesystems {at}: did not answer in time"));
    // It answers again.
    stage.room.release_mount(&at)?;
    answering(&mut stage.room, 1, folder).await?;
    let back =
        format!("SELECT count(*) FROM host_filesystem WHERE mount = '{at}' AND size_kib = 1 << 20");
    stage.number(&back, |found| found > 0).await?;
    stage.end().await
}

/// Mounts filesystems that answer, at FOLDER/0 and so on.
async fn answering(room: &mut Room, count: u32, folder: &str) -> Result<()> {
    let program = root().join("crates/e2e/tests/it/hostile_machine/mounts.py");
    let log = format!("{folder}/mounts.log");
    // It keeps no file of a filesystem that hangs.
    room.run(&format!("python3 {} {count} {folder} >{log} 2>&1 3>&- &", program.display()))?;
    let said = wait_for("filesystems to be mounted", DEADLINE, || async {
        std::fs::read_to_string(&log).ok().filter(|said| !said.is_empty())
    });
    let said = said.await;
    ensure!(said.contains("ready"), "{said}");
    Ok(())
}

#[tokio::test]
async fn thousands_of_processes_and_interfaces_and_hundreds_of_mounts_cost_no_tick() -> Result<()> {
    let Some(mut stage) = Stage::new("2s", &[]).await? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    stage.room.add_interfaces(1_100)?;
    stage.room.add_processes(5_000)?;
    answering(&mut stage.room, 500, folder.path().to_str().context("its path")?).await?;
    stage.start().await?;
    let readings = "SELECT count(DISTINCT \"timestamp\") FROM host_process";
    stage.number(readings, |found| found >= 3).await?;
    let interfaces = "SELECT count(DISTINCT name) FROM host_interface";
    stage.number(interfaces, |found| found == 1_024).await?;
    let mounts = "SELECT count(DISTINCT mount) FROM host_filesystem WHERE size_kib = 1 << 20";
    stage.number(mounts, |found| found == 500).await?;
    let processes = "SELECT max(processes)::bigint FROM host_vitals";
    stage.number(processes, |found| found >= 5_000).await?;
    // With the loopback interface there are 77 more than are read.
    let skipped = "SELECT DISTINCT format('%s %s %s', collector, reason, count) FROM host_skipped";
    let skipped = stage.sql.query(skipped, &[]).await?;
    let skipped: Vec<String> = skipped.iter().map(|row| row.get(0)).collect();
    assert_eq!(skipped, ["interfaces limit 77"]);
    stage.end().await
}
