//! The spool's folder as it should not be, what is kept over restarts, and `status`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rowcall_core::clock::SystemClock;
use rowcall_core::id::Epoch;
use rowcall_core::record::{Body, Sample};
use rowcall_spool::{Settings, Spool};
use rowcall_testkit::poll::wait_for;
use rowcall_testkit::process::Process;
use serde_json::Value;

use super::{LONG, agent, configured, output, slammed_port};

/// A machine with settings and certificates; nothing listens where its agent connects to.
struct Node(tempfile::TempDir);

/// Makes a spool of the host of this name.
pub(crate) fn with_one_record(dir: &Path, host: &str) {
    assert!(opened(dir, host).close(LONG));
}

/// The same, and it stays open.
pub(crate) fn opened(dir: &Path, host: &str) -> Spool {
    let settings = Settings {
        dir: dir.to_owned(),
        max_bytes: 1 << 20,
        max_age: Duration::from_secs(86_400),
        owner: host.into(),
    };
    let clock = SystemClock::shared();
    let (wall, since_boot) = (clock.wall(), clock.since_boot());
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let (spool, _) = Spool::open(settings, clock, boot_id.trim(), Epoch::from_random(14)).unwrap();
    spool.append(wall, since_boot, Body::Sample(Sample::default()));
    spool.set_interval(Duration::from_millis(100));
    spool
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        configured(folder.path(), 1);
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = agent();
        command.arg(name).arg("--config").arg(self.path("agent.toml"));
        command
    }

    /// With a spool of an earlier agent, whose last interval was a tenth of a second.
    fn with_spool() -> Self {
        Self::with_spool_of("node1")
    }

    /// The same, of the host of this name.
    fn with_spool_of(host: &str) -> Self {
        let node = Self::new();
        with_one_record(&node.path("spool"), host);
        node
    }

    fn running(&self) -> Process {
        let mut command = self.command("run");
        command.args(["--min-interval", "100ms"]);
        Process::start("agent", &mut command).unwrap()
    }

    /// Exit code and JSON of `status`.
    fn status(&self) -> (Option<i32>, Value) {
        let (code, stdout, stderr) = output(self.command("status").arg("--json"));
        assert_eq!(stderr, "");
        (code, serde_json::from_str(&stdout).unwrap())
    }

    /// The status, once an agent runs and has read something.
    async fn sampled(&self) -> Value {
        wait_for("a record on disk", LONG, || async {
            let (code, status) = self.status();
            let next = status["spool"]["next_sequence"].as_u64();
            (code == Some(0) && next > Some(2)).then_some(status)
        })
        .await
    }

    /// What `run` says, checked or for real, as this user and exit code.
    fn refuses(&self, code: i32, parts: &[&str]) {
        for flags in [["--check-config"].as_slice(), &[]] {
            let (found, _, said) = output(self.command("run").args(flags));
            assert_eq!(found, Some(code), "{flags:?}: {said}");
            for part in parts {
                assert!(said.contains(part), "{part:?} is missing in: {said}");
            }
        }
    }
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let shift = |crc: u32, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82f6_3b78 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), shift))
}

/// Whether a folder lies on tmpfs.
fn is_in_memory(path: &Path) -> bool {
    rustix::fs::statfs(path).unwrap().f_type == 0x0102_1994
}

#[tokio::test]
async fn a_missing_folder_is_made_for_its_user_alone_and_status_tells_what_is_in_it() {
    let node = Node::new();
    let (code, never) = node.status();
    assert_eq!((code, &never["running"]), (Some(3), &Value::Bool(false)));
    assert_eq!(never["host"], "node1");
    let running = node.running();
    let first = wait_for("an agent that runs", LONG, || async {
        let (code, status) = node.status();
        (code == Some(0)).then_some(status)
    })
    .await;
    assert_eq!(first["pid"], running.pid());
    assert_eq!(first["spool"]["epoch_origin"], "new");
    let mode = fs::metadata(node.path("spool")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    let (code, text, _) = output(&mut node.command("status"));
    assert_eq!(code, Some(0));
    for part in ["agent         runs, pid ", "host          node1\n", "acknowledged  nothing yet"] {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
    // It may be asked whether its settings are good while it runs.
    let (code, said, _) = output(node.command("run").arg("--check-config"));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(running.stop().await, Some(0));
    let (code, stopped) = node.status();
    assert_eq!((code, &stopped["pid"]), (Some(3), &Value::Null));
    assert_eq!(stopped["spool"]["epoch"], first["spool"]["epoch"]);
}

#[tokio::test]
async fn what_was_read_survives_a_kill_and_goes_on_under_the_same_epoch() {
    let node = Node::with_spool();
    let mut before = Value::Null;
    for _ in 0..3 {
        let running = node.running();
        let now = wait_for("more than before", LONG, || async {
            let (code, status) = node.status();
            let next = |status: &Value| status["spool"]["next_sequence"].as_u64();
            (code == Some(0) && next(&status) > next(&before)).then_some(status)
        })
        .await;
        if before != Value::Null {
            assert_eq!(now["spool"]["epoch"], before["spool"]["epoch"]);
        }
        running.kill().await;
        let (code, after) = node.status();
        assert_eq!(code, Some(3));
        let held = |status: &Value| status["spool"]["unacknowledged_records"].as_u64();
        assert!(held(&after) >= held(&now), "{after} {now}");
        before = after;
    }
}

#[tokio::test]
async fn a_second_agent_on_one_spool_ends_with_a_message() {
    let node = Node::with_spool();
    let running = node.running();
    node.sampled().await;
    let (code, _, said) = output(&mut node.command("run"));
    assert_eq!(code, Some(1), "{said}");
    let first = format!("is in use by process {}; two agents cannot share one", running.pid());
    assert!(said.contains(&first), "{said}");
    assert_eq!(running.stop().await, Some(0));
}

#[test]
fn a_file_in_place_of_the_folder_is_refused() {
    let node = Node::new();
    fs::write(node.path("spool"), "").unwrap();
    node.refuses(2, &["spool is no folder; remove it or set spool_dir to another path"]);
}

#[tokio::test]
async fn a_spool_of_a_newer_version_is_refused_and_stays_as_it_is() {
    let node = Node::with_spool();
    let running = node.running();
    node.sampled().await;
    assert_eq!(running.stop().await, Some(0));
    // The lock names whoever tried last.
    let contents = |folder: &Path| {
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let kept = files.filter(|path| !path.ends_with("lock"));
        let mut kept: Vec<_> = kept.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        kept.sort();
        kept
    };
    // The version stands behind the magic number of each slot, and before its checksum.
    let positions = node.path("spool").join("positions");
    let mut bytes = fs::read(&positions).unwrap();
    for slot in bytes.chunks_mut(4096) {
        slot[8..16].fill(0);
        slot[8] = 99;
        let checksum = crc32c(slot);
        slot[12..16].copy_from_slice(&checksum.to_le_bytes());
    }
    fs::write(&positions, bytes).unwrap();
    let before = contents(&node.path("spool"));
    node.refuses(2, &["was written by a newer version (format 99, this one knows "]);
    assert!(contents(&node.path("spool")) == before, "it was changed");
}

#[test]
fn a_folder_that_the_agents_user_cannot_write_is_refused() {
    let node = Node::new();
    fs::set_permissions(node.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["agent.toml", "agent.pem", "agent-ca.pem", "agent-key.pem"] {
        fs::set_permissions(node.path(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    fs::create_dir(node.path("spool")).unwrap();
    fs::set_permissions(node.path("spool"), fs::Permissions::from_mode(0o500)).unwrap();
    let program = node.path("rowcall-agent");
    let mut copy = Command::new("cp");
    assert!(
        copy.arg(env!("CARGO_BIN_EXE_rowcall-agent")).arg(&program).status().unwrap().success()
    );
    for check in [true, false] {
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
            command
        } else {
            Command::new(&program)
        };
        command.env_clear().args(["run", "--config"]).arg(node.path("agent.toml"));
        if check {
            command.arg("--check-config");
        }
        let (code, _, said) = output(&mut command);
        assert_eq!(code, Some(2), "{said}");
        for part in ["spool's folder", "give it to the user that the agent runs as"] {
            assert!(said.contains(part), "{part:?} is missing in: {said}");
        }
    }
}

#[test]
fn root_checks_the_settings_of_another_user_but_does_not_run_on_its_spool() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let node = Node::new();
    fs::create_dir(node.path("spool")).unwrap();
    std::os::unix::fs::chown(node.path("spool"), Some(65534), Some(65534)).unwrap();
    let (code, _, said) = output(node.command("run").arg("--check-config"));
    assert_eq!(code, Some(0), "{said}");
    let (code, _, said) = output(&mut node.command("run"));
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("belongs to user 65534, and this process runs as root; run it"),
        "{said}"
    );
}

#[tokio::test]
async fn a_folder_that_is_deleted_while_it_runs_stops_nothing() {
    let node = Node::with_spool();
    let mut command = node.command("run");
    let port = slammed_port().await;
    command.args(["--min-interval", "100ms", "--aggregator", &format!("127.0.0.1:{port}")]);
    let running = Process::start("agent", &mut command).unwrap();
    node.sampled().await;
    fs::remove_dir_all(node.path("spool")).unwrap();
    // It goes on, and once there is a folder again, so does the disk.
    let again = wait_for("a new folder", LONG, || async {
        let (_, status) = node.status();
        status["spool"]["next_sequence"].as_u64().filter(|next| *next > 1)
    });
    let ended = running.ended();
    tokio::select! {
        _ = again => {}
        status = ended => panic!("ended with {status}: {}", running.output()),
    }
    assert_eq!(running.stop().await, Some(0));
}

#[test]
fn a_folder_in_memory_is_warned_of() {
    let memory = Path::new("/dev/shm");
    if !memory.is_dir() || !is_in_memory(memory) {
        return;
    }
    let node = Node::new();
    let spool = tempfile::tempdir_in(memory).unwrap();
    let mut command = node.command("run");
    command.arg("--check-config").arg("--spool-dir").arg(spool.path().join("spool"));
    let (code, _, said) = output(&mut command);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the spool lies in memory or on a network"), "{said}");
}

#[tokio::test]
async fn a_spool_of_another_host_is_refused_with_both_names_and_what_to_do() {
    let node = Node::with_spool_of("node9");
    let said = "belongs to host node9, and this agent's certificate names node1:";
    node.refuses(2, &[said, "move the folder away", "set spool_dir to another path"]);
    let (_, status) = node.status();
    assert_eq!(status["spool"]["next_sequence"], 2, "it is still there: {status}");
    fs::remove_dir_all(node.path("spool")).unwrap();
    let running = node.running();
    wait_for("an agent that runs", LONG, || async { (node.status().0 == Some(0)).then_some(()) })
        .await;
    assert_eq!(running.stop().await, Some(0));
}
