//! Trees of files as the kernel would show them, and whole machines of them.

mod hanging;
mod machines;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;

use rowcall_core::clock::SystemClock;
use rowcall_core::devices::Devices;

use super::{Context, source};
use crate::collect::{Collect, Collector};
use crate::devices::found::Found;

/// A root folder.
pub(in crate::devices) struct Tree(tempfile::TempDir);

impl Tree {
    pub(in crate::devices) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(in crate::devices) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub(in crate::devices) fn with(self, path: &str, text: &str) -> Self {
        self.add(path, text);
        self
    }

    pub(in crate::devices) fn with_dir(self, path: &str) -> Self {
        self.add_dir(path);
        self
    }

    pub(in crate::devices) fn add(&self, path: &str, text: &str) {
        self.add_bytes(path, text.as_bytes());
    }

    pub(in crate::devices) fn add_bytes(&self, path: &str, bytes: &[u8]) {
        fs::write(self.place(path), bytes).unwrap();
    }

    pub(in crate::devices) fn add_dir(&self, path: &str) {
        fs::create_dir_all(self.path(path)).unwrap();
    }

    pub(in crate::devices) fn add_link(&self, path: &str, target: &str) {
        symlink(target, self.place(path)).unwrap();
    }

    pub(in crate::devices) fn add_fifo(&self, path: &str) {
        rustix::fs::mkfifoat(rustix::fs::CWD, self.place(path), 0o600.into()).unwrap();
    }

    pub(in crate::devices) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub(in crate::devices) fn remove(&self, path: &str) {
        fs::remove_dir_all(self.path(path)).unwrap();
    }

    fn place(&self, path: &str) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }
}

/// What one collector finds in a tree, with the settings of the default profile.
pub(in crate::devices) fn read(tree: &Tree, collector: Collector) -> Devices {
    read_with(tree, collector, Collect::default())
}

/// What it finds with other settings.
pub(in crate::devices) fn read_with(
    tree: &Tree,
    collector: Collector,
    collect: Collect,
) -> Devices {
    let context = Context::new(tree.path(""), collect, SystemClock::shared());
    let mut found = Found::default();
    source(collector, &Arc::new(context)).read(&mut found);
    for (_, mut further) in std::mem::take(&mut found.further) {
        further.read(&mut found);
    }
    found.devices
}

/// What was skipped, in words: "disks sda unreadable 1".
pub(in crate::devices) fn skipped(devices: &Devices) -> Vec<String> {
    let say = |it: &rowcall_core::devices::Skipped| {
        let item = it.item.as_ref().map(|item| format!(" {item}")).unwrap_or_default();
        format!("{}{item} {} {}", it.collector, it.reason.as_str(), it.count)
    };
    devices.skipped.iter().map(say).collect()
}
