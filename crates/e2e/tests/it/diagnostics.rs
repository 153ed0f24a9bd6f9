//! What an agent with its default profile reads of this machine stands in the tables and views.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Result;
use rowcall_e2e::scene::Scene;
use rowcall_e2e::stack::number;
use rowcall_testkit::database::Database;

/// Names in a folder of /sys for which this holds.
fn names(folder: &str, holds: impl Fn(&Path) -> bool) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if holds(&entry.path()) {
            names.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

#[tokio::test]
async fn a_default_agents_vitals_devices_and_metrics_are_in_the_views() -> Result<()> {
    let mut scene = Scene::new(1, "100ms", &|_| {})?;
    let metrics = scene.site.folder().join("metrics");
    fs::create_dir(&metrics)?;
    let text = "# TYPE raid_state gauge\nraid_state{controller=\"0\",kind=\"bbu\"} 1.5\n";
    fs::write(metrics.join("raid.prom"), text)?;
    scene.hosts[0].settings.push(("ROWCALL_DEVICE_INTERVAL".into(), "1s".into()));
    scene.hosts[0].settings.push(("ROWCALL_METRICS_DIR".into(), metrics.display().to_string()));
    let database = Database::create().await?;
    let url = database.url();
    let aggregator = scene.aggregator(&url).await?;
    scene.start(&[aggregator.address])?;
    scene.recovered(&url).await?;
    let metric = "SELECT count(*) FROM host_metric
         WHERE name = 'raid_state' AND value = 1.5
           AND labels = '{\"controller\": \"0\", \"kind\": \"bbu\"}'";
    number(&database, metric, "a drop-in file's value", |found| found > 0).await?;
    // Rates need two readings.
    let rates = "SELECT count(*) FROM host_interface_rates(now() - interval '1 hour', now())
                  WHERE rx_bytes_per_s >= 0";
    number(&database, rates, "an interface's rates", |found| found > 0).await?;
    let sql = database.connect().await?;
    let listed = async |query: &str| -> Result<BTreeSet<String>> {
        Ok(sql.query(query, &[]).await?.iter().map(|row| row.get(0)).collect())
    };
    let is_disk = |path: &Path| path.join("device").exists();
    assert_eq!(listed("SELECT name FROM host_disk").await?, names("/sys/block", is_disk)?);
    let interfaces = listed("SELECT name FROM host_interface").await?;
    // Others' interfaces may come and go while this runs.
    assert!(interfaces.contains("lo"), "{interfaces:?}");
    let mounts = listed("SELECT mount FROM host_filesystem WHERE size_kib > available_kib").await?;
    assert!(mounts.contains("/"), "{mounts:?}");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let boots = listed("SELECT boot_id::text FROM host_boot").await?;
    assert_eq!(boots, BTreeSet::from([boot.trim().to_owned()]));
    // All that a kernel of today tells: without differences only in the first sample.
    let vitals = "SELECT count(*) FROM host_vitals
         WHERE cpu_user >= 0 AND load_1 >= 0 AND context_switches > 0 AND memory_cached > 0
           AND disk_busy_max >= 0 AND net_rx_bytes >= 0 AND tcp_established >= 0
           AND file_handles > 0 AND uptime_s > 0 AND clock_offset_s BETWEEN -5 AND 5";
    number(&database, vitals, "vitals with the clock's offset", |found| found > 0).await?;
    scene.settle(&url).await?.check()
}
