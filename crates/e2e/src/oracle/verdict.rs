//! What was produced, against what is stored.

use std::fmt;

use anyhow::{Result, ensure};

use super::rows::{self, Row, Stored};
use super::said::Sample;
use crate::host::Host;

/// At most this many of a kind are told.
const TOLD: usize = 5;

/// What the oracle found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Samples that a spool said it keeps.
    pub produced: u64,
    /// Of these, samples of which the agent saw an acknowledgement.
    pub acknowledged: u64,
    /// Rows of the database.
    pub rows: u64,
    /// Produced samples that are in a gap or were refused.
    pub accounted: u64,
    /// Produced samples that are nowhere; with what they were.
    pub lost: Findings,
    /// Acknowledged samples that are no row, and were not refused.
    pub acknowledged_lost: u64,
    /// Rows with other values than were produced.
    pub changed: Findings,
    /// Rows that nobody produced.
    pub invented: Findings,
    /// Rows of a killed agent's last moment, which were on disk and not said yet.
    pub unsaid: u64,
    /// Rows that stand twice.
    pub doubled: u64,
    /// Rows without the vitals that were read with them, and vitals beside no row.
    pub vitals: Findings,
    /// Rows of the ledger that do not add up, or tell of a spool that isn't drained.
    pub unbalanced: Findings,
    /// Samples that came again, as the ledger counts.
    pub duplicates: i64,
}

/// How many there are of a kind, and the first of them.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// How many.
    pub count: u64,
    first: Vec<String>,
}

impl Findings {
    fn add(&mut self, what: String) {
        self.count += 1;
        if self.first.len() < TOLD {
            self.first.push(what);
        }
    }
}

impl Verdict {
    /// Of all that the hosts' agents said up to now, against a database.
    ///
    /// # Errors
    /// When a log or the database cannot be read.
    pub async fn of(hosts: &mut [Host], url: &str) -> Result<Self> {
        let mut verdict = Self::of_rows(hosts, url).await?;
        let (unbalanced, duplicates) = rows::ledger(url).await?;
        unbalanced.into_iter().for_each(|row| verdict.unbalanced.add(row));
        verdict.duplicates = duplicates;
        Ok(verdict)
    }

    /// The same without the ledger, which is right only when all is drained.
    ///
    /// # Errors
    /// When a log or the database cannot be read.
    pub async fn of_rows(hosts: &mut [Host], url: &str) -> Result<Self> {
        let mut verdict = Self::default();
        // Before the database is read: what is acknowledged now must be there then.
        for host in hosts.iter_mut() {
            host.said()?;
        }
        let stored = rows::stored(url).await?;
        let nothing = Stored::default();
        for host in hosts {
            verdict.host(host, stored.get(&host.name).unwrap_or(&nothing));
        }
        Ok(verdict)
    }

    fn host(&mut self, host: &Host, stored: &Stored) {
        let (name, said) = (&host.name, host.said_before());
        self.rows += u64::try_from(stored.rows.len()).unwrap_or(u64::MAX);
        self.doubled += stored.doubled;
        for (time, sample) in said.samples() {
            self.produced += 1;
            self.acknowledged += u64::from(sample.acknowledged);
            match stored.rows.get(time) {
                Some(row) if same(*sample, *row) => {}
                Some(row) => {
                    self.changed
                        .add(format!("{name} at {time} us: {sample:?} is stored as {row:?}"));
                }
                None if stored.accounts_for(sample.epoch, sample.sequence) => self.accounted += 1,
                None => {
                    self.lost.add(format!("{name} at {time} us: {sample:?}"));
                    self.acknowledged_lost += u64::from(sample.acknowledged);
                }
            }
        }
        for time in &stored.vitals_alone {
            self.vitals.add(format!("{name} at {time} us: vitals beside no row"));
        }
        for (time, row) in &stored.rows {
            if !row.has_vitals && said.samples().get(time).is_none_or(|sample| sample.has_vitals) {
                self.vitals.add(format!("{name} at {time} us: no vitals beside {row:?}"));
            }
            let may_be = || {
                let (epoch, sequence) = (row.epoch, row.sequence);
                host.keeps_in_memory && !said.is_said(epoch, sequence)
                    || said.may_be_unsaid(epoch, sequence)
            };
            match said.samples().contains_key(time) {
                true => {}
                false if may_be() => self.unsaid += 1,
                false => self.invented.add(format!("{name} at {time} us: {row:?}")),
            }
        }
    }

    /// Is everything as it must be?
    ///
    /// # Errors
    /// What is not, with the first of each kind.
    pub fn check(&self) -> Result<()> {
        ensure!(self.is_clean(), "{self}");
        Ok(())
    }

    /// Nothing lost, doubled, changed, invented, and the ledger adds up.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let Self { lost, changed, invented, vitals, unbalanced, doubled, .. } = self;
        [lost, changed, invented, vitals, unbalanced].iter().all(|found| found.count == 0)
            && *doubled == 0
    }

    /// Adds what was found of other hosts and another database.
    pub fn add(&mut self, other: &Self) {
        self.produced += other.produced;
        self.acknowledged += other.acknowledged;
        self.rows += other.rows;
        self.accounted += other.accounted;
        self.acknowledged_lost += other.acknowledged_lost;
        self.unsaid += other.unsaid;
        self.doubled += other.doubled;
        self.duplicates += other.duplicates;
        for (mine, theirs) in [
            (&mut self.lost, &other.lost),
            (&mut self.changed, &other.changed),
            (&mut self.invented, &other.invented),
            (&mut self.vitals, &other.vitals),
            (&mut self.unbalanced, &other.unbalanced),
        ] {
            mine.count += theirs.count;
            mine.first.extend(theirs.first.iter().cloned());
            mine.first.truncate(TOLD);
        }
    }
}

/// Is the row what was produced? Memory is stored in whole MiB.
fn same(sample: Sample, row: Row) -> bool {
    sample.memory_free_kib.map(|kib| kib.div_euclid(1024)) == row.memory_free
        && sample.disk_io == row.disk_io
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { produced, lost, doubled, rows, acknowledged, .. } = self;
        write!(
            f,
            "{produced} produced, {} lost, {doubled} doubled ({rows} rows, {acknowledged} seen \
             acknowledged, {} in a gap or refused, {} rows of a last moment, {} came again)",
            lost.count, self.accounted, self.unsaid, self.duplicates
        )?;
        for (what, found) in [
            ("lost", lost),
            ("changed", &self.changed),
            ("produced by nobody", &self.invented),
            ("vitals and rows apart", &self.vitals),
            ("does not add up", &self.unbalanced),
        ] {
            if found.count > 0 {
                write!(f, "\n  {what}: {}", found.count)?;
                found.first.iter().try_for_each(|one| write!(f, "\n    {one}"))?;
            }
        }
        if self.acknowledged_lost > 0 {
            write!(f, "\n  {} of the lost were acknowledged", self.acknowledged_lost)?;
        }
        Ok(())
    }
}
