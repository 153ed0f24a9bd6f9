//! What is on this machine: identity and spool.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rowcall_core::id::{HostName, UnixMicros};
use rowcall_spool::OpenError;
use rowcall_tls::identity::Role;
use rowcall_tls::load::{Files, Material};

use super::Report;
use crate::config::{Config, Source};
use crate::identity::{self, About};
use crate::link::open_to_all;
use crate::utc::Utc;

const DAY_US: i64 = 86_400_000_000;

/// Who this agent is.
pub(super) struct Identity {
    pub(super) name: HostName,
    pub(super) material: Material,
    pub(super) files: Files,
    /// Nothing for files of one's own.
    pub(super) about: Option<About>,
}

/// Looks at certificate, key and authorities.
pub(super) fn identity(report: &mut Report, config: &Config, now: UnixMicros) -> Option<Identity> {
    let loaded = match &config.source {
        Source::Files(files) => Material::load(files)
            .map(|material| Some((files.clone(), material, None)))
            .map_err(|error| error.to_string()),
        Source::Enrolled(dir) => {
            report_notes(report, dir);
            identity::load(dir)
                .map(|found| {
                    found.map(|(held, material)| (held.files.clone(), material, Some(held.about)))
                })
                .map_err(|error| error.to_string())
        }
    };
    let (files, material, about) = match loaded {
        Ok(Some(loaded)) => loaded,
        Ok(None) if config.token_file.is_some() => {
            report.warn("identity", "none yet: the agent enrols when it starts");
            return None;
        }
        Ok(None) => {
            report.fail(
                "identity",
                "none yet: run `rowcall-agent enroll --server HOST:7444 --token-file FILE`, or \
                 name certificate, key and ca in the settings",
            );
            return None;
        }
        Err(error) => {
            report.fail("identity", error);
            return None;
        }
    };
    let found = match material.identity() {
        Ok(found) if found.role == Role::Agent => found,
        Ok(found) => {
            let role = found.role;
            report.fail(
                "identity",
                format!("the certificate is of role {role}; issue one for an agent"),
            );
            return None;
        }
        Err(error) => {
            report.fail("identity", format!("{error}; issue a certificate for an agent"));
            return None;
        }
    };
    let source = if about.is_some() { "enrolled" } else { "own files" };
    report.fine("identity", format!("{found}, {source}, {}", files.certificate.display()));
    dates(report, &material, about.as_ref(), now);
    key(report, config, &files);
    Some(Identity { name: found.name, material, files, about })
}

fn dates(report: &mut Report, material: &Material, about: Option<&About>, now: UnixMicros) {
    let not_after = material.validity().not_after;
    let days = not_after.since(now).div_euclid(DAY_US);
    let until = format!("until {}, in {days} d", Utc(not_after));
    match (material.check_dates(now), about) {
        (Err(error), Some(about)) if now > not_after => report.fail(
            "certificate",
            format!(
                "{error}. The agent asks for the next one by itself, at {}, up to 90 days after the \
                 end; then enrol anew",
                about.enroll_servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ),
        ),
        (Err(error), _) => report.fail("certificate", error.to_string()),
        // A tenth of the life is what renewal spreads over; twice as late is no chance.
        (Ok(()), Some(about)) if about.renew_at.plus_micros(7 * DAY_US) < now => report.warn(
            "certificate",
            format!("{until}; due to be renewed since {}: does the agent run?", Utc(about.renew_at)),
        ),
        (Ok(()), None) if days < 14 => {
            report.warn("certificate", format!("{until}: issue the next one, nobody else does"));
        }
        (Ok(()), _) => report.fine("certificate", until),
    }
}

/// That only the agent's user reads the key, and that it can.
fn key(report: &mut Report, config: &Config, files: &Files) {
    if let Some(warning) = open_to_all(&files.key) {
        return report.warn("key", warning);
    }
    let key = files.key.display();
    let owner = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.uid());
    let spool = &config.spool.dir;
    match (owner(&files.key), owner(spool)) {
        // Own files may be root's, handed over as credentials.
        (Some(of_key), Some(of_spool))
            if of_key != of_spool && matches!(config.source, Source::Enrolled(_)) =>
        {
            report.fail(
                "key",
                format!(
                    "{key} belongs to user {of_key}, the spool {} to user {of_spool}: one agent \
                     cannot use both; run `chown -R {of_spool} {}`",
                    spool.display(),
                    files.key.parent().and_then(Path::parent).unwrap_or(&files.key).display()
                ),
            );
        }
        _ => report.fine("key", format!("{key}, of the certificate, closed to others")),
    }
}

/// What the running agent noted.
fn report_notes(report: &mut Report, dir: &Path) {
    let told = identity::notes_in(dir);
    for (what, note) in
        [("enrolment", told.enrolment), ("renewal", told.renewal), ("refused", told.refused)]
    {
        if let Some(note) = note {
            let since = Utc(note.at);
            report.warn(what, format!("the agent noted, since {since}: {}", note.text));
        }
    }
}

/// Looks at the spool's folder.
pub(super) fn spool(report: &mut Report, config: &Config, identity: Option<&Identity>) {
    let dir = &config.spool.dir;
    let shown = dir.display();
    let name = identity.map(|identity| identity.name.as_str()).unwrap_or_default();
    // Root sees it as another's; whose records it holds is to be known all the same.
    let owner = rowcall_spool::inspect(dir).map(|found| found.owner).unwrap_or_default();
    match rowcall_spool::check(dir, name) {
        Err(OpenError::InUse { .. }) if !(owner.is_empty() || name.is_empty() || owner == name) => {
            report.fail(
                "spool",
                format!(
                    "{shown} is in use by an agent that runs as {owner}, and this identity is \
                     {name}: stop it, move the folder away, start it"
                ),
            );
        }
        Err(OpenError::InUse { pid, .. }) => {
            let pid = pid.map_or_else(String::new, |pid| format!(", process {pid}"));
            report.fine("spool", format!("{shown}, in use by an agent{pid}"));
        }
        Err(OpenError::OtherOwner { owner: user, .. })
            if owner.is_empty() || name.is_empty() || owner == name =>
        {
            report.fine("spool", format!("{shown}, of user {user}"));
        }
        Err(OpenError::OtherOwner { .. }) => report.fail(
            "spool",
            format!(
                "{shown} holds the records of {owner}, and this agent is {name}: it was copied, or \
                 the host has a new name; move the folder away, or set spool_dir to another path"
            ),
        ),
        Err(error) => report.fail("spool", error.to_string()),
        Ok(Some(fault)) => {
            report.warn("spool", format!("{shown}: {}", crate::spool::in_words(fault)));
        }
        Ok(None) if dir.is_dir() => report.fine("spool", format!("{shown}, can be written")),
        Ok(None) => report.fine("spool", format!("{shown}, is made when the agent starts")),
    }
    let place = dir.ancestors().find(|place| place.is_dir()).unwrap_or(dir);
    let Ok(room) = rustix::fs::statvfs(place) else { return };
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let taken = rowcall_spool::inspect(dir).map_or(0, |found| found.status.size_bytes);
    if free.saturating_add(taken) < config.spool.max_bytes {
        report.warn(
            "room",
            format!(
                "{} MiB are free on its disk, spool_max_bytes is {} MiB: free some, or lower it",
                free >> 20,
                config.spool.max_bytes >> 20
            ),
        );
    }
}
