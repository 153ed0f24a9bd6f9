//! The program itself: settings, signals, exit codes, an embedded database.

use std::path::Path;
use std::process::Stdio;

use rowcall_testkit::ca::{Leaf, TestCa};
use rowcall_testkit::database::Database;
use rowcall_testkit::poll::wait_for;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::rig::{Agent, PATIENCE, dial_at, files, hello, request, until};

/// A program whose settings come from flags alone.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowcall-aggregator"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ROWCALL_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Its settings, in a file.
pub(crate) fn settings(folder: &Path, more: &str) -> String {
    settings_by(&TestCa::root("test").unwrap(), folder, more)
}

/// The same, with certificates of this authority.
pub(crate) fn settings_by(ca: &TestCa, folder: &Path, more: &str) -> String {
    let paths = ca.write(folder, "server", &Leaf::server()).unwrap();
    let file = folder.join("aggregator.toml");
    let text = format!(
        "listen = '127.0.0.1:0'\nhttp_listen = '127.0.0.1:0'\ntrust_domain = 'd'\nlog_format = 'json'\n\
         certificate = '{}'\nkey = '{}'\nclient_ca = '{}'\n{more}\n",
        paths.certificate.display(),
        paths.key.display(),
        paths.authorities.display()
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Reads the log until a message begins with this text.
pub(crate) async fn logged(
    lines: &mut Lines<BufReader<ChildStderr>>,
    message: &str,
) -> serde_json::Value {
    let found = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("the log ended");
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["message"].as_str().is_some_and(|text| text.starts_with(message)) {
                return line;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap()
}

pub(crate) fn serve(file: &str) -> (Child, Lines<BufReader<ChildStderr>>) {
    serve_with(program(), file)
}

pub(crate) fn serve_with(
    mut program: Command,
    file: &str,
) -> (Child, Lines<BufReader<ChildStderr>>) {
    let mut child =
        program.args(["serve", "--config", file]).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    (child, lines)
}

pub(crate) async fn signal(child: &Child, signal: &str) {
    let pid = child.id().unwrap().to_string();
    let status = Command::new("kill").args(["-s", signal, &pid]).status().await.unwrap();
    assert!(status.success());
}

pub(crate) async fn code(mut child: Child) -> Option<i32> {
    tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code()
}

#[tokio::test]
async fn an_embedded_database_is_served_and_stopped_with_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let more =
        format!("database = 'embedded'\ndata_dir = '{}'", folder.path().join("data").display());
    let file = settings(folder.path(), &more);
    // Twice on the same directory.
    for _ in 0..2 {
        let (child, mut log) = serve(&file);
        let ready = logged(&mut log, "PostgreSQL is ready").await;
        let postgres = ready["pid"].as_u64().unwrap();
        logged(&mut log, "agents are welcome").await;
        signal(&child, "TERM").await;
        logged(&mut log, "stopped in order").await;
        assert_eq!(code(child).await, Some(0));
        assert!(!Path::new(&format!("/proc/{postgres}")).exists(), "PostgreSQL is left");
    }
}

/// A program on a database, and a welcome stream of `node1`.
struct Serving {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    address: String,
    http: String,
    agent: Agent,
}

impl Serving {
    async fn start(program: Command, database: &Database, folder: &Path, more: &str) -> Self {
        let ca = TestCa::root("test").unwrap();
        let file = settings_by(&ca, folder, &format!("database = '{}'\n{more}", database.url()));
        let (child, mut log) = serve_with(program, &file);
        let text = |line: &serde_json::Value, key: &str| line[key].as_str().unwrap().to_owned();
        let address = text(&logged(&mut log, "listening").await, "address");
        let http = text(&logged(&mut log, "probes and metrics").await, "http");
        logged(&mut log, "agents are welcome").await;
        let leaf = Leaf::client("spiffe://d/agent/node1");
        let client = files(ca.write(folder, "client", &leaf).unwrap());
        let channel = dial_at(address.parse().unwrap(), client).await.unwrap();
        let mut agent = Agent::open(channel).await;
        agent.hello(hello("node1", 1)).await;
        agent.welcome().await;
        Self { child, log, address, http, agent }
    }
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let database = Database::create().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let Serving { child, mut log, agent, .. } =
        Serving::start(program(), &database, folder.path(), "drain_deadline = '5min'").await;
    let mut locker = database.connect().await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE host_usage IN ACCESS EXCLUSIVE MODE").await.unwrap();
    // It will not be acknowledged, so a stop in order would take until the deadline.
    agent.samples(1..=1).await;
    until(
        &database,
        "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted \
         AND relation = 'host_usage'::regclass",
    )
    .await;
    signal(&child, "INT").await;
    logged(&mut log, "stopping").await;
    signal(&child, "INT").await;
    logged(&mut log, "stopped at once by a second signal").await;
    assert_eq!(code(child).await, Some(130));
}

#[tokio::test]
async fn a_hangup_reloads_certificates_and_ends_nothing() {
    let database = Database::create().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let Serving { child, mut log, http, mut agent, .. } =
        Serving::start(program(), &database, folder.path(), "").await;
    // Certificates of another authority, whole: the agent's own is not believed any more.
    let other = TestCa::root("other").unwrap();
    other.write(folder.path(), "server", &Leaf::server()).unwrap();
    signal(&child, "HUP").await;
    logged(&mut log, "SIGHUP: looking at the certificates").await;
    let status = agent.refused().await;
    assert_eq!(status.code(), tonic::Code::PermissionDenied, "{status}");
    // A file that is no certificate is told, and ends nothing either.
    std::fs::write(folder.path().join("server.pem"), "nonsense").unwrap();
    signal(&child, "HUP").await;
    logged(&mut log, "SIGHUP: looking at the certificates").await;
    wait_for("the file to be told of", PATIENCE, || async {
        let metrics = request(http.parse().unwrap(), "GET /metrics").await.body;
        metrics.contains("rowcall_certificate_problem 1\n").then_some(())
    })
    .await;
    signal(&child, "TERM").await;
    drop(agent);
    assert_eq!(code(child).await, Some(0));
}

#[tokio::test]
async fn with_few_file_descriptors_strangers_are_kept_out_and_ingest_goes_on() {
    let database = Database::create().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut limited = Command::new("prlimit");
    limited.arg("--nofile=128").arg(env!("CARGO_BIN_EXE_rowcall-aggregator"));
    limited.stdin(Stdio::null()).kill_on_drop(true);
    let Serving { child, log, address, http, mut agent } =
        Serving::start(limited, &database, folder.path(), "").await;
    let pid = child.id().unwrap();
    let listens = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    assert!(listens.contains("Max open files            128"), "{listens}");
    let mut crowd = Vec::new();
    for _ in 0..300 {
        // Those beyond the limit stand in the kernel's queue or are closed.
        let connecting = tokio::net::TcpStream::connect(&address);
        crowd.push(tokio::time::timeout(PATIENCE, connecting).await.unwrap());
    }
    for sequence in 1..=200 {
        agent.samples(sequence..=sequence).await;
        agent.acknowledged(sequence).await;
    }
    // A loop that accepts in vain would count thousands by now.
    let metrics = request(http.parse().unwrap(), "GET /metrics").await.body;
    let errors = metrics.lines().find_map(|line| line.strip_prefix("rowcall_accept_errors_total "));
    assert!(errors.unwrap().parse::<u64>().unwrap() < 100, "{metrics}");
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert!(open <= 128);
    drop(crowd);
    agent.samples(201..=201).await;
    agent.acknowledged(201).await;
    signal(&child, "TERM").await;
    drop(agent);
    assert_eq!(code(child).await, Some(0));
    drop(log);
}

#[tokio::test]
async fn a_log_that_nobody_reads_any_more_stops_nothing() {
    let database = Database::create().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let Serving { child, log, mut agent, .. } =
        Serving::start(program(), &database, folder.path(), "log_level = 'debug'").await;
    drop(log);
    agent.samples(1..=2).await;
    agent.acknowledged(2).await;
    agent.bye(rowcall_proto::v1::ByeReason::Stopped).await;
    until(&database, "SELECT ended_at IS NOT NULL FROM rowcall.run").await;
    signal(&child, "TERM").await;
    drop(agent);
    assert_eq!(code(child).await, Some(0));
}

#[tokio::test]
async fn metrics_for_other_machines_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().to_str().unwrap().replace('/', "%2F");
    let more = format!("database = 'postgresql://nobody@{nowhere}/x'");
    let file = settings(folder.path(), &more);
    let (child, mut log) = serve(&file);
    let line = logged(&mut log, "probes and metrics").await;
    assert!(line["http"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    logged(&mut log, "waiting for the database").await;
    signal(&child, "TERM").await;
    assert_eq!(code(child).await, Some(0));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("http_listen = '127.0.0.1:0'", "http_listen = '[::]:0'"))
        .unwrap();
    let (child, mut log) = serve(&file);
    let line = logged(&mut log, "http_listen is not loopback").await;
    assert_eq!(line["level"], "WARN");
    signal(&child, "TERM").await;
    assert_eq!(code(child).await, Some(0));
}

#[tokio::test]
async fn migrate_says_which_version_it_made() {
    let database = Database::create().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), &format!("database = '{}'", database.url()));
    let run = || program().args(["migrate", "--config", &file]).output();
    let first = run().await.unwrap();
    assert_eq!(first.status.code(), Some(0));
    let first = String::from_utf8(first.stdout).unwrap();
    assert!(first.starts_with("schema version ") && first.ends_with("(was 0)\n"), "{first}");
    let again = String::from_utf8(run().await.unwrap().stdout).unwrap();
    assert!(!again.ends_with("(was 0)\n"), "{again}");
}

#[tokio::test]
async fn migrate_needs_the_database_alone() {
    let database = Database::create().await.unwrap();
    let run = |url: &str, arguments: &[&str]| {
        let mut command = program();
        command.env("ROWCALL_CONFIG", "/dev/null").env("ROWCALL_DATABASE", url);
        command.args(arguments).output()
    };
    let output = run(&database.url(), &["migrate", "--check-config"]).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "settings and database URL are fine; nothing was connected to\n");
    let output = run(&database.url(), &["migrate"]).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().ends_with("(was 0)\n"));
    for (url, part) in [
        ("postgresql:///x", "it names no host"),
        ("postgresql://u@db/x?passfile=/nonexistent/pass", "passfile /nonexistent/pass: No such"),
    ] {
        let output = run(url, &["migrate", "--check-config"]).await.unwrap();
        assert!(!output.status.success(), "{output:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains(part), "{part}");
    }
    let output = run(&database.url(), &["serve", "--check-config"]).await.unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("3 problems in the settings"));
}

#[tokio::test]
async fn wrong_settings_end_with_code_2_and_all_problems() {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), "interval = 'soon'\nspool = 3");
    let output = program().args(["serve", "--config", &file]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    for part in [
        "3 problems",
        "unknown setting \"spool\"",
        "interval (file /",
        "aggregator.toml): \"soon\" is no duration",
        "database is not set",
    ] {
        assert!(error.contains(part), "{part} is missing in {error}");
    }
    let output = program().args(["serve", "--nonsense"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn settings_and_certificates_can_be_checked_and_printed() {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), "database = 'postgresql://rowcall:hunter2@db/host_agent'");
    let output =
        program().args(["serve", "--config", &file, "--check-config"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("nothing was connected to"));
    let output =
        program().args(["serve", "--config", &file, "--print-config"]).output().await.unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        shown.contains("database = \"postgresql://rowcall:********@db/host_agent\" # file"),
        "{shown}"
    );
    for (url, part) in [
        ("mysql://db/x", "database URL"),
        ("postgresql:///host_agent", "it names no host"),
        ("postgresql://db/x?sslmode=perhaps", "sslmode"),
        ("postgresql://u@db/x?passfile=/nonexistent/pass", "passfile /nonexistent/pass: No such"),
    ] {
        let output = program()
            .args(["serve", "--config", &file, "--check-config", "--database", url])
            .output()
            .await
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(part) && output.status.code() != Some(0), "{url}: {error}");
    }
    let other = TestCa::root("other").unwrap();
    let stranger = other.write(folder.path(), "stranger", &Leaf::server()).unwrap();
    let output = program()
        .args(["serve", "--config", &file, "--check-config", "--key"])
        .arg(&stranger.key)
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("does not belong to the first certificate"), "{error}");
    std::fs::write(folder.path().join("server-key.pem"), "").unwrap();
    let output =
        program().args(["serve", "--config", &file, "--check-config"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("is empty"));
}
