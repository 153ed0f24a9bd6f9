//! Finding PostgreSQL's server binaries.
//!
//! A folder that was named explicitly (`PG_BIN`) wins. Else PATH and the folders where
//! distributions put server binaries (which Debian keeps out of PATH) are searched: for a new data
//! directory the newest supported major is taken, for an existing one the major that made it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Error, SUPPORTED_MAJORS, text};

/// Folders that hold one folder per major, and what stands before the major in its name.
const DISTRIBUTION_ROOTS: [(&str, &str); 2] = [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")];

/// A folder with `postgres`, `initdb` and their siblings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binaries {
    pub(crate) dir: PathBuf,
    pub(crate) major: u32,
}

impl Binaries {
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Where to look.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    /// The only folder to look in.
    explicit: Option<PathBuf>,
    path: Vec<PathBuf>,
    distribution: Vec<PathBuf>,
}

impl Search {
    /// The folder if given, else `PG_BIN`, else PATH and the distribution's folders.
    pub(crate) fn new(explicit: Option<PathBuf>) -> Self {
        let pg_bin = || env::var_os("PG_BIN").filter(|v| !v.is_empty()).map(PathBuf::from);
        let path = env::var_os("PATH").unwrap_or_default();
        Self {
            explicit: explicit.or_else(pg_bin),
            path: env::split_paths(&path).filter(|dir| dir.is_absolute()).collect(),
            distribution: distribution_dirs(),
        }
    }

    /// Binaries for a new data directory, or for the existing one of that major.
    pub(crate) fn find(&self, existing: Option<(&Path, u32)>) -> Result<Binaries, Error> {
        if let Some((path, major)) = existing.filter(|(_, m)| !SUPPORTED_MAJORS.contains(m)) {
            return Err(Error::Unsupported { path: path.to_owned(), major });
        }
        let missing = |searched: String| {
            let major = existing.map(|(_, major)| major);
            Error::Missing { major, searched }
        };
        if let Some(dir) = &self.explicit {
            let found = inspect(dir)?.ok_or_else(|| missing(dir.display().to_string()))?;
            return match existing {
                Some((data_dir, needed)) if needed != found.major => Err(Error::MajorMismatch {
                    bin_dir: dir.clone(),
                    found: found.major,
                    data_dir: data_dir.to_owned(),
                    needed,
                }),
                _ if !SUPPORTED_MAJORS.contains(&found.major) => {
                    Err(Error::Unsupported { path: dir.clone(), major: found.major })
                }
                _ => Ok(found),
            };
        }
        let mut found: Vec<Binaries> = Vec::new();
        for dir in self.path.iter().chain(&self.distribution) {
            match inspect(dir) {
                Ok(binaries) => found.extend(binaries),
                Err(error) => tracing::debug!(%error, "passing over PostgreSQL binaries"),
            }
        }
        let usable = |b: &&Binaries| match existing {
            Some((_, needed)) => b.major == needed,
            None => SUPPORTED_MAJORS.contains(&b.major),
        };
        // `max_by_key` takes the last of equals; PATH comes first and shall win.
        if let Some(best) = found.iter().rev().filter(usable).max_by_key(|b| b.major) {
            return Ok(best.clone());
        }
        match found.into_iter().max_by_key(|b| b.major) {
            Some(other) if existing.is_none() => {
                Err(Error::Unsupported { path: other.dir, major: other.major })
            }
            _ => Err(missing("PATH, /usr/lib/postgresql/*/bin or /usr/pgsql-*/bin".to_owned())),
        }
    }
}

/// Is there a program of that name on PATH?
pub(crate) fn on_path(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

fn distribution_dirs() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for (root, prefix) in DISTRIBUTION_ROOTS {
        let Ok(entries) = fs::read_dir(root) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let major = name.to_str().and_then(|name| name.strip_prefix(prefix));
            if major.is_some_and(|major| major.parse::<u32>().is_ok()) {
                dirs.push(entry.path().join("bin"));
            }
        }
    }
    dirs
}

/// The binaries of that folder, if there are any, with links followed: `initdb` and `postgres` need
/// the files that stand beside the real ones.
fn inspect(dir: &Path) -> Result<Option<Binaries>, Error> {
    let Ok(postgres) = fs::canonicalize(dir.join("postgres")) else { return Ok(None) };
    let Some(dir) = postgres.parent().filter(|dir| dir.join("initdb").is_file()) else {
        return Ok(None);
    };
    let output = Command::new(&postgres).arg("--version").stdin(Stdio::null()).output();
    let output = output.map_err(Error::io("run", &postgres))?;
    match parse_major(&String::from_utf8_lossy(&output.stdout)) {
        Some(major) => Ok(Some(Binaries { dir: dir.to_owned(), major })),
        None => Err(Error::Program {
            program: "postgres --version",
            status: output.status,
            output: text::last_lines(&output.stderr),
        }),
    }
}

/// The major in `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` or `... 18beta1`.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    /// A folder with an `initdb` and a `postgres` that only know their version.
    fn fake(parent: &TempDir, name: &str, version: &str) -> PathBuf {
        let dir = parent.path().join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("initdb"), "").unwrap();
        script(&dir.join("postgres"), &format!("echo 'postgres (PostgreSQL) {version}'"));
        dir
    }

    /// Another process writes the program: were it this one, a child that another test is just
    /// forking could hold it open for writing, and the kernel would refuse to run it.
    fn script(path: &Path, line: &str) {
        let write = r#"printf '#!/bin/sh\n%s\n' "$2" >"$1" && chmod 755 "$1""#;
        let done = Command::new("sh").args(["-c", write, "sh"]).arg(path).arg(line).status();
        assert!(done.unwrap().success());
    }

    fn search(path: &[PathBuf]) -> Search {
        Search { explicit: None, path: path.to_vec(), distribution: Vec::new() }
    }

    #[test]
    fn majors_are_read_from_every_kind_of_version() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(parse_major("postgres (PostgreSQL) 9"), Some(9));
        assert_eq!(parse_major("cockroach 23"), None);
    }

    #[test]
    fn a_new_directory_takes_the_newest_and_an_existing_one_its_own_major() {
        let temp = TempDir::new().unwrap();
        let dirs = [
            fake(&temp, "a", "15.1"),
            fake(&temp, "b", "17.2 (x)"),
            fake(&temp, "c", "14.9"),
            fake(&temp, "d", "19.0"),
        ];
        let search = search(&dirs);
        assert_eq!(search.find(None).unwrap().major, 17);
        assert_eq!(search.find(Some((temp.path(), 15))).unwrap().major, 15);
        let error = search.find(Some((temp.path(), 16))).unwrap_err().to_string();
        assert!(error.contains("apt-get install postgresql-16`"), "{error}");
        assert!(error.contains("PG_BIN"), "{error}");
        let error = search.find(Some((temp.path(), 14))).unwrap_err().to_string();
        assert!(error.contains("is of PostgreSQL 14, but only majors 15 to 18"), "{error}");
    }

    #[test]
    fn only_unsupported_majors_are_reported_as_such() {
        let temp = TempDir::new().unwrap();
        let old = fake(&temp, "a", "14.9");
        let error = search(std::slice::from_ref(&old)).find(None).unwrap_err();
        assert!(matches!(error, Error::Unsupported { major: 14, .. }), "{error}");
        let explicit = Search { explicit: Some(old), path: Vec::new(), distribution: Vec::new() };
        let error = explicit.find(None).unwrap_err();
        assert!(matches!(error, Error::Unsupported { major: 14, .. }), "{error}");
    }

    #[test]
    fn a_named_folder_wins_and_must_fit_the_data_directory() {
        let temp = TempDir::new().unwrap();
        let explicit = fake(&temp, "a", "16.1");
        let newer = fake(&temp, "b", "18.1");
        let search =
            Search { explicit: Some(explicit), path: vec![newer], distribution: Vec::new() };
        assert_eq!(search.find(None).unwrap().major, 16);
        let error = search.find(Some((temp.path(), 18))).unwrap_err();
        assert!(matches!(error, Error::MajorMismatch { found: 16, needed: 18, .. }), "{error}");
    }

    #[test]
    fn named_binaries_that_do_not_run_say_why() {
        let temp = TempDir::new().unwrap();
        let dir = fake(&temp, "a", "16.1");
        script(&dir.join("postgres"), "echo no libicu here >&2; exit 127");
        let error = search(std::slice::from_ref(&dir)).find(None).unwrap_err();
        assert!(matches!(error, Error::Missing { .. }), "{error}");
        let search = Search { explicit: Some(dir), path: Vec::new(), distribution: Vec::new() };
        let error = search.find(None).unwrap_err().to_string();
        assert!(error.contains("postgres --version failed"), "{error}");
        assert!(error.contains("no libicu here"), "{error}");
    }

    #[test]
    fn missing_binaries_name_the_package() {
        let temp = TempDir::new().unwrap();
        let explicit = Some(temp.path().to_owned());
        let named = Search { explicit, path: Vec::new(), distribution: Vec::new() };
        for search in [named, search(&[temp.path().to_owned()])] {
            let error = search.find(None).unwrap_err().to_string();
            assert!(error.contains("`apt-get install postgresql`"), "{error}");
            assert!(error.contains("PG_BIN"), "{error}");
        }
    }

    #[test]
    fn links_lead_to_the_folder_of_the_real_programs() {
        let temp = TempDir::new().unwrap();
        let real = fake(&temp, "real", "15.3");
        let links = temp.path().join("links");
        fs::create_dir(&links).unwrap();
        symlink(real.join("postgres"), links.join("postgres")).unwrap();
        let found = search(&[links]).find(None).unwrap();
        assert_eq!(found.dir, fs::canonicalize(real).unwrap());
    }
}
