//! What an agent reads of a machine, as text.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rowcall_agent::collect::{Collect, Profile};
use rowcall_agent::devices::DeviceReader;
use rowcall_agent::sample::host_facts::FactsReader;
use rowcall_agent::sample::{Reading, Sampler};
use rowcall_core::clock::{SharedClock, TestClock};
use rowcall_core::devices::Devices;
use rowcall_core::id::UnixMicros;
use rowcall_core::record::HostFacts;

use super::machine::Machine;

/// Only reached when a test fails: these machines answer at once.
const DEADLINE: Duration = Duration::from_secs(60);

/// The second of two looks at a machine, a minute after the first.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) reading: Reading,
    pub(crate) devices: Devices,
    pub(crate) facts: HostFacts,
}

/// An agent's readers over a folder in which a machine's files stand.
#[derive(Debug)]
pub(crate) struct Observer {
    folder: tempfile::TempDir,
    machine: Machine,
}

impl Observer {
    /// Of no machine yet.
    pub(crate) fn new() -> Self {
        // In memory where there is such a folder: a machine has hundreds of files.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self { folder: folder.unwrap(), machine: Machine::default() }
    }

    /// Where the machine's files stand.
    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Puts a machine there.
    pub(crate) fn put(&mut self, machine: Machine) {
        machine.write(self.folder.path(), &self.machine);
        self.machine = machine;
    }

    /// Reads one machine, and a minute later what it has become.
    pub(crate) async fn watch(&mut self, before: Machine, after: Machine) -> Observed {
        self.put(before);
        let clock = Arc::new(TestClock::at(UnixMicros(1_800_000_000_000_000)));
        let collect = Collect { deadline: DEADLINE, ..Collect::of(Profile::Default) };
        let mut sampler = Sampler::new(self.root(), &collect);
        let mut facts = FactsReader::new(self.root());
        let shared: SharedClock = Arc::<TestClock>::clone(&clock);
        let mut devices = DeviceReader::with_clock(self.root(), collect, shared);
        sampler.prime(clock.as_ref());
        facts.read();
        devices.read(sampler.take_peaks()).await;
        clock.advance(Duration::from_secs(60));
        self.put(after);
        let reading = sampler.sample(clock.as_ref());
        let facts = facts.read();
        let devices = devices.read(sampler.take_peaks()).await;
        Observed { reading, devices, facts }
    }
}

impl Observed {
    /// A line for each value: what of the machine, which, and its value. What is this machine's own
    /// (the space on its filesystems) is only told to be known or not.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut text = String::new();
        let sample = &self.reading.sample;
        for (name, value) in [
            ("elapsed_us", sample.elapsed_us),
            ("memory_free_kib", sample.memory_free_kib),
            ("memory_available_kib", sample.memory_available_kib),
            ("disk_io", sample.disk_io),
        ] {
            writeln!(text, "sample {name} = {}", shown(value)).unwrap();
        }
        for (name, value) in [
            ("cpu_idle_percent", sample.cpu_idle_percent),
            ("cpu_kernel_percent", sample.cpu_kernel_percent),
        ] {
            writeln!(text, "sample {name} = {}", shown(value)).unwrap();
        }
        for (name, value) in sample.vitals.iter().flat_map(|vitals| vitals.values()) {
            writeln!(text, "vitals {name} = {}", shown(value.map(rounded))).unwrap();
        }
        self.devices(&mut text);
        let facts = &self.facts;
        macro_rules! facts {
            ($($name:ident)*) => {
                $(writeln!(text, concat!("facts ", stringify!($name), " = {:?}"), facts.$name).unwrap();)*
            };
        }
        // Without the architecture, which is this machine's.
        facts!(
            cpu_number cpu_model cpu_mhz l2_cache_kib total_mem_kib os kernel kernel_host_name booted
            boot_id virtualization board firmware memory_mhz cpu_sockets cpu_cores disks interfaces
        );
        text.lines().map(str::to_owned).collect()
    }

    fn devices(&self, text: &mut String) {
        let Devices {
            filesystems,
            disks,
            interfaces,
            sensors,
            md_arrays,
            memory_controllers,
            cgroups,
            processes,
            metrics,
            skipped,
        } = &self.devices;
        for one in filesystems {
            let known = one.size_kib.is_some() && one.available_kib.is_some();
            let (mount, source, kind) = (&one.mount, &one.source, &one.kind);
            let mode = if one.read_only { "ro" } else { "rw" };
            writeln!(text, "filesystem {mount} {source:?} {kind:?} {mode}, numbers known: {known}")
                .unwrap();
        }
        let mut each = |kind: &str, devices: Vec<String>| {
            for device in devices {
                // Whether it is the same as before is for tests of its own.
                let device = without(&device, "counted_since: ");
                writeln!(text, "{kind} {device}").unwrap();
            }
        };
        each("disk", debug(disks));
        each("interface", debug(interfaces));
        each("sensor", debug(sensors));
        each("md", debug(md_arrays));
        each("controller", debug(memory_controllers));
        each("cgroup", debug(cgroups));
        each("process", debug(processes));
        each("metric", debug(metrics));
        each("skipped", debug(skipped));
    }

    /// All of it.
    pub(crate) fn text(&self) -> String {
        self.lines().join("\n") + "\n"
    }
}

fn debug<T: std::fmt::Debug>(devices: &[T]) -> Vec<String> {
    devices.iter().map(|device| format!("{device:?}")).collect()
}

/// Without the field that begins with this.
fn without(text: &str, field: &str) -> String {
    match text.split_once(field) {
        Some((before, rest)) => {
            let rest = rest.split_once(", ").map_or("", |(_, rest)| rest);
            format!("{before}{rest}")
        }
        None => text.to_owned(),
    }
}

fn shown<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}

/// As it reads: shares are 32-bit.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
