//! What an agent reads, as its settings say.

use std::path::PathBuf;
use std::time::Duration;

/// How much is read, in one word: what single settings start from. Each has its cost in PostgreSQL;
/// `README.md` has the figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// The classic columns alone.
    Classic,
    /// Vitals with each sample, devices every 5 minutes.
    #[default]
    Default,
    /// Vitals and devices with each sample, and twice as many processes.
    Full,
}

impl Profile {
    /// All of them, from little to much.
    pub const ALL: [Self; 3] = [Self::Classic, Self::Default, Self::Full];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Default => "default",
            Self::Full => "full",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }
}

/// What reads devices; the names are those of the settings and of what is said to be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named by what they read")]
pub enum Collector {
    Filesystems,
    Disks,
    Interfaces,
    Sensors,
    MdArrays,
    MemoryControllers,
    Cgroups,
    Processes,
    Metrics,
}

impl Collector {
    /// All of them, in the order in which they are read: what may hang comes last.
    pub const ALL: [Self; 9] = [
        Self::Disks,
        Self::Interfaces,
        Self::MdArrays,
        Self::MemoryControllers,
        Self::Cgroups,
        Self::Processes,
        Self::Metrics,
        Self::Sensors,
        Self::Filesystems,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Filesystems => "filesystems",
            Self::Disks => "disks",
            Self::Interfaces => "interfaces",
            Self::Sensors => "sensors",
            Self::MdArrays => "md_arrays",
            Self::MemoryControllers => "memory_controllers",
            Self::Cgroups => "cgroups",
            Self::Processes => "processes",
            Self::Metrics => "metrics",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|collector| collector.name() == name)
    }
}

/// Which things of a kind are read: those that an include pattern takes (all, where there is none)
/// and no exclude pattern does. `*` stands for any characters, `?` for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Patterns of what is read; empty: everything.
    pub include: Vec<String>,
    /// Patterns of what is not.
    pub exclude: Vec<String>,
}

/// Everything that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collect {
    /// Vitals with each sample.
    pub vitals: bool,
    /// Shortest time between two readings of devices; none: they are not read. Zero: with each
    /// sample.
    pub devices_every: Option<Duration>,
    /// Time between two readings of what peaks are kept of.
    pub peaks_every: Duration,
    /// Device collectors that are switched off.
    pub off: Vec<Collector>,
    /// By mount point.
    pub mounts: Filter,
    /// By name.
    pub disks: Filter,
    /// By name.
    pub interfaces: Filter,
    /// Also filesystems that are reached over a network, which may hang.
    pub network_mounts: bool,
    /// How many processes by each of CPU, memory and I/O.
    pub top_processes: usize,
    /// Commands with their arguments.
    pub process_arguments: bool,
    /// Folder of `*.prom` files.
    pub metrics_dir: Option<PathBuf>,
    /// Most values from there.
    pub max_metrics: usize,
    /// Longest wait for a reading of devices; what has not answered then is skipped.
    pub deadline: Duration,
}

impl Collect {
    /// What a profile reads.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        let devices_every = match profile {
            Profile::Classic => None,
            Profile::Default => Some(Duration::from_secs(300)),
            Profile::Full => Some(Duration::ZERO),
        };
        Self {
            vitals: profile != Profile::Classic,
            devices_every,
            peaks_every: Duration::from_secs(10),
            off: Vec::new(),
            mounts: Filter::default(),
            disks: Filter::default(),
            interfaces: Filter::default(),
            network_mounts: false,
            top_processes: if profile == Profile::Full { 10 } else { 5 },
            process_arguments: false,
            metrics_dir: None,
            max_metrics: 500,
            deadline: Duration::from_secs(2),
        }
    }
}

impl Default for Collect {
    fn default() -> Self {
        Self::of(Profile::Default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for collector in Collector::ALL {
            assert_eq!(Collector::named(collector.name()), Some(collector));
        }
        for profile in Profile::ALL {
            assert_eq!(Profile::named(profile.name()), Some(profile));
        }
        assert_eq!((Collector::named("cpu"), Profile::named("")), (None, None));
    }

    /// What a host costs follows from these.
    #[test]
    fn each_profile_reads_what_the_readme_says() {
        let told = Profile::ALL.map(|profile| {
            let Collect { vitals, devices_every, top_processes, .. } = Collect::of(profile);
            (vitals, devices_every.map(|every| every.as_secs()), top_processes)
        });
        assert_eq!(told, [(false, None, 5), (true, Some(300), 5), (true, Some(0), 10)]);
        for profile in Profile::ALL {
            let all = Collect::of(profile);
            assert_eq!((all.peaks_every.as_secs(), all.deadline.as_secs()), (10, 2));
            assert_eq!((all.max_metrics, all.metrics_dir.is_none()), (500, true));
            // What may hang, and what may hold secrets, is for who asks for it.
            assert!(!all.network_mounts && !all.process_arguments && all.off.is_empty());
        }
    }
}
