//! A machine as files: what its kernel shows below /proc and /sys, and what its system has in /etc.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    File(String),
    Folder,
    /// A symbolic link; the kernel's links tell something by where they lead, whether or not that
    /// is there.
    Link(String),
}

/// All files of a machine at one moment, by path below the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine(pub(crate) BTreeMap<String, Entry>);

impl Machine {
    /// With a file of this text.
    pub(crate) fn file(mut self, path: &str, text: impl Into<String>) -> Self {
        self.0.insert(path.to_owned(), Entry::File(text.into()));
        self
    }

    /// With files of one line each, below a folder.
    pub(crate) fn lines(self, folder: &str, files: &[(&str, &str)]) -> Self {
        files.iter().fold(self, |machine, (name, line)| {
            machine.file(&format!("{folder}/{name}"), format!("{line}\n"))
        })
    }

    /// With a folder that may be empty.
    pub(crate) fn folder(mut self, path: &str) -> Self {
        self.0.insert(path.to_owned(), Entry::Folder);
        self
    }

    /// With a symbolic link.
    pub(crate) fn link(mut self, path: &str, target: &str) -> Self {
        self.0.insert(path.to_owned(), Entry::Link(target.to_owned()));
        self
    }

    /// Without whatever stands at this path or below it.
    pub(crate) fn without(mut self, path: &str) -> Self {
        let below = format!("{path}/");
        self.0.retain(|found, _| found != path && !found.starts_with(&below));
        self
    }

    /// The paths of its files.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(path, entry)| match entry {
            Entry::File(text) => Some((path.as_str(), text.as_str())),
            Entry::Folder | Entry::Link(_) => None,
        })
    }

    /// Makes what stands below `root` this machine, which `before` was: what changed is written in
    /// place, as the kernel changes its files under whoever has them open.
    pub(crate) fn write(&self, root: &Path, before: &Self) {
        for (path, entry) in &before.0 {
            let at = root.join(path);
            let kind = |entry: &Entry| std::mem::discriminant(entry);
            match (entry, self.0.get(path)) {
                (_, Some(now)) if kind(now) == kind(entry) => {}
                // It goes when it is empty.
                (Entry::Folder, None) => {}
                _ => fs::remove_file(at).unwrap(),
            }
        }
        for (path, entry) in &self.0 {
            if before.0.get(path) == Some(entry) {
                continue;
            }
            let at = root.join(path);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            match entry {
                Entry::File(text) => fs::write(at, text).unwrap(),
                Entry::Folder => fs::create_dir_all(at).unwrap(),
                Entry::Link(target) => {
                    fs::remove_file(&at).unwrap_or_default();
                    symlink(target, at).unwrap();
                }
            }
        }
        self.remove_empty(root, before);
    }

    /// A folder of what went away goes too: a device that is gone leaves nothing.
    fn remove_empty(&self, root: &Path, before: &Self) {
        for (path, entry) in before.0.iter().filter(|(path, _)| !self.0.contains_key(*path)) {
            let itself = usize::from(*entry != Entry::Folder);
            for folder in
                Path::new(path).ancestors().skip(itself).take_while(|f| *f != Path::new(""))
            {
                // One that is not empty stays, and so do those above it.
                let is_kept = folder.to_str().is_some_and(|folder| self.0.contains_key(folder));
                if is_kept || fs::remove_dir(root.join(folder)).is_err() {
                    break;
                }
            }
        }
    }
}
