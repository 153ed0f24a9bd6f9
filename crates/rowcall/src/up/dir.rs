//! The directory, and the small files in it.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use rowcall_core::id::HostName;
use rowcall_tls::issue::write_private;

use super::pki::Pki;
use crate::client::{ClientFile, FILE_NAME, Surroundings, default_data_dir};
use crate::machine;

const HOST_NAME: &str = "host-name";
const LISTEN: &str = "listen";
const HTTP_LISTEN: &str = "http-listen";
const ENROLL_LISTEN: &str = "enroll-listen";

/// Which directory, as an absolute path.
pub(super) fn choose(given: Option<PathBuf>, around: &Surroundings<'_>) -> anyhow::Result<PathBuf> {
    let dir = given.or_else(|| default_data_dir(around)).ok_or_else(|| {
        anyhow!("no home directory to keep the data in: give --data-dir or set ROWCALL_DATA_DIR")
    })?;
    let dir = around.working_dir.join(dir);
    // What people are told to paste is text.
    let text = dir.to_str();
    text.with_context(|| format!("the path {} is not UTF-8; choose another", dir.display()))?;
    if dir.exists() && !dir.is_dir() {
        bail!("{} is no directory; choose another with --data-dir", dir.display());
    }
    Ok(dir)
}

/// Where it listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Listen {
    /// For agents and people.
    pub(super) telemetry: Option<SocketAddr>,
    /// For probes and metrics.
    pub(super) http: Option<SocketAddr>,
    /// For nodes that enrol.
    pub(super) enroll: Option<SocketAddr>,
}

/// A directory that is ours.
#[derive(Debug, Clone)]
pub(super) struct Dir(PathBuf);

impl Dir {
    /// The directory at its real path.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        // What people are told to paste is text.
        let text = path.to_str();
        text.with_context(|| format!("the path {} is not UTF-8; choose another", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// This machine's name: as at the first start, so that its rows stay together.
    pub(super) fn host_name(&self) -> anyhow::Result<HostName> {
        let path = self.0.join(HOST_NAME);
        if let Some(text) = read(&path)? {
            let name = HostName::parse(text.trim());
            return name.with_context(|| format!("read the name in {}", path.display()));
        }
        let name = machine::name();
        write(&path, name.as_str())?;
        Ok(name)
    }

    /// The addresses of the last time.
    pub(super) fn listen(&self) -> Listen {
        let kept = |name| read(&self.0.join(name)).ok().flatten()?.trim().parse().ok();
        Listen { telemetry: kept(LISTEN), http: kept(HTTP_LISTEN), enroll: kept(ENROLL_LISTEN) }
    }

    /// Keeps addresses for the next time; those that are none here stay as they were.
    pub(super) fn keep_listen(&self, listen: &Listen) -> anyhow::Result<()> {
        let Listen { telemetry, http, enroll } = listen;
        for (name, address) in [(LISTEN, telemetry), (HTTP_LISTEN, http), (ENROLL_LISTEN, enroll)] {
            if let Some(address) = address {
                write(&self.0.join(name), &address.to_string())?;
            }
        }
        Ok(())
    }

    /// Writes what `rowcall summary`, `host`, `token` and others need. Paths are relative, so that the
    /// directory may be moved.
    pub(super) fn write_client_file(
        &self,
        address: SocketAddr,
        enroll_server: Option<String>,
        pki: &Pki,
    ) -> anyhow::Result<()> {
        let (files, operator) = (pki.viewer(), pki.operator());
        let relative = |path: &Path| Some(path.strip_prefix(&self.0).unwrap_or(path).to_owned());
        let file = ClientFile {
            server: Some(address.to_string()),
            server_name: Some("localhost".to_owned()),
            ca: relative(&files.authorities),
            cert: relative(&files.certificate),
            key: relative(&files.key),
            operator_cert: relative(&operator.certificate),
            operator_key: relative(&operator.key),
            enroll_server,
        };
        let text = toml::to_string(&file).context("write TOML")?;
        let about = "# Written by `rowcall up` at each start, for `rowcall summary`, `status`, `host`\n# and `token`.";
        write(&self.0.join(FILE_NAME), format!("{about}\n{text}").trim_end())
    }
}

fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Whole or not at all.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    write_private(path, format!("{text}\n").as_bytes())
        .with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_and_the_addresses_are_kept() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        assert_eq!(dir.listen(), Listen::default());
        let first = Listen { telemetry: "127.0.0.1:4711".parse().ok(), ..Listen::default() };
        dir.keep_listen(&first).unwrap();
        assert_eq!(dir.listen(), first);
        let (http, enroll) = ("[::1]:4712".parse().ok(), "0.0.0.0:4713".parse().ok());
        dir.keep_listen(&Listen { telemetry: None, http, enroll }).unwrap();
        assert_eq!(dir.listen(), Listen { http, enroll, ..first });
        fs::write(temp.path().join(HOST_NAME), "kept.example.org\n").unwrap();
        assert_eq!(dir.host_name().unwrap().as_str(), "kept.example.org");
        fs::write(temp.path().join(HOST_NAME), "a b\n").unwrap();
        assert!(dir.host_name().is_err());
    }
}
