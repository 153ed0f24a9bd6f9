//! `rowcall-agent status`: what this machine's agent is, holds and has told, read from its settings,
//! its certificate and its spool. It asks no process and changes nothing, so it answers whether an
//! agent runs or not.

mod json;
mod text;

use std::path::{Path, PathBuf};

use rowcall_core::devices::{Devices, Skipped};
use rowcall_core::id::UnixMicros;
use rowcall_core::record::{Body, Record};
use rowcall_spool::Fault;
use rowcall_tls::load::Material;

use crate::config::{Config, Source};
use crate::identity::{self, Told};

pub(crate) use json::json;
pub(crate) use text::{bytes, span, text};

/// Records among which the last reading of devices is looked for.
const LOOKED_AT: u64 = 1000;

/// All that can be told.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) now: UnixMicros,
    pub(crate) aggregators: Vec<String>,
    /// Or why it cannot be used.
    pub(crate) certificate: Result<Certificate, String>,
    /// What went wrong last with the identity.
    pub(crate) told: Told,
    pub(crate) spool_dir: PathBuf,
    pub(crate) spool_max_bytes: u64,
    /// Or why it cannot be read; nothing where there is none yet.
    pub(crate) spool: Result<Option<Spool>, String>,
    /// The last reading of devices, where the spool still holds one.
    pub(crate) devices: Option<LastReading>,
    /// Whether devices are to be read at all.
    pub(crate) reads_devices: bool,
}

/// A reading of devices.
#[derive(Debug)]
pub(crate) struct LastReading {
    pub(crate) at: UnixMicros,
    /// What it did not read.
    pub(crate) skipped: Vec<Skipped>,
}

/// Who this agent is.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) path: PathBuf,
    /// Role and name.
    pub(crate) role: &'static str,
    pub(crate) host: String,
    pub(crate) not_after: UnixMicros,
    /// Where it was enrolled and when it was issued; nothing for files of one's own.
    pub(crate) enrolled: Option<Enrolled>,
}

/// Of an enrolled identity.
#[derive(Debug)]
pub(crate) struct Enrolled {
    pub(crate) servers: Vec<String>,
    /// When this certificate was issued, by the aggregator's clock.
    pub(crate) issued_at: UnixMicros,
    /// From when on the next one is asked for.
    pub(crate) renew_at: UnixMicros,
}

/// What a spool holds.
#[derive(Debug)]
pub(crate) struct Spool {
    /// Of the agent that runs on it.
    pub(crate) pid: Option<u32>,
    /// The host whose records it holds, as which that agent runs; empty where that is not known.
    pub(crate) owner: String,
    pub(crate) status: rowcall_spool::Status,
}

/// What it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// An agent runs, and nothing is wrong that can be seen from here.
    Runs,
    /// No agent runs.
    Stopped,
    /// An agent runs, and something is wrong with its certificate or its spool.
    Unwell,
    /// The spool cannot be read.
    Unknown,
}

impl Verdict {
    /// What the process ends with.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Runs => 0,
            Self::Unknown => 1,
            Self::Stopped => 3,
            Self::Unwell => 4,
        }
    }
}

impl Report {
    /// Looks at everything.
    pub(crate) fn gather(config: &Config, now: UnixMicros) -> Self {
        let held = match &config.source {
            Source::Files(_) => Ok(None),
            Source::Enrolled(dir) => identity::held(dir),
        };
        let aggregators = match &held {
            Ok(Some(held)) if config.aggregators.is_empty() => &held.about.aggregators,
            _ => &config.aggregators,
        };
        Self {
            now,
            aggregators: aggregators.iter().map(ToString::to_string).collect(),
            told: match &config.source {
                Source::Files(_) => Told::default(),
                Source::Enrolled(dir) => identity::notes_in(dir),
            },
            certificate: certificate(config),
            spool_dir: config.spool.dir.clone(),
            spool_max_bytes: config.spool.max_bytes,
            devices: last_reading(&config.spool.dir),
            reads_devices: config.collect.devices_every.is_some(),
            spool: match rowcall_spool::inspect(&config.spool.dir) {
                Ok(found) => {
                    Ok(Some(Spool { pid: found.held_by, owner: found.owner, status: found.status }))
                }
                Err(rowcall_spool::InspectError::Missing { .. }) => Ok(None),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    /// As whom the agent runs, or ran, where that is not whom the certificate names.
    fn other_host(&self) -> Option<&str> {
        let (Ok(certificate), Ok(Some(spool))) = (&self.certificate, &self.spool) else {
            return None;
        };
        let owner = spool.owner.as_str();
        (!owner.is_empty() && owner != certificate.host).then_some(owner)
    }

    /// Whether devices are not read since samples wait that need the rest of the spool.
    fn leaves_devices_out(&self) -> bool {
        let has_room = |spool: &Spool| spool.status.has_room(self.spool_max_bytes);
        let spool = self.spool.as_ref().ok().and_then(Option::as_ref);
        self.reads_devices && spool.is_some_and(|spool| !has_room(spool))
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let spool = match &self.spool {
            Err(_) => return Verdict::Unknown,
            Ok(Some(spool)) if spool.pid.is_some() => spool,
            Ok(_) => return Verdict::Stopped,
        };
        let expired = match &self.certificate {
            Ok(certificate) => certificate.role != "agent" || certificate.not_after <= self.now,
            Err(_) => true,
        };
        let wrong = self.told.refused.is_some() || self.told.renewal.is_some();
        if expired || wrong || self.other_host().is_some() || spool.status.fault.is_some() {
            Verdict::Unwell
        } else {
            Verdict::Runs
        }
    }
}

/// Of the newest records. A large reading is several records in a row.
fn last_reading(spool_dir: &Path) -> Option<LastReading> {
    let records = rowcall_spool::newest(spool_dir, LOOKED_AT).ok()?;
    let newest_first = records.iter().rev().skip_while(|record| devices(record).is_none());
    let mut last = None;
    for record in newest_first {
        let Some(part) = devices(record) else { break };
        let last = last.get_or_insert(LastReading { at: record.time, skipped: Vec::new() });
        last.at = record.time;
        last.skipped.extend(part.skipped.iter().cloned());
    }
    last
}

fn devices(record: &Record) -> Option<&Devices> {
    match &record.body {
        Body::Devices(devices) => Some(devices),
        _ => None,
    }
}

fn certificate(config: &Config) -> Result<Certificate, String> {
    let (path, material, held) = match &config.source {
        Source::Files(files) => {
            let material = Material::load(files).map_err(|error| error.to_string())?;
            (files.certificate.clone(), material, None)
        }
        Source::Enrolled(dir) => {
            let loaded = identity::load(dir).map_err(|error| error.to_string())?;
            let (held, material) =
                loaded.ok_or_else(|| format!("none: not enrolled yet ({})", dir.display()))?;
            (held.files.certificate.clone(), material, Some(held))
        }
    };
    let identity = material.identity().map_err(|error| error.to_string())?;
    Ok(Certificate {
        path,
        enrolled: held.map(|held| Enrolled {
            servers: held.about.enroll_servers.iter().map(ToString::to_string).collect(),
            issued_at: held.about.issued_at,
            renew_at: held.about.renew_at,
        }),
        role: identity.role.as_str(),
        host: identity.name.to_string(),
        not_after: material.validity().not_after,
    })
}

/// A fault as a word.
fn fault(fault: Fault) -> &'static str {
    match fault {
        Fault::NotDurable => "not_durable",
        Fault::NoSpace => "no_space",
        Fault::Io => "io",
    }
}

#[cfg(test)]
mod tests;
