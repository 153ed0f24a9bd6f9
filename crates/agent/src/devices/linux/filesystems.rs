//! Mounted filesystems, as the host's first process sees them.
//!
//! The table of mounts is /proc/1/mountinfo, or our own where that one is hidden: what is mounted
//! and whether it can be written is so told of the host and not of the agent's sandbox. Numbers
//! come from statvfs(2) in our own view; where that shows something else at a mount point, or
//! nothing, the mount is named as unreadable.
//!
//! Left out, as Prometheus' node_exporter does by default: filesystems that hold no data of their
//! own ([`WITHOUT_DATA`]), and mounts at or below /dev, /proc, /sys, and below
//! /run/credentials, /var/lib/docker and /var/lib/containers/storage. Beyond that: tmpfs and ramfs,
//! which are memory; what a filesystem is mounted at a second time, which a bind mount does too
//! (its shortest mount point stands for it); filesystems of size 0; and such that are reached over
//! a network, unless `network_mounts` asks for them: network filesystems, what FUSE serves unless
//! it is known to be on a disk, and sources as "server:/path". Whatever type "/" has, it is read.
//!
//! Patterns of the settings look at that shortest mount point alone: what they leave out does not
//! come back under another name, and what they choose is not told a second time.
//!
//! "/" is asked first, then what is on this machine, then what is reached over a network.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rowcall_core::convert::{clean_text, clean_text_within};
use rowcall_core::devices::{Filesystem, MAX_FILESYSTEMS};
use rustix::fs::{StatVfs, statvfs};
use rustix::io::Errno;

use super::Context;
use super::files::{MAX_NAME_BYTES, Table};
use super::mountinfo::{self, Mount};
use crate::collect::Collector;
use crate::devices::found::{Found, Source, keep_unique};

/// Types of filesystems without data of their own.
const WITHOUT_DATA: [&str; 34] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "fuse.gvfsd-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "fuse.snapfuse",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "ramfs",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tmpfs",
    "tracefs",
    "zonefs",
];

/// Types of filesystems behind a network, beside those of FUSE.
const OVER_NETWORK: [&str; 20] = [
    "9p",
    "acfs",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "davfs",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "orangefs",
    "panfs",
    "smb3",
    "smbfs",
    "vboxsf",
    "wekafs",
];

/// Types of FUSE that are known to be on a disk of this machine.
const FUSE_ON_DISK: [&str; 8] = [
    "fuse.bindfs",
    "fuse.encfs",
    "fuse.exfat",
    "fuse.gocryptfs",
    "fuse.mergerfs",
    "fuse.ntfs",
    "fuse.ntfs-3g",
    "fuse.zfs",
];

/// Folders whose mounts are not read.
const NOT_AT: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Folders below which mounts are not read.
const NOT_BELOW: [&str; 3] = ["/run/credentials", "/var/lib/docker", "/var/lib/containers/storage"];

/// Lists what is to be asked.
#[derive(Debug)]
pub(super) struct Filesystems {
    context: Arc<Context>,
    host: Table,
    own: Table,
}

impl Filesystems {
    pub(super) fn new(context: Arc<Context>) -> Self {
        let host = Table::new(context.path("proc/1/mountinfo"));
        let own = Table::new(context.path("proc/self/mountinfo"));
        Self { context, host, own }
    }

    fn mounts(&mut self, found: &mut Found) -> Option<Vec<Mount>> {
        let own = self.own.read().ok().map(mountinfo::parse);
        let Some((mut host, broken)) = self.host.read().ok().map(mountinfo::parse) else {
            return own.map(|(mounts, _)| mounts);
        };
        for _ in 0..broken {
            found.unreadable(Collector::Filesystems, None);
        }
        let Some((own, _)) = own else { return Some(host) };
        // By the host's table, or a filesystem whose shortest mount point only the host sees would
        // come back by another one.
        let left_out: HashSet<_> = self
            .distinct(host.clone())
            .into_iter()
            .filter(|it| !self.is_chosen(it))
            .map(|it| it.device)
            .collect();
        host.retain(|it| !left_out.contains(&it.device));
        let own: HashMap<_, _> = own.into_iter().map(|it| (it.point, it.device)).collect();
        let (seen, unseen): (Vec<_>, Vec<_>) = topmost(host)
            .into_iter()
            .partition(|it| own.get(&it.point).is_some_and(|device| *device == it.device));
        for mount in self.wanted(unseen) {
            let point = mount.point.to_string_lossy();
            found.unread(Collector::Filesystems, &point, "the agent sees something else there");
        }
        Some(seen)
    }

    /// Those that are to be read, each filesystem once.
    fn wanted(&self, mounts: Vec<Mount>) -> Vec<Mount> {
        let mut mounts = self.distinct(mounts);
        mounts.retain(|it| self.is_chosen(it));
        mounts.sort_by_key(|it| server(it).is_some());
        mounts
    }

    fn is_chosen(&self, mount: &Mount) -> bool {
        self.context.collect.mounts.takes(&mount.point.to_string_lossy())
    }

    /// Each filesystem that can be read, whatever patterns say, at its shortest mount point.
    fn distinct(&self, mounts: Vec<Mount>) -> Vec<Mount> {
        let network_mounts = self.context.collect.network_mounts;
        let mut mounts = topmost(mounts);
        mounts.retain(|it| holds_data(it) && (network_mounts || !is_over_network(it)));
        mounts.sort_by_cached_key(|it| (it.point.as_os_str().len(), it.point.clone()));
        let mut devices = HashSet::new();
        mounts.retain(|it| devices.insert(it.device.clone()));
        mounts
    }
}

impl Source for Filesystems {
    fn read(&mut self, found: &mut Found) {
        let Some(mounts) = self.mounts(found) else {
            return found.unreadable(Collector::Filesystems, None);
        };
        let named = self.wanted(mounts).into_iter().filter_map(|it| Some((name(&it.point)?, it)));
        let kept = keep_unique(
            Collector::Filesystems,
            named.collect(),
            MAX_FILESYSTEMS,
            |(name, _)| name,
            found,
        );
        let table = self.context.path("proc/self/mountinfo");
        found.further = kept
            .into_iter()
            .map(|(name, mount)| {
                let below_root = mount.point.strip_prefix("/").unwrap_or(&mount.point);
                let path = self.context.path(below_root);
                let space = Space { path, table: table.clone(), name: name.clone(), mount };
                (name, Box::new(space) as Box<dyn Source>)
            })
            .collect();
    }
}

/// Of those at one mount point the last, which hides the others.
fn topmost(mounts: Vec<Mount>) -> Vec<Mount> {
    let mut points = HashSet::new();
    let mut topmost: Vec<_> =
        mounts.into_iter().rev().filter(|it| points.insert(it.point.clone())).collect();
    topmost.reverse();
    topmost
}

fn name(point: &Path) -> Option<String> {
    clean_text_within(&point.to_string_lossy(), MAX_NAME_BYTES)
}

fn holds_data(mount: &Mount) -> bool {
    let point = &mount.point;
    point == Path::new("/")
        || !(WITHOUT_DATA.contains(&mount.kind.as_str())
            || NOT_AT.iter().any(|folder| point.starts_with(folder))
            || NOT_BELOW.iter().any(|it| point.starts_with(it) && point != Path::new(it)))
}

/// Whether a server that is gone may make it hang. Of FUSE only what is known is on a disk, and
/// what has no name of its own, whose source tells.
fn is_over_network(mount: &Mount) -> bool {
    let kind = mount.kind.as_str();
    OVER_NETWORK.contains(&kind)
        || (kind.starts_with("fuse.") && !FUSE_ON_DISK.contains(&kind))
        || mount.source.starts_with("//")
        || (!mount.source.starts_with('/') && mount.source.contains(":/"))
}

/// The server that it hangs without. What "/" hangs without, this process does, too.
fn server(mount: &Mount) -> Option<&str> {
    if mount.point == Path::new("/") || !is_over_network(mount) {
        return None;
    }
    let source = mount.source.as_str();
    let of_share = source.strip_prefix("//").and_then(|share| share.split('/').next());
    Some(of_share.unwrap_or_else(|| source.split_once(":/").map_or(source, |(server, _)| server)))
}

/// Asks one filesystem for its numbers, which may hang.
#[derive(Debug)]
struct Space {
    path: PathBuf,
    /// What is mounted, as this process sees it.
    table: PathBuf,
    name: String,
    mount: Mount,
}

impl Source for Space {
    fn read(&mut self, found: &mut Found) {
        match statvfs(&self.path) {
            Ok(stat) => found.devices.filesystems.extend(self.numbers(&stat)),
            // It went since the table was read.
            Err(_) if !self.is_mounted() => {}
            Err(error) => found.unread(Collector::Filesystems, &self.name, &in_words(error)),
        }
    }

    fn server(&self) -> Option<&str> {
        server(&self.mount)
    }
}

/// "permission denied".
fn in_words(error: Errno) -> String {
    let text = std::io::Error::from(error).to_string();
    text.split(" (os error").next().unwrap_or("").to_lowercase()
}

impl Space {
    /// Whether it still is; where nothing tells, it was a moment ago.
    fn is_mounted(&self) -> bool {
        std::fs::read(&self.table).map_or(true, |table| {
            mountinfo::parse(&table).0.iter().any(|it| it.point == self.mount.point)
        })
    }

    /// What statvfs(2) says of it; nothing where it has no size.
    fn numbers(&self, stat: &StatVfs) -> Option<Filesystem> {
        if stat.f_blocks == 0 {
            return None;
        }
        let kib = |blocks: u64| {
            let bytes = u128::from(blocks) * u128::from(stat.f_frsize);
            i64::try_from(bytes / 1024).ok()
        };
        let inodes = i64::try_from(stat.f_files).ok().filter(|inodes| *inodes > 0);
        Some(Filesystem {
            mount: self.name.clone(),
            source: clean_text(&self.mount.source),
            kind: clean_text(&self.mount.kind),
            read_only: self.mount.read_only,
            size_kib: kib(stat.f_blocks),
            available_kib: kib(stat.f_bavail),
            inodes,
            // A filesystem that makes inodes as it needs them has no number of them.
            inodes_free: inodes.and_then(|_| i64::try_from(stat.f_ffree).ok()),
        })
    }
}

#[cfg(test)]
#[path = "filesystems_tests.rs"]
mod tests;
