//! Control groups of the top level, from /sys/fs/cgroup: slices, or what a container has.
//!
//! Version 2 has all of a group's files in one folder. Where version 1 is mounted, each controller
//! has a tree of its own (see [`cgroups_v1`]); so it is in the hybrid form of systemd, whose
//! version 2 has no controllers.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rowcall_core::convert::clean_text_within;
use rowcall_core::devices::{Cgroup, MAX_CGROUPS};

use super::files::{self, MAX_NAME_BYTES};
use super::{Context, cgroups_v1};
use crate::collect::Collector;
use crate::devices::found::{Found, Source, keep_unique};

/// The group that everything here is in: a container's own.
pub(super) const OWN: &str = "/";

/// Reads control groups.
#[derive(Debug)]
pub(super) struct Cgroups(pub(super) Arc<Context>);

impl Source for Cgroups {
    fn read(&mut self, found: &mut Found) {
        let folder = self.0.path("sys/fs/cgroup");
        let cgroups = if folder.join("cgroup.controllers").exists() {
            version_2(&self.0, &folder)
        } else {
            cgroups_v1::read(&self.0, &folder)
        };
        found.devices.cgroups =
            keep_unique(Collector::Cgroups, cgroups, MAX_CGROUPS, |it| &it.name, found);
    }
}

/// The groups in a folder, and the folder's own one, where it is not the root of all groups: that
/// is the whole machine, and has no type.
fn version_2(context: &Context, root: &Path) -> Vec<Cgroup> {
    let own = root.join("cgroup.type").exists().then(|| group(context, root, OWN));
    let groups = children(root).into_iter().map(|name| group(context, &root.join(&name), &name));
    own.into_iter().chain(groups).flatten().collect()
}

/// Names of the groups in a folder.
pub(super) fn children(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    // A group's own files all have a dot in their name, as slices do; the type tells. The listing
    // has it: asking for each file's own would be most of what a reading of groups costs.
    let folders = entries.filter(|it| it.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut names: Vec<_> = folders.filter_map(|it| it.file_name().into_string().ok()).collect();
    files::sort(&mut names);
    names
}

fn group(context: &Context, folder: &Path, name: &str) -> Option<Cgroup> {
    let number = |file: &str| files::number(&folder.join(file)).filter(|n: &i64| *n >= 0);
    let keyed =
        |file: &str, key: &str| files::keyed(&folder.join(file), key).filter(|n: &i64| *n >= 0);
    let (read_bytes, written_bytes) = io_bytes(&folder.join("io.stat")).unzip();
    Some(Cgroup {
        name: clean_text_within(name, MAX_NAME_BYTES)?,
        counted_since: counted_since(context, folder).ok()?,
        cpu_us: keyed("cpu.stat", "usage_usec"),
        throttled_us: keyed("cpu.stat", "throttled_usec"),
        memory_kib: number("memory.current").map(|bytes| bytes / 1024),
        read_bytes,
        written_bytes,
        processes: number("pids.current"),
        oom_kills: keyed("memory.events", "oom_kill"),
    })
}

/// A group that is made anew under its old name has another inode.
pub(super) fn counted_since(context: &Context, folder: &Path) -> io::Result<u32> {
    let inode = std::fs::metadata(folder)?.ino();
    Ok(context.counted_since().and_number(inode).number())
}

/// Bytes read from and written to all devices: "8:0 rbytes=1 wbytes=2 rios=3 ...".
fn io_bytes(path: &Path) -> Option<(i64, i64)> {
    files::with_value(path, |bytes| {
        let text = std::str::from_utf8(bytes).ok()?;
        let sum = |key: &str| {
            let values = text.split_ascii_whitespace().filter_map(|word| word.strip_prefix(key));
            values.filter_map(|n| n.parse::<i64>().ok()).try_fold(0_i64, i64::checked_add)
        };
        Some((sum("rbytes=")?, sum("wbytes=")?))
    })
}

#[cfg(test)]
#[path = "cgroups_tests.rs"]
mod tests;
