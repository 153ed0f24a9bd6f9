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
        &["sumary"],
    ] {
        let output = rowcall().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn colours_go_to_terminals_only() {
    let output = rowcall().arg("--help").output().unwrap();
    let help = text(&output.stdout);
    assert!(help.contains("Exit codes:") && !help.contains('\x1b'), "{help}");
}
