//! What the agent reads, between what a witness says just before and just after.

use std::fmt;
use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rowcall_agent::collect::{Collect, Profile};
use rowcall_agent::devices::DeviceReader;
use rowcall_agent::sample::host_facts::FactsReader;
use rowcall_agent::sample::{Reading, Sampler};
use rowcall_core::clock::SystemClock;
use rowcall_core::devices::Devices;
use rowcall_core::record::HostFacts;
use rowcall_core::vitals::Vitals;

/// Between the agent's two readings.
const SPAN: Duration = Duration::from_secs(1);

/// What the agent read, and what the witness said around both of its readings.
#[derive(Debug)]
pub(crate) struct Seen<W> {
    pub(crate) reading: Reading,
    pub(crate) devices: Devices,
    pub(crate) facts: HostFacts,
    /// Before and after the first reading.
    pub(crate) first: [W; 2],
    /// Before and after the second.
    pub(crate) second: [W; 2],
}

/// Reads this machine twice, a second apart and under load, with a witness around each reading.
pub(crate) async fn seen<W>(mut ask: impl FnMut() -> Result<W>) -> Result<Seen<W>> {
    let collect = Collect::of(Profile::Default);
    let mut sampler = Sampler::new("/", &collect);
    let mut devices = DeviceReader::new("/", collect);
    let load = Load::start()?;
    let before = ask()?;
    sampler.prime(&SystemClock);
    let first = [before, ask()?];
    tokio::time::sleep(SPAN).await;
    load.end();
    let before = ask()?;
    let reading = sampler.sample(&SystemClock);
    let devices = devices.read(sampler.take_peaks()).await;
    let facts = FactsReader::new("/").read();
    let second = [before, ask()?];
    Ok(Seen { reading, devices, facts, first, second })
}

/// Something to count: a busy thread, and another that writes to disk.
#[derive(Debug)]
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn start() -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut file = tempfile::tempfile()?;
        let (spins, writes) = (Arc::clone(&stop), Arc::clone(&stop));
        let spin = thread::spawn(move || {
            while !spins.load(Ordering::Relaxed) {
                black_box((0..1_000_u64).sum::<u64>());
            }
        });
        let write = thread::spawn(move || {
            let block = vec![7; 1 << 20];
            while !writes.load(Ordering::Relaxed) {
                // A full disk is another test's matter.
                if file.write_all(&block).and_then(|()| file.sync_data()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { stop, threads: vec![spin, write] })
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            drop(thread.join());
        }
    }
}

impl<W> Seen<W> {
    /// A number of vitals by its name.
    pub(crate) fn vital(&self, name: &str) -> Option<f64> {
        let vitals: &Vitals = self.reading.sample.vitals.as_deref()?;
        let (_, value) = vitals.values().into_iter().find(|(found, _)| *found == name)?;
        value
    }

    /// Seconds between the two readings.
    pub(crate) fn elapsed(&self) -> f64 {
        self.reading.sample.elapsed_us.map_or(f64::NAN, exact) / 1e6
    }
}

/// A count as a number to compare.
#[expect(clippy::cast_precision_loss, reason = "counters of a machine that runs tests stay small")]
pub(crate) fn exact(value: i64) -> f64 {
    value as f64
}

/// The least and the most that a part can be of a whole, in percent, where of both the least and the
/// most are known.
pub(crate) fn share(part: Option<[f64; 2]>, whole: Option<[f64; 2]>) -> Option<[f64; 2]> {
    let ([least, most], [whole_least, whole_most]) = (part?, whole?);
    Some([least * 100.0 / whole_most, most * 100.0 / whole_least])
}

/// All comparisons of one witness.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    compared: usize,
    wrong: Vec<String>,
}

impl Agreement {
    /// A number must lie between two, or so far outside.
    pub(crate) fn between(
        &mut self,
        what: impl fmt::Display,
        ours: Option<f64>,
        theirs: Option<[f64; 2]>,
        tolerance: f64,
    ) {
        match (ours, theirs) {
            // Neither has it: this machine lacks it.
            (None, None) => {}
            (Some(ours), Some([low, high])) => {
                self.compared += 1;
                let (low, high) = (low.min(high) - tolerance, low.max(high) + tolerance);
                if !(low..=high).contains(&ours) {
                    self.wrong.push(format!("{what}: ours is {ours}, theirs {low} to {high}"));
                }
            }
            (ours, theirs) => {
                self.wrong.push(format!("{what}: ours is {ours:?}, theirs {theirs:?}"));
            }
        }
    }

    /// Both must say the same.
    pub(crate) fn same<T: PartialEq + fmt::Debug>(
        &mut self,
        what: impl fmt::Display,
        ours: T,
        theirs: T,
    ) {
        self.compared += 1;
        if ours != theirs {
            self.wrong.push(format!("{what}: ours is {ours:?}, theirs {theirs:?}"));
        }
    }

    /// They agree, in at least so many numbers.
    #[track_caller]
    pub(crate) fn check(self, least: usize) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        assert!(self.compared >= least, "only {} numbers were compared", self.compared);
    }
}
