//! Revoking certificates of people, or the one in a file.

use std::path::Path;

use anyhow::{bail, ensure};
use rowcall_core::id::{HostName, UnixMicros};
use rowcall_tls::identity::{Identity, Role};

use super::certificate::{Certificate, shown};
use super::folder::{self, CRL, Ca, Folder, split};
use super::issued::{Entry, Record, need_key, stem};
use crate::text;

/// All certificates that were issued under a name and have not ended.
pub(crate) fn person(
    folder: &Folder,
    role: Role,
    name: &HostName,
    now: UnixMicros,
) -> anyhow::Result<Vec<String>> {
    let mut record = Record::read(folder)?;
    let whose = format!("{} {name}", role.as_str());
    let is_it = |entry: &&mut Entry| entry.role == role.as_str() && entry.name == name.as_str();
    let mut number = 0;
    let mut authorities: Vec<String> = Vec::new();
    let mut known = false;
    for entry in record.certificates.iter_mut().filter(is_it) {
        known = true;
        authorities.push(entry.authority.clone());
        if entry.revoked_at.is_none() {
            entry.revoked_at = Some(now.0);
            number += 1;
        }
    }
    ensure!(
        known,
        "no certificate of {whose} that is still good was issued here; give the file of the one to \
         revoke"
    );
    keys(folder, &authorities)?;
    record.write(folder, now)?;
    // Also where all were revoked before: an interruption may have kept it from the list.
    record.write_lists(folder, now)?;
    let stem = stem(role.as_str(), name.as_str());
    let removed = folder.remove(&format!("{stem}.key"))?;
    folder.remove(&format!("{stem}.pem"))?;
    let mut done = vec![match number {
        0 => format!("All certificates of {whose} were revoked before."),
        number => format!("{} of {whose} revoked.", text::plural(number, "certificate")),
    }];
    if removed {
        done.push(format!("{stem}.pem and its key are removed: nobody takes them any more."));
    }
    done.push(effect(folder));
    Ok(done)
}

/// The certificate in a file.
pub(crate) fn file(folder: &Folder, path: &Path, now: UnixMicros) -> anyhow::Result<Vec<String>> {
    let shown_path = path.display().to_string();
    let Some(pem) = folder::read(path)? else { bail!("there is no {shown_path}") };
    let certificate = Certificate::read(&pem, &shown_path)?;
    let authorities = split(&folder.need(&Ca::Client.pem())?);
    let mut of = None;
    for (index, authority) in authorities.iter().enumerate() {
        let authority = Certificate::read(authority, &Ca::Client.pem())?;
        if rowcall_tls::certificate::issued_by(&certificate.der, &authority.der) {
            of = Some((index, authority.serial));
            break;
        }
    }
    let Some((index, authority)) = of else {
        bail!(
            "{shown_path} is no certificate of this client authority ({}), whose list could name \
             it; another authority makes its own list, which the aggregator reads as client_crl",
            folder.join(&Ca::Client.pem()).display()
        );
    };
    need_key(folder, index)?;
    let mut record = Record::read(folder)?;
    let mut done = Vec::new();
    match record.certificates.iter_mut().find(|entry| entry.serial == certificate.serial) {
        Some(Entry { revoked_at: Some(at), .. }) => {
            done.push(format!("It was revoked before, on {}.", shown(UnixMicros(*at))));
        }
        Some(entry) => entry.revoked_at = Some(now.0),
        None => {
            ensure!(
                certificate.not_after >= now,
                "{shown_path} ended on {}: nobody takes it any more",
                shown(certificate.not_after)
            );
            let identity = Identity::from_der(&certificate.der).ok();
            record.certificates.push(Entry {
                serial: certificate.serial.clone(),
                role: identity.as_ref().map_or("?", |identity| identity.role.as_str()).to_owned(),
                name: identity.map_or_else(|| "?".to_owned(), |identity| identity.name.to_string()),
                authority,
                not_after: certificate.not_after.0,
                revoked_at: Some(now.0),
            });
        }
    }
    record.write(folder, now)?;
    record.write_lists(folder, now)?;
    if done.is_empty() {
        done.push(format!("The certificate with serial number {} is revoked.", certificate.serial));
    }
    done.push(effect(folder));
    Ok(done)
}

/// The keys of the authorities that issued what is revoked must be here.
fn keys(folder: &Folder, serials: &[String]) -> anyhow::Result<()> {
    for (index, authority) in split(&folder.need(&Ca::Client.pem())?).iter().enumerate() {
        let authority = Certificate::read(authority, &Ca::Client.pem())?;
        if serials.contains(&authority.serial) {
            need_key(folder, index)?;
        }
    }
    Ok(())
}

fn effect(folder: &Folder) -> String {
    format!(
        "{} says so. An aggregator with this pki_dir reads it within seconds; copy it to the pki_dir \
         of every other: until then what is revoked is good there.",
        folder.join(CRL).display()
    )
}
