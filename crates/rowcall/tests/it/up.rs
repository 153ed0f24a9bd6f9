//! `rowcall up` from its start to its end, and after.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::process::{
    Up, crash_postgres, eventually, http_status, nothing_left, pasted, rowcall, stdout, text,
};

/// A folder whose name needs quoting.
fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("rowcall's up ").tempdir().unwrap()
}

fn data(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().canonicalize().unwrap().join("data dir")
}

fn rows(psql_line: &str) -> u64 {
    query(psql_line, "SELECT count(*) FROM host_usage").parse().unwrap()
}

fn query(psql_line: &str, sql: &str) -> String {
    let answer = stdout(pasted(&format!("{psql_line} -XAtc \"{sql}\""), Path::new("/")));
    answer.trim().to_owned()
}

#[test]
fn printed_lines_work_and_rows_outlive_stops_and_kills() {
    let folder = folder();
    let dir = data(&folder);
    let mut up = Up::sampling(&dir, &["--interval", "1s"]);
    assert!(up.printed.contains("new data directory"), "{}", up.printed);
    up.line(|line| line.starts_with("20"));

    // What it printed, from another working directory.
    let psql = up.advice("psql");
    assert!(rows(&psql) >= 2);
    let status = stdout(pasted(&format!("{} --json", up.advice(" status ")), Path::new("/")));
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["connected"].as_array().unwrap().len(), 1);
    assert_eq!(status["connected"][0]["interval_ms"], 1000);
    assert!(status["committed_samples"].as_u64().unwrap() >= 2);
    let tables = stdout(pasted(&up.advice(" summary "), Path::new("/")));
    assert!(tables.contains("HARDWARE") && tables.contains("INTEGRITY"), "{tables}");
    let ask = format!("{} --json --window 1s --from 1m", up.advice(" summary "));
    eventually("a finished window with a sample", || {
        let answer = stdout(pasted(&ask, Path::new("/")));
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["roll"]["hosts"], 1);
        let used = answer["memory"]["hosts"][0]["used_percent"].as_array()?.clone();
        used.iter().any(|value| value.as_f64().is_some_and(|value| value > 0.0)).then_some(())
    });

    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(http_status(up.http_port(), path), "HTTP/1.1 200 OK", "{path}");
    }
    hosts_are_managed(&dir);
    tokens_are_managed(&dir);

    // A second one on the same directory names the first.
    let second = rowcall().arg("up").arg("--data-dir").arg(&dir).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let message = text(&second.stderr);
    assert!(message.contains(&format!("in use by process {}", up.pid())), "{message}");

    // The wrong role is refused with a reason.
    let pki = dir.join("pki");
    let mut wrong = rowcall();
    wrong.arg("status").arg("--data-dir").arg(&dir);
    let name = std::fs::read_to_string(dir.join("host-name")).unwrap();
    let file = |ending: &str| pki.join(format!("agent-{}.{ending}", name.trim()));
    wrong.arg("--cert").arg(file("pem")).arg("--key").arg(file("key"));
    let wrong = wrong.output().unwrap();
    assert_eq!(wrong.status.code(), Some(4));
    assert!(text(&wrong.stderr).contains("PERMISSION_DENIED"), "{}", text(&wrong.stderr));

    let before = rows(&psql);
    up.signal(Signal::TERM);
    assert!(up.ended().success(), "{}", up.printed);
    for words in ["said goodbye", "everything received is committed", "PostgreSQL   stopped"] {
        assert!(up.printed.contains(words), "{words:?} is not in {}", up.printed);
    }
    nothing_left(&dir);
    let gone = rowcall().arg("status").arg("--data-dir").arg(&dir).output().unwrap();
    assert_eq!(gone.status.code(), Some(3));
    assert!(text(&gone.stderr).contains("is `rowcall up` running?"), "{}", text(&gone.stderr));

    let mut up = Up::sampling(&dir, &["--interval", "200ms"]);
    assert!(up.printed.contains("the data of the last time"), "{}", up.printed);
    assert!(up.printed.contains("certificates kept"), "{}", up.printed);
    let before_kill = rows(&up.advice("psql"));
    assert!(before_kill > before, "{before_kill} rows, {before} before");

    up.signal(Signal::KILL);
    up.ended();
    nothing_left(&dir);

    let mut up = Up::sampling(&dir, &["--interval", "10ms"]);
    let psql = up.advice("psql");
    let before_crash = rows(&psql);
    assert!(
        before_crash > before_kill,
        "{before_crash} rows, {before_kill} before:\n{}",
        up.printed
    );
    crash_postgres(&dir);
    up.line(|line| line.contains("starting it again"));
    eventually("new rows after PostgreSQL's crash", || {
        let counted = pasted(&format!("{psql} -XAtc 'SELECT count(*) FROM host_usage'"), &dir);
        let rows: u64 = text(&counted.stdout).trim().parse().ok()?;
        (rows > before_crash).then_some(())
    });
    up.interrupt_group();
    assert!(up.ended().success(), "{}", up.printed);
    nothing_left(&dir);
}

/// Labels, selectors, a viewer's limits, and the host's way out of the roll.
fn hosts_are_managed(dir: &Path) {
    let run = |args: &[&str]| {
        let mut command = rowcall();
        command.args(args).arg("--data-dir").arg(dir).output().unwrap()
    };
    let json =
        |args: &[&str]| -> serde_json::Value { serde_json::from_str(&stdout(run(args))).unwrap() };
    let listed = json(&["host", "list", "--json"]);
    let name = listed["hosts"][0]["host_name"].as_str().unwrap().to_owned();
    let shown = json(&["host", "show", &name, "--history", "--json"]);
    assert_eq!(shown["history"][0]["host_info"]["kernel"], shown["host"]["host_info"]["kernel"]);
    assert!(shown["boots"][0]["boot_id"].is_string(), "{shown}");
    let waits = json(&["summary", "--json", "--report", "pressure", "--from", "5m", "--to", "now"]);
    assert_eq!(waits["pressure"]["hosts"][0]["host_name"], name.as_str(), "{waits}");
    let label = stdout(run(&["host", "label", &name, "rack=a1", "env=prod"]));
    assert_eq!(label, format!("{name}: env=prod, rack=a1\n"));
    let number = |line: &[&str]| json(line)["hosts"].as_array().unwrap().len();
    assert_eq!(number(&["host", "list", "--json", "--select", "rack=a1,env=prod"]), 1);
    assert_eq!(number(&["host", "list", "--json", "--select", "rack=a2"]), 0);
    let connected = |select: &str| {
        let status = json(&["status", "--json", "--select", select]);
        status["connected"].as_array().unwrap().len()
    };
    assert_eq!((connected("rack=a1"), connected("rack=a2")), (1, 0));
    for (select, hosts) in [("rack=a1", 1), ("rack=a2", 0)] {
        let answer = json(&["summary", "--json", "--report", "hardware,roll", "--select", select]);
        assert_eq!(answer["roll"]["hosts"], hosts, "{select}");
        assert_eq!(answer["hardware"]["groups"].as_array().unwrap().len(), hosts, "{select}");
    }
    let reports = ["summary", "--report", "memory,balance,integrity", "--select", "rack=a2"];
    let none = stdout(run(&reports));
    assert_eq!(none.matches("No host matches --select and --name.").count(), 3, "{none}");
    let shown = stdout(run(&["host", "show", &name]));
    assert!(shown.starts_with(&name) && shown.contains("rack=a1"), "{shown}");
    assert_eq!(run(&["host", "show", "nobody"]).status.code(), Some(1));

    let pki = dir.join("pki");
    let (cert, key) = (pki.join("viewer-local.pem"), pki.join("viewer-local.key"));
    let viewer = ["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let refused = run(&[&["host", "label", &name, "rack-"], &viewer[..]].concat());
    assert_eq!(refused.status.code(), Some(4));
    assert!(text(&refused.stderr).contains("a certificate of role operator"));

    let unasked = run(&["host", "retire", &name]);
    assert_eq!(unasked.status.code(), Some(2));
    assert!(text(&unasked.stderr).contains("add --yes"), "{}", text(&unasked.stderr));
    let retired = run(&["host", "retire", &name, "--yes"]);
    assert!(text(&retired.stderr).contains("is connected now"), "{}", text(&retired.stderr));
    assert!(stdout(retired).contains("is out of the roll since"));
    assert_eq!(number(&["host", "list", "--json"]), 0);
    assert_eq!(number(&["host", "list", "--json", "--retired"]), 1);
    let gone = |now: bool| {
        let status = json(&["status", "--json"]);
        (status["connected"].as_array().unwrap().is_empty() == now).then_some(())
    };
    eventually("the retired host's stream to be cut", || gone(true));
    let restored = stdout(run(&["host", "restore", &name, "--yes"]));
    assert!(restored.contains("is in the roll, and its certificates are good"), "{restored}");
    eventually("the host to come back", || gone(false));

    let certs = stdout(run(&["host", "list", "--certs"]));
    assert!(certs.contains("SERIAL") && certs.contains(&name) && certs.contains("good"), "{certs}");
    let renamed = stdout(run(&["host", "rename", &name, "other-name"]));
    assert!(renamed.contains("the same host with the same rows"), "{renamed}");
    let shown = stdout(run(&["host", "show", "other-name"]));
    assert!(shown.contains("former names") && shown.contains(&name), "{shown}");
    stdout(run(&["host", "rename", "other-name", &name]));
}

/// A token is shown once, listed without its secret, and ended.
fn tokens_are_managed(dir: &Path) {
    let run = |args: &[&str]| {
        let mut command = rowcall();
        command.arg("token").args(args).arg("--data-dir").arg(dir).output().unwrap()
    };
    let created = run(&["create", "--host", "node*", "--uses", "3", "--label", "rack=a1"]);
    let words = text(&created.stderr);
    assert!(words.contains("joins   3 hosts named node*"), "{words}");
    assert!(words.contains("    rowcall-agent enroll --server 127.0.0.1:"), "{words}");
    let token = stdout(created);
    let parts: Vec<&str> = token.trim_end().split('.').collect();
    assert_eq!((token.lines().count(), parts.len(), parts[0]), (1, 4, "rc1"), "{token}");
    let quiet = run(&["create", "--quiet"]);
    assert!(quiet.status.success() && quiet.stderr.is_empty(), "{}", text(&quiet.stderr));

    let list = stdout(run(&["list"]));
    assert!(list.contains(parts[1]) && list.contains("operator/admin"), "{list}");
    assert!(list.contains("2 tokens") && !list.contains(parts[2]), "{list}");
    let revoked = stdout(run(&["revoke", parts[1]]));
    assert!(revoked.contains("it has enrolled none"), "{revoked}");
    assert!(!stdout(run(&["list"])).contains(parts[1]));
    let all: serde_json::Value =
        serde_json::from_str(&stdout(run(&["list", "--all", "--json"]))).unwrap();
    let states: Vec<_> = all["tokens"].as_array().unwrap().iter().map(|t| &t["state"]).collect();
    assert!(states.iter().any(|state| *state == "revoked"), "{states:?}");
    let unknown = run(&["revoke", "0000000000000000"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("NOT_FOUND"), "{}", text(&unknown.stderr));
}

#[test]
fn devices_and_metrics_are_read_as_asked_for_and_rates_come_soon() {
    let folder = folder();
    let dir = data(&folder);
    let metrics = folder.path().join("its metrics");
    std::fs::create_dir(&metrics).unwrap();
    std::fs::write(metrics.join("backup.prom"), "backup_size_bytes 42\n").unwrap();
    let metrics = metrics.to_str().unwrap();
    let mut up = Up::sampling(&dir, &["--interval", "200ms", "--metrics-dir", metrics]);
    assert!(up.printed.contains("sample every 200 ms, devices every 1 s"), "{}", up.printed);
    let again = up.advice("--listen 0.0.0.0:7443");
    assert!(again.contains(" --interval 200ms --metrics-dir '"), "{again}");

    let psql = up.advice("psql");
    let rates = "SELECT max(elapsed_s) FROM host_interface_rates(now() - interval '1 day', now())";
    let apart: f64 = eventually("rates of interfaces", || query(&psql, rates).parse().ok());
    assert!(apart >= 0.5, "{apart} s apart with samples every 200 ms");
    let value = "SELECT DISTINCT name, value FROM host_metric WHERE name LIKE 'backup%'";
    assert_eq!(query(&psql, value), "backup_size_bytes|42");
    let shown = stdout(pasted(&up.advice("host_vitals"), Path::new("/")));
    assert!(shown.contains("timestamp") && shown.contains("-[ RECORD 1 ]-"), "{shown}");
    up.signal(Signal::TERM);
    assert!(up.ended().success(), "{}", up.printed);

    // The classic columns alone; the variable stands for the option.
    let before = "SELECT count(*) FROM host_vitals";
    let mut up = Up::with(&dir, &["--interval", "200ms"], &[("ROWCALL_PROFILE", "classic")]);
    up.line(|line| line.starts_with("20"));
    assert!(up.printed.contains("no devices"), "{}", up.printed);
    assert!(!up.printed.contains("host_vitals"), "{}", up.printed);
    let psql = up.advice("psql");
    let (vitals, samples) = (query(&psql, before), rows(&psql));
    eventually("more samples", || (rows(&psql) > samples + 2).then_some(()));
    assert_eq!(query(&psql, before), vitals);
    up.signal(Signal::TERM);
    assert!(up.ended().success(), "{}", up.printed);

    let mut up = Up::start(&dir, &["--metrics-dir", "/nowhere/at-all"]);
    assert_eq!(up.ended().code(), Some(2), "{}", up.printed);
    assert!(up.printed.contains("/nowhere/at-all is not there"), "{}", up.printed);
}

#[test]
fn it_stops_in_order_when_nobody_reads_its_output_any_more() {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::Stdio;
    let folder = folder();
    let dir = data(&folder);
    // Of a minute's interval no sample will come in this test's time.
    let mut up = rowcall();
    up.arg("up").arg("--data-dir").arg(&dir).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut up = up.spawn().unwrap();
    let lines = BufReader::new(up.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.starts_with("TIME")));
    let status = eventually("its end", || up.try_wait().unwrap());
    let mut said = String::new();
    up.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success(), "{status}: {said}");
    assert!(said.contains("nobody reads standard output"), "{said}");
    nothing_left(&dir);
}

#[test]
fn a_busy_port_gives_way_to_a_free_one_that_is_kept() {
    // If it cannot be taken, somebody else has it, who may let it go at any time.
    let default = TcpListener::bind("127.0.0.1:7443");
    let default_http = TcpListener::bind("127.0.0.1:7445");
    let folder = folder();
    let dir = data(&folder);
    let mut up = Up::sampling(&dir, &["--interval", "100ms"]);
    let first = up.port();
    assert!(default.is_err() || first != 7443);
    let first_http = up.http_port();
    assert!(default_http.is_err() || first_http != 7445);
    up.signal(Signal::INT);
    assert!(up.ended().success(), "{}", up.printed);

    let listen = std::fs::read_to_string(dir.join("listen")).unwrap();
    assert_eq!(listen, format!("127.0.0.1:{first}\n"));
    let listen = std::fs::read_to_string(dir.join("http-listen")).unwrap();
    assert_eq!(listen, format!("127.0.0.1:{first_http}\n"));
    let enroll = std::fs::read_to_string(dir.join("enroll-listen")).unwrap();
    assert!(enroll.starts_with("127.0.0.1:"), "{enroll}");
    let _kept = TcpListener::bind(("127.0.0.1", first));
    let mut up = Up::sampling(&dir, &["--interval", "100ms"]);
    assert_ne!(up.port(), first);
    stdout(pasted(&up.advice(" status "), Path::new("/")));
    up.signal(Signal::TERM);
    assert!(up.ended().success(), "{}", up.printed);

    // An address that was asked for is not replaced silently; nothing stays.
    for option in ["--listen", "--enroll-listen"] {
        let mut up = Up::start(&dir, &[option, &format!("127.0.0.1:{first}")]);
        assert_eq!(up.ended().code(), Some(1));
        assert!(up.printed.contains("cannot listen on"), "{}", up.printed);
        nothing_left(&dir);
    }

    // Where others may connect they may enrol, under this machine's name.
    let mut up = Up::sampling(&dir, &["--listen", "0.0.0.0:0", "--enroll-listen", "0.0.0.0:0"]);
    let name = std::fs::read_to_string(dir.join("host-name")).unwrap();
    let join = up.advice("rowcall-agent enroll");
    assert!(join.contains(&format!("--server {}:", name.trim())), "{join}");
    stdout(pasted(&up.advice(" token create "), Path::new("/")));
    up.signal(Signal::TERM);
    assert!(up.ended().success(), "{}", up.printed);

    // What other nodes may have enrolled for is not left because somebody else has taken it.
    let other = TcpListener::bind("0.0.0.0:0").unwrap();
    let taken = other.local_addr().unwrap();
    std::fs::write(dir.join("listen"), format!("{taken}\n")).unwrap();
    let mut up = Up::start(&dir, &[]);
    assert_eq!(up.ended().code(), Some(1));
    let said = format!("cannot listen on {taken}");
    assert!(up.printed.contains(&said), "{said:?} is not in {}", up.printed);
    assert!(up.printed.contains("without --listen it stays"), "{}", up.printed);
    nothing_left(&dir);
}

#[test]
fn an_address_that_was_asked_for_is_that_of_the_next_start_too() {
    let folder = folder();
    let dir = data(&folder);
    // Nothing else on this machine takes a port of these meanwhile.
    let asked = ["--listen", "127.0.0.2:0", "--enroll-listen", "127.0.0.3:0"];
    let kept = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let mut starts = Vec::new();
    for options in [&[][..], &asked, &[]] {
        let mut up = Up::sampling(&dir, &[&["--interval", "100ms"], options].concat());
        // Its certificate names the address, or no node would believe it.
        let listens = up.listens();
        let (ip, _) = listens.split_once(':').unwrap();
        let status = format!("{} --server {listens} --server-name {ip}", up.advice(" status "));
        stdout(pasted(&status, Path::new("/")));
        starts.push([up.listens(), kept("listen"), kept("enroll-listen")]);
        up.signal(Signal::TERM);
        assert!(up.ended().success(), "{}", up.printed);
    }
    let [listens, listen, enroll] = &starts[1];
    assert!(listens.starts_with("127.0.0.2:"), "{listens}");
    assert_eq!(*listen, format!("{listens}\n"));
    assert!(enroll.starts_with("127.0.0.3:"), "{enroll}");
    assert_eq!(starts[1], starts[2]);
}
