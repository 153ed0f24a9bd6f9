//! Hosts and a database under faults, and what came of it.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rowcall_core::clock::SystemClock;
use rowcall_testkit::database::connect;
use tokio::time::sleep;

use crate::host::Host;
use crate::oracle::Verdict;
use crate::stack::{Aggregator, Site, TRUST_DOMAIN};

/// After faults, for everything to be acknowledged.
const DRAIN: Duration = Duration::from_secs(180);
/// A fresh sample lands within 5 s; ten times that fails.
const FRESH: Duration = Duration::from_secs(50);
/// Between two looks at the database.
const LOOK: Duration = Duration::from_millis(20);

/// The newest sample of each named host that is later than a moment, in microseconds.
const FRESH_HOSTS: &str = "
    SELECT count(*) FROM host_latest l JOIN host_info i ON i.id = l.host_id
     WHERE i.hostname = ANY($1) AND l.\"timestamp\" > to_timestamp(0) + $2::bigint * interval '1 microsecond'";
/// Up to where each host's epoch is committed.
const MARKS: &str = "
    SELECT i.hostname, e.epoch, l.mark FROM host_latest l JOIN host_info i ON i.id = l.host_id
      JOIN rowcall.epoch e ON e.id = l.epoch_id";

/// Tells whoever waits how far it is.
pub type Say<'a> = &'a (dyn Fn(&str) + Sync);

/// Hosts of one site, and what has been done to them.
pub struct Scene<'a> {
    /// Certificates and files.
    pub site: Site,
    /// The hosts.
    pub hosts: Vec<Host>,
    /// What was done, and what came of it.
    pub outcome: Outcome,
    /// For progress.
    pub say: Say<'a>,
    interval: &'static str,
}

impl fmt::Debug for Scene<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene").field("outcome", &self.outcome).finish_non_exhaustive()
    }
}

impl<'a> Scene<'a> {
    /// Some hosts whose agents don't run yet, and the interval that aggregators give them.
    ///
    /// # Errors
    /// What rcgen or the file system says.
    pub fn new(hosts: usize, interval: &'static str, say: Say<'a>) -> Result<Self> {
        let site = Site::new()?;
        let hosts = (1..=hosts).map(|n| Host::new(&site, &format!("node{n}")));
        let hosts = hosts.collect::<Result<_>>()?;
        Ok(Self { site, hosts, outcome: Outcome::default(), say, interval })
    }

    /// An aggregator over this database, that welcomes agents.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn aggregator(&self, url: &str) -> Result<Aggregator> {
        Aggregator::start(&self.site.server()?, TRUST_DOMAIN, url, self.interval).await
    }

    /// Starts all agents.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start(&mut self, aggregators: &[SocketAddr]) -> Result<()> {
        self.hosts.iter_mut().try_for_each(|host| host.start(aggregators))
    }

    /// Waits until each host has a sample in the database that is later than this moment; notes
    /// how long it took.
    ///
    /// # Errors
    /// When it takes ten times as long as it may.
    pub async fn recovered(&mut self, url: &str) -> Result<()> {
        let names: Vec<_> = self.hosts.iter().map(|host| host.name.clone()).collect();
        match fresh(url, &names).await {
            Ok(took) => self.outcome.recoveries.push(took),
            Err(error) => {
                let tails = self.hosts.iter().take(3).map(|host| host.tail());
                let tails = tails.collect::<Vec<_>>().join("\n--\n");
                return Err(error).context(format!("the agents said:\n{tails}"));
            }
        }
        Ok(())
    }

    /// Waits until this many samples were produced, counting from the beginning.
    ///
    /// # Errors
    /// When they don't come.
    pub async fn produced(&mut self, least: u64) -> Result<()> {
        let begun = Instant::now();
        loop {
            let mut produced = 0;
            for host in &mut self.hosts {
                produced += u64::try_from(host.said()?.samples().len())?;
            }
            if produced >= least {
                return Ok(());
            }
            let tail = self.hosts.first().map(Host::tail).unwrap_or_default();
            ensure!(begun.elapsed() < DRAIN, "only {produced} of {least} samples: {tail}");
            sleep(LOOK).await;
        }
    }

    /// After the faults: waits for a fresh sample of each host and until all is acknowledged, stops
    /// the agents, and asks the oracle.
    ///
    /// # Errors
    /// When one of these takes too long, or an agent doesn't stop in order.
    pub async fn settle(mut self, url: &str) -> Result<Outcome> {
        self.recovered(url).await?;
        self.drained(url).await?;
        for host in &mut self.hosts {
            host.stop().await?;
            let tail = host.tail();
            ensure!(tail.contains("\"unacknowledged_records\":0"), "{}: {tail}", host.name);
        }
        let verdict = Verdict::of(&mut self.hosts, url).await?;
        self.outcome.verdict.add(&verdict);
        Ok(self.outcome)
    }

    /// Waits until the marks have reached what is produced now.
    ///
    /// # Errors
    /// When that takes more than 180 s.
    pub async fn drained(&mut self, url: &str) -> Result<()> {
        let begun = Instant::now();
        let mut goals = Vec::new();
        for host in &mut self.hosts {
            let (epoch, sequence) = host.said()?.newest().context("nothing was produced")?;
            goals.push((host.name.clone(), epoch, sequence));
        }
        let client = connect(url).await?;
        loop {
            let rows = client.query(MARKS, &[]).await?;
            goals.retain(|(name, epoch, sequence)| {
                !rows.iter().any(|row| {
                    row.get::<_, &str>(0) == name
                        && row.get::<_, i64>(1) == *epoch
                        && row.get::<_, i64>(2) >= *sequence
                })
            });
            if goals.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > DRAIN {
                let late = self.hosts.iter().find(|host| host.name == goals[0].0);
                let tail = late.map(Host::tail).unwrap_or_default();
                bail!(
                    "not drained after {DRAIN:?}: {goals:?}; the first one's agent said:\n{tail}"
                );
            }
            sleep(LOOK).await;
        }
    }
}

/// Waits until each of these hosts has a sample in the database that is later than this moment; how
/// long it took.
///
/// # Errors
/// When it takes ten times as long as it may.
pub async fn fresh(url: &str, names: &[String]) -> Result<Duration> {
    let begun = Instant::now();
    let now = SystemClock::shared().wall().0;
    let wanted = i64::try_from(names.len())?;
    let mut problem = String::new();
    let mut client = None;
    loop {
        if client.is_none() {
            // The database may be a moment from being ready.
            client = connect(url).await.map_err(|error| problem = format!("{error:#}")).ok();
        }
        if let Some(sql) = &client {
            match sql.query_one(FRESH_HOSTS, &[&names, &now]).await {
                Ok(row) if row.get::<_, i64>(0) == wanted => return Ok(begun.elapsed()),
                Ok(row) => problem = format!("{} of {wanted} hosts", row.get::<_, i64>(0)),
                Err(error) => {
                    problem = error.to_string();
                    client = None;
                }
            }
        }
        ensure!(begun.elapsed() < FRESH, "no fresh samples after {FRESH:?}: {problem}");
        sleep(LOOK).await;
    }
}

/// What was done, and what came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Processes killed with SIGKILL.
    pub kills: u64,
    /// Other faults.
    pub faults: u64,
    /// What the oracle says.
    pub verdict: Verdict,
    /// From the end of a fault to the first fresh row.
    pub recoveries: Vec<Duration>,
    /// What else was seen.
    pub notes: Vec<String>,
    /// The fault leaves no room for all samples: some may be in a gap, counted.
    pub may_give_up: bool,
}

impl Outcome {
    /// Is everything as it must be?
    ///
    /// # Errors
    /// What is not.
    pub fn check(&self) -> Result<()> {
        let all_stored = self.verdict.accounted == 0 || self.may_give_up;
        ensure!(all_stored, "samples were given up or refused: {}", self.verdict);
        self.verdict.check()
    }

    /// Adds what came of another one.
    pub fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.faults += other.faults;
        self.verdict.add(&other.verdict);
        self.recoveries.extend(other.recoveries);
        self.notes.extend(other.notes);
    }

    /// The recovery time that this share of the recoveries did not exceed.
    #[must_use]
    pub fn recovery(&self, percent: usize) -> Option<Duration> {
        let mut times = self.recoveries.clone();
        times.sort_unstable();
        let last = times.len().checked_sub(1)?;
        times.get((last * percent).div_ceil(100)).copied()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kills, {} faults, {}", self.kills, self.faults, self.verdict)?;
        if let (Some(half), Some(all)) = (self.recovery(50), self.recovery(100)) {
            let (half, all) = (half.as_millis(), all.as_millis());
            write!(f, "; recovery p50 {half} ms, p100 {all} ms")?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\n  {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recoveries_are_told_by_their_share() {
        let mut outcome = Outcome::default();
        assert_eq!(outcome.recovery(50), None);
        outcome.recoveries = [5, 1, 3].map(Duration::from_secs).into();
        assert_eq!(outcome.recovery(50), Some(Duration::from_secs(3)));
        assert_eq!(outcome.recovery(100), Some(Duration::from_secs(5)));
    }
}
