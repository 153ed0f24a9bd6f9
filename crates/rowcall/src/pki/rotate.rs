//! Replacing an authority by a new one.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, bail};
use rowcall_core::id::UnixMicros;
use rowcall_tls::issue::{Authority, Purpose};

use super::certificate::{Certificate, day};
use super::folder::{Ca, Folder, OLD_CLIENT_KEY, split};
use super::issued::{Entry, Record, stem};
use super::make;
use super::renew::present;

/// How long a node's certificate lasts, so also how long until the last node has one of the new
/// authority, in microseconds.
const NODES_US: i64 = 30 * 86_400 * 1_000_000;

/// A new server authority under the root, and a new server certificate of it. Certificates of the
/// old one stay good, since nodes trust the root.
pub(crate) fn server(
    folder: &Folder,
    root_key: Option<&Path>,
    now: UnixMicros,
) -> anyhow::Result<Vec<String>> {
    // Everything that is needed, before anything is changed.
    let names = make::server_names(folder)?;
    let root = folder.authority(Ca::Root, root_key)?;
    let authority = root.create_issuing(Purpose::Servers, now).context("make an authority")?;
    folder.write_authority(Ca::Server, &authority)?;
    let certificate = make::server(folder, &names, now)?;
    Ok(vec![
        format!("server-ca.pem is new, until {}.", day(authority.not_after())),
        format!("server.pem is new, until {}, of the new authority.", day(certificate.not_after)),
        "Nodes trust the root, and with it certificates of the old authority and the new: nothing \
         is to be done on them."
            .to_owned(),
    ])
}

/// A new client authority beside the old one.
pub(crate) fn client(
    folder: &Folder,
    root_key: Option<&Path>,
    now: UnixMicros,
) -> anyhow::Result<Vec<String>> {
    let mut record = Record::read(folder)?;
    let before = folder.need(&Ca::Client.pem())?;
    let trusted = split(&before);
    let Some(newest) = trusted.first() else {
        bail!(
            "{} is damaged: there is no certificate in it",
            folder.join("client-ca.pem").display()
        );
    };
    let key = folder.read(&Ca::Client.key())?;
    let fits = key.as_deref().is_some_and(|key| Authority::load(newest, key).is_ok());
    if trusted.len() > 1 && fits {
        bail!(
            "a rotation is not finished: client-ca.pem has {} authorities; finish it first with \
             `rowcall pki rotate client --finish`",
            trusted.len()
        );
    }
    let root = folder.authority(Ca::Root, root_key)?;
    let authority = root.create_issuing(Purpose::Clients, now).context("make an authority")?;
    // A key that does not fit is of a rotation that was interrupted here: the old one is kept by now.
    if let Some(key) = key.filter(|_| fits) {
        folder.write(OLD_CLIENT_KEY, &key)?;
    }
    folder.write(&Ca::Client.key(), &authority.key_pem())?;
    folder.write(&Ca::Client.pem(), &format!("{}{newest}", authority.cert_pem()))?;
    let mut done = vec![format!("client-ca.pem is new, until {}.", day(authority.not_after()))];
    let renewed = present(folder, &record);
    for (role, name) in &renewed {
        let certificate = make::person(folder, &mut record, *role, name, now)?;
        let stem = stem(role.as_str(), name.as_str());
        done.push(format!("{stem}.pem is new, until {}.", day(certificate.not_after)));
    }
    record.write(folder, now)?;
    record.write_lists(folder, now)?;
    done.push(format!(
        "The old authority is trusted beside the new one. Nodes get new certificates by themselves; \
         from {} on, `rowcall pki rotate client --finish` ends the old one.",
        day(now.plus_micros(NODES_US))
    ));
    if !renewed.is_empty() {
        done.push(
            "People get none by themselves: whoever has a copy of a file named above needs the new \
             one and its key before that."
                .to_owned(),
        );
    }
    let made = Certificate::read(authority.cert_pem(), "the authority's certificate")?;
    let without = without_one_of(&record, &made.serial, now);
    if !without.is_empty() {
        done.push(format!(
            "{} have none of the new authority yet: `rowcall pki issue FOR NAME --out DIR` makes \
             them.",
            without.join(", ")
        ));
    }
    Ok(done)
}

/// Trusts the newest client authority alone.
pub(crate) fn finish(folder: &Folder, yes: bool, now: UnixMicros) -> anyhow::Result<Vec<String>> {
    let pem = Ca::Client.pem();
    let trusted = split(&folder.need(&pem)?);
    let (Some(newest), true) = (trusted.first(), trusted.len() > 1) else {
        bail!("there is nothing to finish: client-ca.pem has one authority");
    };
    let made = Certificate::read(newest, &pem)?;
    let safe = made.not_before.plus_micros(NODES_US);
    if now < safe && !yes {
        bail!(
            "the new client authority is of {}: nodes may have certificates of the old one until \
             {}, and would have to enrol again; wait, or add --yes",
            day(made.not_before),
            day(safe)
        );
    }
    let mut record = Record::read(folder)?;
    let lost = without_one_of(&record, &made.serial, now);
    if !lost.is_empty() && !yes {
        bail!(
            "the certificates of {} would end with the old client authority: issue new ones first \
             with `rowcall pki issue FOR NAME --out DIR`, or add --yes",
            lost.join(", ")
        );
    }
    folder.write(&pem, newest)?;
    folder.remove(OLD_CLIENT_KEY)?;
    record.certificates.retain(|entry| entry.authority == made.serial);
    record.write(folder, now)?;
    record.write_lists(folder, now)?;
    let mut done = vec![
        "The old client authority is trusted no longer, nor a copy of what it issued.".to_owned(),
    ];
    if !lost.is_empty() {
        done.push(format!(
            "With it ended the certificates of {}: issue new ones with `rowcall pki issue`.",
            lost.join(", ")
        ));
    }
    Ok(done)
}

/// Who has a certificate that is good, and none of the authority with this serial; each once.
fn without_one_of(record: &Record, authority: &str, now: UnixMicros) -> Vec<String> {
    let good = |entry: &&Entry| entry.revoked_at.is_none() && entry.not_after >= now.0;
    let who = |entry: &Entry| format!("{} {}", entry.role, entry.name);
    let all = || record.certificates.iter().filter(good);
    let with: BTreeSet<String> =
        all().filter(|entry| entry.authority == authority).map(who).collect();
    let anybody: BTreeSet<String> = all().map(who).collect();
    anybody.difference(&with).cloned().collect()
}
