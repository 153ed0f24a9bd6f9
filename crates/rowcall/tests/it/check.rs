//! `rowcall summary --check` as a monitor runs it, against a real aggregator and database; and
//! `rowcall status` while that database is down.

use std::net::TcpListener;
use std::path::Path;

use crate::process::{PATIENCE, Up, crash_postgres, eventually, pasted, rowcall, stdout, text};

/// Hosts of the last two hours: complete, partial, late, silent, one that is new, one without the
/// samples of some minutes.
const HOSTS: &str = "
    SELECT rowcall.create_days(ARRAY[(now() - interval '1 day')::date, now()::date]);
    INSERT INTO host_info (hostname)
        SELECT 'w-' || unnest(ARRAY['ok', 'partial', 'late', 'silent', 'new', 'hole']);
    INSERT INTO host_latest (host_id, joined_at)
        SELECT id, now() - CASE hostname WHEN 'w-new' THEN interval '0' ELSE interval '2 h' END
          FROM host_info WHERE hostname LIKE 'w-%';
    INSERT INTO host_label SELECT id, 'rack', 'a1' FROM host_info WHERE hostname = 'w-partial';
    INSERT INTO host_usage (timestamp, host_id, sequence, delay_s, epoch_id)
        SELECT date_trunc('minute', now()) - m * interval '1 minute', id, 200 - m,
               CASE hostname WHEN 'w-late' THEN 9000 ELSE 0 END, 1
          FROM host_info, generate_series(1, 90) m
         WHERE hostname IN ('w-ok', 'w-partial', 'w-late', 'w-hole')
           AND NOT (hostname = 'w-partial' AND m < 30 AND m % 5 < 3)
           AND NOT (hostname = 'w-hole' AND m BETWEEN 20 AND 39)";

/// In place of what is known of the aggregator: away when w-hole was.
const AWAY: &str = "
    DELETE FROM rowcall.aggregator_span;
    INSERT INTO rowcall.aggregator_span (aggregator, run, from_ts, through_ts)
        VALUES ('x', 1, '-infinity', date_trunc('minute', now()) - interval '40 minutes'),
               ('x', 2, date_trunc('minute', now()) - interval '19 minutes 30 s', 'infinity')";

/// What w-hole's agent had kept.
const REFILL: &str = "
    INSERT INTO host_usage (timestamp, host_id, sequence, delay_s, epoch_id)
        SELECT date_trunc('minute', now()) - m * interval '1 minute', id, 200 - m, 9000, 1
          FROM host_info, generate_series(20, 39) m WHERE hostname = 'w-hole'";

/// Runs SQL by the line that `up` printed.
fn sql(psql: &str, statements: &str) {
    stdout(pasted(&format!("{psql} -XAtq -v ON_ERROR_STOP=1 -c \"{statements}\""), Path::new("/")));
}

/// Exit code and line of a check.
fn check(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = rowcall();
    command.args(["summary", "--check"]).args(args).arg("--data-dir").arg(dir);
    let output = command.output().unwrap();
    let line = text(&output.stdout);
    assert_eq!(line.lines().count(), 1, "one line, whatever happens: {line:?}");
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    (output.status.code(), line)
}

fn patience() -> String {
    format!("{}s", PATIENCE.as_secs())
}

#[test]
fn a_check_ends_with_the_code_of_the_worst_window() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().canonicalize().unwrap().join("data");
    let mut up = Up::start(&dir, &[]);
    up.line(|line| line.starts_with("TIME"));
    let psql = up.advice("psql");
    sql(&psql, HOSTS);
    let patience = patience();
    let check_of = |args: &[&str]| check(&dir, &[&["--timeout", &patience], args].concat());
    for (name, code, begin, part) in [
        ("w-ok", 0, "ROWCALL OK - 1 host complete; ", "complete=12 silent=0"),
        (
            "w-partial",
            1,
            "ROWCALL WARNING - 1 of 1 host partial, late or skewed: w-partial",
            " late=0",
        ),
        ("w-late", 1, "ROWCALL WARNING - 1 of 1 host partial, late or skewed: w-late", " late=12 "),
        ("w-silent", 2, "ROWCALL CRITICAL - 1 of 1 host silent: w-silent", " silent=12 "),
        ("w-*", 2, "ROWCALL CRITICAL - ", "; 12 windows of 5 min each until "),
        ("w-new", 3, "ROWCALL UNKNOWN - no window can be judged yet; ", " | hosts=1 complete=0"),
        ("nobody", 3, "ROWCALL UNKNOWN - no host matches --select and --name | hosts=0", ""),
    ] {
        let (found, line) = check_of(&["--name", name]);
        assert_eq!(found, Some(code), "{name}: {line}");
        assert!(line.starts_with(begin) && line.contains(part), "{name}: {line}");
    }
    // Selectors and ranges are those of the reports.
    let (code, line) = check_of(&["--select", "rack=a1"]);
    assert!(code == Some(1) && line.contains("hosts=1 "), "{line}");
    let (code, line) = check_of(&["--name", "w-partial", "--from", "80m", "--to", "40m"]);
    assert_eq!(code, Some(0), "{line}");
    // The hole is a warning as long as others tell what it hides, and else nobody knows.
    assert_eq!(check_of(&["--name", "w-hole"]).0, Some(2));
    sql(&psql, AWAY);
    let (code, line) = check_of(&["--name", "w-hole"]);
    assert_eq!(code, Some(1), "{line}");
    assert!(line.starts_with("ROWCALL WARNING - 1 host complete where observed; "), "{line}");
    assert!(line.contains(" windows not observed: the aggregator was down; "), "{line}");
    let (code, line) =
        check_of(&["--name", "w-hole", "--window", "1m", "--from", "35m", "--to", "30m"]);
    assert_eq!(code, Some(3), "{line}");
    assert!(line.starts_with("ROWCALL UNKNOWN - nobody observed any window"), "{line}");
    // Once it has told what it kept, nothing is wrong any more.
    sql(&psql, REFILL);
    let (code, line) = check_of(&["--name", "w-hole"]);
    assert_eq!(code, Some(0), "{line}");
    assert!(line.starts_with("ROWCALL OK - 1 host complete; "), "{line}");
    assert!(line.contains(" windows came late because the aggregator was down; "), "{line}");

    up.signal(rustix::process::Signal::TERM);
    assert!(up.ended().success(), "{}", up.printed);
    let (code, line) = check_of(&[]);
    assert_eq!(code, Some(3), "{line}");
    assert!(line.starts_with("ROWCALL UNKNOWN - cannot reach the aggregator at "), "{line}");

    // Connections are made to this port, and nobody answers.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = deaf.local_addr().unwrap().to_string();
    let (code, line) = check(&dir, &["--server", &server, "--timeout", "300ms"]);
    assert_eq!(code, Some(3), "{line}");
    let words =
        format!("ROWCALL UNKNOWN - the aggregator at {server} gave no answer within 300 ms");
    assert!(line.starts_with(&words), "{line}");
}

#[test]
fn a_wrong_option_is_unknown_to_a_monitor_and_a_usage_error_to_people() {
    let folder = tempfile::tempdir().unwrap();
    let (code, line) = check(folder.path(), &["--nmae", "x"]);
    assert_eq!(code, Some(3), "{line}");
    assert!(line.starts_with("ROWCALL UNKNOWN - unexpected argument '--nmae'"), "{line}");
    // Only a check speaks to monitors.
    let usage = rowcall().args(["summary", "--nmae"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
    assert!(usage.stdout.is_empty() && !usage.stderr.is_empty());
}

#[test]
fn status_answers_from_memory_while_the_database_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().canonicalize().unwrap().join("data");
    let mut up = Up::sampling(&dir, &["--interval", "100ms"]);
    let ask = format!("{} --json", up.advice(" status "));
    let status = || -> serde_json::Value {
        serde_json::from_str(&stdout(pasted(&ask, Path::new("/")))).unwrap()
    };
    assert_eq!(status()["database_error"], "");
    // Without this file the server cannot be started again.
    let control = dir.join("postgres/global/pg_control");
    let aside = dir.join("postgres/global/pg_control.aside");
    std::fs::rename(&control, &aside).unwrap();
    crash_postgres(&dir);
    up.line(|line| line.contains("cannot start PostgreSQL again"));
    let down = eventually("a status that tells of the database", || {
        let status = status();
        (status["database_error"] != "").then_some(status)
    });
    let host = &down["connected"][0];
    assert_eq!(host["interval_ms"], 100, "{down}");
    assert!(down["committed_samples"].as_u64().unwrap() > 0, "{down}");
    assert!(host["spool"]["due_ticks"].is_u64() && host["spool"]["fault"].is_null(), "{down}");
    let shown = stdout(pasted(&up.advice(" status "), Path::new("/")));
    assert!(shown.contains("takes no writes: ") && shown.contains("1 connected"), "{shown}");
    // By name from memory too; labels only the database knows.
    let name = host["host_name"].as_str().unwrap();
    let named = stdout(pasted(&format!("{ask} --name {name}"), Path::new("/")));
    assert!(named.contains(name), "{named}");
    let (code, line) = check(&dir, &[]);
    assert_eq!(code, Some(3), "{line}");
    std::fs::rename(&aside, &control).unwrap();
    eventually("the database's return", || (status()["database_error"] == "").then_some(()));
    up.signal(rustix::process::Signal::TERM);
    assert!(up.ended().success(), "{}", up.printed);
}
