//! Completions and manual pages, taken by the programs that read them.

use std::path::Path;
use std::process::Command;

use crate::process::{rowcall, stdout, text};

const PROGRAMS: [&str; 3] = ["rowcall", "rowcall-agent", "rowcall-aggregator"];

fn completions(shell: &str, program: &str) -> String {
    let output = rowcall().args(["completions", shell, "--program", program]).output().unwrap();
    stdout(output)
}

/// The program is there; without it a test can only look at the text.
fn installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// What bash would offer for these words, the last one begun.
fn offered(script: &Path, words: &[&str]) -> Vec<String> {
    let driver = r#"
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        function=$(complete -p "$1"); function=${function#*-F }; function=${function%% *}
        "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", driver, "bash"]).arg(script).args(words);
    stdout(bash.output().unwrap()).lines().map(ToOwned::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_options_of_each_program() {
    let folder = tempfile::tempdir().unwrap();
    for (program, words, wanted) in [
        ("rowcall", &["rowcall", "su"][..], "summary"),
        ("rowcall", &["rowcall", "host", "ret"], "retire"),
        ("rowcall", &["rowcall", "pki", "rotate", "cl"], "client"),
        ("rowcall", &["rowcall", "token", "create", "--eph"], "--ephemeral"),
        ("rowcall", &["rowcall", "host", "list", "--ret"], "--retired"),
        ("rowcall", &["rowcall", "summary", "--report", "har"], "hardware"),
        ("rowcall-agent", &["rowcall-agent", "ru"], "run"),
        ("rowcall-aggregator", &["rowcall-aggregator", "mig"], "migrate"),
    ] {
        let script = folder.path().join(program);
        std::fs::write(&script, completions("bash", program)).unwrap();
        let mut check = Command::new("bash");
        let check = check.arg("-n").arg(&script).output().unwrap();
        assert!(check.status.success(), "{}", text(&check.stderr));
        assert_eq!(offered(&script, words), [wanted], "{words:?}");
    }
}

#[test]
fn zsh_and_fish_have_completions_of_each_program() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["zsh", "fish"] {
        for program in PROGRAMS {
            let script = completions(shell, program);
            assert!(script.contains(program) && script.contains("help"), "{shell}: {script}");
            if installed(shell) {
                let path = folder.path().join(program);
                std::fs::write(&path, script).unwrap();
                let check = Command::new(shell).arg("-n").arg(&path).output().unwrap();
                assert!(check.status.success(), "{shell}: {}", text(&check.stderr));
            }
        }
    }
}

#[test]
fn manual_pages_are_written_and_render_without_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("new/man1");
    let said = stdout(rowcall().arg("man").arg(&dir).output().unwrap());
    let pages: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|page| page.unwrap().path()).collect();
    assert_eq!(said, format!("{} manual pages in {}\n", pages.len(), dir.display()));
    for program in PROGRAMS {
        assert!(dir.join(format!("{program}.1")).is_file(), "{program}");
    }
    assert!(dir.join("rowcall-host-list.1").is_file());
    for page in pages {
        // Each where it is there; both complain on standard error or in their exit code.
        if installed("groff") {
            let mut groff = Command::new("groff");
            groff.args(["-man", "-Tutf8", "-ww", "-z", "-rF0"]).arg(&page);
            let output = groff.output().unwrap();
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{page:?}: {}",
                text(&output.stderr)
            );
        }
        if Command::new("mandoc").arg("-T").arg("lint").arg(&page).output().is_ok() {
            let mut mandoc = Command::new("mandoc");
            let output = mandoc.args(["-T", "lint", "-W", "warning"]).arg(&page).output().unwrap();
            assert!(output.status.success(), "{page:?}: {}", text(&output.stdout));
        }
    }
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = rowcall().arg("man").arg(file.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is no directory"), "{}", text(&output.stderr));
    let output = rowcall().args(["completions", "tcsh"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
