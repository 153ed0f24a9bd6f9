//! The parts of a run. Each takes a stage and sizes, and gives figures.

pub(crate) mod attacks;
pub(crate) mod comeback;
pub(crate) mod handshakes;
pub(crate) mod ingest;
pub(crate) mod latency;
pub(crate) mod memory;
pub(crate) mod node;
pub(crate) mod profiles;
pub(crate) mod replay;
pub(crate) mod revoke;
pub(crate) mod spool;
pub(crate) mod storage;
pub(crate) mod summary;

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::stats::Spread;

/// How much is done of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Each way of writing is measured this often, one after the other.
    pub(crate) ingest_rounds: usize,
    /// A backlog of a day each: hosts.
    pub(crate) day_hosts: usize,
    /// A backlog of an hour each, and samples that come alone: hosts.
    pub(crate) fleet_hosts: usize,
    pub(crate) latency_hosts: usize,
    pub(crate) latency_seconds: u32,
    pub(crate) streams: usize,
    /// Hosts that come back after a long time, and samples that each has kept.
    pub(crate) replay_hosts: usize,
    pub(crate) replay_samples: u64,
    /// Samples of each agent, scrapes of node_exporter, and runs of the script, at each number of
    /// processes; these numbers, beside the machine's own.
    pub(crate) node_samples: u64,
    pub(crate) node_runs: usize,
    pub(crate) node_processes: [usize; 2],
    /// Samples in a spool that is as good as full, a second apart.
    pub(crate) spool_samples: u32,
    pub(crate) report_hosts: u32,
    /// The longer of the two ranges; the other one is an hour.
    pub(crate) report_hours: u32,
    pub(crate) report_repeats: usize,
    pub(crate) storage_hosts: usize,
    /// Samples of each of these hosts that are measured.
    pub(crate) storage_minutes: u64,
    /// Reference hosts of each profile, and minutes of their day.
    pub(crate) profile_hosts: usize,
    pub(crate) profile_minutes: u64,
    pub(crate) handshakes: usize,
    /// Agents whose aggregator is killed.
    pub(crate) return_hosts: usize,
    pub(crate) revoked_hosts: usize,
    /// Agents that are watched beside each attack, how long that takes, and connections of each
    /// attack by slowness.
    pub(crate) honest_agents: usize,
    pub(crate) attack_time: Duration,
    pub(crate) slow_connections: usize,
}

impl Sizes {
    /// What the figures are made with.
    pub(crate) const FULL: Self = Self {
        ingest_rounds: 5,
        day_hosts: 60,
        fleet_hosts: 1_000,
        latency_hosts: 200,
        latency_seconds: 20,
        streams: 1_000,
        replay_hosts: 1_000,
        replay_samples: 10_080,
        node_samples: 30,
        node_runs: 20,
        node_processes: [300, 5_000],
        spool_samples: 500_000,
        report_hosts: 1_000,
        report_hours: 24,
        report_repeats: 5,
        storage_hosts: 1_000,
        storage_minutes: 100,
        profile_hosts: 20,
        profile_minutes: 1_440,
        handshakes: 10_000,
        return_hosts: 1_000,
        revoked_hosts: 20,
        honest_agents: 100,
        attack_time: Duration::from_secs(60),
        slow_connections: 2_000,
    };

    /// To see that everything works.
    pub(crate) const QUICK: Self = Self {
        ingest_rounds: 1,
        day_hosts: 2,
        fleet_hosts: 5,
        latency_hosts: 5,
        latency_seconds: 2,
        streams: 10,
        replay_hosts: 3,
        replay_samples: 5_000,
        node_samples: 2,
        node_runs: 2,
        node_processes: [1, 300],
        spool_samples: 5_000,
        report_hosts: 20,
        report_hours: 2,
        report_repeats: 1,
        storage_hosts: 20,
        storage_minutes: 10,
        profile_hosts: 2,
        profile_minutes: 60,
        handshakes: 20,
        return_hosts: 5,
        revoked_hosts: 2,
        honest_agents: 5,
        attack_time: Duration::from_secs(1),
        slow_connections: 5,
    };
}

/// A count as a number to calculate with.
pub(crate) fn real(count: impl TryInto<u32>) -> Result<f64> {
    count.try_into().ok().map(f64::from).context("a count beyond 32 bits")
}

pub(crate) fn spread(values: Vec<f64>) -> Result<Spread> {
    Spread::of(values).context("nothing was measured")
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
