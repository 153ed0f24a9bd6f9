//! What the database knows of a host, against what its agent tells.

use rowcall_core::convert::Hello;
use rowcall_core::id::{HostName, RunId};
use rowcall_core::record::HostFacts;
use tokio_postgres::Row;

use super::{EpochId, Mark, Started, StreamHolder, facts_of};
use crate::access::AccessRefusal;
use crate::error::Error;
use crate::hosts::stored_name;

/// What `host_info` says of a host.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct About {
    /// With its boot.
    pub(super) facts: HostFacts,
    pub(super) machine_id: Option<String>,
    pub(super) agent_version: Option<String>,
}

impl About {
    /// With what a Hello tells.
    pub(super) fn updated_by(&self, hello: &Hello) -> Self {
        let mut facts = self.facts.with_told(&hello.facts);
        if let Some(boot_id) = &hello.boot_id {
            facts.boot_id = Some(boot_id.clone());
        }
        if facts.boot_id != self.facts.boot_id {
            facts.booted = hello.facts.booted;
        } else if facts.boot_id.is_some() && self.facts.booted.is_some() {
            // Computed from clocks, the boot's time wavers by a second each time it is asked for.
            facts.booted = self.facts.booted;
        }
        Self {
            facts,
            machine_id: hello.machine_id.as_ref().or(self.machine_id.as_ref()).cloned(),
            agent_version: hello.agent_version.as_ref().or(self.agent_version.as_ref()).cloned(),
        }
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

impl Known {
    pub(super) fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            host_id: row.try_get("id")?,
            name: stored_name(row)?,
            about: About {
                facts: facts_of(row)?,
                machine_id: row.try_get("machine_id")?,
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
        let boot_id = hello.boot_id.as_ref().or(hello.facts.boot_id.as_ref());
        if self.has_run {
            None
        } else if !self.has_runs {
            Some(Started::First)
        } else if differ(boot_id, known.facts.boot_id.as_ref()) {
            Some(Started::Reboot)
        } else if differ(hello.agent_version.as_ref(), known.agent_version.as_ref()) {
            Some(Started::Upgrade { from: known.agent_version.clone() })
        } else {
            Some(Started::Restart)
        }
    }
}
