//! A folder as `rowcall pki init` makes it: a root, an authority for servers and one for clients.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use rowcall_core::clock::{Clock as _, SystemClock};
use rowcall_core::id::UnixMicros;
use rowcall_core::token::Pin;
use rowcall_tls::identity::Role;
use rowcall_tls::issue::{Authority, Issued, Purpose};
use rowcall_tls::pin::pin_of;
use rowcall_tls::private::write_private;
use tempfile::TempDir;

use crate::ca::Paths;

/// The trust domain of all such folders.
pub const TRUST_DOMAIN: &str = "test.example";
/// How long certificates last here, unless said otherwise.
pub const LIFETIME: Duration = Duration::from_secs(86_400);

/// The authorities with their keys, and their folder, which goes with this.
#[derive(Debug)]
pub struct Pki {
    /// What nodes trust.
    pub root: Authority,
    /// Issues for aggregators.
    pub servers: Authority,
    /// Issues for nodes and people.
    pub clients: Authority,
    folder: TempDir,
}

impl Pki {
    /// New authorities, and a server's certificate for this machine.
    ///
    /// # Errors
    /// What rcgen or the file system says.
    pub fn create() -> Result<Self> {
        Self::aged(Duration::ZERO)
    }

    /// Authorities that were made so long ago, so that what they issued may be old, and a server's
    /// certificate of now.
    ///
    /// # Errors
    /// What rcgen or the file system says.
    pub fn aged(age: Duration) -> Result<Self> {
        let now = now();
        let then = before(now, age);
        let root = Authority::create_root(TRUST_DOMAIN.parse()?, then)?;
        let servers = root.create_issuing(Purpose::Servers, then)?;
        let clients = root.create_issuing(Purpose::Clients, then)?;
        let pki = Self { root, servers, clients, folder: tempfile::tempdir()? };
        for (name, authority) in
            [("root", &pki.root), ("server-ca", &pki.servers), ("client-ca", &pki.clients)]
        {
            pki.put(&format!("{name}.pem"), authority.cert_pem())?;
            pki.put(&format!("{name}.key"), &authority.key_pem())?;
        }
        pki.put_pair("server", &pki.server(now, LIFETIME)?)?;
        Ok(pki)
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// What nodes know the root by.
    ///
    /// # Errors
    /// Never, for a root of ours.
    pub fn pin(&self) -> Result<Pin> {
        pin_of(self.root.certificate_der()).map_err(anyhow::Error::msg)
    }

    /// A server's certificate: `localhost`, 127.0.0.1 and `::1`.
    ///
    /// # Errors
    /// What rcgen says.
    pub fn server(&self, now: UnixMicros, lifetime: Duration) -> Result<Issued> {
        let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        Ok(self.servers.issue_server(&["localhost"], &addresses, now, lifetime)?)
    }

    /// The files of a client: its certificate with the client authority's, its key, and the root.
    ///
    /// # Errors
    /// What rcgen or the file system says.
    pub fn client(&self, role: Role, name: &str) -> Result<Paths> {
        let issued = self.clients.issue_client(role, &name.parse()?, now(), LIFETIME)?;
        let stem = format!("{role}-{name}");
        self.put_pair(&stem, &issued)?;
        Ok(Paths {
            certificate: self.dir().join(format!("{stem}.pem")),
            key: self.dir().join(format!("{stem}.key")),
            authorities: self.dir().join("root.pem"),
        })
    }

    /// Writes `STEM.pem` and `STEM.key`, whole or not at all.
    ///
    /// # Errors
    /// What the file system says.
    pub fn put_pair(&self, stem: &str, issued: &Issued) -> Result<()> {
        self.put(&format!("{stem}.key"), &issued.key_pem)?;
        self.put(&format!("{stem}.pem"), &issued.certificate_pem)?;
        Ok(())
    }

    /// Writes a file of the folder, whole or not at all.
    ///
    /// # Errors
    /// What the file system says.
    pub fn put(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir().join(name);
        write_private(&path, text.as_bytes())?;
        Ok(path)
    }
}

/// This machine's time.
#[must_use]
pub fn now() -> UnixMicros {
    SystemClock.wall()
}

/// So long before a time.
#[must_use]
pub fn before(time: UnixMicros, age: Duration) -> UnixMicros {
    UnixMicros(time.0.saturating_sub_unsigned(u64::try_from(age.as_micros()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use rowcall_tls::load::{Files, Material};

    use super::*;

    #[test]
    fn both_ends_can_be_run_from_the_folder() -> Result<()> {
        let pki = Pki::create()?;
        let file = |name: &str| pki.dir().join(name);
        let server = Files {
            certificate: file("server.pem"),
            key: file("server.key"),
            authorities: file("client-ca.pem"),
        };
        Material::load(&server)?;
        Material::load(&(&pki.client(Role::Agent, "node1")?).into())?;
        Ok(())
    }
}
