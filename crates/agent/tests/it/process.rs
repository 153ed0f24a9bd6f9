//! What it prints, and how it ends.

use std::process::Command;

use rowcall_testkit::process::Process;

use super::{agent, configured, output, slammed_port};

/// With settings of this test's own.
fn sample(settings: &str, flags: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, settings).unwrap();
    output(agent().arg("sample").arg("--config").arg(&file).args(flags))
}

#[test]
fn a_sample_is_printed_as_json() {
    let (code, stdout, stderr) = sample("", &["--json"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let shown: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert!(shown["sample"]["elapsed_us"].as_u64().unwrap() >= 1_000_000);
    let idle = shown["sample"]["cpu_idle_percent"].as_f64().unwrap();
    assert!((0.0..=100.0).contains(&idle), "{idle}");
    assert!(shown["sample"]["memory_free_kib"].as_u64().unwrap() > 0);
    assert!(shown["sample"]["disk_io"].is_u64());
    assert!(shown["host"]["cpu_number"].as_u64().unwrap() > 0);
    assert!(shown["host"].get("cpu_mhz").is_some(), "present even where unknown");
    assert!(shown["vitals"]["load_1"].as_f64().is_some(), "{stdout}");
    // Of processes only those that take enough are shown, which may be none.
    assert!(shown["devices"]["processes"].is_array(), "{stdout}");
    assert_eq!(shown["devices"]["filesystems"][0]["mount"], "/", "{stdout}");
}

#[test]
fn a_sample_for_people_shows_what_the_settings_let_it_read() {
    let (code, all, stderr) = sample("", &[]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let families = ["host", "sample", "cpu", "memory", "pressure", "network", "filesystems"];
    let has = |text: &str, title: &str| text.lines().any(|line| line == title);
    for title in families {
        assert!(has(&all, title), "{title} is missing in:\n{all}");
    }
    let (_, classic, _) = sample("profile = 'classic'", &[]);
    assert!(has(&classic, "sample") && has(&classic, "host"), "{classic}");
    for title in &families[2..] {
        assert!(!has(&classic, title), "{title} is not classic:\n{classic}");
    }
    let (_, some, _) = sample("", &["--collectors-off", "vitals,processes", "--json"]);
    let some: serde_json::Value = serde_json::from_str(&some).unwrap();
    assert_eq!(some["vitals"], serde_json::Value::Null);
    assert_eq!(some["devices"]["processes"], serde_json::json!([]));
}

#[test]
fn a_wrong_configuration_ends_with_2_and_names_every_problem() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, "intervall = 3\n").unwrap();
    let mut command = agent();
    command.arg("run").arg("--config").arg(&file).args(["--min-interval", "1ms"]);
    let (code, stdout, stderr) = output(&mut command);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    for part in ["2 problems", "unknown key \"intervall\"", "--min-interval"] {
        assert!(stderr.contains(part), "{part:?} is missing in: {stderr}");
    }
}

#[test]
fn a_configuration_can_be_printed_and_checked_without_running() {
    let folder = tempfile::tempdir().unwrap();
    let file = configured(folder.path(), 7443);
    let mut command = agent();
    command.arg("run").arg("--config").arg(&file).arg("--print-config");
    let (code, stdout, _) = output(command.env("ROWCALL_ALIGN", "true"));
    assert_eq!(code, Some(0));
    assert!(
        stdout.contains("align = \"true\" # environment ROWCALL_ALIGN")
            && stdout.contains("aggregator = \"127.0.0.1:7443\" # file "),
        "{stdout}"
    );
    let check = |command: &mut Command| {
        output(command.arg("run").arg("--config").arg(&file).arg("--check-config"))
    };
    let (code, stdout, _) = check(&mut agent());
    assert_eq!(code, Some(0));
    assert!(stdout.contains("this agent is node1"), "{stdout}");
    std::fs::write(folder.path().join("agent-key.pem"), "").unwrap();
    let (code, _, stderr) = check(&mut agent());
    assert_eq!(code, Some(2));
    assert!(stderr.contains("agent-key.pem is empty"), "{stderr}");
}

#[tokio::test]
async fn it_outlives_an_aggregator_that_ends_every_connection_and_stops_on_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let port = slammed_port().await;
    let mut command = agent();
    command.arg("run").arg("--config").arg(configured(folder.path(), port));
    command.args(["--backoff-max", "100ms", "--backoff-min", "10ms"]);
    command.args(["--log-format", "json", "--log-level", "info,rowcall_agent::link=debug"]);
    let running = Process::start("agent", &mut command).unwrap();
    running.lines_with("no connection", 2).await;
    assert_eq!(running.stop().await, Some(0));
    let log = running.output();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_ne!(line["level"], "WARN", "{line}");
    }
    assert!(log.matches("\"INFO\"").count() <= 5, "the same reason is told once: {log}");
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = agent();
    command.arg("run").arg("--config").arg(configured(folder.path(), 7443)).arg("--print-config");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = command.stdout(writer).output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr)), (Some(0), "".into()));
}

#[test]
fn the_help_names_defaults_variables_and_exit_codes() {
    let (code, stdout, _) = output(agent().args(["run", "--help"]));
    assert_eq!(code, Some(0));
    for part in ["[env: ROWCALL_MIN_INTERVAL, default: 1s]", "128 + N", "Type=notify"] {
        assert!(stdout.contains(part), "{part:?} is missing in: {stdout}");
    }
}

#[test]
fn a_variable_that_is_no_text_is_no_unset_one() {
    use std::os::unix::ffi::OsStringExt as _;
    let folder = tempfile::tempdir().unwrap();
    let mut command = agent();
    command.arg("run").arg("--config").arg(configured(folder.path(), 1)).arg("--check-config");
    command.env("ROWCALL_AGGREGATOR", std::ffi::OsString::from_vec(b"a\xffb".to_vec()));
    let (code, _, stderr) = output(&mut command);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("environment variable ROWCALL_AGGREGATOR: "), "{stderr}");
}
