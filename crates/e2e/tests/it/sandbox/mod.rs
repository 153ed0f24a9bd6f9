//! A sample taken as the shipped unit takes it, without rights and with everything read-only, says
//! what one taken by root says, but for what deploy/systemd/README.md names.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rowcall_testkit::process::{Process, program};
use serde_json::Value;

use crate::stack::{command, root};

mod bracket;

use bracket::{Around, Counted, differences};

/// Fields that an agent without rights does not know, and the words that the unit's README has for
/// each.
const NEED_RIGHTS: [(&str, &str); 3] = [
    // What others read and write is told to those who may trace them.
    ("devices.processes[].read_bytes_per_s", "I/O of single processes"),
    ("devices.processes[].written_bytes_per_s", "I/O of single processes"),
    // The tables of the firmware are root's.
    ("host.memory_mhz", "clock of the memory"),
];

/// What is taken; on a busy machine devices are waited for as long as the agent ever does.
const SAMPLE: [&str; 4] = ["sample", "--json", "--collect-deadline", "30s"];

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

/// What a program prints.
fn printed(command: &mut Command) -> Result<Value> {
    let output = command.stdin(Stdio::null()).output()?;
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
    let free = || printed(command("rowcall-agent")?.args(SAMPLE));
    let mut unit = Command::new("unshare");
    unit.args(["--mount", "--propagation", "private", "--", "sh", "-c", AS_THE_UNIT, "sh"]);
    unit.arg(folder.path()).arg(&copied).args(SAMPLE);
    // One after the other: what the kernel counts then lies between, however busy the machine is.
    let before = Around { sample: free()?, counted: Counted::read()? };
    let unit = printed(&mut unit)?;
    let after = Around { counted: Counted::read()?, sample: free()? };
    let differences = differences(&before, &unit, &after);
    let is_named = |path: &str| NEED_RIGHTS.iter().any(|(named, _)| *named == path);
    let unexpected: Vec<_> = differences.iter().filter(|(path, _)| !is_named(path)).collect();
    assert!(unexpected.is_empty(), "before, in the sandbox, after: {unexpected:#?}");
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
