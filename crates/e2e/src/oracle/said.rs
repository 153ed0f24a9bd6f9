//! What a host's agents said, process after process.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Stands in the log before each process. The line end before it closes what a killed one left.
pub const STARTED: &str = "\n{\"started\":true}\n";

/// A sample that was produced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The epoch in which it was numbered last.
    pub epoch: i64,
    /// Its number there.
    pub sequence: i64,
    /// As read, in KiB.
    pub memory_free_kib: Option<i64>,
    /// As read.
    pub disk_io: Option<i64>,
    /// The agent saw an acknowledgement that covers it.
    pub acknowledged: bool,
    /// Vitals were read with it, as an agent does; not what a test put into the spool itself.
    pub has_vitals: bool,
}

/// Sequences that one process said it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: i64,
    through: i64,
    process: u32,
}

/// What was said.
#[derive(Debug)]
pub struct Said {
    path: PathBuf,
    offset: u64,
    processes: u32,
    samples: BTreeMap<i64, Sample>,
    spans: BTreeMap<i64, Vec<Span>>,
    waiting: BTreeMap<i64, VecDeque<(i64, i64)>>,
    newest: Option<(i64, i64)>,
    acknowledgements: u64,
    torn: u64,
}

impl Said {
    /// Of a log that may not be there yet.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            offset: 0,
            processes: 0,
            samples: BTreeMap::new(),
            spans: BTreeMap::new(),
            waiting: BTreeMap::new(),
            newest: None,
            acknowledgements: 0,
            torn: 0,
        }
    }

    /// Takes in what has been said since, whole lines.
    ///
    /// # Errors
    /// When the log cannot be read, or a line of the two that matter lacks what it must have.
    pub fn read(&mut self) -> Result<()> {
        let Ok(mut file) = File::open(&self.path) else { return Ok(()) };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        bytes.truncate(whole);
        self.offset += u64::try_from(whole)?;
        for line in String::from_utf8_lossy(&bytes).lines() {
            self.line(line).with_context(|| format!("{}: {line}", self.path.display()))?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let wanted = ["\"kept\"", "\"acknowledged\"", "\"started\":true"];
        if !wanted.iter().any(|word| line.contains(word)) {
            return Ok(());
        }
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            self.torn += 1;
            return Ok(());
        };
        if line.get("started").is_some() {
            self.processes += 1;
            return Ok(());
        }
        let fields = line.get("fields").unwrap_or(&line);
        // A number of a type of its own is logged as its text.
        let read = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
        let number = |name: &str| fields.get(name).and_then(read);
        let required = |name: &str| number(name).with_context(|| format!("no {name}"));
        match fields.get("message").and_then(Value::as_str) {
            Some("kept") => {
                let (epoch, sequence) = (required("epoch")?, required("sequence")?);
                let through = number("through").unwrap_or(sequence);
                let span = Span { from: sequence, through, process: self.processes };
                self.spans.entry(epoch).or_default().push(span);
                self.newest = Some((epoch, through));
                if fields.get("kind").and_then(Value::as_str) == Some("sample") {
                    let time = required("time_us")?;
                    let sample = Sample {
                        epoch,
                        sequence,
                        memory_free_kib: number("memory_free_kib"),
                        disk_io: number("disk_io"),
                        acknowledged: self.samples.get(&time).is_some_and(|s| s.acknowledged),
                        has_vitals: self.samples.get(&time).is_none_or(|s| s.has_vitals),
                    };
                    self.samples.insert(time, sample);
                    self.waiting.entry(epoch).or_default().push_back((sequence, time));
                }
            }
            Some("acknowledged") => {
                let (epoch, through) = (required("epoch")?, required("through")?);
                self.acknowledgements += 1;
                let waiting = self.waiting.entry(epoch).or_default();
                while let Some((sequence, time)) = waiting.front().copied()
                    && sequence <= through
                {
                    waiting.pop_front();
                    if let Some(sample) = self.samples.get_mut(&time) {
                        sample.acknowledged = true;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Samples by their time.
    #[must_use]
    pub fn samples(&self) -> &BTreeMap<i64, Sample> {
        &self.samples
    }

    /// Makes a sample known that no agent said: one that a test put into the spool itself.
    pub fn add(&mut self, time: i64, sample: Sample) {
        self.samples.insert(time, sample);
        self.waiting.entry(sample.epoch).or_default().push_back((sample.sequence, time));
        let span = Span { from: sample.sequence, through: sample.sequence, process: 0 };
        self.spans.entry(sample.epoch).or_default().push(span);
        self.newest = Some((sample.epoch, sample.sequence));
    }

    /// The newest record said: epoch and sequence.
    #[must_use]
    pub fn newest(&self) -> Option<(i64, i64)> {
        self.newest
    }

    /// Acknowledgements seen.
    #[must_use]
    pub fn acknowledgements(&self) -> u64 {
        self.acknowledgements
    }

    /// Lines that a kill cut in two.
    #[must_use]
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// Was this record said to be on disk?
    #[must_use]
    pub fn is_said(&self, epoch: i64, sequence: i64) -> bool {
        let spans = self.spans.get(&epoch).map(Vec::as_slice).unwrap_or_default();
        spans.iter().any(|span| (span.from..=span.through).contains(&sequence))
    }

    /// May this record be on disk although nobody said so? Only at the end of a killed process.
    #[must_use]
    pub fn may_be_unsaid(&self, epoch: i64, sequence: i64) -> bool {
        let Some(spans) = self.spans.get(&epoch) else {
            // A whole epoch of which nothing was said: of a process killed at once.
            return self.processes > 1;
        };
        if self.is_said(epoch, sequence) {
            return false;
        }
        let below = spans.iter().filter(|span| span.through < sequence).max_by_key(|s| s.through);
        let above = spans.iter().filter(|span| span.from > sequence).min_by_key(|s| s.from);
        match (below, above) {
            (Some(below), Some(above)) => below.process != above.process,
            (Some(below), None) => below.process < self.processes,
            (None, _) => self.processes > 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn kept(sequence: i64, time: i64) -> String {
        format!(
            r#"{{"fields":{{"message":"kept","epoch":5,"sequence":{sequence},"through":{sequence},"time_us":{time},"kind":"sample","ticks":1,"memory_free_kib":2048,"disk_io":3}}}}"#
        )
    }

    fn said(text: &str) -> Said {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let mut said = Said::of(file.path());
        said.read().unwrap();
        said
    }

    #[test]
    fn an_acknowledgement_covers_what_was_kept_before_it() {
        let ack = r#"{"fields":{"message":"acknowledged","epoch":"5","through":"2"}}"#;
        let text = [STARTED, &kept(1, 10), &kept(2, 20), ack, &kept(3, 30), ""].join("\n");
        let said = said(&text);
        let covered: Vec<_> = said.samples().values().map(|s| s.acknowledged).collect();
        assert_eq!(covered, [true, true, false]);
        assert_eq!((said.newest(), said.acknowledgements()), (Some((5, 3)), 1));
    }

    #[test]
    fn only_the_end_of_a_killed_process_may_be_unsaid() {
        let half = kept(3, 30);
        let half = half.get(..20).unwrap();
        let text =
            [STARTED, &kept(1, 10), &kept(2, 20), half, STARTED, &kept(5, 50), &kept(7, 70), ""];
        let said = said(&text.join("\n"));
        let unsaid: Vec<_> = (1..9).filter(|n| said.may_be_unsaid(5, *n)).collect();
        assert_eq!(unsaid, [3, 4]);
    }
}
