//! The directory's own authority and certificates, in `pki/` (0700), keys 0600.
//!
//! `ca.pem` and `ca.key` last ten years; `server`, `agent`, `viewer` and `operator` a year, and a
//! start renews those that have less than 30 days left, or do not fit any more. Limit: nothing is
//! renewed while it runs, so an `up` of more than 11 months has to be started again.

use std::fs::{self, DirBuilder};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rowcall_core::id::{HostName, UnixMicros};
use rowcall_tls::identity::{Role, TrustDomain};
use rowcall_tls::issue::{Authority, Issued, write_private};
use rowcall_tls::load::{Files, Material};

use super::dir::Dir;
use crate::text;

const LIFETIME: Duration = Duration::from_secs(366 * 86_400);
const RENEW_BELOW: Duration = Duration::from_secs(30 * 86_400);
/// The name under which this authority's certificates stand.
const TRUST_DOMAIN: &str = "rowcall";
/// Which names and addresses the server's certificate has, one a line.
const SERVER_NAMES: &str = "server.names";

/// Authority and certificates, all there and valid.
#[derive(Debug)]
pub(super) struct Pki {
    folder: PathBuf,
    now: UnixMicros,
    until: UnixMicros,
    issued: usize,
    kept: usize,
}

impl Pki {
    /// Makes what is missing, renews what is about to expire.
    pub(super) fn prepare(
        dir: &Dir,
        host: &HostName,
        listen: Option<IpAddr>,
        now: UnixMicros,
    ) -> anyhow::Result<Self> {
        let folder = dir.path().join("pki");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("make {}", folder.display()))?;
        let mut pki = Self { folder, now, until: UnixMicros(i64::MAX), issued: 0, kept: 0 };
        let (authority, is_new) = pki.authority()?;

        let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        let further = listen.filter(|ip| !ip.is_unspecified() && !loopback.contains(ip));
        let addresses: Vec<IpAddr> = loopback.into_iter().chain(further).collect();
        // A host name may have an underscore, which a name in DNS may not.
        let names: Vec<&str> =
            ["localhost", host.as_str()].into_iter().filter(|name| !name.contains('_')).collect();
        let listed: Vec<String> = names
            .iter()
            .map(ToString::to_string)
            .chain(addresses.iter().map(ToString::to_string))
            .collect();
        let listed = listed.join("\n");
        let names_path = pki.folder.join(SERVER_NAMES);
        let same_names = fs::read_to_string(&names_path).is_ok_and(|known| known == listed);
        let issue_server = || authority.issue_server(&names, &addresses, now, LIFETIME);
        if pki.keep_or("server", is_new, &|_| same_names, &issue_server)? {
            write_private(&names_path, listed.as_bytes())
                .with_context(|| format!("write {}", names_path.display()))?;
        }
        for (role, name) in [
            (Role::Agent, host.clone()),
            (Role::Viewer, HostName::parse("viewer").context("the viewer's name")?),
            (Role::Operator, HostName::parse("operator").context("the operator's name")?),
        ] {
            let fits = |material: &Material| {
                material.identity().is_ok_and(|identity| {
                    identity.role == role
                        && identity.name == name
                        && identity.trust_domain == *authority.trust_domain()
                })
            };
            let issue = || authority.issue_client(role, &name, now, LIFETIME);
            pki.keep_or(role.as_str(), is_new, &fits, &issue)?;
        }
        Ok(pki)
    }

    /// The authority, and whether it is a new one.
    fn authority(&self) -> anyhow::Result<(Authority, bool)> {
        let (cert, key) = (self.folder.join("ca.pem"), self.folder.join("ca.key"));
        let folder = self.folder.display();
        match (cert.exists(), key.exists()) {
            (true, true) => {
                let files = Files {
                    certificate: cert.clone(),
                    key: key.clone(),
                    authorities: cert.clone(),
                };
                let advice = || format!("{folder} is damaged; remove it to have it made anew");
                let material = Material::load(&files).with_context(advice)?;
                if self.has_time(&material) {
                    let read = |path| fs::read_to_string(path).with_context(advice);
                    let authority = Authority::load(&read(&cert)?, &read(&key)?);
                    return Ok((authority.with_context(advice)?, false));
                }
            }
            (false, false) => {}
            // A certificate is written last, so this is no interrupted start.
            (true, false) => bail!(
                "{folder} has a ca.pem without its ca.key; restore the key, or remove the folder \
                 to have it made anew"
            ),
            (false, true) => {}
        }
        let domain = TrustDomain::parse(TRUST_DOMAIN)?;
        let authority = Authority::create(domain, self.now).context("make the authority")?;
        self.write("ca", authority.cert_pem(), &authority.key_pem())?;
        Ok((authority, true))
    }

    /// Keeps a certificate that is in order; else issues it, and says so.
    fn keep_or(
        &mut self,
        name: &str,
        must: bool,
        fits: &dyn Fn(&Material) -> bool,
        issue: &dyn Fn() -> Result<Issued, rowcall_tls::issue::IssueError>,
    ) -> anyhow::Result<bool> {
        let load = || Material::load(&self.files(name)).ok();
        let in_order = |material: &Material| self.has_time(material) && fits(material);
        let kept = if must { None } else { load().filter(in_order) };
        let is_kept = kept.is_some();
        let material = match kept {
            Some(material) => material,
            None => {
                let issued = issue().with_context(|| format!("issue the {name}'s certificate"))?;
                self.write(name, &issued.certificate_pem, &issued.key_pem)?;
                Material::load(&self.files(name))?
            }
        };
        self.until = self.until.min(material.validity().not_after);
        *(if is_kept { &mut self.kept } else { &mut self.issued }) += 1;
        Ok(!is_kept)
    }

    fn has_time(&self, material: &Material) -> bool {
        let wanted = i64::try_from(RENEW_BELOW.as_micros()).unwrap_or(i64::MAX);
        let validity = material.validity();
        validity.not_before <= self.now && validity.not_after >= self.now.plus_micros(wanted)
    }

    /// Key first: a certificate without its key would be taken for damage, a key alone not.
    fn write(&self, name: &str, certificate: &str, key: &str) -> anyhow::Result<()> {
        for (kind, text) in [("key", key), ("pem", certificate)] {
            let path = self.folder.join(format!("{name}.{kind}"));
            write_private(&path, text.as_bytes())
                .with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    fn files(&self, name: &str) -> Files {
        Files {
            certificate: self.folder.join(format!("{name}.pem")),
            key: self.folder.join(format!("{name}.key")),
            authorities: self.folder.join("ca.pem"),
        }
    }

    /// For the aggregator.
    pub(super) fn server(&self) -> Files {
        self.files("server")
    }

    /// For this machine's agent.
    pub(super) fn agent(&self) -> Files {
        self.files(Role::Agent.as_str())
    }

    /// For people who read.
    pub(super) fn viewer(&self) -> Files {
        self.files(Role::Viewer.as_str())
    }

    /// For people who change something.
    pub(super) fn operator(&self) -> Files {
        self.files(Role::Operator.as_str())
    }

    /// In words: new or kept, and until when.
    pub(super) fn describe(&self) -> String {
        let until = Timestamp::from_microsecond(self.until.0).unwrap_or(Timestamp::MAX);
        let until = text::timestamp(until, &TimeZone::UTC);
        let day = until.get(..10).unwrap_or(&until);
        let what = match (self.issued, self.kept) {
            (_, 0) => "new".to_owned(),
            (0, _) => "kept".to_owned(),
            (issued, kept) => format!("{issued} renewed, {kept} kept"),
        };
        format!("{what}, valid until {day}")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;

    const NOW: UnixMicros = UnixMicros(1_795_365_212_000_000);

    fn host() -> HostName {
        HostName::parse("node1.example.org").unwrap()
    }

    fn prepare(dir: &Path, host: &HostName, now: UnixMicros) -> Pki {
        Pki::prepare(&Dir::open(dir).unwrap(), host, None, now).unwrap()
    }

    fn later(days: i64) -> UnixMicros {
        NOW.plus_micros(days * 86_400 * 1_000_000)
    }

    #[test]
    fn certificates_are_made_once_kept_and_renewed_in_their_last_month() {
        let dir = tempfile::tempdir().unwrap();
        let first = prepare(dir.path(), &host(), NOW);
        assert_eq!((first.issued, first.kept), (4, 0));
        assert!(first.describe().starts_with("new, valid until 2027-11-2"), "{}", first.describe());
        let ca = fs::read(dir.path().join("pki/ca.pem")).unwrap();
        let again = prepare(dir.path(), &host(), later(335));
        assert_eq!((again.issued, again.kept), (0, 4));
        let renewed = prepare(dir.path(), &host(), later(337));
        assert_eq!((renewed.issued, renewed.kept), (4, 0));
        assert_eq!(fs::read(dir.path().join("pki/ca.pem")).unwrap(), ca);
        // The authority's own ten years.
        prepare(dir.path(), &host(), later(3640));
        assert_ne!(fs::read(dir.path().join("pki/ca.pem")).unwrap(), ca);
    }

    #[test]
    fn only_the_owner_reads_keys() {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path(), &host(), NOW);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir.path().join("pki")), 0o700);
        for name in ["ca", "server", "agent", "viewer", "operator"] {
            assert_eq!(mode(&dir.path().join(format!("pki/{name}.key"))), 0o600);
        }
    }

    #[test]
    fn what_does_not_fit_or_is_damaged_is_issued_again() {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path(), &host(), NOW);
        let other = prepare(dir.path(), &HostName::parse("other").unwrap(), NOW);
        // The agent's name and one of the server's.
        assert_eq!((other.issued, other.kept), (2, 2));
        assert_eq!(other.describe().split(',').next(), Some("2 renewed"));
        fs::remove_file(dir.path().join("pki/viewer.key")).unwrap();
        fs::write(dir.path().join("pki/operator.pem"), "").unwrap();
        let mended = prepare(dir.path(), &HostName::parse("other").unwrap(), NOW);
        assert_eq!((mended.issued, mended.kept), (2, 2));
    }

    #[test]
    fn an_authority_without_its_key_is_never_replaced_silently() {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path(), &host(), NOW);
        fs::remove_file(dir.path().join("pki/ca.key")).unwrap();
        let dir = Dir::open(dir.path()).unwrap();
        let error = Pki::prepare(&dir, &host(), None, NOW).unwrap_err().to_string();
        assert!(error.contains("ca.key"), "{error}");
    }
}
