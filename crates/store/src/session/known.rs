//! What the database knows of a host, against what its agent tells.

use rowcall_core::convert::Hello;
use rowcall_core::id::{HostName, RunId};
use rowcall_core::record::HostFacts;
use tokio_postgres::Row;

use super::{EpochId, Mark, Started, StreamHolder};
use crate::access::AccessRefusal;
use crate::error::Error;
use crate::hosts::stored_name;
use crate::time::Time;

/// What `host_info` says of a host.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct About {
    pub(super) facts: HostFacts,
    pub(super) machine_id: Option<String>,
    pub(super) boot_id: Option<String>,
    pub(super) agent_version: Option<String>,
}

impl About {
    /// With what a Hello tells.
    pub(super) fn updated_by(&self, hello: &Hello) -> Self {
        fn text(told: Option<&String>, known: Option<&String>) -> Option<String> {
            told.or(known).cloned()
        }
        let (told, known) = (&hello.facts, &self.facts);
        let boot_id = text(hello.boot_id.as_ref(), self.boot_id.as_ref());
        // Computed from clocks, the boot's time wavers by a second each time it is asked for.
        let same_boot = boot_id.is_some() && boot_id == self.boot_id;
        let booted =
            if same_boot { known.booted.or(told.booted) } else { told.booted.or(known.booted) };
        Self {
            facts: HostFacts {
                cpu_number: told.cpu_number.or(known.cpu_number),
                cpu_architecture: text(
                    told.cpu_architecture.as_ref(),
                    known.cpu_architecture.as_ref(),
                ),
                cpu_model: text(told.cpu_model.as_ref(), known.cpu_model.as_ref()),
                cpu_mhz: told.cpu_mhz.or(known.cpu_mhz),
                l2_cache_kib: told.l2_cache_kib.or(known.l2_cache_kib),
                total_mem_kib: told.total_mem_kib.or(known.total_mem_kib),
                os: text(told.os.as_ref(), known.os.as_ref()),
                kernel: text(told.kernel.as_ref(), known.kernel.as_ref()),
                kernel_host_name: text(
                    told.kernel_host_name.as_ref(),
                    known.kernel_host_name.as_ref(),
                ),
                booted,
            },
            machine_id: text(hello.machine_id.as_ref(), self.machine_id.as_ref()),
            boot_id,
            agent_version: text(hello.agent_version.as_ref(), self.agent_version.as_ref()),
        }
    }

    /// Whether what `"timestamp"` speaks of is the same: everything up to the machine id.
    pub(super) fn same_facts(&self, other: &Self) -> bool {
        let timeless = |about: &Self| HostFacts { booted: None, ..about.facts.clone() };
        timeless(self) == timeless(other) && self.machine_id == other.machine_id
    }
}

/// What the database knows of a host.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) host_id: i32,
    /// What it is called now.
    pub(super) name: HostName,
    pub(super) about: About,
    pub(super) retired: bool,
    pub(super) has_latest: bool,
    pub(super) epoch: Option<i32>,
    pub(super) epoch_number: Option<i64>,
    pub(super) mark: Option<Mark>,
    pub(super) interval_ms: Option<i32>,
    pub(super) has_run: bool,
    pub(super) run_ended: bool,
    pub(super) has_runs: bool,
    /// Who holds its stream, or held it, and through which process of an aggregator.
    pub(super) held: Option<(StreamHolder, RunId)>,
    /// Why the certificate that is shown is refused.
    pub(super) refusal: Option<AccessRefusal>,
    /// That certificate was seen within the hour.
    pub(super) seen_lately: bool,
}

/// The facts in a row that has all their columns of `host_info`.
pub(crate) fn facts_of(row: &Row) -> Result<HostFacts, Error> {
    let booted: Option<Time> = row.try_get("booted_at")?;
    Ok(HostFacts {
        cpu_number: row.try_get("cpu_number")?,
        cpu_architecture: row.try_get("cpu_architecture")?,
        cpu_model: row.try_get("cpu_model")?,
        cpu_mhz: row.try_get("cpu_mhz")?,
        l2_cache_kib: row.try_get("l2_cache")?,
        total_mem_kib: row.try_get("total_mem")?,
        os: row.try_get("os")?,
        kernel: row.try_get("kernel")?,
        kernel_host_name: row.try_get("kernel_host_name")?,
        booted: booted.map(|time| time.0),
    })
}

impl Known {
    pub(super) fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            host_id: row.try_get("id")?,
            name: stored_name(row)?,
            about: About {
                facts: facts_of(row)?,
                machine_id: row.try_get("machine_id")?,
                boot_id: row.try_get("boot_id")?,
                agent_version: row.try_get("agent_version")?,
            },
            retired: row.try_get("retired")?,
            has_latest: row.try_get("has_latest")?,
            epoch: row.try_get("epoch_id")?,
            epoch_number: row.try_get("epoch")?,
            mark: Mark::from_columns(
                row.try_get("mark")?,
                row.try_get("mark_time")?,
                row.try_get("due")?,
            ),
            interval_ms: row.try_get("interval_ms")?,
            has_run: row.try_get("has_run")?,
            run_ended: row.try_get("run_ended")?,
            has_runs: row.try_get("has_runs")?,
            held: StreamHolder::from_row(row)?,
            refusal: AccessRefusal::from_row(row)?,
            seen_lately: row.try_get("seen_lately")?,
        })
    }

    /// The host's epoch, if the Hello changes nothing.
    pub(super) fn as_it_was(&self, hello: &Hello, interval_ms: i32) -> Option<EpochId> {
        let epoch_id = self.epoch?;
        let same = self.epoch_number == Some(hello.epoch.as_i64())
            && self.interval_ms == Some(interval_ms)
            && !self.retired
            && self.has_run
            && !self.run_ended
            && self.about.updated_by(hello) == self.about;
        same.then_some(EpochId(epoch_id))
    }

    /// What is different from the process before, if this one was not seen. What the host is known
    /// by stems from the Hello before this one.
    pub(super) fn started(&self, hello: &Hello) -> Option<Started> {
        fn differ(told: Option<&String>, known: Option<&String>) -> bool {
            told.is_some_and(|told| known.is_some_and(|known| known != told))
        }
        let known = &self.about;
        if self.has_run {
            None
        } else if !self.has_runs {
            Some(Started::First)
        } else if differ(hello.boot_id.as_ref(), known.boot_id.as_ref()) {
            Some(Started::Reboot)
        } else if differ(hello.agent_version.as_ref(), known.agent_version.as_ref()) {
            Some(Started::Upgrade { from: known.agent_version.clone() })
        } else {
            Some(Started::Restart)
        }
    }
}
