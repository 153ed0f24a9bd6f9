//! Real servers, started, stopped, killed and abandoned.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rowcall_postgres::{Error, Options, Server, Shutdown};
use rustix::process::{Pid, Signal, geteuid, getpgid, getpgrp, kill_process};
use tempfile::TempDir;

/// Long enough for a busy machine; no test waits that long when all is well.
const DEADLINE: Duration = Duration::from_secs(60);
/// Names the directory of [`owner_process`], `-` being a temporary one.
const OWNER: &str = "ROWCALL_TEST_OWNER_OF";

/// Options that make tests fast; what they check doesn't depend on a crash of the machine.
fn quick(options: Options) -> Options {
    options.setting("fsync", "off")
}

/// A folder that the server's user can pass through.
fn open_folder() -> TempDir {
    let temp = TempDir::new().expect("make a folder");
    fs::set_permissions(temp.path(), Permissions::from_mode(0o755)).expect("open it");
    temp
}

fn run_psql(server: &Server, database: &str, sql: &str) -> Output {
    // The line that people paste, so it goes through a shell.
    let script = format!("exec {} -XAtq -v ON_ERROR_STOP=1 -c \"$1\"", server.psql_line(database));
    Command::new("sh").args(["-c", &script, "sh", sql]).output().expect("run psql")
}

fn psql(server: &Server, sql: &str) -> String {
    let output = run_psql(server, "postgres", sql);
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Processes with that path in an argument, our own children and zombies of others aside.
fn processes_on(path: &Path) -> Vec<(u32, String)> {
    let path = path.to_str().expect("a readable path");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(path) {
            found.push((pid, line));
        }
    }
    found
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not 0");
    kill_process(pid, signal).expect("send a signal");
}

/// A process that owns a server and does nothing else: this test program once more.
struct Owner {
    child: Child,
    dir: PathBuf,
    postmaster: u32,
}

impl Owner {
    fn command(dir: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["--exact", "owner_process", "--nocapture", "--test-threads=1"])
            .env(OWNER, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }

    fn start(dir: &str) -> Self {
        let mut child = Self::command(dir).spawn().expect("start an owner");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut field = |name: &str| {
            loop {
                let mut line = String::new();
                assert!(output.read_line(&mut line).expect("read") > 0, "the owner ended early");
                // The test harness's own words may stand before ours.
                if let Some((_, value)) = line.split_once(name) {
                    return value.trim().to_owned();
                }
            }
        };
        let dir = PathBuf::from(field("owner's directory: "));
        let postmaster = field("owner's server: ").parse().expect("a pid");
        Self { child, dir, postmaster }
    }

    fn kill(&mut self) {
        self.child.kill().expect("kill the owner");
        self.child.wait().expect("reap the owner");
    }
}

/// No test by itself: the body of [`Owner`].
#[test]
fn owner_process() {
    let Some(dir) = std::env::var_os(OWNER) else { return };
    let options = if dir == "-" { Options::temporary() } else { Server::options(&dir) };
    let server = quick(options).start().unwrap();
    println!("owner's directory: {}", server.dir().display());
    println!("owner's server: {}", server.pid().unwrap());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_new_server_is_private_and_plain() {
    let mut server = quick(Options::temporary()).start().unwrap();
    let shown = psql(
        &server,
        "SELECT current_user, usesuper, current_setting('listen_addresses'), \
         current_setting('server_encoding'), datcollate, current_setting('TimeZone'), \
         current_setting('fsync') \
         FROM pg_user, pg_database WHERE usename = current_user AND datname = 'postgres'",
    );
    assert_eq!(shown, "rowcall|t||UTF8|C|UTC|off");
    let major = psql(&server, "SELECT current_setting('server_version_num')::int / 10000");
    assert_eq!(major, server.version_major().to_string());
    assert_eq!(fs::metadata(server.data_dir()).unwrap().mode() & 0o777, 0o700);
    assert_eq!(psql(&server, "SELECT count(*) FROM pg_hba_file_rules"), "1");
    // Ctrl-C goes to the terminal's foreground group.
    let pid = Pid::from_raw(i32::try_from(server.pid().unwrap()).unwrap());
    assert_ne!(getpgid(pid).unwrap(), getpgrp());
    assert!(server.is_running());
}

#[test]
fn dropping_a_temporary_server_leaves_nothing() {
    let server = quick(Options::temporary()).start().unwrap();
    let (dir, socket) = (server.dir().to_owned(), server.socket_dir().to_owned());
    assert!(dir.exists() && socket.exists());
    drop(server);
    assert!(!dir.exists() && !socket.exists());
    assert_eq!(processes_on(&dir), []);
}

#[test]
fn a_second_start_keeps_the_data_and_the_psql_line() {
    let temp = open_folder();
    let dir = temp.path().join("deep/er");
    let server = quick(Server::options(&dir)).database("host_agent").start().unwrap();
    let line = server.psql_line("host_agent");
    let made = run_psql(&server, "host_agent", "CREATE TABLE t AS SELECT 42 AS answer");
    assert!(made.status.success(), "{made:?}");
    drop(server);
    let server = quick(Server::options(&dir)).database("host_agent").start().unwrap();
    assert_eq!(server.psql_line("host_agent"), line);
    let read = run_psql(&server, "host_agent", "SELECT answer FROM t");
    assert_eq!(String::from_utf8_lossy(&read.stdout), "42\n");
}

#[test]
fn a_server_survives_stop_kill_and_restart() {
    let mut server = quick(Options::temporary()).start().unwrap();
    psql(&server, "CREATE TABLE t (n int)");
    let url = server.url("postgres");
    for (n, way) in (1..).zip([Some(Shutdown::Fast), Some(Shutdown::Immediate), None]) {
        psql(&server, &format!("INSERT INTO t VALUES ({n})"));
        match way {
            Some(how) => server.stop(how).unwrap(),
            None => server.kill().unwrap(),
        }
        assert!(!server.is_running());
        assert_eq!(server.pid(), None);
        server.start().unwrap();
        assert_eq!(psql(&server, "SELECT count(*) FROM t"), n.to_string());
    }
    server.restart(Shutdown::Fast).unwrap();
    server.start().unwrap();
    assert_eq!(server.url("postgres"), url);
    // A crash that nobody asked for.
    kill(server.pid().unwrap(), Signal::KILL);
    until("the crash is noticed", || !server.is_running());
    server.start().unwrap();
    assert_eq!(psql(&server, "SELECT count(*) FROM t"), "3");
}

#[test]
fn a_paused_server_can_be_stopped() {
    let mut server = quick(Options::temporary()).start().unwrap();
    kill(server.pid().unwrap(), Signal::STOP);
    server.stop(Shutdown::Fast).unwrap();
    assert!(!server.is_running());
    // It went on and shut down in order; nothing had to be killed.
    let log = fs::read_to_string(server.log_path()).unwrap();
    assert!(log.contains("received fast shutdown request"), "{log}");
    assert!(log.contains("database system is shut down"), "{log}");
}

#[test]
fn two_servers_run_at_once() {
    let one = quick(Options::temporary()).start().unwrap();
    let two = quick(Options::temporary()).start().unwrap();
    psql(&one, "CREATE DATABASE mine");
    let count = "SELECT count(*) FROM pg_database WHERE datname = 'mine'";
    assert_eq!(psql(&one, count), "1");
    assert_eq!(psql(&two, count), "0");
}

#[test]
fn a_directory_in_use_is_refused_and_names_the_process() {
    let temp = open_folder();
    let mut owner = Owner::start(temp.path().to_str().unwrap());
    let error = quick(Server::options(temp.path())).start().unwrap_err();
    let pid = Some(owner.child.id());
    assert!(matches!(&error, Error::InUse { pid: p, .. } if *p == pid), "{error}");
    owner.kill();
}

#[test]
fn a_killed_owner_leaves_no_process_and_no_temporary_folder() {
    let mut owner = Owner::start("-");
    let socket = PathBuf::from(fs::read_to_string(owner.dir.join("postgres.socket")).unwrap());
    assert!(socket.is_dir());
    assert!(!processes_on(&owner.dir).is_empty());
    owner.kill();
    until("nothing is left", || {
        processes_on(&owner.dir).is_empty() && !owner.dir.exists() && !socket.exists()
    });
}

#[test]
fn an_owner_killed_while_the_data_directory_is_made_leaves_nothing() {
    let temp = open_folder();
    let mut owner = Owner::command("-").env("TMPDIR", temp.path()).spawn().unwrap();
    let entries = || fs::read_dir(temp.path()).unwrap().flatten().map(|e| e.path());
    until("initdb is at work", || entries().any(|dir| dir.join("postgres.new/base").exists()));
    owner.kill().unwrap();
    owner.wait().unwrap();
    until("nothing is left", || processes_on(temp.path()).is_empty() && entries().count() == 0);
}

#[test]
fn a_killed_owner_is_succeeded_at_once_and_the_data_is_there() {
    let temp = open_folder();
    let mut owner = Owner::start(temp.path().to_str().unwrap());
    let first = owner.postmaster;
    owner.kill();
    // Waits for the guard of the dead owner.
    let server = quick(Server::options(temp.path())).start().unwrap();
    assert_ne!(server.pid(), Some(first));
    assert_eq!(psql(&server, "SELECT 1"), "1");
}

#[test]
fn a_server_without_owner_and_guard_is_stopped_by_the_next_start() {
    let temp = open_folder();
    let mut owner = Owner::start(temp.path().to_str().unwrap());
    let guards = processes_on(&owner.dir).into_iter();
    let guards: Vec<u32> = guards.filter(|p| p.1.contains("postgres-guard")).map(|p| p.0).collect();
    assert_eq!(guards.len(), 1);
    kill(guards[0], Signal::KILL);
    owner.kill();
    assert!(processes_on(&owner.dir).iter().any(|p| p.0 == owner.postmaster));
    let server = quick(Server::options(temp.path())).start().unwrap();
    assert!(!processes_on(&owner.dir).iter().any(|p| p.0 == owner.postmaster));
    assert_eq!(psql(&server, "SELECT 1"), "1");
}

#[test]
fn an_interrupted_initdb_is_done_again() {
    let temp = open_folder();
    fs::create_dir_all(temp.path().join("postgres.new/base")).unwrap();
    fs::write(temp.path().join("postgres.new/PG_VERSION"), "15\n").unwrap();
    fs::create_dir(temp.path().join("postgres")).unwrap();
    let server = quick(Server::options(temp.path())).start().unwrap();
    assert_eq!(psql(&server, "SELECT 1"), "1");
    assert!(!temp.path().join("postgres.new").exists());
}

#[test]
fn missing_binaries_name_the_package_and_make_nothing() {
    let temp = open_folder();
    let empty = temp.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let dir = temp.path().join("data");
    let error = Server::options(&dir).bin_dir(&empty).start().unwrap_err().to_string();
    assert!(error.contains("`apt-get install postgresql`"), "{error}");
    assert!(error.contains("PG_BIN"), "{error}");
    assert!(!dir.exists());
}

#[test]
fn a_failed_start_shows_the_end_of_the_log_and_leaves_nothing() {
    let temp = open_folder();
    let bad = quick(Server::options(temp.path())).setting("shared_buffers", "plenty");
    let error = bad.start().unwrap_err();
    assert!(matches!(error, Error::Died { .. }), "{error}");
    assert!(error.to_string().contains("shared_buffers"), "{error}");
    let dir = fs::canonicalize(temp.path()).unwrap();
    assert_eq!(processes_on(&dir), []);
    drop(quick(Server::options(temp.path())).start().unwrap());
}

#[test]
fn another_user_is_refused() {
    if !geteuid().is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let server = quick(Options::temporary()).start().unwrap();
    let other = if server.os_user() == "nobody" { "daemon" } else { "nobody" };
    let info =
        format!("host={} port=5432 user=rowcall dbname=postgres", server.socket_dir().display());
    let psql_as = |user: &str| {
        let reuid = format!("--reuid={user}");
        Command::new("setpriv")
            .args([&reuid, "--clear-groups", "--", "psql", "-XAtc", "SELECT 1", &info])
            .current_dir("/")
            .output()
            .unwrap()
    };
    let refused = psql_as(other);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert!(said.contains("Peer authentication failed"), "{said}");
    let owner = psql_as(server.os_user());
    assert!(owner.status.success(), "{}", String::from_utf8_lossy(&owner.stderr));
}

#[test]
fn a_closed_parent_folder_does_not_keep_roots_server_out() {
    // As an ordinary user the server has the same rights as the owner of the folder.
    let temp = TempDir::new().unwrap();
    fs::set_permissions(temp.path(), Permissions::from_mode(0o700)).unwrap();
    let dir = temp.path().join("data");
    let server = quick(Server::options(&dir)).database("host_agent").start().unwrap();
    assert_eq!(psql(&server, "SELECT 1"), "1");
    drop(server);
    drop(quick(Server::options(&dir)).start().unwrap());
    assert_eq!(fs::metadata(temp.path()).unwrap().mode() & 0o777, 0o700);
}
