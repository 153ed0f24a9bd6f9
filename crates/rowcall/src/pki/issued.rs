//! `issued.json`: the certificates that `rowcall pki` issued to people and to this machine's agent,
//! and which of them are revoked; and the revocation lists made of it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rowcall_core::id::{HostName, UnixMicros};
use rowcall_tls::identity::Role;
use rowcall_tls::issue::{Authority, Issued};
use serde::{Deserialize, Serialize};

use super::certificate::Certificate;
use super::folder::{CRL, Ca, Folder, OLD_CLIENT_KEY, split};

/// The file.
pub(crate) const ISSUED: &str = "issued.json";
/// How long a revocation list is good; `renew` makes a new one in its last third.
const CRL_LIFETIME: Duration = Duration::from_secs(366 * 86_400);

/// The content.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// From when until when the lists in client-crl.pem are good, in microseconds since 1970; none:
    /// there are none yet.
    pub(crate) lists: Option<(i64, i64)>,
    /// The certificates, oldest first; without those that have ended.
    pub(crate) certificates: Vec<Entry>,
}

/// A certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// In lower-case hexadecimal digits.
    pub(crate) serial: String,
    /// viewer, operator or agent.
    pub(crate) role: String,
    /// The identity's name.
    pub(crate) name: String,
    /// Serial of the authority that issued it.
    pub(crate) authority: String,
    /// In microseconds since 1970.
    pub(crate) not_after: i64,
    /// In microseconds since 1970; none: it is good.
    pub(crate) revoked_at: Option<i64>,
}

/// The name of a pair of files, without the ending.
pub(crate) fn stem(role: &str, name: &str) -> String {
    format!("{role}-{name}")
}

impl Record {
    /// Reads it; an empty one where there is none.
    pub(crate) fn read(folder: &Folder) -> anyhow::Result<Self> {
        let Some(text) = folder.read(ISSUED)? else { return Ok(Self::default()) };
        let path = folder.join(ISSUED);
        serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is damaged; restore it from a backup: what it says is revoked would be \
                 forgotten without it",
                path.display()
            )
        })
    }

    /// Writes it, without what has ended.
    pub(crate) fn write(&mut self, folder: &Folder, now: UnixMicros) -> anyhow::Result<()> {
        self.certificates.retain(|entry| entry.not_after >= now.0);
        let text = serde_json::to_string_pretty(self).context("write JSON")?;
        folder.write(ISSUED, &format!("{text}\n"))
    }

    /// Adds a certificate that was just issued.
    pub(crate) fn add(
        &mut self,
        role: Role,
        name: &HostName,
        issued: &Issued,
        authority: &Authority,
    ) -> anyhow::Result<Certificate> {
        let certificate = Certificate::read(&issued.certificate_pem, "the certificate issued")?;
        let issuer = Certificate::read(authority.cert_pem(), "the authority's certificate")?;
        self.certificates.push(Entry {
            serial: certificate.serial.clone(),
            role: role.as_str().to_owned(),
            name: name.to_string(),
            authority: issuer.serial,
            not_after: certificate.not_after.0,
            revoked_at: None,
        });
        Ok(certificate)
    }

    /// How many are revoked and have not ended.
    pub(crate) fn revoked(&self) -> usize {
        self.certificates.iter().filter(|entry| entry.revoked_at.is_some()).count()
    }

    /// Makes a new list of each client authority whose key is here, and keeps the other's. There is
    /// one before anything is revoked, so that whoever copies the folder's files has it.
    pub(crate) fn write_lists(&mut self, folder: &Folder, now: UnixMicros) -> anyhow::Result<()> {
        let authorities = split(&folder.need(&Ca::Client.pem())?);
        let before = split(&folder.read(CRL)?.unwrap_or_default());
        // Before a rotation there was one list, and it is the old authority's now.
        let shift = authorities.len().saturating_sub(before.len());
        let mut lists = String::new();
        for (index, certificate) in authorities.iter().enumerate() {
            let key = if index == 0 { Ca::Client.key() } else { OLD_CLIENT_KEY.to_owned() };
            let serials = self.serials(certificate)?;
            if let Some(text) = folder.read(&key)? {
                let (pem, key) = (folder.join(&Ca::Client.pem()), folder.join(&key));
                let authority = folder.load(certificate, &pem, &text, &key)?;
                let serials: Vec<&str> = serials.iter().map(String::as_str).collect();
                let list = authority.revocation_list(&serials, now, CRL_LIFETIME);
                lists.push_str(&list.context("sign the revocation list")?);
            } else if let Some(list) = index.checked_sub(shift).and_then(|at| before.get(at)) {
                lists.push_str(list);
            }
        }
        if lists.is_empty() {
            // Without a key nothing can be signed, and no list is better than an empty file.
            return Ok(());
        }
        folder.write(CRL, &lists)?;
        let life = i64::try_from(CRL_LIFETIME.as_micros()).unwrap_or(i64::MAX);
        self.lists = Some((now.0, now.0.saturating_add(life)));
        self.write(folder, now)
    }

    fn serials(&self, authority: &str) -> anyhow::Result<Vec<String>> {
        let authority = Certificate::read(authority, &Ca::Client.pem())?.serial;
        let of_it = |entry: &&Entry| entry.revoked_at.is_some() && entry.authority == authority;
        Ok(self.certificates.iter().filter(of_it).map(|entry| entry.serial.clone()).collect())
    }

    /// Whether the lists should be signed anew, or for the first time.
    pub(crate) fn lists_are_due(&self, now: UnixMicros) -> bool {
        self.lists.is_none_or(|(from, until)| until.saturating_sub(now.0) < (until - from) / 3)
    }
}

/// The key of an authority of client-ca.pem, by its place there, or what to do without it.
pub(crate) fn need_key(folder: &Folder, index: usize) -> anyhow::Result<()> {
    let key = if index == 0 { Ca::Client.key() } else { OLD_CLIENT_KEY.to_owned() };
    let path: &Path = &folder.join(&key);
    if !path.exists() {
        bail!(
            "there is no {}: only it can sign that its certificate is revoked; bring it here for \
             the time being",
            path.display()
        );
    }
    Ok(())
}
