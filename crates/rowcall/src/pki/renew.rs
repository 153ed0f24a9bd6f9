//! Issuing anew what has less than a third of its life left. Does nothing where nothing is due, so
//! a timer may ask as often as it likes.

use rowcall_core::id::{HostName, UnixMicros};
use rowcall_tls::identity::Role;
use rowcall_tls::load::{Files, Material};

use super::certificate::{Certificate, day};
use super::folder::{Ca, Folder, SERVER, split};
use super::issued::{Record, stem};
use super::make;
use crate::args::ServerName;

/// What was done, and what somebody should look at.
#[derive(Debug, Default)]
pub(crate) struct Renewed {
    /// One sentence each.
    pub(crate) done: Vec<String>,
    /// One sentence each.
    pub(crate) warnings: Vec<String>,
}

/// Renews what is due.
pub(crate) fn renew(
    folder: &Folder,
    names: Option<&[ServerName]>,
    now: UnixMicros,
) -> anyhow::Result<Renewed> {
    let mut renewed = Renewed::default();
    server(folder, names, now, &mut renewed)?;
    let mut record = Record::read(folder)?;
    people(folder, &mut record, now, &mut renewed)?;
    if record.lists_are_due(now) {
        let before = record.lists;
        record.write_lists(folder, now)?;
        if record.lists != before {
            renewed.done.push("The revocation list is signed anew.".to_owned());
        }
    }
    for (ca, which) in [(Ca::Server, "server"), (Ca::Client, "client")] {
        let pem = ca.pem();
        let newest = split(&folder.need(&pem)?).into_iter().next().unwrap_or_default();
        let certificate = Certificate::read(&newest, &pem)?;
        if certificate.is_due(now) {
            let until = day(certificate.not_after);
            renewed
                .warnings
                .push(format!("{pem} ends on {until}: `rowcall pki rotate {which}` in time."));
        }
    }
    Ok(renewed)
}

fn server(
    folder: &Folder,
    names: Option<&[ServerName]>,
    now: UnixMicros,
    renewed: &mut Renewed,
) -> anyhow::Result<()> {
    let listed = make::server_names(folder);
    // New names mend a damaged list.
    let (wanted, others) = match (names, listed) {
        (Some(names), listed) => (names.to_vec(), listed.ok().as_deref() != Some(names)),
        (None, listed) => (listed?, false),
    };
    if others || is_due(folder, SERVER, now)? {
        let certificate = make::server(folder, &wanted, now)?;
        let until = day(certificate.not_after);
        renewed.done.push(format!("{SERVER}.pem is new, until {until}."));
    }
    Ok(())
}

/// Those whose files are in the folder; others have theirs elsewhere, and ask for new ones.
fn people(
    folder: &Folder,
    record: &mut Record,
    now: UnixMicros,
    renewed: &mut Renewed,
) -> anyhow::Result<()> {
    for (role, name) in present(folder, record) {
        let stem = stem(role.as_str(), name.as_str());
        if is_due(folder, &stem, now)? {
            let certificate = make::person(folder, record, role, &name, now)?;
            record.write(folder, now)?;
            let until = day(certificate.not_after);
            renewed.done.push(format!("{stem}.pem is new, until {until}."));
        }
    }
    Ok(())
}

/// Whose certificates' files are here, each once.
pub(super) fn present(folder: &Folder, record: &Record) -> Vec<(Role, HostName)> {
    let mut found: Vec<(Role, HostName)> = Vec::new();
    for entry in record.certificates.iter().filter(|entry| entry.revoked_at.is_none()) {
        let role = Role::ALL.into_iter().find(|role| role.as_str() == entry.role);
        let Some(one) = role.zip(HostName::parse(&entry.name).ok()) else { continue };
        if folder.has(&format!("{}.pem", stem(&entry.role, &entry.name))) && !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

/// Whether a certificate has less than a third of its life left, or does not fit its key.
fn is_due(folder: &Folder, stem: &str, now: UnixMicros) -> anyhow::Result<bool> {
    let certificate = folder.join(&format!("{stem}.pem"));
    let files = Files {
        key: folder.join(&format!("{stem}.key")),
        authorities: folder.join(&Ca::Root.pem()),
        certificate: certificate.clone(),
    };
    // Damaged or interrupted: a new pair mends it.
    if Material::load(&files).is_err() {
        return Ok(true);
    }
    let text = folder.need(&format!("{stem}.pem"))?;
    Ok(Certificate::read(&text, &certificate.display().to_string())?.is_due(now))
}
