//! What agents told of their spools: summed up, and by host where something is the matter.

use std::cmp::Reverse;
use std::fmt;

use rowcall_core::proto::v1::{SpoolFault, SpoolStatus};

use super::families::{Families, number};
use crate::registry::Presence;

/// Hosts that get series of their own, those with the oldest unacknowledged records first;
/// `rowcall_host_spool_series_left_out` counts the others.
pub(super) const MAX_TROUBLED: usize = 1_000;

/// Above this age of its oldest unacknowledged record a spool is behind, in seconds: two default
/// intervals.
const BEHIND_S: u64 = 120;

const FAULTS: [SpoolFault; 3] = [SpoolFault::NotDurable, SpoolFault::NoSpace, SpoolFault::Io];

const fn word(fault: SpoolFault) -> Option<&'static str> {
    match fault {
        SpoolFault::Unspecified => None,
        SpoolFault::NotDurable => Some("not_durable"),
        SpoolFault::NoSpace => Some("no_space"),
        SpoolFault::Io => Some("io"),
    }
}

/// A number of a spool: the name of its family, what it is, and the number.
type Figure = (&'static str, &'static str, fn(&SpoolStatus) -> u64);

const FIGURES: [Figure; 4] = [
    ("spool_records", "Records that agents keep unacknowledged", |spool| {
        spool.unacknowledged_records
    }),
    ("spool_bytes", "Size of agents' spools", |spool| spool.size_bytes),
    (
        "spool_dropped_records",
        "Records dropped unacknowledged in agents' present epochs",
        |spool| spool.dropped_records,
    ),
    ("spool_damaged_records", "Records found damaged in agents' present epochs", |spool| {
        spool.damaged_records
    }),
];

const HOST_FIGURES: [Figure; 4] = [
    ("host_spool_records", "Records that the agent keeps unacknowledged", |spool| {
        spool.unacknowledged_records
    }),
    ("host_spool_oldest_age_seconds", "Age of the agent's oldest unacknowledged record", |spool| {
        spool.oldest_unacknowledged_age_s
    }),
    (
        "host_spool_dropped_records",
        "Records that the agent dropped unacknowledged in its present epoch",
        |spool| spool.dropped_records,
    ),
    (
        "host_spool_damaged_records",
        "Records that the agent found damaged in its present epoch",
        |spool| spool.damaged_records,
    ),
];

/// Of hosts that are gone, what they told last.
pub(super) fn encode(hosts: &[Presence], to: &mut Families<'_>) -> fmt::Result {
    let told: Vec<_> =
        hosts.iter().filter_map(|host| Some((host.name.as_str(), host.spool?))).collect();
    for (name, help, figure) in FIGURES {
        let sum = told.iter().fold(0_u64, |sum, (_, spool)| sum.saturating_add(figure(spool)));
        to.gauge(name, &format!("{help}, as last told, over all hosts"), number(sum))?;
    }
    let oldest = told.iter().map(|(_, spool)| spool.oldest_unacknowledged_age_s).max();
    to.gauge(
        "spool_oldest_age_seconds",
        "Age of the oldest record that any agent keeps unacknowledged, as last told",
        number(oldest.unwrap_or(0)),
    )?;
    let faulty = |fault| told.iter().filter(|(_, spool)| spool.fault() == fault).count();
    to.gauges(
        "spool_faults",
        "Hosts whose spool would not survive a crash of the host, by what is wrong, as last told",
        FAULTS.into_iter().filter_map(|f| Some(([("fault", word(f)?)], number(faulty(f))))),
    )?;

    let mut troubled = told;
    troubled.retain(|(_, spool)| is_in_trouble(spool));
    troubled
        .sort_unstable_by_key(|(name, spool)| (Reverse(spool.oldest_unacknowledged_age_s), *name));
    let left_out = troubled.len().saturating_sub(MAX_TROUBLED);
    troubled.truncate(MAX_TROUBLED);
    for (name, help, figure) in HOST_FIGURES {
        let help = format!(
            "{help}, as last told; of hosts that are behind by over {BEHIND_S} s, lost records or \
             have a fault, at most {MAX_TROUBLED}"
        );
        let series = |(host, spool): &(&str, SpoolStatus)| {
            ([("host", (*host).to_owned())], number(figure(spool)))
        };
        to.gauges(name, &help, troubled.iter().map(series))?;
    }
    to.gauges(
        "host_spool_fault",
        "1 for a host whose spool would not survive a crash of the host",
        troubled.iter().filter_map(|(host, spool)| {
            Some(([("host", *host), ("fault", word(spool.fault())?)], 1))
        }),
    )?;
    to.gauge(
        "host_spool_series_left_out",
        "Hosts that the metrics by host of spools leave out",
        number(left_out),
    )
}

fn is_in_trouble(spool: &SpoolStatus) -> bool {
    spool.oldest_unacknowledged_age_s > BEHIND_S
        || spool.dropped_records > 0
        || spool.damaged_records > 0
        || spool.fault() != SpoolFault::Unspecified
}
