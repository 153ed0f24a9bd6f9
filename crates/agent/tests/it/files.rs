//! Certificate files as they should not be: the message names the file, the fault and the remedy.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rowcall_testkit::ca::{Leaf, TestCa};

use super::{agent, configured, output};

struct Node(tempfile::TempDir);

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        configured(folder.path(), 1);
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Exit code and what is said of `run`, checked or for real: both must say the same.
    fn says(&self) -> (Option<i32>, String) {
        let mut check = agent();
        check.arg("run").arg("--config").arg(self.path("agent.toml")).arg("--check-config");
        let (code, _, said) = output(&mut check);
        if code != Some(0) {
            let mut run = agent();
            run.arg("run").arg("--config").arg(self.path("agent.toml"));
            assert_eq!(output(&mut run), (code, String::new(), said.clone()));
        }
        (code, said)
    }

    fn refuses(&self, parts: &[&str]) {
        let (code, said) = self.says();
        assert_eq!(code, Some(2), "{said}");
        for part in parts {
            assert!(said.contains(part), "{part:?} is missing in: {said}");
        }
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_folder_in_place_of_a_file() {
    for name in ["agent.pem", "agent-key.pem", "agent-ca.pem"] {
        let node = Node::new();
        fs::remove_file(node.path(name)).unwrap();
        fs::create_dir(node.path(name)).unwrap();
        node.refuses(&[name, "directory", "give the path of a file"]);
    }
}

#[test]
fn an_empty_or_missing_file() {
    for name in ["agent.pem", "agent-key.pem", "agent-ca.pem"] {
        let node = Node::new();
        fs::write(node.path(name), "").unwrap();
        node.refuses(&[&format!("{name} is empty; write it again")]);
        fs::remove_file(node.path(name)).unwrap();
        node.refuses(&[name, "check the path in the configuration"]);
    }
}

#[test]
fn certificate_and_key_swapped() {
    let node = Node::new();
    let (certificate, key) = (node.path("agent.pem"), node.path("agent-key.pem"));
    let text = fs::read(&certificate).unwrap();
    fs::rename(&key, &certificate).unwrap();
    fs::write(&key, text).unwrap();
    node.refuses(&["agent.pem", "it holds a private key; are the paths of certificate and key"]);
}

#[test]
fn a_certificate_in_place_of_the_key() {
    let node = Node::new();
    fs::copy(node.path("agent.pem"), node.path("agent-key.pem")).unwrap();
    node.refuses(&["agent-key.pem", "it holds a certificate; are the paths"]);
}

#[test]
fn a_key_of_another_certificate() {
    let node = Node::new();
    let other = TestCa::root("other").unwrap().issue(&Leaf::server()).unwrap();
    fs::write(node.path("agent-key.pem"), other.key_pem).unwrap();
    node.refuses(&["agent-key.pem", "does not belong to the first certificate in", "agent.pem;"]);
}

#[test]
fn a_key_with_a_passphrase() {
    let node = Node::new();
    let text = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(node.path("agent-key.pem"), text).unwrap();
    node.refuses(&["agent-key.pem is encrypted; take the passphrase off with `openssl pkey"]);
}

#[test]
fn a_key_that_every_user_can_read_is_used_with_a_warning() {
    let node = Node::new();
    let mode = |mode| {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(node.path("agent-key.pem"), permissions).unwrap();
    };
    mode(0o440);
    assert_eq!(node.says(), (Some(0), String::new()), "as systemd's credentials are");
    mode(0o644);
    let (code, said) = node.says();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(" WARN ") && said.contains("chmod o= "), "{said}");
}

#[test]
fn files_that_the_agents_user_cannot_read() {
    let node = Node::new();
    let public = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for name in ["agent.toml", "agent.pem", "agent-ca.pem"] {
        public(&node.path(name), 0o644);
    }
    public(node.0.path(), 0o755);
    public(&node.path("agent-key.pem"), 0);
    // The program may lie where another user does not get in. Copied by another process: a file
    // that this one has open to write cannot be run while another test's child still inherits it.
    let program = node.path("rowcall-agent");
    let mut copy = Command::new("cp");
    assert!(
        copy.arg(env!("CARGO_BIN_EXE_rowcall-agent")).arg(&program).status().unwrap().success()
    );
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        command
    } else {
        Command::new(&program)
    };
    command.env_clear().args(["run", "--check-config", "--config"]).arg(node.path("agent.toml"));
    let (code, _, said) = output(&mut command);
    assert_eq!(code, Some(2), "{said}");
    for part in
        ["cannot read key file", "agent-key.pem: Permission denied", "readable for the user that"]
    {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
}
