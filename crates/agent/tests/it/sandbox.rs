//! A sample in a room like the unit's: as nobody, without a capability, everything read-only and a
//! `/dev` of its own. It says what a sample outside says, but for what README.md of the units lists.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::{agent, output};

/// What the unit asks of systemd, by hand. The arguments are the program and its own.
const ROOM: &str = "\
set -e
mount --make-rslave /
mount -o bind,remount,ro /
for kernel in /sys /sys/fs/cgroup /proc/sys; do
    if mountpoint -q $kernel || mount --bind $kernel $kernel; then mount -o bind,remount,ro $kernel; fi
done
mount -t tmpfs -o size=64k tmpfs /dev
exec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all \\
    --no-new-privs \"$@\"
";

fn sample(command: &mut Command, file: &std::path::Path) -> Result<Value, String> {
    command.args(["sample", "--json", "--config"]).arg(file);
    match output(command) {
        (Some(0), stdout, _) => Ok(serde_json::from_str(&stdout).unwrap()),
        (_, _, stderr) => Err(stderr),
    }
}

/// What is known of an object, by name.
fn known(object: &Value) -> BTreeSet<&str> {
    let fields = object.as_object().into_iter().flatten();
    fields.filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str()).collect()
}

/// Each device of a kind, with what is known of it.
fn listed<'a>(shown: &'a Value, kind: &str, name: &str) -> BTreeSet<(&'a str, BTreeSet<&'a str>)> {
    let items = shown["devices"][kind].as_array().unwrap().iter();
    items.map(|item| (item[name].as_str().unwrap(), known(item))).collect()
}

#[test]
fn a_sample_in_the_units_room_is_the_sample_outside() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can make such a room");
    }
    let folder = tempfile::Builder::new().permissions(world()).tempdir().unwrap();
    let program = folder.path().join("rowcall-agent");
    std::fs::copy(agent().get_program(), &program).unwrap();
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, "top_processes = 1\n").unwrap();
    let mut room = Command::new("unshare");
    room.args(["--mount", "--", "sh", "-c", ROOM, "sh"]).arg(&program);
    let inside = match sample(&mut room, &file) {
        Ok(inside) => inside,
        Err(why) => return eprintln!("skipped: no such room can be made here: {why}"),
    };
    let outside = sample(&mut agent(), &file).unwrap();
    for part in ["sample", "vitals"] {
        assert_eq!(known(&inside[part]), known(&outside[part]), "{part}");
    }
    let mut facts = outside["host"].clone();
    // Root's alone.
    facts["memory_mhz"] = Value::Null;
    assert_eq!(inside["host"], facts);
    for (kind, name) in [
        ("disks", "name"),
        ("interfaces", "name"),
        ("sensors", "name"),
        ("md_arrays", "name"),
        ("memory_controllers", "name"),
        ("cgroups", "name"),
    ] {
        // What peaks there were is chance.
        assert_eq!(listed(&inside, kind, name), listed(&outside, kind, name), "{kind}");
    }
    // Nobody may enter every folder: what is missing is named.
    let mounts = listed(&outside, "filesystems", "mount");
    let skipped = inside["devices"]["skipped"].as_array().unwrap();
    let inside_mounts = listed(&inside, "filesystems", "mount");
    for (mount, fields) in &mounts {
        let is_named =
            skipped.iter().any(|it| it["item"] == *mount && it["reason"] == "unreadable");
        assert!(is_named || inside_mounts.contains(&(*mount, fields.clone())), "{mount}");
    }
    let read_only = |shown: &Value| -> BTreeSet<(String, bool)> {
        let mounts = shown["devices"]["filesystems"].as_array().unwrap().iter();
        let mount = |it: &Value| (it["mount"].to_string(), it["read_only"].as_bool().unwrap());
        mounts.map(mount).collect()
    };
    assert!(read_only(&inside).is_subset(&read_only(&outside)), "by the mounts' own options");
}

fn world() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}
