//! A PostgreSQL server of a test's own, to stop, kill, pause, copy and follow.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rowcall_postgres::{Error, Options, ROLE, Server, Shutdown};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::database::{connect, test_options};
use crate::poll::{DEADLINE, wait_for};

/// The database that each such server begins with.
pub const DATABASE: &str = "mine";

/// A running server. Its calls block a thread of their own, not the test's.
#[derive(Debug)]
pub struct OwnServer {
    /// None only while a call is under way.
    server: Option<Server>,
    // After the server, which lies in it.
    _folder: Option<TempDir>,
}

impl OwnServer {
    /// Starts a server that replicas may follow, with an empty database [`DATABASE`].
    ///
    /// # Errors
    /// When it doesn't start.
    pub async fn start(settings: &[(&str, &str)]) -> Result<Self> {
        let options = with(test_options(), settings).database(DATABASE);
        Self::start_with(options, None).await
    }

    async fn start_with(options: Options, folder: Option<TempDir>) -> Result<Self> {
        let server = tokio::task::spawn_blocking(move || options.start()).await??;
        Ok(Self { server: Some(server), _folder: folder })
    }

    /// A streaming replica of this server as it is now; it follows until [`OwnServer::hold_behind`].
    ///
    /// # Errors
    /// What the backup or the replica's start says.
    pub async fn replica(&self, settings: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("rowcall-replica-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711))?;
        self.base_backup(&folder.path().join("postgres"), true).await?;
        let options = with(like_a_test(Server::options(folder.path())), settings);
        Self::start_with(options, Some(folder)).await
    }

    /// A base backup in a folder that isn't there yet; as a replica, it is one that follows this
    /// server. Made by the server's own functions, for not every PostgreSQL comes with
    /// `pg_basebackup`.
    ///
    /// # Errors
    /// What the server or the file system says.
    pub async fn base_backup(&self, to: &Path, follows: bool) -> Result<()> {
        let data = self.get().data_dir().to_owned();
        let client = connect(&self.get().url("postgres")).await?;
        client.batch_execute("SELECT pg_backup_start('test', fast => true)").await?;
        let (from, into) = (data.clone(), to.to_owned());
        tokio::task::spawn_blocking(move || copy(&from, &into, &NOT_IN_A_BACKUP)).await??;
        let stop = "SELECT labelfile FROM pg_backup_stop(wait_for_archive => false)";
        let label: String = client.query_one(stop, &[]).await?.get(0);
        // Last, so that it has all that the copied files lack.
        copy(&data.join(WAL), &to.join(WAL), &[])?;
        fs::write(to.join("backup_label"), label)?;
        if follows {
            let server = self.get();
            let (socket, port) = (server.socket_dir().display(), server.port());
            let info = format!("host={socket} port={port} user={ROLE}");
            fs::write(to.join("postgresql.auto.conf"), format!("primary_conninfo = '{info}'\n"))?;
            fs::write(to.join("standby.signal"), "")?;
        }
        let owner = fs::metadata(&data)?;
        give(to, owner.uid(), owner.gid())
    }

    /// A replica takes nothing more from its server, whatever is committed there.
    ///
    /// # Errors
    /// What the replica says.
    pub async fn hold_behind(&self) -> Result<()> {
        let client = connect(&self.get().url("postgres")).await?;
        client.batch_execute("ALTER SYSTEM SET primary_conninfo = ''").await?;
        client.batch_execute("SELECT pg_reload_conf()").await?;
        wait_for("the replica to stop receiving", DEADLINE, || async {
            let query = "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)";
            client.query_one(query, &[]).await.ok()?.get::<_, bool>(0).then_some(())
        })
        .await;
        Ok(())
    }

    /// Makes a replica a server that takes writes.
    ///
    /// # Errors
    /// What the replica says.
    pub async fn promote(&self) -> Result<()> {
        let client = connect(&self.get().url("postgres")).await?;
        let promoted: bool = client.query_one("SELECT pg_promote()", &[]).await?.get(0);
        ensure!(promoted, "the replica was not promoted in time");
        Ok(())
    }

    /// From its next start on it is a read-only standby that follows nobody.
    ///
    /// # Errors
    /// What the file system says.
    pub fn become_standby(&self) -> Result<()> {
        let data = self.get().data_dir();
        let path = data.join("standby.signal");
        fs::write(&path, "")?;
        let owner = fs::metadata(data)?;
        chown(&path, Some(owner.uid()), Some(owner.gid()))?;
        Ok(())
    }

    /// Puts a base backup in the place of the data directory of a server that doesn't run.
    ///
    /// # Errors
    /// What the file system says.
    pub fn put_back(&self, backup: &Path) -> Result<()> {
        let data = self.get().data_dir();
        fs::remove_dir_all(data)?;
        let moved = Command::new("mv").arg(backup).arg(data).status().context("run mv")?;
        ensure!(moved.success(), "{} could not be moved", backup.display());
        Ok(())
    }

    /// Stops it.
    ///
    /// # Errors
    /// As [`Server::stop`].
    pub async fn stop(&mut self, how: Shutdown) -> Result<()> {
        self.blocking(move |server| server.stop(how)).await
    }

    /// Starts it again.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_again(&mut self) -> Result<()> {
        self.blocking(Server::start).await
    }

    /// Every process of it halts where it is, as on a machine that hangs.
    ///
    /// # Errors
    /// When it doesn't run.
    pub fn pause(&self) -> Result<Paused> {
        let first = self.get().pid().context("the server does not run")?;
        // The first process first, so that no new one is made.
        signal(first, Signal::STOP);
        let mut processes = vec![first];
        for child in children(first) {
            signal(child, Signal::STOP);
            processes.push(child);
        }
        Ok(Paused { processes })
    }

    /// The process ids of its sessions on [`DATABASE`].
    ///
    /// # Errors
    /// What the server says.
    pub async fn sessions(&self, application: &str) -> Result<Vec<u32>> {
        let client = connect(&self.get().url("postgres")).await?;
        let query = "SELECT pid FROM pg_stat_activity WHERE application_name = $1 ORDER BY pid";
        let rows = client.query(query, &[&application]).await?;
        Ok(rows.iter().filter_map(|row| u32::try_from(row.get::<_, i32>(0)).ok()).collect())
    }

    /// The URL of [`DATABASE`].
    #[must_use]
    pub fn url(&self) -> String {
        self.get().url(DATABASE)
    }

    /// The server itself.
    ///
    /// # Panics
    /// Never outside a call that failed half way.
    #[must_use]
    pub fn get(&self) -> &Server {
        self.server.as_ref().expect("a server that no call has taken")
    }

    async fn blocking(
        &mut self,
        call: impl FnOnce(&mut Server) -> Result<(), Error> + Send + 'static,
    ) -> Result<()> {
        let mut server = self.server.take().context("an earlier call failed")?;
        let (server, result) = tokio::task::spawn_blocking(move || {
            let result = call(&mut server);
            (server, result)
        })
        .await?;
        self.server = Some(server);
        Ok(result?)
    }
}

/// The URL of [`DATABASE`] on whichever of these servers takes writes.
#[must_use]
pub fn either_url(servers: &[&OwnServer]) -> String {
    let hosts: Vec<_> = servers
        .iter()
        .filter_map(|server| {
            let url = server.url();
            let host = url.split_once('@')?.1.split('/').next()?;
            Some(host.to_owned())
        })
        .collect();
    let hosts = hosts.join(",");
    format!("postgresql://{ROLE}@{hosts}/{DATABASE}?target_session_attrs=read-write")
}

/// Processes that halt until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Paused {
    processes: Vec<u32>,
}

impl Drop for Paused {
    fn drop(&mut self) {
        for process in &self.processes {
            signal(*process, Signal::CONT);
        }
    }
}

/// Sends a signal to a process of the test's own; it may have ended.
pub fn signal(process: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        kill_process(pid, signal).ok();
    }
}

fn with(options: Options, settings: &[(&str, &str)]) -> Options {
    let options = options.hba_line(format!("local replication all peer map={ROLE}"));
    settings.iter().fold(options, |options, (name, value)| options.setting(*name, *value))
}

/// A replica must have room for as many connections and locks as its server.
fn like_a_test(options: Options) -> Options {
    crate::database::TEST_SETTINGS
        .into_iter()
        .fold(options, |options, (name, value)| options.setting(name, value))
}

/// The processes that a process has started and that are still there.
fn children(of: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(|id| parent(*id) == Some(of)).collect()
}

fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The folder of the write-ahead log.
const WAL: &str = "pg_wal";
/// What belongs to the running server, or is copied later.
const NOT_IN_A_BACKUP: [&str; 4] = ["postmaster.pid", "postmaster.opts", "standby.signal", WAL];

/// Copies a folder in which files come and go, without those of these names.
fn copy(from: &Path, to: &Path, without: &[&str]) -> Result<()> {
    fs::DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if without.iter().any(|name| entry.file_name() == **name) {
            continue;
        }
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let copied =
            if is_folder { copy(&from, &to, &[]) } else { Ok(fs::copy(&from, &to).map(drop)?) };
        if let Err(error) = copied
            && from.exists()
        {
            return Err(error.context(format!("copy {}", from.display())));
        }
    }
    Ok(())
}

/// Gives a folder and all that is in it to a user.
fn give(folder: &Path, user: u32, group: u32) -> Result<()> {
    let mut left: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let meta = fs::symlink_metadata(&path)?;
        if meta.uid() != user {
            std::os::unix::fs::lchown(&path, Some(user), Some(group))?;
        }
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                left.push(entry?.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn count(url: &str) -> Option<i64> {
        let row = connect(url).await.ok()?.query_one("SELECT count(*) FROM t", &[]).await.ok()?;
        Some(row.get(0))
    }

    #[tokio::test]
    async fn a_replica_follows_is_held_behind_and_takes_writes_once_promoted() {
        let mut server = OwnServer::start(&[]).await.unwrap();
        let client = connect(&server.url()).await.unwrap();
        client.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
        let replica = server.replica(&[]).await.unwrap();
        client.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
        wait_for("the replica to follow", DEADLINE, || async {
            count(&replica.url()).await.filter(|rows| *rows == 2)
        })
        .await;
        replica.hold_behind().await.unwrap();
        client.batch_execute("INSERT INTO t VALUES (3)").await.unwrap();
        server.stop(Shutdown::Immediate).await.unwrap();
        replica.promote().await.unwrap();
        assert_eq!(count(&replica.url()).await, Some(2));
        let promoted = connect(&replica.url()).await.unwrap();
        promoted.batch_execute("INSERT INTO t VALUES (4)").await.unwrap();
        server.become_standby().unwrap();
        server.start_again().await.unwrap();
        let standby = connect(&server.url()).await.unwrap();
        let refused = standby.batch_execute("INSERT INTO t VALUES (5)").await.unwrap_err();
        assert_eq!(refused.code().map(|code| code.code()), Some("25006"), "{refused:?}");
    }

    #[tokio::test]
    async fn a_paused_server_answers_when_it_goes_on() {
        let server = OwnServer::start(&[]).await.unwrap();
        let client = connect(&server.url()).await.unwrap();
        let paused = server.pause().unwrap();
        assert!(paused.processes.len() > 1, "the session's process is one of them");
        wait_for("all of its processes to halt", DEADLINE, || async {
            paused.processes.iter().all(|id| state(*id) == Some('T')).then_some(())
        })
        .await;
        drop(paused);
        client.batch_execute("SELECT 1").await.unwrap();
    }

    fn state(process: u32) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    #[tokio::test]
    async fn a_backup_put_back_has_what_was_there_when_it_was_made() {
        let mut server = OwnServer::start(&[]).await.unwrap();
        let client = connect(&server.url()).await.unwrap();
        client.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let backup = folder.path().join("backup");
        server.base_backup(&backup, false).await.unwrap();
        client.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
        server.stop(Shutdown::Immediate).await.unwrap();
        server.put_back(&backup).unwrap();
        server.start_again().await.unwrap();
        assert_eq!(count(&server.url()).await, Some(1));
    }
}
