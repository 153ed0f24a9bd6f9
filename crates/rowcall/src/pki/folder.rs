//! The folder: its files, who may use it at a time, and how they are read and written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use rowcall_tls::issue::{Authority, Issued};
use rowcall_tls::private::write_private;
use rustix::fs::{FlockOperation, flock};

use super::owner::Service;
use crate::text;

/// The server's certificate, without its ending.
pub(crate) const SERVER: &str = "server";
/// Which names and addresses it has, one a line.
pub(crate) const SERVER_NAMES: &str = "server.names";
/// What is revoked, in the order of client-ca.pem.
pub(crate) const CRL: &str = "client-crl.pem";
/// The key of the client authority before, during a rotation.
pub(crate) const OLD_CLIENT_KEY: &str = "client-ca-old.key";

/// Held while somebody changes something.
const LOCK: &str = ".lock";
/// No file here is larger, in bytes.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// An authority of the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ca {
    /// What nodes trust, by its pin.
    Root,
    /// Issues certificates of aggregators.
    Server,
    /// Issues certificates of nodes and people.
    Client,
}

impl Ca {
    /// Its files' name without the ending.
    pub(crate) const fn stem(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Server => "server-ca",
            Self::Client => "client-ca",
        }
    }

    /// Its certificate's file.
    pub(crate) fn pem(self) -> String {
        format!("{}.pem", self.stem())
    }

    /// Its key's file.
    pub(crate) fn key(self) -> String {
        format!("{}.key", self.stem())
    }

    /// What to do about a key that is not there.
    fn keyless(self) -> &'static str {
        match self {
            Self::Root => "; where it was taken offline, bring it and name it with --root-key FILE",
            Self::Server => {
                "; restore it, or make a new authority with `rowcall pki rotate server`"
            }
            Self::Client => {
                "; restore it, or make a new authority with `rowcall pki rotate client`"
            }
        }
    }
}

/// A folder of authorities and certificates.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Whom the aggregator's files belong to, if not to the folder's owner.
    service: Option<Service>,
    /// Who changes something holds it.
    _lock: Option<File>,
}

impl Folder {
    /// A folder that is there, to look at.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let init = text::shell(&path.to_string_lossy());
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => bail!("{shown} is no folder; give another with --dir"),
            Err(error) if error.kind() == ErrorKind::NotFound => bail!(
                "there is no {shown}: `rowcall pki init --dir {init}` makes it, or give another \
                 folder with --dir"
            ),
            Err(error) => return Err(refused(path, "look into", &error)),
        }
        Ok(Self { path: path.to_owned(), service: Service::of(path), _lock: None })
    }

    /// A folder that is there, to change something; nobody else does meanwhile.
    pub(crate) fn lock(path: &Path) -> anyhow::Result<Self> {
        let folder = Self::open(path)?;
        let lock = path.join(LOCK);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock)
            .map_err(|error| refused(&lock, "write", &error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // Whoever was interrupted between writing and giving may have left one behind.
                if let Some(service) = folder.service {
                    service.settle(path)?;
                }
                Ok(Self { _lock: Some(file), ..folder })
            }
            Err(rustix::io::Errno::WOULDBLOCK) => bail!(
                "somebody else is changing {} right now (a timer's `rowcall pki renew`?); try \
                 again when that is done",
                path.display()
            ),
            Err(error) => Err(error).with_context(|| format!("lock {}", lock.display())),
        }
    }

    /// A folder to change something in, made if it is not there.
    pub(crate) fn make(path: &Path) -> anyhow::Result<Self> {
        if !path.exists() {
            let above = path.parent().map_or(Ok(()), fs::create_dir_all);
            let made = above.and_then(|()| DirBuilder::new().mode(0o700).create(path));
            made.map_err(|error| refused(path, "make", &error))?;
        }
        Self::lock(path)
    }

    /// From now on the aggregator's files belong to this user, whoever writes them again.
    pub(crate) fn give_to(&mut self, service: Service) -> anyhow::Result<()> {
        self.service = Some(service);
        service.settle(&self.path)
    }

    /// The user whom the aggregator's files belong to, if not to the folder's owner.
    pub(crate) fn service_user(&self) -> Option<String> {
        self.service.map(Service::name)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether a file is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.join(name).exists()
    }

    /// A file's text; none if it is not there.
    pub(crate) fn read(&self, name: &str) -> anyhow::Result<Option<String>> {
        read(&self.join(name))
    }

    /// A file's text, which must be there.
    pub(crate) fn need(&self, name: &str) -> anyhow::Result<String> {
        self.read(name)?.ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &str) -> anyhow::Error {
        let folder = self.path.display();
        if self.has(&Ca::Root.pem()) {
            return anyhow!("{name} is missing in {folder}; restore it from a backup");
        }
        let init = text::shell(&self.path.to_string_lossy());
        anyhow!(
            "{folder} has no {}: `rowcall pki init --dir {init}` makes authorities, or give \
             another folder with --dir",
            Ca::Root.pem()
        )
    }

    /// Writes a file, whole or not at all, readable for its owner alone: the folder's.
    pub(crate) fn write(&self, name: &str, content: &str) -> anyhow::Result<()> {
        write(&self.join(name), content)?;
        self.service.map_or(Ok(()), |service| service.give(&self.path, name))
    }

    /// Removes a file that may be there.
    pub(crate) fn remove(&self, name: &str) -> anyhow::Result<bool> {
        let path = self.join(name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(refused(&path, "remove", &error)),
        }
    }

    /// Writes a certificate and its key. The key goes first: one without a certificate is an
    /// interrupted start, a certificate without its key would be damage.
    pub(crate) fn write_pair(&self, stem: &str, issued: &Issued) -> anyhow::Result<()> {
        self.write(&format!("{stem}.key"), &issued.key_pem)?;
        self.write(&format!("{stem}.pem"), &issued.certificate_pem)
    }

    /// Writes an authority and its key.
    pub(crate) fn write_authority(&self, ca: Ca, authority: &Authority) -> anyhow::Result<()> {
        self.write(&ca.key(), &authority.key_pem())?;
        self.write(&ca.pem(), authority.cert_pem())
    }

    /// An authority with its key, to issue with.
    pub(crate) fn authority(&self, ca: Ca, key: Option<&Path>) -> anyhow::Result<Authority> {
        let certificate = self.need(&ca.pem())?;
        let own = self.join(&ca.key());
        let path = key.unwrap_or(&own);
        let Some(key) = read(path)? else {
            let hint = if key.is_some() { "" } else { ca.keyless() };
            bail!("there is no {}{hint}", path.display());
        };
        let newest = split(&certificate).into_iter().next().unwrap_or_default();
        self.load(&newest, &self.join(&ca.pem()), &key, path)
    }

    /// An authority from its text; the paths are for messages.
    pub(crate) fn load(
        &self,
        certificate: &str,
        certificate_path: &Path,
        key: &str,
        key_path: &Path,
    ) -> anyhow::Result<Authority> {
        let files = || format!("{} with {}", certificate_path.display(), key_path.display());
        Authority::load(certificate, key).with_context(files)
    }
}

/// A text file; none if it is not there.
pub(crate) fn read(path: &Path) -> anyhow::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(path, "read", &error)),
    };
    let is_file = file.metadata().is_ok_and(|found| found.is_file());
    if !is_file {
        bail!("{} is no file", path.display());
    }
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| refused(path, "read", &error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        bail!("{} is larger than any file here; it is another one", path.display());
    }
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|_| anyhow!("{} is damaged: it is no text", path.display()))
}

/// Writes a file readable for the owner of its folder alone, whole or not at all.
pub(crate) fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    write_private(path, content.as_bytes()).map_err(|error| refused(path, "write", &error))?;
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    // Root writes into the folder of whom the aggregator runs as.
    if rustix::process::geteuid().is_root()
        && let Ok(owner) = fs::metadata(folder)
        && owner.uid() != 0
    {
        chown(path, Some(owner.uid()), Some(owner.gid()))
            .map_err(|error| refused(path, "give away", &error))?;
    }
    Ok(())
}

/// What the file system says, and what to do.
fn refused(path: &Path, what: &str, error: &std::io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        ErrorKind::PermissionDenied => "; run it as the folder's owner or root (sudo)",
        ErrorKind::StorageFull => "; make room on the disk and run it again",
        ErrorKind::ReadOnlyFilesystem => "; give a folder that can be written with --dir",
        _ => "",
    };
    anyhow!("cannot {what} {}: {error}{hint}", path.display())
}

/// The certificates or lists in a PEM text, each by itself.
pub(crate) fn split(pem: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block = String::new();
    for line in pem.lines() {
        if line.starts_with("-----BEGIN") {
            block.clear();
        }
        block.push_str(line.trim_end());
        block.push('\n');
        if line.starts_with("-----END") {
            blocks.push(std::mem::take(&mut block));
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_split_without_what_stands_between() {
        let bundle = "# new\n-----BEGIN A-----\nx\r\n-----END A-----\n\nold:\n-----BEGIN A-----\ny\n-----END A-----";
        assert_eq!(
            split(bundle),
            ["-----BEGIN A-----\nx\n-----END A-----\n", "-----BEGIN A-----\ny\n-----END A-----\n"]
        );
        assert!(split("nothing").is_empty());
    }

    #[test]
    fn two_at_once_are_one_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let first = Folder::make(dir.path()).unwrap();
        let second = Folder::lock(dir.path()).unwrap_err().to_string();
        assert!(second.contains("somebody else is changing"), "{second}");
        drop(first);
        Folder::lock(dir.path()).unwrap();
    }

    #[test]
    fn what_is_no_text_or_no_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.pem");
        assert_eq!(read(&file).unwrap(), None);
        fs::write(&file, [0xff, 0xfe]).unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("it is no text"));
        assert!(read(dir.path()).is_err());
    }
}
