//! The data directory: its place, `initdb`, and the files that are written at each start.
//!
//! `initdb` works in a folder beside the final one, which is renamed when all is done: an
//! interrupted one leaves nothing that looks like a data directory, and is done again.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{ErrorKind, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown, fchown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::binaries::Binaries;
use crate::guard::{Guard, is_alive, is_server};
use crate::options::Options;
use crate::run_as::RunAs;
use crate::user::{User, caller_uid};
use crate::{Error, ROLE};

/// Our settings, included by `postgresql.conf`.
const CONF: &str = "rowcall.conf";
/// Written at the top of every file of ours.
const HEADER: &str = "# Written by Rowcall at each start; changes here are lost.\n";
/// What a private server needs; [`Options::setting`] comes after it and wins.
const DEFAULTS: [(&str, &str); 4] = [
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("max_connections", "50"),
    ("log_line_prefix", "%m [%p] %d "),
];

/// The files in the caller's directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) lock: PathBuf,
    pub(crate) socket_note: PathBuf,
    unfinished: PathBuf,
}

impl Layout {
    pub(crate) fn new(dir: &Path) -> Self {
        let file = |name: &str| dir.join(name);
        Self {
            dir: dir.to_owned(),
            data: file("postgres"),
            log: file("postgres.log"),
            lock: file("postgres.lock"),
            socket_note: file("postgres.socket"),
            unfinished: file("postgres.new"),
        }
    }
}

/// A data directory that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Existing {
    pub(crate) major: u32,
    pub(crate) owner: u32,
}

/// Looks at the data directory: absent (or empty) is none.
pub(crate) fn existing(data: &Path) -> Result<Option<Existing>, Error> {
    let owner = match fs::metadata(data) {
        Ok(meta) => meta.uid(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("look at", data)(error)),
    };
    let caller = caller_uid();
    if caller != 0 && caller != owner {
        return Err(Error::WrongOwner { path: data.to_owned(), owner, caller });
    }
    let not_ours = || Error::NotADataDirectory { path: data.to_owned() };
    let version = data.join("PG_VERSION");
    match fs::read_to_string(&version) {
        Ok(text) => {
            let major = text.trim().parse().map_err(|_| not_ours())?;
            Ok(Some(Existing { major, owner }))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut entries = fs::read_dir(data).map_err(Error::io("list", data))?;
            if entries.next().is_some() { Err(not_ours()) } else { Ok(None) }
        }
        Err(error) => Err(Error::io("read", &version)(error)),
    }
}

/// Makes the caller's directory where it isn't there; returns its real path.
///
/// What is made here is closed to others, but root's can be passed through by the server's user.
pub(crate) fn make_dir(dir: &Path) -> Result<PathBuf, Error> {
    let dir = std::path::absolute(dir).map_err(Error::io("find", dir))?;
    let made: Vec<&Path> = dir.ancestors().take_while(|folder| !folder.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(Error::io("make", &dir))?;
    for folder in made {
        open_to_server(folder)?;
    }
    fs::canonicalize(&dir).map_err(Error::io("find", &dir))
}

/// Lets the server's user pass through a folder that we made as root.
pub(crate) fn open_to_server(folder: &Path) -> Result<(), Error> {
    if caller_uid() != 0 {
        return Ok(());
    }
    fs::set_permissions(folder, Permissions::from_mode(0o711))
        .map_err(Error::io("set the mode of", folder))
}

/// Makes the data directory.
pub(crate) fn init(
    layout: &Layout,
    binaries: &Binaries,
    run_as: &RunAs,
    guard: &Guard,
    options: &Options,
) -> Result<(), Error> {
    let new = &layout.unfinished;
    match fs::remove_dir_all(new) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(Error::io("remove", new)(error));
        }
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(new).map_err(Error::io("make", new))?;
    if run_as.user.uid != caller_uid() {
        chown(new, Some(run_as.user.uid), Some(run_as.user.gid))
            .map_err(Error::io("set the owner of", new))?;
    }
    tracing::info!(dir = %layout.data.display(), major = binaries.major, "making a PostgreSQL data directory");
    let mut args = vec!["-D".into(), new.clone().into_os_string()];
    args.extend(["--encoding=UTF8", "--locale=C", "--auth=peer"].map(Into::into));
    args.extend([format!("--username={ROLE}"), "--no-instructions".to_owned()].map(Into::into));
    let sync = !options.settings.iter().any(|(name, value)| name == "fsync" && value == "off");
    if !sync {
        args.push("--no-sync".into());
    }
    run_as.run(guard, "initdb", &binaries.program("initdb"), args, Stdio::null())?;
    write_file(&new.join("postgresql.auto.conf"), "", &run_as.user)?;
    let conf = new.join("postgresql.conf");
    let mut text = fs::read_to_string(&conf).map_err(Error::io("read", &conf))?;
    write!(text, "\ninclude_if_exists = '{CONF}'\n").expect("writing to a String cannot fail");
    write_file(&conf, &text, &run_as.user)?;
    for name in &options.databases {
        create_database(new, binaries, run_as, guard, name)?;
    }
    fs::rename(new, &layout.data).map_err(Error::io("rename", new))?;
    if sync {
        File::open(&layout.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(Error::io("sync", &layout.dir))?;
    }
    Ok(())
}

/// Creates a database without a server, by PostgreSQL's single-user mode.
fn create_database(
    data: &Path,
    binaries: &Binaries,
    run_as: &RunAs,
    guard: &Guard,
    name: &str,
) -> Result<(), Error> {
    let program = binaries.program("postgres");
    // A line is a statement, so a name with a line break cannot be passed.
    if name.chars().any(char::is_control) {
        return Err(Error::Setting { name: format!("database {name}") });
    }
    let statement = format!("CREATE DATABASE \"{}\"\n", name.replace('"', "\"\""));
    let input = || -> std::io::Result<File> {
        let mut file = tempfile::tempfile()?;
        file.write_all(statement.as_bytes())?;
        file.rewind()?;
        Ok(file)
    };
    let input = input().map_err(Error::io("write", Path::new("a temporary file")))?;
    let mut args = vec!["--single".into(), "-D".into(), data.into()];
    args.extend(["-c", "exit_on_error=true", "postgres"].map(Into::into));
    run_as.run(guard, "postgres --single", &program, args, input.into())
}

/// Writes the files that depend on the caller and on the options.
pub(crate) fn configure(layout: &Layout, user: &User, options: &Options) -> Result<(), Error> {
    let mut settings = HEADER.to_owned() + "# Use ALTER SYSTEM for settings of your own.\n";
    let given = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in DEFAULTS.into_iter().chain(given) {
        let line = setting_line(name, value)?;
        settings.push_str(&line);
    }
    write_file(&layout.data.join(CONF), &settings, user)?;

    let mut hba = format!("{HEADER}local all all peer map={ROLE}\n");
    for line in &options.hba {
        if line.chars().any(char::is_control) {
            return Err(Error::Setting { name: "pg_hba.conf line".to_owned() });
        }
        writeln!(hba, "{line}").expect("writing to a String cannot fail");
    }
    write_file(&layout.data.join("pg_hba.conf"), &hba, user)?;

    let mut ident = HEADER.to_owned();
    let mut names = vec![user.name.clone()];
    for uid in [0, caller_uid()] {
        names.extend(User::by_uid(uid)?.map(|user| user.name));
    }
    names.sort();
    names.dedup();
    for name in names {
        let name = name.replace('"', "\"\"");
        writeln!(ident, "{ROLE} \"{name}\" {ROLE}").expect("writing to a String cannot fail");
    }
    write_file(&layout.data.join("pg_ident.conf"), &ident, user)
}

fn setting_line(name: &str, value: &str) -> Result<String, Error> {
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c));
    if !named || value.chars().any(char::is_control) {
        return Err(Error::Setting { name: name.to_owned() });
    }
    let value = value.replace('\\', r"\\").replace('\'', "''");
    Ok(format!("{name} = '{value}'\n"))
}

/// The process id in `postmaster.pid`, and whether that server accepts connections.
pub(crate) fn postmaster(data: &Path) -> Option<(u32, bool)> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid = text.lines().next()?.trim().parse().ok()?;
    let status = text.lines().nth(7).unwrap_or_default().trim();
    Some((pid, status == "ready" || status == "standby"))
}

/// Keeps a `postmaster.pid` of a crash from being taken for a live server where its process id now
/// is another program's, as in a container that starts again.
///
/// The file isn't removed: its other lines keep PostgreSQL from starting beside processes of the
/// crashed server that are still there. PostgreSQL disregards its parent's id, so ours goes in.
pub(crate) fn disown_stale_pid(layout: &Layout, user: &User) -> Result<(), Error> {
    let Some((pid, _)) = postmaster(&layout.data) else { return Ok(()) };
    if !is_alive(pid) || is_server(pid, &layout.data) {
        return Ok(());
    }
    let path = layout.data.join("postmaster.pid");
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    write_file(&path, &format!("{}\n{rest}", std::process::id()), user)
}

/// Replaces a file of the server's as a whole. The folder is writable to the server's user, so the
/// final name is never opened for writing: it could be a link.
fn write_file(path: &Path, text: &str, user: &User) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new().prefix("rowcall-").tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        if user.uid != caller_uid() {
            fchown(file.as_file(), Some(user.uid), Some(user.gid))?;
        }
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_quoted_and_impossible_ones_refused() {
        assert_eq!(setting_line("a.b_1", r"it's \x").unwrap(), "a.b_1 = 'it''s \\\\x'\n");
        for (name, value) in [("", "1"), ("a b", "1"), ("1a", "1"), ("a", "x\ny")] {
            assert!(setting_line(name, value).is_err(), "{name:?} {value:?}");
        }
    }

    #[test]
    fn a_folder_with_something_else_in_it_is_refused_and_an_empty_one_is_not() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(existing(&temp.path().join("absent")).unwrap(), None);
        assert_eq!(existing(temp.path()).unwrap(), None);
        fs::write(temp.path().join("letter.txt"), "dear").unwrap();
        let error = existing(temp.path()).unwrap_err();
        assert!(matches!(error, Error::NotADataDirectory { .. }), "{error}");
        fs::write(temp.path().join("PG_VERSION"), "16\n").unwrap();
        let owner = caller_uid();
        assert_eq!(existing(temp.path()).unwrap(), Some(Existing { major: 16, owner }));
    }

    #[test]
    fn the_status_file_says_whether_the_server_is_ready() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(postmaster(temp.path()), None);
        let file = temp.path().join("postmaster.pid");
        let lines = "77\n/data\n1700000000\n5432\n/tmp/x\n\n  1234  5\n";
        fs::write(&file, format!("{lines}starting\n")).unwrap();
        assert_eq!(postmaster(temp.path()), Some((77, false)));
        fs::write(&file, format!("{lines}ready   \n")).unwrap();
        assert_eq!(postmaster(temp.path()), Some((77, true)));
    }

    #[test]
    fn a_stale_process_id_of_another_program_becomes_ours() {
        let temp = tempfile::tempdir().unwrap();
        let layout = Layout::new(temp.path());
        fs::create_dir(&layout.data).unwrap();
        let file = layout.data.join("postmaster.pid");
        let user = crate::user::named(caller_uid()).unwrap();
        fs::write(&file, "1\n/data\nrest\n").unwrap();
        disown_stale_pid(&layout, &user).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, format!("{}\n/data\nrest\n", std::process::id()));
    }
}
