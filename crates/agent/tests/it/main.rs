//! The program as a process: what it prints, what it tells a service manager, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod enroll;
mod enrolling;
mod files;
mod joining;
mod process;
mod service;
mod spool;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rowcall_testkit::ca::{Leaf, TestCa};

/// Only reached when a test fails.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn agent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowcall-agent"));
    // Settings of whoever runs the tests are none of ours.
    for (name, _) in std::env::vars().filter(|(name, _)| {
        ["ROWCALL_", "NOTIFY_SOCKET", "WATCHDOG_"].iter().any(|prefix| name.starts_with(prefix))
    }) {
        command.env_remove(name);
    }
    command
}

pub(crate) fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A configuration file with certificates beside it, for an aggregator on this port.
pub(crate) fn configured(folder: &Path, port: u16) -> std::path::PathBuf {
    let ca = TestCa::root("test").unwrap();
    let leaf = Leaf::client("spiffe://example.org/agent/node1");
    let paths = ca.write(folder, "agent", &leaf).unwrap();
    std::fs::set_permissions(&paths.key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let file = folder.join("agent.toml");
    let text = format!(
        "aggregator = \"127.0.0.1:{port}\"\ncertificate = {:?}\nkey = {:?}\nca = {:?}\n\
         spool_dir = {:?}\n",
        paths.certificate,
        paths.key,
        paths.authorities,
        folder.join("spool")
    );
    std::fs::write(&file, text).unwrap();
    file
}

/// Ends every connection to a port, which is returned, for as long as the runtime lives.
pub(crate) async fn slammed_port() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    port
}

/// A port that was free a moment ago.
pub(crate) async fn free_port() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}
