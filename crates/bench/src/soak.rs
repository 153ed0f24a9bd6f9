//! The agent over a long time: it must not grow, and what it took must be in the database.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rowcall_testkit::database::Client;
use rowcall_testkit::process::Process;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::measure::real;
use crate::report::Table;
use crate::resources::{self, Memory};
use crate::stage::Stage;
use crate::stats::Spread;

const DATABASE: &str = "bench_soak";
const HOST: &str = "soak.example";

/// Ten samples a second: three weeks at the default interval in half an hour.
const INTERVAL: &str = "100ms";
const SETTINGS: [(&str, &str); 4] = [
    ("ROWCALL_MIN_INTERVAL", INTERVAL),
    ("ROWCALL_PROFILE", "default"),
    ("ROWCALL_DEVICE_INTERVAL", "3s"),
    ("ROWCALL_PEAK_INTERVAL", "1s"),
];

/// From one look to the next.
const LOOK: Duration = Duration::from_secs(10);
const LOOKS_A_MINUTE: usize = 6;

/// The end may differ from minute two by this share.
const SAME: f64 = 0.05;

/// Of the samples that were due, this share must have been taken.
const TAKEN: f64 = 0.95;

/// What stands in the database of one host: samples, how many of their numbers are different, rows
/// of vitals, records of devices, and the last number and sum of the ledger.
const STORED: &str = "
    SELECT count(*), count(DISTINCT sequence),
           (SELECT count(*) FROM host_vitals v WHERE v.host_id = i.id),
           (SELECT count(*) FROM rowcall.device_sample d WHERE d.host_id = i.id),
           (SELECT to_jsonb(l)::text FROM rowcall.ledger l WHERE l.host_id = i.id)
      FROM host_usage u JOIN host_info i ON i.id = u.host_id WHERE i.hostname = $1 GROUP BY i.id";

/// What was seen at one look.
#[derive(Clone, Copy, Debug)]
struct Seen {
    memory: Memory,
    descriptors: usize,
}

/// Runs it, prints the table, and fails where something grew or is missing.
pub(crate) async fn run(stage: &Stage, minutes: usize) -> Result<()> {
    ensure!(minutes >= 3, "--minutes: minute two is compared with the last one; give 3 or more");
    let client = stage.database(DATABASE).await?;
    let aggregator = stage.aggregator(DATABASE, INTERVAL).await?;
    let agent = stage.agent_with(HOST, aggregator.address.port(), &SETTINGS)?;
    let started = Instant::now();
    let seen = watch(&agent, minutes).await.with_context(|| agent.output())?;
    let ran = started.elapsed();
    // It says Bye, and waits until all is acknowledged.
    let code = agent.stop().await;
    ensure!(code == Some(0), "the agent ended with {code:?}:\n{}", agent.output());
    let mut wrong = Vec::new();
    let mut told = growth(&seen, &mut wrong)?;
    told += &stored(&client, ran, &mut wrong).await?;
    told += &if wrong.is_empty() {
        "ok\n".to_owned()
    } else {
        format!("FAILED: {}\n", wrong.join("; "))
    };
    std::io::stdout().lock().write_all(told.as_bytes())?;
    if wrong.is_empty() { Ok(()) } else { bail!("the soak failed") }
}

/// Looks at it every 10 s.
async fn watch(agent: &Process, minutes: usize) -> Result<Vec<Seen>> {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut seen = Vec::new();
    for look in 1..=minutes * LOOKS_A_MINUTE {
        ticks.tick().await;
        let pid = agent.pid();
        seen.push(Seen {
            memory: resources::memory(pid)?,
            descriptors: resources::descriptors(pid)?,
        });
        if look.is_multiple_of(LOOKS_A_MINUTE) {
            crate::progress(&format!("  minute {} of {minutes}", look / LOOKS_A_MINUTE));
        }
    }
    Ok(seen)
}

/// A table with a line for each minute, and what is wrong with it.
fn growth(seen: &[Seen], wrong: &mut Vec<String>) -> Result<String> {
    let head = ["minute", "resident, median", "own, median", "descriptors"];
    let mut table = Table::new("soak", &head);
    let mut minutes = Vec::new();
    for (number, looks) in (1..).zip(seen.chunks(LOOKS_A_MINUTE)) {
        let median = |of: fn(&Seen) -> u64| {
            let values = looks.iter().map(|seen| real(of(seen) / 1024)).collect::<Result<_>>()?;
            Ok::<_, anyhow::Error>(Spread::of(values).context("nothing was seen")?.median)
        };
        let resident = median(|seen| seen.memory.resident)?;
        let own = median(|seen| seen.memory.anonymous)?;
        // At a look in the middle of a reading, a file that is read and closed counts too: what
        // stays open is there at each look.
        let few = looks.iter().map(|seen| seen.descriptors).min().unwrap_or(0);
        let many = looks.iter().map(|seen| seen.descriptors).max().unwrap_or(0);
        let descriptors = if few == many { few.to_string() } else { format!("{few} to {many}") };
        table.row(vec![
            u32::to_string(&number),
            format!("{resident:.0} KiB"),
            format!("{own:.0} KiB"),
            descriptors,
        ]);
        minutes.push((resident, own, few));
    }
    let (Some(second), Some(last)) = (minutes.get(1), minutes.last()) else {
        bail!("fewer than two minutes");
    };
    for (name, before, after) in [("resident", second.0, last.0), ("own", second.1, last.1)] {
        let share = after / before - 1.0;
        if share.abs() > SAME {
            wrong.push(format!("{name} memory changed by {:.1} %", share * 100.0));
        }
    }
    if second.2 != last.2 {
        wrong.push(format!("{} descriptors became {}", second.2, last.2));
    }
    Ok(format!("{table}\n"))
}

/// What stands in the database, and what is wrong with it.
async fn stored(client: &Client, ran: Duration, wrong: &mut Vec<String>) -> Result<String> {
    let row = client.query_one(STORED, &[&HOST]).await.context("nothing was stored")?;
    let samples: i64 = row.try_get(0)?;
    let (numbers, vitals, devices): (i64, i64, i64) =
        (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let ledger: Option<String> = row.try_get(4)?;
    let ledger = ledger.context("no ledger")?;
    let ledger: serde_json::Value = serde_json::from_str(&ledger)?;
    let number = |name: &str| ledger.get(name).and_then(serde_json::Value::as_i64).unwrap_or(-1);
    if numbers != samples {
        wrong.push(format!("{samples} rows have {numbers} numbers"));
    }
    if vitals != samples {
        wrong.push(format!("{samples} samples have {vitals} rows of vitals"));
    }
    for (name, least) in
        [("difference", 0), ("duplicates", 0), ("quarantined", 0), ("dropped", 0), ("spooled", 0)]
    {
        if number(name) != least {
            wrong.push(format!("{name} {}", number(name)));
        }
    }
    if number("committed") != samples {
        wrong.push(format!("the ledger has {} samples", number("committed")));
    }
    let due = ran.as_secs_f64() * 10.0;
    let taken = real(samples)?;
    if taken < due * TAKEN {
        wrong.push(format!("{samples} samples in {:.0} s", ran.as_secs_f64()));
    }
    Ok(format!(
        "{samples} samples, {vitals} rows of vitals, {devices} readings of devices in {:.0} s; \
         ticks due {}, stored {}, missed {}, lost or doubled {}\n",
        ran.as_secs_f64(),
        number("due"),
        number("committed"),
        number("missed"),
        number("dropped") + number("duplicates") + number("difference"),
    ))
}
