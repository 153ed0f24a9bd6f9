//! The directory, and the small files in it.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use rowcall_core::id::{HostName, MAX_HOST_NAME_BYTES};
use rowcall_tls::issue::write_private;

use super::pki::Pki;
use crate::client::{ClientFile, FILE_NAME, Surroundings, default_data_dir};

const HOST_NAME: &str = "host-name";
const LISTEN: &str = "listen";
const HTTP_LISTEN: &str = "http-listen";
/// A machine without a usable name.
const NAMELESS: &str = "localhost";

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
        let kernel = rustix::system::uname();
        let kernel = kernel.nodename().to_string_lossy();
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        let name = host_name(&kernel, &hosts);
        write(&path, name.as_str())?;
        Ok(name)
    }

    /// The addresses of the last time: for agents and people, and over HTTP.
    pub(super) fn listen(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        let kept = |name| read(&self.0.join(name)).ok().flatten()?.trim().parse().ok();
        (kept(LISTEN), kept(HTTP_LISTEN))
    }

    /// Keeps the address for the next time.
    pub(super) fn keep_listen(&self, address: SocketAddr) -> anyhow::Result<()> {
        write(&self.0.join(LISTEN), &address.to_string())
    }

    /// Keeps the address of HTTP for the next time.
    pub(super) fn keep_http_listen(&self, address: SocketAddr) -> anyhow::Result<()> {
        write(&self.0.join(HTTP_LISTEN), &address.to_string())
    }

    /// Writes what `rowcall summary`, `rowcall status` and `rowcall host` need. Paths are relative, so that the
    /// directory may be moved.
    pub(super) fn write_client_file(&self, address: SocketAddr, pki: &Pki) -> anyhow::Result<()> {
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
        };
        let text = toml::to_string(&file).context("write TOML")?;
        let about =
            "# Written by `rowcall up` at each start, for `rowcall summary`, `status` and `host`.";
        write(&self.0.join(FILE_NAME), format!("{about}\n{text}").trim_end())
    }
}

/// The fully qualified name, where the hosts file tells one, else the kernel's; in the alphabet of
/// host names.
fn host_name(kernel: &str, hosts: &str) -> HostName {
    let qualified = hosts.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let names: Vec<&str> = line.split_whitespace().skip(1).collect();
        let ours = names.iter().any(|name| name.eq_ignore_ascii_case(kernel));
        let is_longer = |name: &&str| {
            let head = name.get(..kernel.len()).unwrap_or_default();
            head.eq_ignore_ascii_case(kernel)
                && name.get(kernel.len()..).is_some_and(|domain| domain.starts_with('.'))
        };
        names.iter().copied().find(|name| ours && is_longer(name))
    });
    let clean = |c: char| {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }
    };
    let name: String =
        qualified.unwrap_or(kernel).chars().map(clean).take(MAX_HOST_NAME_BYTES).collect();
    HostName::parse(&name).unwrap_or_else(|_| {
        HostName::parse(NAMELESS).expect("the name of nameless machines is one")
    })
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
    fn the_name_is_the_fully_qualified_one_where_the_hosts_file_tells() {
        let hosts = "127.0.0.1 localhost\n# 127.0.1.1 node1.commented.out node1\n\
                     127.0.1.1\tNode1.Example.org node1 # us\n10.0.0.2 node10.example.org node10\n";
        assert_eq!(host_name("node1", hosts).as_str(), "node1.example.org");
        assert_eq!(host_name("node10", hosts).as_str(), "node10.example.org");
        assert_eq!(host_name("node2", hosts).as_str(), "node2");
        assert_eq!(host_name("node1.other.net", hosts).as_str(), "node1.other.net");
    }

    #[test]
    fn strange_names_become_host_names() {
        assert_eq!(host_name("My Laptop's", "").as_str(), "my-laptop-s");
        assert_eq!(host_name("münchen", "").as_str(), "m-nchen");
        assert_eq!(host_name("", "").as_str(), "localhost");
        assert_eq!(host_name(&"x".repeat(300), "").as_str().len(), 253);
    }

    #[test]
    fn the_name_and_the_addresses_are_kept() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        assert_eq!(dir.listen(), (None, None));
        let (address, http) = ("127.0.0.1:4711".parse().unwrap(), "[::1]:4712".parse().unwrap());
        dir.keep_listen(address).unwrap();
        assert_eq!(dir.listen(), (Some(address), None));
        dir.keep_http_listen(http).unwrap();
        assert_eq!(dir.listen(), (Some(address), Some(http)));
        fs::write(temp.path().join(HOST_NAME), "kept.example.org\n").unwrap();
        assert_eq!(dir.host_name().unwrap().as_str(), "kept.example.org");
        fs::write(temp.path().join(HOST_NAME), "a b\n").unwrap();
        assert!(dir.host_name().is_err());
    }
}
