//! Making authorities and certificates: what is missing, in an order that tells an interrupted
//! start from damage.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rowcall_core::id::{HostName, UnixMicros};
use rowcall_core::token::Pin;
use rowcall_tls::identity::{Role, TrustDomain};
use rowcall_tls::issue::{Authority, Issued, Purpose};
use rowcall_tls::pin::pin_of;

use super::certificate::{Certificate, day};
use super::folder::{Ca, Folder, SERVER, SERVER_NAMES};
use super::issued::{ISSUED, Record, stem};
use crate::args::{self, ServerName};

/// How long certificates last unless asked for otherwise.
pub(crate) const LIFETIME: Duration = Duration::from_secs(366 * 86_400);
/// The name under which all identities of a fleet stand unless asked for otherwise.
const TRUST_DOMAIN: &str = "rowcall";
/// The operator of the aggregator's own host.
pub(crate) const ADMIN: &str = "admin";

/// What to make.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// None: what is there, else the default.
    pub(crate) trust_domain: Option<&'a TrustDomain>,
    /// What the server is reached under.
    pub(crate) server_names: &'a [ServerName],
    /// Whose certificates to make.
    pub(crate) people: &'a [(Role, HostName)],
    /// By the wall clock.
    pub(crate) now: UnixMicros,
}

/// Whether nothing is left to make. `issued.json` is written last.
pub(crate) fn is_complete(folder: &Folder) -> bool {
    folder.has(ISSUED) && folder.has(&Ca::Root.pem())
}

/// Makes what is missing.
pub(crate) fn make(folder: &Folder, wanted: &Wanted<'_>) -> anyhow::Result<()> {
    let now = wanted.now;
    let root = || folder.authority(Ca::Root, None);
    missing_only(folder, Ca::Root, &[Ca::Server.pem(), Ca::Client.pem()], || {
        let domain = match wanted.trust_domain {
            Some(domain) => domain.clone(),
            None => TrustDomain::parse(TRUST_DOMAIN)?,
        };
        Authority::create_root(domain, now).context("make the root")
    })?;
    if let Some(wanted) = wanted.trust_domain {
        has_domain(folder, wanted)?;
    }
    let certificate = format!("{SERVER}.pem");
    missing_only(folder, Ca::Server, std::slice::from_ref(&certificate), || {
        root()?.create_issuing(Purpose::Servers, now).context("make the server authority")
    })?;
    missing_only(folder, Ca::Client, &[ISSUED.to_owned()], || {
        root()?.create_issuing(Purpose::Clients, now).context("make the client authority")
    })?;
    if !folder.has(&certificate) {
        server(folder, wanted.server_names, now)?;
    }
    if !folder.has(ISSUED) {
        let mut record = Record::default();
        for (role, name) in wanted.people {
            person(folder, &mut record, *role, name, now)?;
        }
        record.write_lists(folder, now)?;
        record.write(folder, now)?;
    }
    Ok(())
}

/// Makes an authority that is missing, unless there is something that it must have issued.
fn missing_only(
    folder: &Folder,
    ca: Ca,
    later: &[String],
    create: impl FnOnce() -> anyhow::Result<Authority>,
) -> anyhow::Result<()> {
    let certificate = ca.pem();
    if folder.has(&certificate) {
        return Ok(());
    }
    if let Some(later) = later.iter().find(|later| folder.has(later)) {
        bail!(
            "{} is damaged: it has {later}, but no {certificate}; restore it from a backup, or \
             remove the folder to have all made anew (every node must then enrol again)",
            folder.path().display()
        );
    }
    folder.write_authority(ca, &create()?)
}

/// The trust domain of what is there must be the one asked for.
pub(crate) fn has_domain(folder: &Folder, wanted: &TrustDomain) -> anyhow::Result<()> {
    let there = trust_domain(folder)?;
    if there != *wanted {
        bail!(
            "{} has the trust domain {there}, not {wanted}; it stays for a fleet's life: give \
             another --dir for another fleet",
            folder.path().display()
        );
    }
    Ok(())
}

/// The trust domain of the authorities that are there.
pub(crate) fn trust_domain(folder: &Folder) -> anyhow::Result<TrustDomain> {
    let root = Certificate::read(&folder.need(&Ca::Root.pem())?, &Ca::Root.pem())?;
    TrustDomain::from_authority(&root.der).context("root.pem is no authority of ours")
}

/// What nodes know the root by.
pub(crate) fn pin(folder: &Folder) -> anyhow::Result<Pin> {
    let root = Certificate::read(&folder.need(&Ca::Root.pem())?, &Ca::Root.pem())?;
    pin_of(&root.der).map_err(|error| anyhow::anyhow!("{} is damaged: {error}", Ca::Root.pem()))
}

/// Issues the aggregator's own certificate.
pub(crate) fn server(
    folder: &Folder,
    names: &[ServerName],
    now: UnixMicros,
) -> anyhow::Result<Certificate> {
    let authority = folder.authority(Ca::Server, None)?;
    let issued = issue_server(&authority, names, now, LIFETIME)?;
    let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
    folder.write(SERVER_NAMES, &lines)?;
    folder.write_pair(SERVER, &issued)?;
    Certificate::read(&issued.certificate_pem, SERVER)
}

/// A server's certificate and key.
pub(crate) fn issue_server(
    authority: &Authority,
    names: &[ServerName],
    now: UnixMicros,
    lifetime: Duration,
) -> anyhow::Result<Issued> {
    in_force(authority, Ca::Server, now)?;
    let mut dns: Vec<&str> = Vec::new();
    let mut addresses: Vec<IpAddr> = Vec::new();
    for name in names {
        match name {
            ServerName::Dns(name) => dns.push(name),
            ServerName::Address(address) => addresses.push(*address),
        }
    }
    let issued = authority.issue_server(&dns, &addresses, now, lifetime);
    issued.context("issue the server's certificate")
}

/// Issues a certificate for a person or this machine's agent, and writes its files into the folder.
pub(crate) fn person(
    folder: &Folder,
    record: &mut Record,
    role: Role,
    name: &HostName,
    now: UnixMicros,
) -> anyhow::Result<Certificate> {
    let authority = folder.authority(Ca::Client, None)?;
    let issued = issue_client(&authority, role, name, now, LIFETIME)?;
    folder.write_pair(&stem(role.as_str(), name.as_str()), &issued)?;
    record.add(role, name, &issued, &authority)
}

/// A client's certificate and key.
pub(crate) fn issue_client(
    authority: &Authority,
    role: Role,
    name: &HostName,
    now: UnixMicros,
    lifetime: Duration,
) -> anyhow::Result<Issued> {
    in_force(authority, Ca::Client, now)?;
    let issued = authority.issue_client(role, name, now, lifetime);
    issued.with_context(|| format!("issue a certificate for {role} {name}", role = role.as_str()))
}

fn in_force(authority: &Authority, ca: Ca, now: UnixMicros) -> anyhow::Result<()> {
    if authority.not_after() < now {
        let which = if ca == Ca::Server { "server" } else { "client" };
        bail!(
            "{} ended on {}: make a new authority with `rowcall pki rotate {which}`",
            ca.pem(),
            day(authority.not_after())
        );
    }
    Ok(())
}

/// The names in the server's certificate, as they were written down.
pub(crate) fn server_names(folder: &Folder) -> anyhow::Result<Vec<ServerName>> {
    let text = folder.need(SERVER_NAMES)?;
    let names: Result<Vec<ServerName>, String> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            args::server_name(line).map_err(|error| format!("{:?} is {error}", line.trim()))
        })
        .collect();
    let path = folder.join(SERVER_NAMES);
    match names {
        Ok(names) if !names.is_empty() => Ok(names),
        Ok(_) => bail!("{} names nothing: one name or address a line", path.display()),
        Err(error) => bail!("{}: {error}", path.display()),
    }
}
