//! The folder that enrolment and renewal fill: one generation after the other, each whole.
//!
//! | in it | what |
//! |---|---|
//! | `current` | a link to the generation in use, swapped at once |
//! | `gen-…` | `agent.pem`, `agent.key`, `ca.pem` and `identity.toml`, which belong together |
//! | `enroll.key`, `renew.key` | the key of a request that was not answered yet: sent again with the same key it gives the same certificate, so a lost reply costs nothing |
//! | `notes.json` | what went wrong last, for `status` |
//!
//! Whoever reads follows the link once and reads the generation that it names, so never parts of
//! two. The folder itself is the lock: one process changes it at a time.

mod about;
mod bundle;
mod folder;
mod notes;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use rowcall_core::id::HostName;
use rowcall_tls::identity::Role;
use rowcall_tls::load::{Authorities, Files, LoadError, Material};
use rowcall_tls::request::NewKey;

pub(crate) use about::About;
pub(crate) use bundle::{Bundle, InvalidBundle};
use folder::Folder;
pub(crate) use notes::{Note, Notes, Told, read as notes_in};

const CURRENT: &str = "current";
const GENERATION: &str = "gen-";
const CERTIFICATE: &str = "agent.pem";
const KEY: &str = "agent.key";
const AUTHORITIES: &str = "ca.pem";
const ABOUT: &str = "identity.toml";

/// A generation may be replaced between following the link and reading; not this often in a row.
const TRIES: usize = 5;

/// An identity as it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Of its generation.
    pub(crate) files: Files,
    pub(crate) about: About,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// It cannot be made, read or written.
    #[error("the identity's folder {} cannot be {what}: {source}; {}", dir.display(), advice(source))]
    Io {
        /// The folder.
        dir: PathBuf,
        /// "read", "written".
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another process is at it.
    #[error(
        "another process works in {} at this moment, an enrolment or a renewal; try again when it \
         is done", .0.display()
    )]
    Locked(PathBuf),
    /// What is in it is none.
    #[error(
        "{} is damaged: {detail}; enrol this node anew with `rowcall-agent enroll --again --name HOST` \
         and a token of `rowcall token create --host HOST --replace`", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// What was to be kept fits not together.
    #[error("the certificate that came is not kept: {0}")]
    Unusable(String),
    /// No key could be made or read.
    #[error("no key for a certificate: {0}")]
    Key(String),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        _ if is_link(error) => "it is a link: name the folder itself as identity_dir",
        io::ErrorKind::PermissionDenied => {
            "run this as root or as the agent's user, or name another folder as identity_dir"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "name a folder on a disk that can be written as identity_dir"
        }
        io::ErrorKind::NotADirectory => "name a folder that is no file and no link as identity_dir",
        io::ErrorKind::StorageFull => "free some room on its disk",
        _ => "check its disk",
    }
}

fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

impl FolderError {
    fn io(dir: &Path, what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { dir: dir.to_owned(), what, source }
    }

    /// Whether it may pass by itself.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                use io::ErrorKind::{NotADirectory, PermissionDenied, ReadOnlyFilesystem};
                let lasts = [NotADirectory, PermissionDenied, ReadOnlyFilesystem];
                !lasts.contains(&source.kind()) && !is_link(source)
            }
            Self::Locked(_) => true,
            Self::Damaged { .. } | Self::Unusable(_) | Self::Key(_) => false,
        }
    }
}

/// A request whose key is kept until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    Enrolment,
    Renewal,
}

impl Pending {
    const ALL: [Self; 2] = [Self::Enrolment, Self::Renewal];

    const fn file(self) -> &'static str {
        match self {
            Self::Enrolment => "enroll.key",
            Self::Renewal => "renew.key",
        }
    }
}

/// The identity in a folder, if there is one. Blocks for a link and a small file.
///
/// # Errors
/// [`FolderError`]: it cannot be read, or is damaged.
pub(crate) fn held(dir: &Path) -> Result<Option<Held>, FolderError> {
    found(dir).map(|found| found.map(|(held, _)| held))
}

fn found(dir: &Path) -> Result<Option<(Held, Folder)>, FolderError> {
    let failed = FolderError::io(dir, "read");
    let folder = match Folder::open(dir) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    found_in(&folder)
}

/// With its generation.
fn found_in(folder: &Folder) -> Result<Option<(Held, Folder)>, FolderError> {
    let failed = FolderError::io(folder.path(), "read");
    let mut tries = TRIES;
    loop {
        let Some(name) = folder.linked(CURRENT).map_err(&failed)? else { return Ok(None) };
        if !is_generation(&name) {
            let detail = format!("it leads to {name:?}, which is no identity in this folder");
            return Err(FolderError::Damaged { path: folder.path().join(CURRENT), detail });
        }
        let place = folder.path().join(&name);
        let damaged = |detail: String| FolderError::Damaged { path: place.join(ABOUT), detail };
        let read = folder.folder(&name).and_then(|generation| {
            let bytes = generation.read(ABOUT)?.ok_or(io::ErrorKind::NotFound)?;
            Ok((bytes, generation))
        });
        match read {
            Ok((bytes, generation)) => {
                let files = Files {
                    certificate: place.join(CERTIFICATE),
                    key: place.join(KEY),
                    authorities: place.join(AUTHORITIES),
                };
                let about = About::read(&bytes).map_err(damaged)?;
                return Ok(Some((Held { files, about }, generation)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries > 0 => tries -= 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged("it is missing".to_owned()));
            }
            Err(error)
                if is_link(&error)
                    || matches!(
                        error.kind(),
                        io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput
                    ) =>
            {
                return Err(damaged(error.to_string()));
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// What the link names now: another one for each identity. `None` where there is none, or nothing
/// can be read.
pub(crate) fn generation(dir: &Path) -> Option<PathBuf> {
    std::fs::read_link(dir.join(CURRENT)).ok()
}

/// Loads what is held: certificate, key and authorities. `None` where there is no identity.
///
/// # Errors
/// [`FolderError`], or what is wrong with the files.
pub(crate) fn load(dir: &Path) -> Result<Option<(Held, Material)>, LoadHeldError> {
    let mut tries = TRIES;
    loop {
        let Some((held, generation)) = found(dir)? else { return Ok(None) };
        match material(&held.files, &generation) {
            Ok(material) => return Ok(Some((held, material))),
            Err(LoadError::Read { error, .. })
                if error.kind() == io::ErrorKind::NotFound && tries > 0 =>
            {
                tries -= 1;
            }
            Err(error) => return Err(damaged(&held.files, error)),
        }
    }
}

/// The authorities of what is held alone. `None` where there is no identity.
///
/// # Errors
/// As [`load`].
pub(crate) fn authorities(dir: &Path) -> Result<Option<Authorities>, LoadHeldError> {
    let Some((held, generation)) = found(dir)? else { return Ok(None) };
    let path = &held.files.authorities;
    let authorities = Authorities::load_by(path, &|path, max| read_in(&generation, path, max));
    authorities.map(Some).map_err(|error| damaged(&held.files, error))
}

fn material(files: &Files, generation: &Folder) -> Result<Material, LoadError> {
    Material::load_by(files, &|path, max| read_in(generation, path, max))
}

/// A file of a generation, whose folder another user may write to.
fn read_in(generation: &Folder, path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    generation.read_at_most(name, max)?.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn is_generation(name: &str) -> bool {
    name.strip_prefix(GENERATION).is_some_and(|number| {
        number.len() == 16 && number.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// What is wrong with a file that this program wrote: how to mend one of one's own does not help.
fn damaged(files: &Files, error: LoadError) -> LoadHeldError {
    if let LoadError::Read { error: cause, .. } = &error
        && cause.kind() != io::ErrorKind::NotFound
    {
        return error.into();
    }
    let text = error.to_string();
    let detail = text.split_once("; ").map_or(text.as_str(), |(what, _)| what).to_owned();
    let path = files.certificate.parent().unwrap_or(&files.certificate).to_owned();
    FolderError::Damaged { path, detail }.into()
}

/// Why what is held cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadHeldError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// The folder, taken by this process to change it.
#[derive(Debug)]
pub(crate) struct IdentityDir(Folder);

impl IdentityDir {
    /// Makes it where it isn't there, and takes it. Blocks for the disk.
    ///
    /// # Errors
    /// [`FolderError::Locked`] while another process has it; [`FolderError::Io`].
    pub(crate) fn take(dir: &Path) -> Result<Self, FolderError> {
        let failed = FolderError::io(dir, "written");
        let folder = Folder::make(dir).map_err(&failed)?;
        if folder.lock().map_err(failed)? {
            Ok(Self(folder))
        } else {
            Err(FolderError::Locked(dir.to_owned()))
        }
    }

    /// What it holds now.
    ///
    /// # Errors
    /// As [`held`].
    pub(crate) fn held(&self) -> Result<Option<Held>, FolderError> {
        found_in(&self.0).map(|found| found.map(|(held, _)| held))
    }

    /// The user's number that files made here belong to, where that isn't this process's own.
    pub(crate) fn owner(&self) -> Option<u32> {
        self.0.owner()
    }

    /// The key of a request that is about this: the one of an earlier try, or a new one, which is on
    /// disk before anybody hears of it.
    ///
    /// # Errors
    /// [`FolderError`].
    pub(crate) fn pending_key(&self, request: Pending, about: &str) -> Result<NewKey, FolderError> {
        let file = request.file();
        let mark = format!("# {about}\n");
        let kept = self.0.read(file).map_err(FolderError::io(self.0.path(), "read"))?;
        let kept = kept.and_then(|bytes| {
            let text = String::from_utf8(bytes).ok()?;
            NewKey::from_pem(text.strip_prefix(&mark)?).ok()
        });
        if let Some(key) = kept {
            return Ok(key);
        }
        let key = NewKey::generate().map_err(|error| FolderError::Key(error.to_string()))?;
        let text = mark + &key.pkcs8_pem();
        self.0.write(file, text.as_bytes()).map_err(FolderError::io(self.0.path(), "written"))?;
        Ok(key)
    }

    /// What a renewal of what is held now is about: another generation, another request.
    ///
    /// # Errors
    /// As [`held`].
    pub(crate) fn generation(&self) -> Result<String, FolderError> {
        let generation = self.0.linked(CURRENT).map_err(FolderError::io(self.0.path(), "read"))?;
        Ok(generation.unwrap_or_default())
    }

    /// Makes a certificate the identity, with the key that it was asked for with. It must fit: its
    /// key, an agent of the name in `about`, authorities that are some. From then on it is what
    /// everybody reads, and the one before is gone.
    ///
    /// # Errors
    /// [`FolderError`]; the one before stays.
    pub(crate) fn keep(
        &self,
        bundle: &Bundle,
        key: &NewKey,
        about: &About,
    ) -> Result<Held, FolderError> {
        let failed = FolderError::io(self.0.path(), "written");
        let generation = format!("{GENERATION}{:016x}", crate::random::bits());
        let folder = self.0.make_folder(&generation).map_err(&failed)?;
        let written = || {
            folder.write_new(CERTIFICATE, bundle.certificate_pem.as_bytes())?;
            folder.write_new(KEY, key.pkcs8_pem().as_bytes())?;
            folder.write_new(AUTHORITIES, bundle.authorities_pem.as_bytes())?;
            folder.write_new(ABOUT, about.to_text().as_bytes())?;
            folder.sync()
        };
        let place = |name: &str| folder.path().join(name);
        let files = Files {
            certificate: place(CERTIFICATE),
            key: place(KEY),
            authorities: place(AUTHORITIES),
        };
        let kept = written()
            .map_err(&failed)
            .and_then(|()| fits(&files, &folder, &about.host))
            .and_then(|()| self.0.link(CURRENT, &generation).map_err(&failed));
        if let Err(error) = kept {
            // A link that is perhaps not on disk costs nobody the identity before.
            if self.0.linked(CURRENT).is_ok_and(|name| name.as_ref() != Some(&generation)) {
                self.clean(&[]);
            }
            return Err(error);
        }
        self.clean(&Pending::ALL);
        Ok(Held { files, about: about.clone() })
    }

    /// Removes what belongs to no identity in use. What stays costs room and nothing else.
    fn clean(&self, answered: &[Pending]) {
        let removed = || {
            for request in answered {
                self.0.remove(request.file())?;
            }
            let current = self.0.linked(CURRENT)?;
            for name in self.0.names()? {
                if is_generation(&name) && Some(&name) != current.as_ref() {
                    self.0.remove_folder(&name)?;
                }
            }
            self.0.sync()
        };
        if let Err(error) = removed() {
            let dir = self.0.path().display();
            tracing::debug!(%dir, %error, "an old identity could not be removed");
        }
    }
}

/// Whether files are an identity of this name.
fn fits(files: &Files, generation: &Folder, host: &HostName) -> Result<(), FolderError> {
    let unusable = |error: &dyn std::fmt::Display| FolderError::Unusable(error.to_string());
    let material = material(files, generation).map_err(|error| unusable(&error))?;
    let identity = material.identity().map_err(|error| unusable(&error))?;
    if identity.role == Role::Agent && identity.name == *host {
        return Ok(());
    }
    Err(FolderError::Unusable(format!(
        "it is for {} {}, not for agent {host}",
        identity.role, identity.name
    )))
}
