//! What the program says when it does not get far.

use crate::process::{rowcall, text};

#[test]
fn without_settings_it_says_which_options_to_give() {
    let home = tempfile::tempdir().unwrap();
    let mut command = rowcall();
    command.arg("summary").env("HOME", home.path()).env("XDG_CONFIG_HOME", home.path());
    command.env("ROWCALL_DATA_DIR", home.path()).current_dir(home.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(
        message.contains("--server HOST:PORT, --ca FILE, --cert FILE, --key FILE"),
        "{message}"
    );
    assert!(message.contains("client.toml"), "{message}");
}

#[test]
fn bad_options_are_usage_errors() {
    for args in [
        &["summary", "--from", "yesterday"][..],
        &["summary", "--report", "weather"],
        &["summary", "--select", "rack"],
        &["up", "--interval", "1ms"],
        &["up", "--log", "]["],
        &["host", "label", "node1", "rack"],
        &["host", "show", "node 1"],
        &["host"],
        &["host", "revoke", "node1", "--reason", "a\nb", "--yes"],
        &["host", "rename", "node1"],
        &["token", "create", "--uses", "0"],
        &["token", "create", "--ttl", "1s"],
        &["token", "revoke", "xyz"],
        &["token"],
        &["pki"],
        &["sumary"],
    ] {
        let output = rowcall().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn addresses_and_certificates_that_make_no_sense_are_usage_errors() {
    let whole = ["status", "--ca", "ca.pem", "--cert", "c.pem", "--key", "c.key", "--server"];
    let port = rowcall().args(whole).arg("db.example.com:99999").output().unwrap();
    assert_eq!(port.status.code(), Some(2));
    let message = text(&port.stderr);
    assert!(message.contains("names no port from 1 to 65535"), "{message}");

    let alone = rowcall().args(["status", "--cert", "c.pem"]).output().unwrap();
    assert_eq!(alone.status.code(), Some(2));
    let message = text(&alone.stderr);
    assert!(message.contains("give also its key: --key FILE"), "{message}");
}

#[test]
fn colours_go_to_terminals_only() {
    let output = rowcall().arg("--help").output().unwrap();
    let help = text(&output.stdout);
    assert!(help.contains("Exit codes:") && !help.contains('\x1b'), "{help}");
}
