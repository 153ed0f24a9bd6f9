//! Where the aggregator is and which files prove who asks.
//!
//! Each setting is taken from its flag, else from its `ROWCALL_*` variable, else from one file:
//! `client.toml` in the data directory that `--data-dir` or `ROWCALL_DATA_DIR` names, else the
//! first there is of `./.rowcall/`, `$XDG_CONFIG_HOME/rowcall/` (`~/.config/rowcall/`),
//! `/etc/rowcall/`, `/etc/rowcall/pki/` (for whoever may read it) and `rowcall up`'s default data
//! directory.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use rowcall_agent::config::Endpoint;
use rowcall_tls::load::Files;
use serde::{Deserialize, Serialize};

use super::ClientError;
use crate::cli::{ConnectionArgs, DEFAULT_DIR};
use crate::pki::ENROLL_PORT;
use crate::text;

/// The file's name, in a data directory or a folder of settings.
pub(crate) const FILE_NAME: &str = "client.toml";

/// Largest file that is read, in bytes. Ours has 300.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// What the flags say.
type Given = ConnectionArgs;

/// What a command does, which decides the certificate that it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// It reads: roles viewer and operator.
    Read,
    /// It changes something: role operator.
    Change,
}

/// What to connect to, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// HOST:PORT.
    pub(crate) server: String,
    /// The name in the server's certificate where it is not the host dialled.
    pub(crate) server_name: Option<String>,
    /// Our certificate, its key, and the authority of the server's.
    pub(crate) files: Files,
    /// Where nodes enrol, if a file says it.
    pub(crate) enroll_server: Option<String>,
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
    /// The certificate for what changes something, where that is another.
    pub(crate) operator_cert: Option<PathBuf>,
    /// Its key.
    pub(crate) operator_key: Option<PathBuf>,
    /// HOST:PORT where nodes enrol, for the joining command.
    pub(crate) enroll_server: Option<String>,
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
    /// A variable that is there and not empty.
    pub(crate) fn var(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    fn home(&self) -> Option<PathBuf> {
        self.var("HOME").map(PathBuf::from)
    }
}

/// Where `rowcall up` keeps its data unless told otherwise: `ROWCALL_DATA_DIR`, for root
/// `/var/lib/rowcall-up`, else `$XDG_DATA_HOME/rowcall` or `~/.local/share/rowcall`.
pub(crate) fn default_data_dir(around: &Surroundings<'_>) -> Option<PathBuf> {
    around.var("ROWCALL_DATA_DIR").map(PathBuf::from).or_else(|| own_data_dir(around))
}

fn own_data_dir(around: &Surroundings<'_>) -> Option<PathBuf> {
    if around.is_root {
        return Some(around.root.join("var/lib/rowcall-up"));
    }
    let data = around.var("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let data = data.or_else(|| Some(around.home()?.join(".local/share")))?;
    Some(data.join("rowcall"))
}

impl Settings {
    /// Where nodes enrol: as a file says, else the default port of the aggregator's host.
    pub(crate) fn enroll_server(&self) -> String {
        let host = self.server.rsplit_once(':').map_or(self.server.as_str(), |(host, _)| host);
        self.enroll_server.clone().unwrap_or_else(|| format!("{host}:{ENROLL_PORT}"))
    }

    /// Puts flags, variables and file together.
    ///
    /// # Errors
    /// Says everything that is missing at once, and how to give it.
    pub(crate) fn find(
        given: &Given,
        around: &Surroundings<'_>,
        need: Need,
    ) -> Result<Self, ClientError> {
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
            operator_cert: None,
            operator_key: None,
            enroll_server: None,
        };
        own.paired()?;
        if let Some(settings) = own.complete()? {
            return Ok(settings);
        }
        let mut searched = Vec::new();
        if let Some(file) = find_file(given, around, &mut searched)? {
            // The file's name for the server's certificate belongs to the file's server.
            if own.server.is_none() {
                own.server = file.server;
                own.server_name = own.server_name.or(file.server_name);
                own.enroll_server = file.enroll_server;
            }
            // A certificate and its key come from one place, or they would not fit.
            if own.cert.is_none() {
                let operator = file.operator_cert.zip(file.operator_key);
                let operator = operator.filter(|_| need == Need::Change);
                (own.cert, own.key) = match operator {
                    Some((cert, key)) => (Some(cert), Some(key)),
                    None => (file.cert, file.key),
                };
            }
            own.ca = own.ca.or(file.ca);
        }
        own.complete()?.ok_or_else(|| ClientError::Settings(own.missing(&searched)))
    }
}

impl ClientFile {
    /// A certificate without its key, or the reverse, is a slip that says its own remedy.
    fn paired(&self) -> Result<(), ClientError> {
        let (there, missing) = match (&self.cert, &self.key) {
            (Some(_), None) => ("certificate (--cert or ROWCALL_CERT)", "its key: --key FILE"),
            (None, Some(_)) => ("key (--key or ROWCALL_KEY)", "its certificate: --cert FILE"),
            _ => return Ok(()),
        };
        Err(ClientError::Settings(format!("a {there} is given; give also {missing}")))
    }

    /// The settings, if all is there.
    ///
    /// # Errors
    /// When the server's address is none.
    fn complete(&self) -> Result<Option<Settings>, ClientError> {
        let (Some(server), Some(certificate), Some(key), Some(authorities)) =
            (&self.server, &self.cert, &self.key, &self.ca)
        else {
            return Ok(None);
        };
        let endpoint = Endpoint::parse(server)
            .map_err(|error| ClientError::Settings(format!("the aggregator's address {error}")))?;
        let files = Files {
            certificate: certificate.clone(),
            key: key.clone(),
            authorities: authorities.clone(),
        };
        let server = format!("{}:{}", endpoint.host, endpoint.port);
        let (server_name, enroll_server) = (self.server_name.clone(), self.enroll_server.clone());
        Ok(Some(Settings { server, server_name, files, enroll_server }))
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
        let text = match read(path) {
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
        let (operator_cert, operator_key) = (&mut file.operator_cert, &mut file.operator_key);
        let paths = [&mut file.ca, &mut file.cert, &mut file.key, operator_cert, operator_key];
        for path in paths.into_iter().flatten() {
            *path = folder.join(&*path);
        }
        Ok(Some(file))
    }
}

/// A file that we may not read.
fn is_refused(path: &Path) -> bool {
    File::open(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// A settings file, which is small and no device.
fn read(path: &Path) -> std::io::Result<String> {
    let wrong = |why: String| std::io::Error::new(ErrorKind::InvalidData, why);
    // Asked before it is opened: opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(wrong("is no file".to_owned()));
    }
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        return Err(wrong(format!(
            "is larger than {MAX_FILE_BYTES} bytes; it is no settings file"
        )));
    }
    Ok(text)
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
    let pki = around.root.join(DEFAULT_DIR.trim_start_matches('/'));
    let folders = [
        Some(around.working_dir.join(".rowcall")),
        config.map(|config| config.join("rowcall")),
        Some(around.root.join("etc/rowcall")),
        // The operator of the aggregator's host is root, or whom the aggregator runs as.
        Some(pki).filter(|pki| !is_refused(&pki.join(FILE_NAME))),
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
