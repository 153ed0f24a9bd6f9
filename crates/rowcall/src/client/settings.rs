//! Where the aggregator is and which files prove who asks.
//!
//! Each setting is taken from its flag, else from its `ROWCALL_*` variable, else from one file:
//! `client.toml` in the data directory that `--data-dir` or `ROWCALL_DATA_DIR` names, else the
//! first there is of `./.rowcall/`, `$XDG_CONFIG_HOME/rowcall/` (`~/.config/rowcall/`),
//! `/etc/rowcall/` and `rowcall up`'s default data directory.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rowcall_tls::load::Files;
use serde::{Deserialize, Serialize};

use super::ClientError;
use crate::cli::ConnectionArgs;
use crate::text;

/// The file's name, in a data directory or a folder of settings.
pub(crate) const FILE_NAME: &str = "client.toml";

/// What the flags say.
type Given = ConnectionArgs;

/// What to connect to, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// HOST:PORT.
    pub(crate) server: String,
    /// The name in the server's certificate where it is not the host dialled.
    pub(crate) server_name: Option<String>,
    /// Our certificate, its key, and the authority of the server's.
    pub(crate) files: Files,
}

/// The content of `client.toml`. Paths are relative to the file's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientFile {
    /// HOST:PORT.
    pub(crate) server: Option<String>,
    /// The name in the server's certificate where it is not the host dialled.
    pub(crate) server_name: Option<String>,
    /// The CA certificate.
    pub(crate) ca: Option<PathBuf>,
    /// Our certificate.
    pub(crate) cert: Option<PathBuf>,
    /// Its key.
    pub(crate) key: Option<PathBuf>,
}

/// What stands around the command.
pub(crate) struct Surroundings<'a> {
    /// Environment variables; empty ones count as absent.
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
    /// The working directory.
    pub(crate) working_dir: &'a Path,
    /// The root of the file system, another in tests.
    pub(crate) root: &'a Path,
    /// Runs as root.
    pub(crate) is_root: bool,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Surroundings<'_> {
    fn var(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    fn home(&self) -> Option<PathBuf> {
        self.var("HOME").map(PathBuf::from)
    }
}

/// Where `rowcall up` keeps its data unless told otherwise: `ROWCALL_DATA_DIR`, for root
/// `/var/lib/rowcall`, else `$XDG_DATA_HOME/rowcall` or `~/.local/share/rowcall`.
pub(crate) fn default_data_dir(around: &Surroundings<'_>) -> Option<PathBuf> {
    around.var("ROWCALL_DATA_DIR").map(PathBuf::from).or_else(|| own_data_dir(around))
}

fn own_data_dir(around: &Surroundings<'_>) -> Option<PathBuf> {
    if around.is_root {
        return Some(around.root.join("var/lib/rowcall"));
    }
    let data = around.var("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let data = data.or_else(|| Some(around.home()?.join(".local/share")))?;
    Some(data.join("rowcall"))
}

impl Settings {
    /// Puts flags, variables and file together.
    ///
    /// # Errors
    /// Says everything that is missing at once, and how to give it.
    pub(crate) fn find(given: &Given, around: &Surroundings<'_>) -> Result<Self, ClientError> {
        let path = |flag: &Option<PathBuf>, name| {
            flag.clone().or_else(|| around.var(name).map(PathBuf::from))
        };
        let text = |flag: &Option<String>, name| flag.clone().or_else(|| around.var(name));
        let mut own = ClientFile {
            server: text(&given.server, "ROWCALL_SERVER"),
            server_name: text(&given.server_name, "ROWCALL_SERVER_NAME"),
            ca: path(&given.ca, "ROWCALL_CA"),
            cert: path(&given.cert, "ROWCALL_CERT"),
            key: path(&given.key, "ROWCALL_KEY"),
        };
        if let Some(settings) = own.complete() {
            return Ok(settings);
        }
        let mut searched = Vec::new();
        if let Some(file) = find_file(given, around, &mut searched)? {
            // The file's name for the server's certificate belongs to the file's server.
            if own.server.is_none() {
                own.server = file.server;
                own.server_name = own.server_name.or(file.server_name);
            }
            // A certificate and its key come from one place, or they would not fit.
            if own.cert.is_none() && own.key.is_none() {
                own.cert = file.cert;
                own.key = file.key;
            }
            own.ca = own.ca.or(file.ca);
        }
        own.complete().ok_or_else(|| ClientError::Settings(own.missing(&searched)))
    }
}

impl ClientFile {
    fn complete(&self) -> Option<Settings> {
        Some(Settings {
            server: self.server.clone()?,
            server_name: self.server_name.clone(),
            files: Files {
                certificate: self.cert.clone()?,
                key: self.key.clone()?,
                authorities: self.ca.clone()?,
            },
        })
    }

    fn missing(&self, searched: &[PathBuf]) -> String {
        let all = [
            (self.server.is_none(), "--server HOST:PORT"),
            (self.ca.is_none(), "--ca FILE"),
            (self.cert.is_none(), "--cert FILE"),
            (self.key.is_none(), "--key FILE"),
        ];
        let missing: Vec<&str> =
            all.iter().filter(|(missing, _)| *missing).map(|(_, name)| *name).collect();
        let searched: Vec<String> =
            searched.iter().map(|path| format!("\n  {}", path.display())).collect();
        let no_file = if searched.is_empty() {
            String::new()
        } else {
            format!("; there is none of the files that would say it:{}", searched.concat())
        };
        format!(
            "don't know how to reach the aggregator: missing {}{no_file}\n\
             give --data-dir DIR of a `rowcall up`, or start one, or give the options named above",
            missing.join(", ")
        )
    }

    /// Reads a file; none if there is no such file.
    fn read(path: &Path) -> Result<Option<Self>, ClientError> {
        let bad = |what: &str| ClientError::Settings(format!("{}: {what}", path.display()));
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(bad(&error.to_string())),
        };
        let mut file: Self =
            toml::from_str(&text).map_err(|error| bad(error.to_string().trim()))?;
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        for path in [&mut file.ca, &mut file.cert, &mut file.key].into_iter().flatten() {
            *path = folder.join(&*path);
        }
        Ok(Some(file))
    }
}

/// The file to use, and where it was looked for.
fn find_file(
    given: &Given,
    around: &Surroundings<'_>,
    searched: &mut Vec<PathBuf>,
) -> Result<Option<ClientFile>, ClientError> {
    let named = given.data_dir.clone().or_else(|| around.var("ROWCALL_DATA_DIR").map(Into::into));
    if let Some(dir) = named {
        let path = dir.join(FILE_NAME);
        let found = ClientFile::read(&path)?;
        if found.is_none() && given.data_dir.is_some() {
            let (path, dir) = (path.display(), text::shell(&dir.to_string_lossy()));
            let words = format!("there is no {path}: start `rowcall up --data-dir {dir}` first");
            return Err(ClientError::Settings(words));
        }
        searched.push(path);
        return Ok(found);
    }
    let config = around.var("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let config = config.or_else(|| Some(around.home()?.join(".config")));
    let folders = [
        Some(around.working_dir.join(".rowcall")),
        config.map(|config| config.join("rowcall")),
        Some(around.root.join("etc/rowcall")),
        own_data_dir(around),
    ];
    for path in folders.into_iter().flatten().map(|folder| folder.join(FILE_NAME)) {
        if let Some(file) = ClientFile::read(&path)? {
            return Ok(Some(file));
        }
        searched.push(path);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    struct World {
        root: tempfile::TempDir,
        env: HashMap<&'static str, String>,
        is_root: bool,
    }

    impl World {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let home = root.path().join("home").display().to_string();
            Self { root, env: HashMap::from([("HOME", home)]), is_root: false }
        }

        fn file(&self, folder: &str, text: &str) -> PathBuf {
            let folder = self.root.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(FILE_NAME), text).unwrap();
            folder
        }

        fn find(&self, given: &Given) -> Result<Settings, ClientError> {
            Settings::find(
                given,
                &Surroundings {
                    env: &|name| self.env.get(name).cloned(),
                    working_dir: &self.root.path().join("work"),
                    root: self.root.path(),
                    is_root: self.is_root,
                },
            )
        }
    }

    /// A whole file that names its server so.
    fn naming(server: &str) -> String {
        format!(
            "server = \"{server}\"\nserver_name = \"localhost\"\nca = \"pki/ca.pem\"\n\
             cert = \"pki/viewer.pem\"\nkey = \"/abs/viewer.key\"\n"
        )
    }

    #[test]
    fn flags_go_before_variables_before_the_file() {
        let mut world = World::new();
        let folder = world.file("work/.rowcall", &naming("file:1"));
        let settings = world.find(&Given::default()).unwrap();
        assert_eq!(settings.server, "file:1");
        assert_eq!(settings.server_name.as_deref(), Some("localhost"));
        assert_eq!(settings.files.authorities, folder.join("pki/ca.pem"));
        assert_eq!(settings.files.key, Path::new("/abs/viewer.key"));

        world.env.insert("ROWCALL_SERVER", "env:2".to_owned());
        world.env.insert("ROWCALL_CA", "/env/ca.pem".to_owned());
        let settings = world.find(&Given::default()).unwrap();
        assert_eq!((settings.server.as_str(), settings.server_name), ("env:2", None));
        assert_eq!(settings.files.authorities, Path::new("/env/ca.pem"));
        assert_eq!(settings.files.certificate, folder.join("pki/viewer.pem"));

        let given = Given { server: Some("flag:3".to_owned()), ..Given::default() };
        assert_eq!(world.find(&given).unwrap().server, "flag:3");
    }

    #[test]
    fn files_are_looked_for_from_the_nearest_to_the_most_general() {
        let mut world = World::new();
        let expect = |world: &mut World, folder: &str| {
            world.file(folder, &naming(folder.rsplit('/').nth(1).unwrap_or("x")));
            world.find(&Given::default()).unwrap().server
        };
        assert_eq!(expect(&mut world, "home/.local/share/rowcall"), "share");
        assert_eq!(expect(&mut world, "etc/rowcall"), "etc");
        assert_eq!(expect(&mut world, "home/.config/rowcall"), ".config");
        assert_eq!(expect(&mut world, "work/.rowcall"), "work");
        let dir = world.file("named/dir", &naming("variable"));
        world.env.insert("ROWCALL_DATA_DIR", dir.display().to_string());
        assert_eq!(world.find(&Given::default()).unwrap().server, "variable");
        let dir = world.file("flag/dir", &naming("flag"));
        let given = Given { data_dir: Some(dir), ..Given::default() };
        assert_eq!(world.find(&given).unwrap().server, "flag");
    }

    #[test]
    fn roots_default_is_under_var() {
        let mut world = World::new();
        world.is_root = true;
        world.file("var/lib/rowcall", &naming("root"));
        assert_eq!(world.find(&Given::default()).unwrap().server, "root");
    }

    #[test]
    fn what_is_missing_is_said_at_once_with_the_places_searched() {
        let world = World::new();
        let given = Given { ca: Some("ca.pem".into()), ..Given::default() };
        let message = world.find(&given).unwrap_err().to_string();
        for part in ["--server HOST:PORT, --cert FILE, --key FILE", ".rowcall/client.toml", "etc"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_named_directory_without_the_file_and_a_damaged_file_are_errors() {
        let world = World::new();
        let given = Given { data_dir: Some("/nowhere".into()), ..Given::default() };
        let message = world.find(&given).unwrap_err().to_string();
        assert!(message.contains("rowcall up --data-dir /nowhere"), "{message}");
        world.file("work/.rowcall", "servr = \"x\"\n");
        let message = world.find(&Given::default()).unwrap_err().to_string();
        assert!(message.contains("servr") && message.contains(FILE_NAME), "{message}");
    }

    #[test]
    fn a_key_from_a_flag_is_never_paired_with_the_files_certificate() {
        let world = World::new();
        world.file("work/.rowcall", &naming("file:1"));
        let given = Given { key: Some("other.key".into()), ..Given::default() };
        let message = world.find(&given).unwrap_err().to_string();
        assert!(message.contains("missing --cert FILE\n"), "{message}");
    }
}
