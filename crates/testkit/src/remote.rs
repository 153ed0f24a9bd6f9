//! A PostgreSQL server as companies run it: over TCP, with TLS, passwords and client certificates.
//!
//! Each [`Role`] is let in by one way only, on 127.0.0.1. The server starts with TLS and a
//! certificate for `localhost`, which can be exchanged while it runs. It is stopped by its guard
//! when the process ends.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rowcall_postgres::{Error, Server};
use tokio::sync::OnceCell;
use tokio_postgres::Client;

use crate::ca::{Issued, Leaf, Paths, TestCa};
use crate::database::{connect, test_options};
use crate::poll::wait_for;

/// Another program may take the port between the look and the start.
const PORT_TRIES: u32 = 5;
/// For a changed setting to be in force.
const DEADLINE: Duration = Duration::from_secs(60);

/// A user of the server, named for how it gets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `over_tls`: a password, over TLS only.
    OverTls,
    /// `over_plain`: a password, without TLS only.
    OverPlain,
    /// `either_way`: a password, with TLS or without.
    EitherWay,
    /// `by_certificate`: a client certificate with this common name, and no password.
    ByCertificate,
    /// `by_both`: a client certificate with this common name, and a password.
    ByBoth,
}

impl Role {
    const ALL: [Self; 5] =
        [Self::OverTls, Self::OverPlain, Self::EitherWay, Self::ByCertificate, Self::ByBoth];

    /// Its name in PostgreSQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OverTls => "over_tls",
            Self::OverPlain => "over_plain",
            Self::EitherWay => "either_way",
            Self::ByCertificate => "by_certificate",
            Self::ByBoth => "by_both",
        }
    }

    fn hba_line(self) -> String {
        let (kind, method) = match self {
            Self::OverTls => ("hostssl", "scram-sha-256"),
            Self::OverPlain => ("hostnossl", "scram-sha-256"),
            Self::EitherWay => ("host", "scram-sha-256"),
            Self::ByCertificate => ("hostssl", "cert"),
            Self::ByBoth => ("hostssl", "scram-sha-256 clientcert=verify-full"),
        };
        format!("{kind} all {} 127.0.0.1/32 {method}", self.name())
    }
}

/// The password of every [`Role`] that has one.
pub const PASSWORD: &str = "richtig";

/// A running server.
#[derive(Debug)]
pub struct Remote {
    server: Server,
    ca: TestCa,
    folder: PathBuf,
    next: AtomicU32,
}

impl Remote {
    /// Starts a server of its own for a test.
    ///
    /// # Errors
    /// When it cannot be started or refuses its settings.
    pub async fn start() -> Result<Self> {
        let server = tokio::task::spawn_blocking(start_somewhere).await??;
        // Goes with the server's temporary directory.
        let folder = server.dir().join("clients");
        fs::create_dir(&folder).context("make the folder of client files")?;
        let ca = TestCa::root("Company")?;
        let remote = Self { server, ca, folder, next: AtomicU32::new(1) };
        let admin = remote.admin().await?;
        for role in Role::ALL {
            let sql = format!("CREATE ROLE {} LOGIN PASSWORD '{PASSWORD}'", role.name());
            admin.batch_execute(&sql).await?;
        }
        let authorities = remote.put_server_file("clients.pem", remote.ca.root_pem())?;
        remote.set("ssl_ca_file", &authorities).await?;
        remote.show_certificate(&remote.ca.issue(&Leaf::server())?).await?;
        Ok(remote)
    }

    /// The server that all tests of this process share; nobody changes it.
    ///
    /// # Errors
    /// As [`Remote::start`].
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Remote> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// `postgresql://ROLE:PASSWORD@localhost:PORT/postgres`, to which parameters can be added.
    pub fn url(&self, role: Role) -> String {
        self.url_of(&format!("{}:{PASSWORD}", role.name()))
    }

    /// A URL like that of an empty database of its own, which the role owns; it has no other rights.
    ///
    /// # Errors
    /// What the server says.
    pub async fn database(&self, role: Role) -> Result<String> {
        let name = format!("test_{}", self.next.fetch_add(1, Ordering::Relaxed));
        let sql = format!("CREATE DATABASE {name} OWNER {}", role.name());
        self.admin().await?.batch_execute(&sql).await?;
        let url = self.url(role);
        Ok(format!("{}/{name}", url.strip_suffix("/postgres").unwrap_or(&url)))
    }

    /// As [`Remote::url`], with these credentials.
    pub fn url_of(&self, credentials: &str) -> String {
        format!("postgresql://{credentials}@localhost:{}/postgres", self.port())
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The PostgreSQL that it runs.
    pub fn version_major(&self) -> u32 {
        self.server.version_major()
    }

    /// The authority of the server's certificate, and the only one that it believes.
    pub fn ca(&self) -> &TestCa {
        &self.ca
    }

    /// A superuser's connection, over the socket.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn admin(&self) -> Result<Client> {
        connect(&self.server.url("postgres")).await
    }

    /// A file of the client's, of a name of its own; its mode is 0600.
    ///
    /// # Errors
    /// What the file system says.
    pub fn client_file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{number}-{name}"));
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(path)
    }

    /// The authority's certificate in a file.
    ///
    /// # Errors
    /// What the file system says.
    pub fn root_file(&self) -> Result<PathBuf> {
        self.client_file("root.pem", self.ca.root_pem())
    }

    /// A client certificate with a role's name, from this authority.
    ///
    /// # Errors
    /// What rcgen or the file system says.
    pub fn client(&self, role: Role) -> Result<Paths> {
        self.client_of(&self.ca, role.name())
    }

    /// A client certificate with a common name, from any authority.
    ///
    /// # Errors
    /// What rcgen or the file system says.
    pub fn client_of(&self, ca: &TestCa, common_name: &str) -> Result<Paths> {
        let issued = ca.issue(&Leaf::client("urn:test").common_name(common_name))?;
        Ok(Paths {
            certificate: self.client_file("client.pem", &issued.chain_pem)?,
            key: self.client_file("client-key.pem", &issued.key_pem)?,
            authorities: self.root_file()?,
        })
    }

    /// Shows this certificate to every connection from now on.
    ///
    /// # Errors
    /// What the file system or the server says.
    pub async fn show_certificate(&self, issued: &Issued) -> Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let pem = self.put_server_file(&format!("server-{number}.pem"), &issued.chain_pem)?;
        let key = self.put_server_file(&format!("server-{number}-key.pem"), &issued.key_pem)?;
        let admin = self.admin().await?;
        let alter = format!("ALTER SYSTEM SET ssl_cert_file = '{pem}'");
        admin.batch_execute(&alter).await?;
        admin.batch_execute(&format!("ALTER SYSTEM SET ssl_key_file = '{key}'")).await?;
        self.set("ssl", "on").await?;
        self.await_setting("ssl_cert_file", &pem).await;
        Ok(())
    }

    /// Takes no TLS from now on.
    ///
    /// # Errors
    /// What the server says.
    pub async fn turn_tls_off(&self) -> Result<()> {
        self.set("ssl", "off").await
    }

    /// Changes a setting that needs no restart, and waits until it is in force.
    ///
    /// # Errors
    /// What the server says.
    pub async fn set(&self, name: &str, value: &str) -> Result<()> {
        let admin = self.admin().await?;
        admin.batch_execute(&format!("ALTER SYSTEM SET {name} = '{value}'")).await?;
        admin.batch_execute("SELECT pg_reload_conf()").await?;
        self.await_setting(name, value).await;
        Ok(())
    }

    /// New connections have the settings of the moment at which the server took them in.
    async fn await_setting(&self, name: &str, value: &str) {
        wait_for(format!("{name} = {value} at the server"), DEADLINE, || async {
            let admin = self.admin().await.ok()?;
            let row = admin.query_one("SELECT current_setting($1)", &[&name]).await.ok()?;
            (row.get::<_, String>(0) == value).then_some(())
        })
        .await;
    }

    /// A file in the data directory, as the server's user has it. Gives its name.
    fn put_server_file(&self, name: &str, text: &str) -> Result<String> {
        let data = self.server.data_dir();
        let path = data.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        give_to_owner_of(data, &path)?;
        Ok(name.to_owned())
    }
}

fn give_to_owner_of(folder: &Path, path: &Path) -> Result<()> {
    let owner = fs::metadata(folder)?;
    if fs::metadata(path)?.uid() != owner.uid() {
        chown(path, Some(owner.uid()), Some(owner.gid()))
            .with_context(|| format!("give {} to the server's user", path.display()))?;
    }
    Ok(())
}

/// On a port that is free now; on another one where it no longer is when the server starts.
fn start_somewhere() -> Result<Server> {
    let mut tries = PORT_TRIES;
    loop {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut options = test_options().tcp_port(port);
        for role in Role::ALL {
            options = options.hba_line(role.hba_line());
        }
        tries -= 1;
        match options.start() {
            Err(Error::Died { tail, .. })
                if tries > 0 && tail.contains("could not create any TCP/IP sockets") => {}
            other => return other.context("start PostgreSQL with TCP"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_listens_on_a_port_of_its_own_and_changes_its_certificate() {
        let remote = Remote::start().await.unwrap();
        remote.show_certificate(&remote.ca().issue(&Leaf::server()).unwrap()).await.unwrap();
        remote.turn_tls_off().await.unwrap();
        connect(&remote.url(Role::OverPlain)).await.unwrap();
        let error = connect(&remote.url(Role::OverTls)).await.unwrap_err();
        assert!(format!("{error:#}").contains("db error"), "{error:#}");
        tokio::task::spawn_blocking(move || drop(remote)).await.unwrap();
    }
}
