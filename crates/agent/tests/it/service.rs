//! What it tells a service manager, over a real socket.

use std::path::Path;
use std::process::Command;

use rowcall_testkit::process::Process;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use super::{LONG, agent, configured, slammed_port};

/// A service manager that reads.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        Self(UnixDatagram::bind(path).unwrap())
    }

    /// The next line that begins so. Every line before it is one that systemd 219 knows.
    async fn line(&self, beginning: &str) -> String {
        loop {
            let mut bytes = [0; 4096];
            let length = timeout(LONG, self.0.recv(&mut bytes)).await.expect(beginning).unwrap();
            let line = std::str::from_utf8(&bytes[..length]).unwrap().trim_end();
            let known = ["READY=1", "STATUS=", "WATCHDOG=1", "STOPPING=1"];
            assert!(known.iter().any(|known| line.starts_with(known)), "{line}");
            assert!(!line.contains('\n'), "one message at a time: {line}");
            if line.starts_with(beginning) {
                return line.to_owned();
            }
        }
    }
}

fn running(folder: &Path, port: u16) -> Command {
    let mut command = agent();
    command.arg("run").arg("--config").arg(configured(folder, port));
    command
}

#[tokio::test]
async fn an_agent_without_aggregator_is_ready_alive_and_says_why_it_is_not_connected() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify");
    let manager = Manager::at(&socket);
    let mut command = running(folder.path(), slammed_port().await);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "100000");
    let agent = Process::start("agent", &mut command).unwrap();
    manager.line("READY=1").await;
    let status = manager.line("STATUS=not connected to https://127.0.0.1:").await;
    let reason = "records waiting; nothing acknowledged yet; the server closed";
    assert!(status.contains(reason), "{status}");
    for _ in 0..5 {
        manager.line("WATCHDOG=1").await;
    }
    let code = agent.stop().await;
    manager.line("STOPPING=1").await;
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn a_service_manager_that_is_gone_or_watches_another_process_disturbs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify");
    let mut command = running(folder.path(), slammed_port().await);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    let agent = Process::start("agent", &mut command).unwrap();
    agent.line("could not be told READY=1: No such file or directory").await;
    let manager = Manager::at(&socket);
    manager.line("READY=1").await;
    let told = manager.line("STATUS=").await;
    assert!(!told.is_empty());
    assert_eq!(agent.stop().await, Some(0));
    let mut bytes = [0; 4096];
    while let Ok(length) = manager.0.try_recv(&mut bytes) {
        assert!(!bytes[..length].starts_with(b"WATCHDOG"), "it watches another process");
    }
    let text = agent.output();
    assert_eq!(text.matches("could not be told").count(), 1, "{text}");
}
