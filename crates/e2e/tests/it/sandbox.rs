//! A sample taken as the shipped unit takes it, without rights and with everything read-only, says
//! what one taken by root says, but for what deploy/systemd/README.md names.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rowcall_testkit::process::{Process, program};
use serde_json::Value;

use crate::stack::{command, root};

/// Fields that an agent without rights does not know, and the words that the unit's README has for
/// each.
const NEED_RIGHTS: [(&str, &str); 3] = [
    // What others read and write is told to those who may trace them.
    ("devices.processes[].read_bytes_per_s", "I/O of single processes"),
    ("devices.processes[].written_bytes_per_s", "I/O of single processes"),
    // The tables of the firmware are root's.
    ("host.memory_mhz", "clock of the memory"),
];

/// Numbers that stay what they are for as long as the machine does.
const FIXED: [&str; 8] = [
    "counted_since",
    "size_kib",
    "inodes",
    "speed_mbit",
    "critical_mc",
    "cpu_number",
    "total_mem_kib",
    "l2_cache_kib",
];

/// Of the rest: what moves within a few seconds, of the number itself and beside it.
const MOVED_SHARE: f64 = 0.1;
const MOVED: f64 = 1e5;
const MOVED_BYTES: f64 = 2e9;

/// The namespace and the mounts as ProtectSystem=strict, ProtectHome=read-only, PrivateDevices= and
/// ProtectKernelTunables= make them; then no user, no group, no capability, and no way to any.
const AS_THE_UNIT: &str = r#"
    set -e
    mkdir "$1/dev"
    mount -t tmpfs -o nosuid,mode=755 dev "$1/dev"
    for device in null zero full random urandom tty; do
        : > "$1/dev/$device"
        mount --bind "/dev/$device" "$1/dev/$device"
    done
    mount --rbind "$1/dev" /dev
    while read -r _ _ _ _ at _; do
        at=$(printf %b "$at")
        case $at in /dev | /dev/*) continue ;; esac
        mount -o remount,bind,ro "$at" 2>/dev/null || :
    done < /proc/self/mountinfo
    if touch "$1/written" 2>/dev/null; then echo 'it can be written to' >&2; exit 1; fi
    program=$2
    shift 2
    exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all \
        --no-new-privs "$program" "$@""#;

/// Starts one of the two.
fn start(command: &mut Command) -> Result<Child> {
    Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

fn printed(child: Child) -> Result<Value> {
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    serde_json::from_slice(&output.stdout).context("JSON")
}

#[test]
fn a_sample_taken_under_the_units_sandbox_equals_one_taken_without_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // Others may come in, and run it.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let copied = folder.path().join("rowcall-agent");
    fs::copy(program("rowcall-agent")?, &copied)?;
    if !is_permitted() {
        return Ok(writeln!(std::io::stderr(), "skipped: it takes root")?);
    }
    // A process of another user that is worth telling.
    let _busy = Process::start("sh", Command::new("sh").args(["-c", "while :; do :; done"]))?;
    let free = start(command("rowcall-agent")?.args(["sample", "--json"]))?;
    let mut unit = Command::new("unshare");
    unit.args(["--mount", "--propagation", "private", "--", "sh", "-c", AS_THE_UNIT, "sh"]);
    unit.arg(folder.path()).arg(&copied).args(["sample", "--json"]);
    let unit = start(&mut unit)?;
    let (free, unit) = (printed(free)?, printed(unit)?);
    let mut differences = BTreeSet::new();
    compare("", &free, &unit, &mut differences);
    let is_named = |path: &str| NEED_RIGHTS.iter().any(|(named, _)| *named == path);
    let unexpected: Vec<_> = differences.iter().filter(|(path, _)| !is_named(path)).collect();
    assert!(unexpected.is_empty(), "without and with the sandbox: {unexpected:#?}");
    // Were it run with all rights, there would be nothing to see.
    let seen: BTreeSet<_> = differences.iter().map(|(path, _)| path.as_str()).collect();
    assert!(seen.contains(NEED_RIGHTS[0].0), "{unit:#}");
    let known = unit["vitals"].as_object().context("vitals")?.values();
    assert!(known.filter(|value| !value.is_null()).count() > 30, "{unit:#}");
    Ok(())
}

#[test]
fn the_units_readme_names_what_needs_rights() -> Result<()> {
    let text = fs::read_to_string(root().join("deploy/systemd/README.md"))?;
    for (path, words) in NEED_RIGHTS {
        ensure!(text.contains(words), "deploy/systemd/README.md does not say {words:?} ({path})");
    }
    Ok(())
}

/// May this process make such a sandbox?
fn is_permitted() -> bool {
    let mut probe = Command::new("unshare");
    probe.args(["--mount", "--propagation", "private", "--", "mount", "-t", "tmpfs", "x"]);
    probe.arg(Path::new("/mnt")).output().is_ok_and(|output| output.status.success())
}

/// Paths of what differs, with both values.
fn compare(path: &str, free: &Value, unit: &Value, found: &mut BTreeSet<(String, String)>) {
    let mut differs = || found.insert((path.to_owned(), format!("{free} and {unit}")));
    match (free, unit) {
        (Value::Object(free), Value::Object(unit)) => {
            for (name, value) in free {
                let path = format!("{path}.{name}");
                let path = path.trim_start_matches('.');
                compare(path, value, unit.get(name).unwrap_or(&Value::Null), found);
            }
        }
        (Value::Array(free), Value::Array(unit)) if path == "devices.processes" => {
            // Which they are changes from moment to moment; what is known of most of them doesn't.
            let known = |list: &[Value], name: &str| {
                list.iter().filter(|one| !one[name].is_null()).count() * 2 > list.len()
            };
            for name in free.first().and_then(Value::as_object).into_iter().flat_map(|o| o.keys()) {
                if known(free, name) != known(unit, name) {
                    found.insert((format!("{path}[].{name}"), "known to one alone".into()));
                }
            }
        }
        (Value::Array(free), Value::Array(unit)) => {
            let name = |one: &Value| format!("{}{}", one["name"], one["mount"]);
            let names = |list: &[Value]| list.iter().map(name).collect::<Vec<_>>();
            if names(free) != names(unit) {
                differs();
            }
            for (free, unit) in free.iter().zip(unit) {
                compare(&format!("{path}[]"), free, unit, found);
            }
        }
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) =
                (one.as_f64().unwrap_or(f64::NAN), other.as_f64().unwrap_or(f64::NAN));
            let field = path.rsplit('.').next().unwrap_or(path);
            let beside = if field.contains("bytes") { MOVED_BYTES } else { MOVED };
            let is_fixed = FIXED.contains(&field);
            let moved = if is_fixed { 0.0 } else { one.abs() * MOVED_SHARE + beside };
            if (one - other).abs() > moved {
                differs();
            }
        }
        (free, unit) if free != unit => {
            differs();
        }
        _ => {}
    }
}

#[test]
fn what_differs_is_seen() {
    let value = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let differences = |free: &str, unit: &str| {
        let mut found = BTreeSet::new();
        compare("", &value(free), &value(unit), &mut found);
        found.into_iter().map(|(path, _)| path).collect::<Vec<_>>()
    };
    let whole = r#"{"a":{"b":1,"size_kib":5},"d":[{"name":"x","up":true}]}"#;
    assert_eq!(differences(whole, whole), Vec::<String>::new());
    let other = r#"{"a":{"b":null,"size_kib":6},"d":[{"name":"x","up":false}]}"#;
    assert_eq!(differences(whole, other), ["a.b", "a.size_kib", "d[].up"]);
    assert_eq!(differences(whole, r#"{"a":{"b":2,"size_kib":5},"d":[]}"#), ["d"]);
    assert_eq!(differences(r#"{"b":1}"#, r#"{"b":9e9}"#), ["b"]);
}
