//! The folder of the server's socket.
//!
//! A socket's path has at most 107 bytes, so the folder stands under the system's folder for
//! temporary files, where others may write too. Its name is random, and remembered in the caller's
//! directory so that a `psql` line stays valid from start to start. A remembered folder is taken
//! again only where it is ours: a real folder, owned by the server's user, writable to nobody
//! else, and under a parent that would be chosen today.

use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use crate::run_as::RunAs;
use crate::user::{User, caller_uid};
use crate::{Error, PORT};

/// The longest path of a Unix socket on Linux, without its final zero.
const LONGEST: usize = 107;
/// Stands before the random part of the name.
const PREFIX: &str = "rc-";
/// Random characters in the name.
const RANDOM: usize = 6;

/// The folder; removed with [`SocketDir::remove`].
#[derive(Debug)]
pub(crate) struct SocketDir {
    path: PathBuf,
}

impl SocketDir {
    /// The remembered folder, or a new one, which is then remembered in the file `note`.
    pub(crate) fn prepare(note: &Path, run_as: &RunAs) -> Result<Self, Error> {
        Self::under(&candidates(), note, run_as)
    }

    fn under(parents: &[PathBuf], note: &Path, run_as: &RunAs) -> Result<Self, Error> {
        let user = &run_as.user;
        if let Some(path) = remembered(note, parents) {
            // Making it again under the same name fails where somebody was faster, which
            // `is_ours` finds out.
            let made = make(&path, user).is_ok();
            if (made || is_ours(&path, user)) && run_as.reaches(&path) {
                let dir = Self { path };
                dir.clear();
                return Ok(dir);
            }
        }
        for parent in parents {
            // The parent is chosen by the system or the caller; without it goes the next.
            let Ok(parent) = fs::canonicalize(parent) else { continue };
            if parent.as_os_str().len() + 1 + PREFIX.len() + RANDOM + socket_name().len() + 1
                > LONGEST
            {
                continue;
            }
            let made = tempfile::Builder::new()
                .prefix(PREFIX)
                .rand_bytes(RANDOM)
                .make_in(&parent, |path| make(path, user));
            let Ok(made) = made else { continue };
            let dir = Self { path: made.path().to_owned() };
            // Kept: it outlives this handle, and is removed by the server or its guard.
            drop(made.keep());
            if !run_as.reaches(&dir.path) {
                dir.remove();
                continue;
            }
            fs::write(note, dir.path.as_os_str().as_bytes()).map_err(Error::io("write", note))?;
            return Ok(dir);
        }
        let candidates: Vec<String> = parents.iter().map(|p| p.display().to_string()).collect();
        Err(Error::NoSocketDir { candidates: candidates.join(", "), user: user.name.clone() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes sockets that a killed server left, so that it isn't taken for a live one.
    pub(crate) fn clear(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        for entry in entries.flatten() {
            if entry.file_name().as_bytes().starts_with(b".s.PGSQL.") {
                let file = entry.path();
                report("remove", &file, fs::remove_file(&file));
            }
        }
    }

    /// Removes the folder.
    pub(crate) fn remove(&self) {
        self.clear();
        report("remove", &self.path, fs::remove_dir(&self.path));
    }
}

/// The name of the socket within the folder.
pub(crate) fn socket_name() -> String {
    format!(".s.PGSQL.{PORT}")
}

/// Where the folder may stand, best first.
fn candidates() -> Vec<PathBuf> {
    let mut parents = vec![env::temp_dir()];
    // Root's own is closed to the server's user.
    if caller_uid() != 0 {
        parents.extend(env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from));
    }
    parents.extend(["/tmp", "/var/tmp"].map(PathBuf::from));
    parents.retain(|parent| parent.is_absolute());
    parents
}

fn remembered(note: &Path, parents: &[PathBuf]) -> Option<PathBuf> {
    let path = PathBuf::from(OsString::from_vec(fs::read(note).ok()?));
    let named = path.file_name()?.as_bytes().starts_with(PREFIX.as_bytes());
    let parent = path.parent()?;
    let known = parents.iter().any(|p| fs::canonicalize(p).is_ok_and(|p| p == parent));
    (named && known).then_some(path)
}

/// Makes the folder, for the server's user only at first; fails where the name is taken.
fn make(path: &Path, user: &User) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    if user.uid != caller_uid() {
        chown(path, Some(user.uid), Some(user.gid))?;
    }
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

fn is_ours(path: &Path, user: &User) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| {
        meta.is_dir() && meta.uid() == user.uid && meta.permissions().mode() & 0o022 == 0
    })
}

fn report(action: &str, path: &Path, result: io::Result<()>) {
    if let Err(error) = result
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "cannot {action} what the server left");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user;
    use tempfile::TempDir;

    fn me() -> RunAs {
        RunAs::new(user::named(caller_uid()).unwrap(), &[]).unwrap()
    }

    #[test]
    fn the_folder_is_remembered_and_made_again_under_the_same_name() {
        let temp = TempDir::new().unwrap();
        let (note, parents) = (temp.path().join("note"), [temp.path().to_owned()]);
        let first = SocketDir::under(&parents, &note, &me()).unwrap();
        fs::write(first.path().join(socket_name()), "").unwrap();
        let second = SocketDir::under(&parents, &note, &me()).unwrap();
        assert_eq!(second.path(), first.path());
        assert!(!first.path().join(socket_name()).exists(), "a stale socket is removed");
        second.remove();
        assert!(!first.path().exists());
        let third = SocketDir::under(&parents, &note, &me()).unwrap();
        assert_eq!(third.path(), first.path());
        assert!(third.path().is_dir());
    }

    #[test]
    fn a_folder_that_somebody_else_could_have_made_is_not_taken() {
        let temp = TempDir::new().unwrap();
        let (note, parents) = (temp.path().join("note"), [temp.path().to_owned()]);
        let first = SocketDir::under(&parents, &note, &me()).unwrap();
        // Writable to all.
        fs::set_permissions(first.path(), Permissions::from_mode(0o777)).unwrap();
        let second = SocketDir::under(&parents, &note, &me()).unwrap();
        assert_ne!(second.path(), first.path());
        // A link to a folder of ours.
        second.remove();
        std::os::unix::fs::symlink(temp.path(), second.path()).unwrap();
        let third = SocketDir::under(&parents, &note, &me()).unwrap();
        assert_ne!(third.path(), second.path());
        // A note that points elsewhere.
        let other = TempDir::new().unwrap();
        let planted = other.path().join("rc-planted");
        fs::create_dir(&planted).unwrap();
        fs::set_permissions(&planted, Permissions::from_mode(0o755)).unwrap();
        fs::write(&note, planted.as_os_str().as_bytes()).unwrap();
        let fourth = SocketDir::under(&parents, &note, &me()).unwrap();
        assert_eq!(fourth.path().parent(), third.path().parent());
    }

    #[test]
    fn long_parents_are_passed_over() {
        let temp = TempDir::new().unwrap();
        let long = temp.path().join("x".repeat(100));
        fs::create_dir(&long).unwrap();
        let note = temp.path().join("note");
        let error = SocketDir::under(std::slice::from_ref(&long), &note, &me()).unwrap_err();
        assert!(error.to_string().contains("at most 107 bytes"), "{error}");
        let dir = SocketDir::under(&[long, temp.path().to_owned()], &note, &me()).unwrap();
        assert_eq!(dir.path().parent().unwrap(), fs::canonicalize(temp.path()).unwrap());
        assert!(dir.path().join(socket_name()).as_os_str().len() <= LONGEST);
    }
}
