//! The six reports: files in `sql/queries/reports/` that also run as they stand in `psql`.
//!
//! First [`Store::frame`] fixes the windows and the time of the report, then each report is asked
//! within that frame, so that all of them show the same. Rows of the large ones come as streams.
//! Nothing here limits how many hosts a report may have: that is the caller's, who learns their
//! number from the frame.

mod ledger;
#[cfg(test)]
mod plans;
mod pressure;
mod rows;
mod stream;
mod template;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use postgres_types::ToSql;
use rowcall_core::id::UnixMicros;
use tokio_postgres::RowStream;

pub use ledger::{Counts, LedgerRow};
pub use pressure::{BootedRow, PressureRow, Wait};
pub use rows::{
    BalanceRow, HardwareRow, Integrity, IntegrityKind, IntegrityRow, MemoryRow, RollRow, Spread,
    UnobservedCause, UnobservedRow, WindowState,
};
pub use stream::Rows;

use crate::Store;
use crate::error::{Error, Kind};
use crate::time::Time;
use ledger::LedgerLine;
use rows::FromRow;

/// The files as they stand.
#[cfg(test)]
pub(crate) const FILES: [&str; 10] = template::ALL;

/// Longest window in seconds: a day.
pub const MAX_WINDOW_S: u32 = 86_400;
/// Most windows in a report.
pub const MAX_WINDOWS: u32 = 100_000;
/// Longest pattern of a host's name, in bytes: four times the longest name.
pub const MAX_GLOB_BYTES: usize = 1_012;
/// Most labels in a selector.
pub const MAX_LABELS: usize = 64;

/// So long after a time that nobody observed agents may still be on their way back: their longest
/// pause between two tries. The roll judges as if that time had lasted so much longer.
pub const WAY_BACK: Duration = Duration::from_secs(120);

/// The last day that a report can show begins here: 9999-12-31 00:00:00 UTC.
const LAST_DAY: UnixMicros = UnixMicros(253_402_214_400_000_000);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Start, inclusive. Default: an hour before `to`.
    pub from: Option<UnixMicros>,
    /// End, exclusive. Default: the end of the last finished window.
    pub to: Option<UnixMicros>,
    /// Length of a window in seconds, 1 to [`MAX_WINDOW_S`].
    pub window_s: u32,
    /// Fewest samples that make a window complete for a host that samples once a minute. Default:
    /// 60 % of those due.
    pub min_samples: Option<u32>,
    /// Labels that a host must carry, all of them.
    pub labels: BTreeMap<String, String>,
    /// Pattern of a host's name, `*` for any characters, `?` for one. Empty: any name.
    pub name_glob: String,
    /// The hardware report as of this time. Default: what hosts are now.
    pub hardware_as_of: Option<UnixMicros>,
}

impl Default for Scope {
    /// All hosts over the last hour, in windows of 5 minutes.
    fn default() -> Self {
        Self {
            from: None,
            to: None,
            window_s: 300,
            min_samples: None,
            labels: BTreeMap::new(),
            name_glob: String::new(),
            hardware_as_of: None,
        }
    }
}

/// What the reports of one [`Scope`] show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Start of the first window.
    pub from: UnixMicros,
    /// End of the last window.
    pub to: UnixMicros,
    /// Length of a window in seconds.
    pub window_s: u32,
    /// How many windows there are.
    pub windows: u32,
    /// The time of the report, by the database's clock.
    pub now: UnixMicros,
    /// How many hosts the selector finds.
    pub hosts: u64,
}

impl Frame {
    /// How many of the windows have ended: the first ones.
    #[must_use]
    pub fn finished_windows(&self) -> u32 {
        let window = i64::from(self.window_s.max(1)) * 1_000_000;
        let finished = self.now.since(self.from).max(0) / window;
        u32::try_from(finished).unwrap_or(u32::MAX).min(self.windows)
    }
}

impl Store {
    /// Fixes windows and time of a report: fills in defaults by the database's clock, and widens
    /// the range to whole windows.
    ///
    /// # Errors
    /// [`Kind::Data`] for a scope that makes no sense or goes beyond the limits; else as the
    /// database says.
    pub async fn frame(&self, scope: &Scope) -> Result<Frame, Error> {
        self.frame_at(scope, None).await
    }

    /// The same at another time than now, as if the report had been made then, with the samples
    /// that are there today.
    ///
    /// # Errors
    /// As [`Store::frame`].
    pub async fn frame_at(&self, scope: &Scope, now: Option<UnixMicros>) -> Result<Frame, Error> {
        scope.check()?;
        let parameters = Parameters::new(scope, scope.from, scope.to, now);
        let connection = self.reports.get().await?;
        let result = self
            .reports
            .wait(async {
                let statement = template::with_parameters(template::FRAME);
                let statement = connection.prepare_cached(&statement).await?;
                let row = connection.query_one(&statement, &parameters.list()).await?;
                let time = |column| row.try_get(column).map(|Time(time)| time);
                Ok((time(0)?, time(1)?, time(2)?, row.try_get::<_, i64>(3)?))
            })
            .await;
        self.reports.settle(connection, &result);
        let (now, from, to, hosts) = result?;
        let windows = to.since(from) / (i64::from(scope.window_s) * 1_000_000);
        if from < UnixMicros(0) {
            return Err(refuse("the range starts before 1970"));
        }
        if windows < 1 {
            return Err(refuse("the range ends before it starts; without an end it ends now"));
        }
        let windows = u32::try_from(windows)
            .ok()
            .filter(|windows| *windows <= MAX_WINDOWS)
            .ok_or_else(|| {
                refuse(format!(
                    "the range has {windows} windows, at most {MAX_WINDOWS} are possible: take \
                     longer windows or a shorter range"
                ))
            })?;
        let hosts = u64::try_from(hosts).unwrap_or(0);
        Ok(Frame { from, to, window_s: scope.window_s, windows, now, hosts })
    }

    /// What each host is: by CPUs descending, memory descending, name; what is not known last.
    ///
    /// # Errors
    /// As the database says; so may each row.
    pub async fn hardware(&self, scope: &Scope, frame: &Frame) -> Result<Rows<HardwareRow>, Error> {
        self.rows(template::HARDWARE, scope, frame).await
    }

    /// Average used memory per host and window with samples: by name, then window.
    ///
    /// # Errors
    /// As the database says; so may each row.
    pub async fn memory(&self, scope: &Scope, frame: &Frame) -> Result<Rows<MemoryRow>, Error> {
        self.rows(template::MEMORY, scope, frame).await
    }

    /// How each host answered in each window of the range: by name, then window.
    ///
    /// # Errors
    /// As the database says; so may each row.
    pub async fn roll(&self, scope: &Scope, frame: &Frame) -> Result<Rows<RollRow>, Error> {
        self.rows(template::ROLL, scope, frame).await
    }

    /// When hosts booted within the range: by name, then time, the first 100 of each host.
    ///
    /// # Errors
    /// As the database says; so may each row.
    pub async fn boots(&self, scope: &Scope, frame: &Frame) -> Result<Rows<BootedRow>, Error> {
        self.rows(template::BOOTS, scope, frame).await
    }

    /// What hosts with samples in the range waited for: those that waited most first, then those
    /// of which that is not known.
    ///
    /// # Errors
    /// As the database says; so may each row.
    pub async fn pressure(&self, scope: &Scope, frame: &Frame) -> Result<Rows<PressureRow>, Error> {
        self.rows(template::PRESSURE, scope, frame).await
    }

    /// When no aggregator could have received anything, oldest first, at most 1,000.
    ///
    /// # Errors
    /// As the database says.
    pub async fn unobserved(
        &self,
        scope: &Scope,
        frame: &Frame,
    ) -> Result<Vec<UnobservedRow>, Error> {
        self.rows::<UnobservedRow>(template::UNOBSERVED, scope, frame).await?.try_collect().await
    }

    /// How evenly load spreads over the hosts, for each window with samples, in order.
    ///
    /// # Errors
    /// As the database says.
    pub async fn balance(&self, scope: &Scope, frame: &Frame) -> Result<Vec<BalanceRow>, Error> {
        self.rows(template::BALANCE, scope, frame).await?.try_collect().await
    }

    /// What does not add up, and the ledger.
    ///
    /// # Errors
    /// As the database says.
    pub async fn integrity(&self, scope: &Scope, frame: &Frame) -> Result<Integrity, Error> {
        let mut answer = Integrity::default();
        {
            let mut rows =
                self.rows::<(IntegrityRow, u64)>(template::INTEGRITY, scope, frame).await?;
            while let Some((finding, total)) = rows.try_next().await? {
                answer.findings.push(finding);
                answer.total = total;
            }
        }
        let mut lines = self.rows(template::LEDGER, scope, frame).await?;
        while let Some(line) = lines.try_next().await? {
            match line {
                LedgerLine::Total(counts) => answer.ledger_total = counts,
                LedgerLine::Epoch(row) => answer.ledger.push(row),
            }
        }
        Ok(answer)
    }

    async fn rows<T: FromRow>(
        &self,
        file: &str,
        scope: &Scope,
        frame: &Frame,
    ) -> Result<Rows<T>, Error> {
        scope.check()?;
        let (from, to, now) = (Some(frame.from), Some(frame.to), Some(frame.now));
        let parameters = Parameters::new(scope, from, to, now);
        let connection = self.reports.get().await?;
        let result: Result<RowStream, Error> = self
            .reports
            .wait(async {
                let statement = template::with_parameters(file);
                let statement = connection.prepare_cached(&statement).await?;
                Ok(connection.query_raw(&statement, parameters.list()).await?)
            })
            .await;
        match result {
            Ok(rows) => Ok(Rows::new(rows, connection, self.reports.clone(), *frame)),
            Err(error) => {
                let result = Err(error);
                self.reports.settle(connection, &result);
                result
            }
        }
    }
}

impl Scope {
    /// What can be told without the database's clock.
    fn check(&self) -> Result<(), Error> {
        if !(1..=MAX_WINDOW_S).contains(&self.window_s) {
            return Err(refuse(format!(
                "a window of {} s is not possible, 1 to {MAX_WINDOW_S} s are",
                self.window_s
            )));
        }
        if [self.from, self.to].into_iter().flatten().any(|time| time < UnixMicros(0)) {
            return Err(refuse("the range starts before 1970"));
        }
        if self.hardware_as_of.is_some_and(|time| time < UnixMicros(0) || time > LAST_DAY) {
            return Err(refuse("the hardware can be told as of 1970 to 9999"));
        }
        if [self.from, self.to].into_iter().flatten().any(|time| time > LAST_DAY) {
            return Err(refuse("the range ends after 9999-12-31"));
        }
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            return Err(refuse("the range ends before it starts"));
        }
        check_selector(&self.labels, &self.name_glob)
    }
}

/// A selector within the limits.
pub(crate) fn check_selector(
    labels: &BTreeMap<String, String>,
    name_glob: &str,
) -> Result<(), Error> {
    if name_glob.len() > MAX_GLOB_BYTES {
        return Err(refuse(format!(
            "the pattern of the name is longer than {MAX_GLOB_BYTES} bytes"
        )));
    }
    if labels.len() > MAX_LABELS {
        return Err(refuse(format!("the selector has more than {MAX_LABELS} labels")));
    }
    let mut texts = labels.iter().flat_map(|(key, value)| [key, value]);
    if name_glob.contains('\0') || texts.any(|text| text.contains('\0')) {
        return Err(refuse("the selector contains a zero byte"));
    }
    Ok(())
}

fn refuse(why: impl Into<String>) -> Error {
    Error::new(Kind::Data, why)
}

/// The parameters of a report file, in the order of the line in [`template`].
struct Parameters<'a> {
    from: Option<Time>,
    to: Option<Time>,
    window_s: f64,
    min_samples: Option<i32>,
    keys: Vec<&'a str>,
    values: Vec<&'a str>,
    name_glob: &'a str,
    now: Option<Time>,
    hardware_as_of: Option<Time>,
}

impl<'a> Parameters<'a> {
    fn new(
        scope: &'a Scope,
        from: Option<UnixMicros>,
        to: Option<UnixMicros>,
        now: Option<UnixMicros>,
    ) -> Self {
        Self {
            from: from.map(Time),
            to: to.map(Time),
            window_s: f64::from(scope.window_s),
            min_samples: scope.min_samples.map(|least| i32::try_from(least).unwrap_or(i32::MAX)),
            keys: scope.labels.keys().map(String::as_str).collect(),
            values: scope.labels.values().map(String::as_str).collect(),
            name_glob: &scope.name_glob,
            now: now.map(Time),
            hardware_as_of: scope.hardware_as_of.map(Time),
        }
    }

    fn list(&self) -> [&(dyn ToSql + Sync); 9] {
        [
            &self.from,
            &self.to,
            &self.window_s,
            &self.min_samples,
            &self.keys,
            &self.values,
            &self.name_glob,
            &self.now,
            &self.hardware_as_of,
        ]
    }
}
