//! What passes the network interfaces, from /proc/net/dev.
//!
//! Those with a device behind them are summed up: a bridge, a bond or a tunnel would count the same
//! bytes again. Where none has a device, as in a container, all but loopback are.
//!
//! By hand: nothing is allocated for an interface that is known, of which a container host may have
//! a thousand, and a name may be any bytes.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rowcall_core::vitals::Vitals;

use super::proc_file::{Buffer, ProcFile};
use super::text::{lines, number, words};
use super::{LOOK_AGAIN_EVERY, count, highest, is_due};

/// Lines of names above the first interface.
const HEADER_LINES: usize = 2;

/// Numbers for each interface: eight received, eight sent.
const COLUMNS: usize = 16;

/// Reads the interfaces and remembers what they had counted.
#[derive(Debug)]
pub(super) struct Interfaces {
    file: ProcFile,
    sys_net: PathBuf,
    known: HashMap<Box<[u8]>, Interface>,
    looked_up: Option<Duration>,
    /// Readings so far.
    reading: u64,
    is_sampled: bool,
}

#[derive(Debug)]
struct Interface {
    has_device: bool,
    seen: u64,
    sampled: Option<Counters>,
    /// Most bytes per second received and sent between two samples, since peaks were taken.
    peak: Option<(u64, u64)>,
}

/// Since the interface appeared, or in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    rx_bytes: u64,
    tx_bytes: u64,
    rx_packets: u64,
    tx_packets: u64,
    errors: u64,
    drops: u64,
}

impl Interfaces {
    /// Reads `<root>/proc/net/dev` and `<root>/sys/class/net`.
    pub(super) fn new(root: &Path) -> Self {
        Self {
            file: ProcFile::new(root.join("proc/net/dev")),
            sys_net: root.join("sys/class/net"),
            known: HashMap::new(),
            looked_up: None,
            reading: 0,
            is_sampled: false,
        }
    }

    /// Writes down what passed since the previous call, through the interfaces that were there at
    /// both; nothing when it is the first, or the file could not be read or understood at either.
    /// An interface whose counters went back was replaced and passed nothing.
    pub(super) fn read(
        &mut self,
        buffer: &mut Buffer,
        at: Duration,
        elapsed: Option<Duration>,
        vitals: &mut Vitals,
    ) {
        let passed = self.passed(buffer, at, elapsed);
        if passed.is_none() {
            self.known.clear();
        }
        let was_sampled = std::mem::replace(&mut self.is_sampled, passed.is_some());
        if let Some(passed) = passed.filter(|_| was_sampled) {
            passed.tell(vitals);
        }
    }

    /// The busiest spans since they were last taken, of all interfaces.
    pub(super) fn take_peaks(&mut self) -> BTreeMap<String, (i64, i64)> {
        let peaks = self.known.iter_mut().filter_map(|(name, interface)| {
            let (rx, tx) = interface.peak.take()?;
            Some((String::from_utf8_lossy(name).into_owned(), (count(rx)?, count(tx)?)))
        });
        peaks.collect()
    }

    fn passed(
        &mut self,
        buffer: &mut Buffer,
        at: Duration,
        elapsed: Option<Duration>,
    ) -> Option<Counters> {
        let text = self.file.read(buffer)?;
        let look_again = is_due(&mut self.looked_up, at, LOOK_AGAIN_EVERY);
        self.reading += 1;
        let (mut with_device, mut without) = (Counters::default(), Counters::default());
        let mut any_has_device = false;
        for line in lines(text).skip(HEADER_LINES) {
            let (name, now) = interface(line)?;
            if !self.known.contains_key(name) {
                let has_device = has_device(&self.sys_net, name);
                self.known.insert(name.into(), Interface::new(has_device));
            }
            let interface = self.known.get_mut(name)?;
            if interface.seen == self.reading {
                continue;
            }
            interface.seen = self.reading;
            if look_again {
                interface.has_device = has_device(&self.sys_net, name);
            }
            any_has_device |= interface.has_device;
            let before = interface.sampled.replace(now);
            let Some(passed) = before.and_then(|before| now.since(&before)) else { continue };
            interface.span(&passed, elapsed);
            if interface.has_device {
                with_device.add(&passed);
            } else if name != b"lo" {
                without.add(&passed);
            }
        }
        self.known.retain(|_, interface| interface.seen == self.reading);
        Some(if any_has_device { with_device } else { without })
    }
}

impl Interface {
    fn new(has_device: bool) -> Self {
        Self { has_device, seen: 0, sampled: None, peak: None }
    }

    fn span(&mut self, passed: &Counters, elapsed: Option<Duration>) {
        let rate = |bytes| elapsed.and_then(|elapsed| per_second(bytes, elapsed));
        if let Some((rx, tx)) = rate(passed.rx_bytes).zip(rate(passed.tx_bytes)) {
            let (highest_rx, highest_tx) = self.peak.unzip();
            self.peak = highest(highest_rx, Some(rx)).zip(highest(highest_tx, Some(tx)));
        }
    }
}

impl Counters {
    fn since(&self, earlier: &Self) -> Option<Self> {
        Some(Self {
            rx_bytes: self.rx_bytes.checked_sub(earlier.rx_bytes)?,
            tx_bytes: self.tx_bytes.checked_sub(earlier.tx_bytes)?,
            rx_packets: self.rx_packets.checked_sub(earlier.rx_packets)?,
            tx_packets: self.tx_packets.checked_sub(earlier.tx_packets)?,
            errors: self.errors.checked_sub(earlier.errors)?,
            drops: self.drops.checked_sub(earlier.drops)?,
        })
    }

    fn add(&mut self, other: &Self) {
        self.rx_bytes = self.rx_bytes.saturating_add(other.rx_bytes);
        self.tx_bytes = self.tx_bytes.saturating_add(other.tx_bytes);
        self.rx_packets = self.rx_packets.saturating_add(other.rx_packets);
        self.tx_packets = self.tx_packets.saturating_add(other.tx_packets);
        self.errors = self.errors.saturating_add(other.errors);
        self.drops = self.drops.saturating_add(other.drops);
    }

    fn tell(&self, vitals: &mut Vitals) {
        vitals.net_rx_bytes = count(self.rx_bytes);
        vitals.net_tx_bytes = count(self.tx_bytes);
        vitals.net_rx_packets = count(self.rx_packets);
        vitals.net_tx_packets = count(self.tx_packets);
        vitals.net_errors = count(self.errors);
        vitals.net_drops = count(self.drops);
    }
}

/// A line's name and numbers. Old kernels put no blank between them.
fn interface(line: &[u8]) -> Option<(&[u8], Counters)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, numbers) = line.split_at(colon);
    let mut columns = [0; COLUMNS];
    let mut words = words(numbers.get(1..)?);
    for column in &mut columns {
        *column = number(words.next()?)?;
    }
    let [
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_drops,
        _,
        _,
        _,
        _,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_drops,
        ..,
    ] = columns;
    let counters = Counters {
        rx_bytes,
        tx_bytes,
        rx_packets,
        tx_packets,
        errors: rx_errors.checked_add(tx_errors)?,
        drops: rx_drops.checked_add(tx_drops)?,
    };
    Some((name.trim_ascii(), counters))
}

fn has_device(sys_net: &Path, name: &[u8]) -> bool {
    sys_net.join(OsStr::from_bytes(name)).join("device").symlink_metadata().is_ok()
}

fn per_second(bytes: u64, elapsed: Duration) -> Option<u64> {
    let per_second = (u128::from(bytes) * 1_000_000).checked_div(elapsed.as_micros())?;
    u64::try_from(per_second).ok()
}

#[cfg(test)]
mod tests;
