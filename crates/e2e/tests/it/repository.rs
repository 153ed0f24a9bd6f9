//! Rules for the repository itself that no compiler knows.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file past this is split.
const MAX_LINES: usize = 500;

/// How the header of a private key in PEM ends, whatever its kind.
const KEY_MARK: &str = "PRIVATE KEY-----";

/// A first line of base64 at least this long is a key's; shorter ones are examples.
const MIN_KEY_CHARS: usize = 40;

#[test]
fn no_private_key_is_committed() {
    let Some(files) = tracked_files() else { return };
    assert!(files.iter().any(|file| file == "Cargo.toml"), "git lists {files:?}");
    for file in files {
        // A file may be removed but not yet committed as such.
        let Ok(bytes) = std::fs::read(root().join(&file)) else { continue };
        let found = holds_private_key(&String::from_utf8_lossy(&bytes));
        assert!(!found, "{file} holds a private key");
    }
}

#[test]
fn a_private_key_is_seen_but_not_the_mention_of_one() {
    let body = "MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAA";
    for line_end in ["\n", "\r\n", "\\n\\\n  "] {
        for kind in ["", "EC ", "RSA "] {
            let key = format!("const KEY: &str = \"-----BEGIN {kind}{KEY_MARK}{line_end}{body}");
            assert!(holds_private_key(&key), "{key}");
        }
    }
    assert!(!holds_private_key(&format!("starts_with(\"-----BEGIN {KEY_MARK}\"), says openssl")));
}

#[test]
fn no_source_file_grows_past_500_lines() {
    let mut seen = 0;
    for (path, text) in files_under("crates", "rs").into_iter().chain(files_under("proto", "rs")) {
        if path.contains("/tests/") || path.ends_with("/tests.rs") {
            continue;
        }
        seen += 1;
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{path} has {lines} lines: split it");
    }
    assert!(seen > 10, "only {seen} source files were found");
}

#[test]
fn every_query_says_what_it_is_for() {
    let files = files_under("sql", "sql");
    assert!(files.len() > 5, "only {} SQL files were found", files.len());
    for (path, text) in files {
        assert!(text.starts_with("-- "), "{path} does not open with a comment");
    }
}

#[test]
fn every_crate_takes_the_workspaces_lints() {
    for (path, text) in files_under("crates", "toml") {
        // What is a workspace of its own is no member of ours.
        if path.ends_with("/Cargo.toml") && !text.contains("\n[workspace]") {
            assert!(text.contains("[lints]\nworkspace = true"), "{path} has lints of its own");
        }
    }
}

/// A PEM header followed by what looks like a key: in a file of its own or in a literal.
fn holds_private_key(text: &str) -> bool {
    text.split(KEY_MARK).skip(1).any(|rest| {
        let rest = rest.trim_start_matches("\\n").trim_start_matches([' ', '\r', '\n', '\\']);
        let base64 = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
        rest.chars().take_while(base64).count() >= MIN_KEY_CHARS
    })
}

/// The top of the working tree.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate stands two folders down")
        .to_owned()
}

/// Path (from the top, with `/`) and text of each file under `folder` with this extension.
pub(crate) fn files_under(folder: &str, extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("list {}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("a folder's entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = std::fs::read_to_string(&path)
                    .unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
                let name = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
                found.push((name, text));
            }
        }
    }
    found.sort();
    found
}

/// What git tracks; nothing where this is no clone but an unpacked archive.
fn tracked_files() -> Option<Vec<String>> {
    if !root().join(".git").exists() {
        return None;
    }
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .expect("git can be started");
    assert!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr));
    let list = String::from_utf8(output.stdout).expect("file names are UTF-8");
    Some(list.split('\0').filter(|name| !name.is_empty()).map(String::from).collect())
}
