//! Certificates made by `certs-example/make-certs.sh` with the machine's openssl.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use rowcall_tls::accept::Limits;
use rowcall_tls::config::{client_config, server_config};
use rowcall_tls::identity::Role;
use rowcall_tls::issue::Authority;
use rowcall_tls::load::{Files, Material};
use tempfile::TempDir;

use crate::support::{DOMAIN, EchoServer, connector, echo};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../certs-example/make-certs.sh");

fn run(out: &Path, arguments: &[&str]) -> Output {
    Command::new("bash")
        .arg(SCRIPT)
        .arg("--out")
        .arg(out)
        .args(arguments)
        .output()
        .expect("bash and openssl should be installed (`make deps`)")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

fn made(arguments: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), arguments);
    assert!(output.status.success(), "{}", text(&output));
    folder
}

fn material(folder: &Path, name: &str) -> Material {
    Material::load(&Files {
        certificate: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}-key.pem")),
        authorities: folder.join("ca.pem"),
    })
    .unwrap()
}

#[tokio::test]
async fn certificates_of_the_script_complete_sessions_with_their_identities() {
    let folder = made(&["--trust-domain", DOMAIN, "--agent", "Node1", "--viewer", "alice"]);
    let config = server_config(&material(folder.path(), "aggregator")).unwrap();
    let mut server = EchoServer::start(config, Limits::default()).await;
    for (name, role, identity) in [
        ("agent-node1", Role::Agent, "spiffe://example.org/agent/node1"),
        ("viewer-alice", Role::Viewer, "spiffe://example.org/viewer/alice"),
        ("operator-operator", Role::Operator, "spiffe://example.org/operator/operator"),
    ] {
        let client = connector(client_config(&material(folder.path(), name)).unwrap());
        for host in ["localhost", "127.0.0.1"] {
            echo(&mut client.connect(host, server.address.port()).await.unwrap()).await;
            let peer = server.peers.recv().await.unwrap();
            assert_eq!(peer.require(&[role]).unwrap().to_string(), identity);
        }
    }
}

#[test]
fn a_node_that_comes_later_changes_nobody_elses_certificate() {
    let folder = made(&["--aggregator", "agg.example", "--agent", "node1", "--viewer", "ann"]);
    let file = |name: &str| fs::read(folder.path().join(name)).unwrap();
    let before = ["ca.pem", "aggregator.pem", "agent-node1.pem", "viewer-ann.pem"].map(file);
    let output = run(folder.path(), &["--agent", "node2"]);
    assert!(output.status.success(), "{}", text(&output));
    let after = ["ca.pem", "aggregator.pem", "agent-node1.pem", "viewer-ann.pem"].map(file);
    assert_eq!(before, after);
    assert!(folder.path().join("agent-node2.pem").exists());
    assert!(!folder.path().join("viewer-viewer.pem").exists());
}

#[test]
fn keys_are_private_and_nothing_is_left_beside_the_pairs() {
    let folder = made(&["--agent", "node1", "--agent", "node2"]);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with("-key.pem") {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
        names.push(name);
    }
    names.sort();
    assert_eq!(
        names,
        [
            "agent-node1-key.pem",
            "agent-node1.pem",
            "agent-node2-key.pem",
            "agent-node2.pem",
            "aggregator-key.pem",
            "aggregator.pem",
            "ca-key.pem",
            "ca.pem",
            "operator-operator-key.pem",
            "operator-operator.pem",
            "viewer-viewer-key.pem",
            "viewer-viewer.pem",
        ]
    );
}

#[test]
fn existing_authority_is_kept_unless_a_new_one_is_asked_for() {
    let folder = made(&["--trust-domain", "first.example"]);
    let ca = || fs::read(folder.path().join("ca.pem")).unwrap();
    let first = ca();

    let again = run(folder.path(), &["--trust-domain", "first.example"]);
    assert!(again.status.success(), "{}", text(&again));
    assert_eq!(ca(), first);

    let other = run(folder.path(), &["--trust-domain", "first"]);
    assert!(!other.status.success());
    assert!(text(&other).contains("is of spiffe://first.example; give"), "{}", text(&other));
    assert_eq!(ca(), first);

    let new = run(folder.path(), &["--trust-domain", "first", "--new-ca"]);
    assert!(new.status.success(), "{}", text(&new));
    assert_ne!(ca(), first);
}

#[test]
fn names_that_rowcall_would_refuse_are_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        ["--agent", "a/b"],
        ["--viewer", "a\nb"],
        ["--aggregator", "DNS:x,URI:y"],
        ["--trust-domain", "UPPER"],
        ["--days", "0"],
        ["--unknown", "x"],
    ] {
        let output = run(folder.path(), &arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(text(&output).starts_with("make-certs.sh: "), "{}", text(&output));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{arguments:?}");
    }
}

#[test]
fn our_own_authority_can_go_on_with_the_scripts() {
    let folder = made(&["--trust-domain", DOMAIN]);
    let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
    let authority = Authority::load(&read("ca.pem"), &read("ca-key.pem")).unwrap();
    assert_eq!(authority.trust_domain().as_str(), DOMAIN);
}
