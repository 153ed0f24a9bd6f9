//! Running PostgreSQL's programs as the server's user.
//!
//! PostgreSQL refuses root, so root becomes another user for them. That user may not get into the
//! directory (a clone in root's home, a `mktemp -d`): then the programs keep one capability,
//! CAP_DAC_READ_SEARCH, with which they pass through closed folders. It also lets the server read
//! every file, so it is taken only where it is needed, and only the server's superusers profit:
//! root, and the unprivileged user itself.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::iter;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::guard::Guard;
use crate::user::{User, caller_uid};
use crate::{Error, text};

/// Writes its process id to standard input, the guard's pipe, and becomes the server: the guard
/// knows the process before it can do anything, whenever the owner is killed.
const ANNOUNCED_SERVER: &str = r#"echo "$$" >&0 || exit 1; exec "$@" </dev/null"#;
/// The same by way of standard output, for a program that reads its input.
const ANNOUNCED_PROGRAM: &str = r#"echo "$$" || exit 1; exec "$@" >/dev/null"#;

/// The server's user, and how its programs are started.
#[derive(Debug)]
pub(crate) struct RunAs {
    pub(crate) user: User,
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// The caller is that user.
    Caller,
    /// Root changes the user.
    Switch,
    /// Root changes the user and leaves it CAP_DAC_READ_SEARCH.
    Capable,
}

impl RunAs {
    /// Chooses the way in which `user` can reach all of `folders`.
    pub(crate) fn new(user: User, folders: &[&Path]) -> Result<Self, Error> {
        if user.uid == caller_uid() {
            return Ok(Self { user, how: How::Caller });
        }
        let mut chosen = Self { user, how: How::Switch };
        for folder in folders {
            if chosen.reaches(folder) {
                continue;
            }
            chosen.how = How::Capable;
            if !chosen.reaches(folder) {
                return Err(Error::Unreachable {
                    blocker: blocker(folder, &chosen.user),
                    user: chosen.user.name,
                    path: (*folder).to_owned(),
                });
            }
            tracing::debug!(
                folder = %folder.display(), user = chosen.user.name,
                "the folder is closed to the server's user; it keeps CAP_DAC_READ_SEARCH"
            );
        }
        Ok(chosen)
    }

    /// Can the server's user enter that folder?
    pub(crate) fn reaches(&self, folder: &Path) -> bool {
        let mut command = self.shell(r#"cd "$1""#, [folder.into()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// A command for the server, which the guard learns of before it runs, in a process group of
    /// its own. Standard output and error are the caller's to set.
    pub(crate) fn server(
        &self,
        guard: &Guard,
        program: &Path,
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<Command, Error> {
        let mut command = self.shell(ANNOUNCED_SERVER, words(program, args));
        command.stdin(guard.announcer()?).process_group(0);
        Ok(command)
    }

    /// Runs a program, also known to the guard, to its end; what it says of its failure goes into
    /// the error.
    pub(crate) fn run(
        &self,
        guard: &Guard,
        name: &'static str,
        program: &Path,
        args: impl IntoIterator<Item = OsString>,
        input: Stdio,
    ) -> Result<(), Error> {
        let mut command = self.shell(ANNOUNCED_PROGRAM, words(program, args));
        command.stdin(input).stdout(guard.announcer()?).stderr(Stdio::piped()).process_group(0);
        let ended = command.spawn().and_then(Child::wait_with_output);
        let output = ended.map_err(Error::io("run", program))?;
        guard.forget();
        if output.status.success() {
            return Ok(());
        }
        let said = text::last_lines(&output.stderr);
        Err(Error::Program { program: name, status: output.status, output: said })
    }

    fn shell(&self, script: &str, words: impl IntoIterator<Item = OsString>) -> Command {
        let mut command;
        match self.how {
            How::Caller => command = Command::new("sh"),
            How::Switch => {
                command = Command::new("sh");
                command.uid(self.user.uid).gid(self.user.gid);
            }
            How::Capable => {
                command = Command::new("setpriv");
                command.args([
                    format!("--reuid={}", self.user.uid),
                    format!("--regid={}", self.user.gid),
                    "--init-groups".to_owned(),
                    "--inh-caps=+dac_read_search".to_owned(),
                    "--ambient-caps=+dac_read_search".to_owned(),
                    "sh".to_owned(),
                ]);
            }
        }
        command.args(["-c", script, "sh"]).args(words).current_dir("/");
        for (name, _) in env::vars_os() {
            let known = name.to_str().unwrap_or_default();
            if known.starts_with("PG") || ["LANG", "LANGUAGE", "TZ"].contains(&known) {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C");
        command
    }
}

fn words(program: &Path, args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    iter::once(program.into()).chain(args).collect()
}

/// The folder on the way to `path` that is closed to the user, going by the permission bits.
fn blocker(path: &Path, user: &User) -> PathBuf {
    let mut way: Vec<&Path> = path.ancestors().collect();
    way.reverse();
    way.into_iter().find(|folder| is_closed(folder, user)).unwrap_or(path).to_owned()
}

/// Do the permission bits of that folder keep the user out?
fn is_closed(folder: &Path, user: &User) -> bool {
    fs::metadata(folder).is_ok_and(|meta| {
        let bit = match () {
            () if meta.uid() == user.uid => 0o100,
            () if meta.gid() == user.gid => 0o010,
            () => 0o001,
        };
        meta.permissions().mode() & bit == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    #[test]
    fn the_folder_in_the_way_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let inner = temp.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let meta = fs::metadata(&inner).unwrap();
        let user = |uid, gid| User { name: "x".to_owned(), uid, gid };
        let owner = user(meta.uid(), 3_999_999);
        let member = user(3_999_999, meta.gid());
        let stranger = user(3_999_999, 3_999_999);
        for (mode, closed_to) in
            [(0o711, [false; 3]), (0o710, [false, false, true]), (0o701, [false, true, false])]
        {
            fs::set_permissions(&inner, Permissions::from_mode(mode)).unwrap();
            let closed = [&owner, &member, &stranger].map(|user| is_closed(&inner, user));
            assert_eq!(closed, closed_to, "{mode:o}");
        }
        fs::set_permissions(temp.path(), Permissions::from_mode(0o700)).unwrap();
        // The folder for temporary files may be closed itself.
        let named = blocker(&inner, &stranger);
        assert!(temp.path().starts_with(&named), "{}", named.display());
        assert!(is_closed(&named, &stranger));
    }
}
