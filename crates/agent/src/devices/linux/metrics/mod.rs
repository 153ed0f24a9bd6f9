//! Values from drop-in files, `*.prom` in a folder, as Prometheus' node_exporter's textfile
//! collector takes them.
//!
//! A file is taken whole or, where it has a mistake or a timestamp, not at all: whoever writes it
//! should write another file and rename it. Values that are no finite number are left out and
//! counted, and so is what was told before, in order of files and lines. Only regular files are
//! read: no link is followed, and no pipe waited for. What was not taken is named by its file and
//! why: "backup.prom line 5: no value".

mod text;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rowcall_core::convert::clean_text_within;
use rowcall_core::devices::{MAX_METRIC_BYTES, MAX_METRIC_LABELS, MAX_METRICS, Metric, SkipReason};
use rustix::fs::OFlags;

use super::Context;
use super::files::{self, MAX_NAME_BYTES};
use crate::collect::Collector;
use crate::devices::found::{Found, Source};

/// Largest file, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Most files.
const MAX_FILES: usize = 256;

/// Most bytes of a file's name that are shown before what is wrong with it.
const MAX_FILE_NAME_BYTES: usize = 160;

/// Longest name of a metric or label, and longest value of a label, in bytes.
const MAX_WORD_BYTES: usize = 256;

/// Reads drop-in files.
#[derive(Debug)]
pub(super) struct Metrics(pub(super) Arc<Context>);

impl Source for Metrics {
    fn read(&mut self, found: &mut Found) {
        let Some(folder) = &self.0.collect.metrics_dir else { return };
        if std::fs::read_dir(folder).is_err() {
            let name = clean_text_within(&folder.to_string_lossy(), MAX_NAME_BYTES);
            return found.unreadable(Collector::Metrics, name.as_deref());
        }
        let mut names = files::names(folder);
        names.retain(|name| name.ends_with(".prom"));
        let too_many = names.len().saturating_sub(MAX_FILES);
        found.skip(Collector::Metrics, None, SkipReason::Limit, too_many);
        let mut taken =
            Taken { most: self.0.collect.max_metrics.min(MAX_METRICS), ..Taken::default() };
        for name in names.iter().take(MAX_FILES) {
            let shown = clean_text_within(name, MAX_FILE_NAME_BYTES).unwrap_or_default();
            let mut skip = |what: &str, reason, count| {
                found.skip(Collector::Metrics, Some(&format!("{shown}{what}")), reason, count);
            };
            match contents(&folder.join(name)) {
                Ok(text) => match text::parse(&text) {
                    Ok(metrics) => {
                        let LeftOut { not_finite, repeated, too_large } = taken.take(metrics);
                        let unreadable = SkipReason::Unreadable;
                        skip(": values NaN or infinite left out", unreadable, not_finite);
                        skip(": values told before left out", unreadable, repeated);
                        skip(": values with long labels left out", SkipReason::Limit, too_large);
                    }
                    Err(text::Mistake { line, what }) => {
                        skip(&format!(" line {line}: {what}"), SkipReason::Unreadable, 1);
                    }
                },
                Err((reason, what)) => skip(&format!(": {what}"), reason, 1),
            }
        }
        found.skip(Collector::Metrics, None, SkipReason::Limit, taken.too_many);
        found.devices.metrics = taken.metrics;
    }
}

/// What all files together told.
#[derive(Default)]
struct Taken {
    most: usize,
    metrics: Vec<Metric>,
    known: HashSet<(String, Vec<(String, String)>)>,
    too_many: usize,
}

/// What was not taken of a file.
#[derive(Default)]
struct LeftOut {
    /// No finite number.
    not_finite: usize,
    /// Told already, by this file or one before it.
    repeated: usize,
    /// Larger than a metric may be.
    too_large: usize,
}

impl Taken {
    fn take(&mut self, metrics: Vec<Metric>) -> LeftOut {
        let mut left_out = LeftOut::default();
        for metric in metrics {
            if !metric.value.is_finite() {
                left_out.not_finite += 1;
                continue;
            }
            let Some(metric) = bounded(metric) else {
                left_out.too_large += 1;
                continue;
            };
            if self.known.contains(&(metric.name.clone(), metric.labels.clone())) {
                left_out.repeated += 1;
            } else if self.metrics.len() == self.most {
                self.too_many += 1;
            } else {
                self.known.insert((metric.name.clone(), metric.labels.clone()));
                self.metrics.push(metric);
            }
        }
        left_out
    }
}

/// A metric as it is stored: labels sorted and clean, those without a value left out, which is the
/// same to Prometheus. `None` where it is too large; to cut it would make two metrics one.
fn bounded(mut metric: Metric) -> Option<Metric> {
    let longest = metric.labels.iter().map(|(name, value)| name.len().max(value.len())).max();
    if metric.name.len().max(longest.unwrap_or(0)) > MAX_WORD_BYTES {
        return None;
    }
    let clean = |(name, value): (String, String)| {
        clean_text_within(&value, MAX_WORD_BYTES).map(|value| (name, value))
    };
    metric.labels = metric.labels.into_iter().filter_map(clean).collect();
    metric.labels.sort();
    let labels: usize = metric.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    let fits =
        metric.labels.len() <= MAX_METRIC_LABELS && metric.name.len() + labels <= MAX_METRIC_BYTES;
    fits.then_some(metric)
}

/// What a file holds.
///
/// # Errors
/// Why it is not taken, and in words.
fn contents(path: &Path) -> Result<String, (SkipReason, &'static str)> {
    let unreadable = |what| (SkipReason::Unreadable, what);
    // Neither follows a link nor waits for a pipe's writer. The flags fit: they are the kernel's own.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file: File = opened.map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => unreadable("permission denied"),
        ErrorKind::NotFound => unreadable("no such file"),
        _ => unreadable("no regular file"),
    })?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(unreadable("no regular file"));
    }
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|_| unreadable("cannot be read"))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        return Err((SkipReason::Limit, "larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| unreadable("no UTF-8 text"))
}

#[cfg(test)]
mod tests;
