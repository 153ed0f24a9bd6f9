//! The data directory's own authorities and certificates, in `pki/`: the folder of `rowcall pki`,
//! with certificates for this machine's agent and for whoever reads on it. Renewed at each start
//! and while it runs.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rowcall_core::id::{HostName, UnixMicros};
use rowcall_tls::identity::Role;
use rowcall_tls::load::Files;

use super::dir::Dir;
use crate::args::ServerName;
use crate::machine;
use crate::pki::certificate::{Certificate, day};
use crate::pki::folder::{Ca, Folder, SERVER};
use crate::pki::issued::{Record, stem};
use crate::pki::make::{self, ADMIN, Wanted};
use crate::pki::renew::{Renewed, renew};

/// The folder in the data directory.
const FOLDER: &str = "pki";
/// Who reads on this machine.
const READER: &str = "local";

/// Authorities and certificates, all there and valid.
#[derive(Debug, Clone)]
pub(super) struct Pki {
    path: PathBuf,
    agent: HostName,
    names: Vec<ServerName>,
    said: String,
}

impl Pki {
    /// Makes what is missing, renews what is due.
    pub(super) fn prepare(
        dir: &Dir,
        host: &HostName,
        listen: &[IpAddr],
        now: UnixMicros,
    ) -> anyhow::Result<Self> {
        let path = dir.path().join(FOLDER);
        let before = set_aside(&path)?;
        let mut names = machine::server_names_of(host);
        for address in listen.iter().filter(|address| !address.is_unspecified()) {
            let name = ServerName::Address(*address);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let folder = Folder::make(&path)?;
        let is_new = !make::is_complete(&folder);
        let name = |text: &str| HostName::parse(text).context("a name of ours");
        let people = [
            (Role::Operator, name(ADMIN)?),
            (Role::Viewer, name(READER)?),
            (Role::Agent, host.clone()),
        ];
        let wanted = Wanted { trust_domain: None, server_names: &names, people: &people, now };
        make::make(&folder, &wanted)?;
        let mut pki = Self { path, agent: host.clone(), names, said: String::new() };
        let mut renewed = renew(&folder, Some(&pki.names), now)?;
        // What was removed, and the agent's after this machine got another name.
        let mut record = Record::read(&folder)?;
        for (role, name) in &people {
            let stem = stem(role.as_str(), name.as_str());
            if !folder.has(&format!("{stem}.pem")) {
                make::person(&folder, &mut record, *role, name, now)?;
                record.write(&folder, now)?;
                renewed.done.push(format!("{stem}.pem is new."));
            }
        }
        let until = Certificate::read(&folder.need(&format!("{SERVER}.pem"))?, SERVER)?.not_after;
        let what = match (is_new, renewed.done.len()) {
            (true, _) => "new".to_owned(),
            (false, 0) => "kept".to_owned(),
            (false, number) => format!("{number} renewed"),
        };
        let before = before.map_or_else(String::new, |before| {
            format!("; those of before are in {}, and of no use any more", before.display())
        });
        pki.said = format!("{what}, valid until {}{before}", day(until));
        warn(&renewed);
        Ok(pki)
    }

    /// Renews what is due, while it runs: the aggregator and the agent read it by themselves.
    pub(super) fn renew(&self, now: UnixMicros) -> anyhow::Result<usize> {
        let renewed = renew(&Folder::lock(&self.path)?, Some(&self.names), now)?;
        warn(&renewed);
        Ok(renewed.done.len())
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn files(&self, stem: &str, authorities: &str) -> Files {
        Files {
            certificate: self.path.join(format!("{stem}.pem")),
            key: self.path.join(format!("{stem}.key")),
            authorities: self.path.join(authorities),
        }
    }

    fn of(&self, role: Role, name: &str) -> Files {
        self.files(&stem(role.as_str(), name), &Ca::Root.pem())
    }

    /// For the aggregator.
    pub(super) fn server(&self) -> Files {
        self.files(SERVER, &Ca::Client.pem())
    }

    /// For this machine's agent.
    pub(super) fn agent(&self) -> Files {
        self.of(Role::Agent, self.agent.as_str())
    }

    /// For people who read.
    pub(super) fn viewer(&self) -> Files {
        self.of(Role::Viewer, READER)
    }

    /// For people who change something.
    pub(super) fn operator(&self) -> Files {
        self.of(Role::Operator, ADMIN)
    }

    /// In words: new or kept, and until when.
    pub(super) fn describe(&self) -> &str {
        &self.said
    }
}

fn warn(renewed: &Renewed) {
    for warning in &renewed.warnings {
        tracing::warn!("{warning}");
    }
}

/// A folder of an earlier version, with one authority for everything, makes room for a new one.
fn set_aside(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    if !path.join("ca.pem").exists() || path.join(Ca::Root.pem()).exists() {
        return Ok(None);
    }
    let free = (1_u32..).map(|number| path.with_file_name(format!("{FOLDER}.before-{number}")));
    let Some(aside) = free.take(1_000).find(|aside| !aside.exists()) else {
        anyhow::bail!("remove what is not needed any more of {}.before-*", path.display());
    };
    fs::rename(path, &aside)
        .with_context(|| format!("rename {} to {}", path.display(), aside.display()))?;
    Ok(Some(aside))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const NOW: UnixMicros = UnixMicros(1_795_365_212_000_000);

    fn host() -> HostName {
        HostName::parse("node1.example.org").unwrap()
    }

    fn prepare(dir: &Path, host: &HostName, now: UnixMicros) -> Pki {
        Pki::prepare(&Dir::open(dir).unwrap(), host, &[], now).unwrap()
    }

    fn later(days: i64) -> UnixMicros {
        NOW.plus_micros(days * 86_400 * 1_000_000)
    }

    #[test]
    fn certificates_are_made_once_kept_and_renewed_in_their_last_third_also_while_it_runs() {
        let dir = tempfile::tempdir().unwrap();
        let first = prepare(dir.path(), &host(), NOW);
        assert!(first.describe().starts_with("new, valid until 2027-11-2"), "{}", first.describe());
        let root = fs::read(dir.path().join("pki/root.pem")).unwrap();
        let again = prepare(dir.path(), &host(), later(243));
        assert!(again.describe().starts_with("kept, "), "{}", again.describe());
        assert_eq!(again.renew(later(243)).unwrap(), 0);
        // Server, operator, viewer, agent, and the list of what is revoked.
        assert_eq!(again.renew(later(245)).unwrap(), 5);
        assert_eq!(again.renew(later(246)).unwrap(), 0);
        let renewed = prepare(dir.path(), &host(), later(600));
        assert!(renewed.describe().starts_with("5 renewed, "), "{}", renewed.describe());
        assert_eq!(fs::read(dir.path().join("pki/root.pem")).unwrap(), root);
    }

    #[test]
    fn only_the_owner_reads_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path(), &host(), NOW);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir.path().join("pki")), 0o700);
        for entry in fs::read_dir(dir.path().join("pki")).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }

    #[test]
    fn what_does_not_fit_or_is_damaged_is_issued_again() {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path(), &host(), NOW);
        let name = HostName::parse("other").unwrap();
        // The agent's name and some of the server's.
        let other = prepare(dir.path(), &name, NOW);
        assert!(other.describe().starts_with("2 renewed, "), "{}", other.describe());
        fs::remove_file(other.viewer().key).unwrap();
        fs::write(other.operator().certificate, "").unwrap();
        fs::remove_file(other.agent().certificate).unwrap();
        let mended = prepare(dir.path(), &name, NOW);
        assert!(mended.describe().starts_with("3 renewed, "), "{}", mended.describe());
    }

    #[test]
    fn an_authority_without_its_key_is_never_replaced_silently() {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path(), &host(), NOW);
        fs::remove_file(dir.path().join("pki/client-ca.pem")).unwrap();
        let opened = Dir::open(dir.path()).unwrap();
        let error = Pki::prepare(&opened, &host(), &[], NOW).unwrap_err().to_string();
        assert!(error.contains("no client-ca.pem"), "{error}");
    }

    #[test]
    fn the_folder_of_an_earlier_version_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("pki")).unwrap();
        fs::write(dir.path().join("pki/ca.pem"), "old").unwrap();
        let pki = prepare(dir.path(), &host(), NOW);
        assert!(pki.describe().contains("pki.before-1"), "{}", pki.describe());
        let old = fs::read_to_string(dir.path().join("pki.before-1/ca.pem")).unwrap();
        assert_eq!(old, "old");
        assert!(prepare(dir.path(), &host(), NOW).describe().starts_with("kept, "));
    }
}
