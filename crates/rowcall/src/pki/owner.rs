//! Whom the files belong to: all to the folder's owner, but where the aggregator runs as a user of
//! its own what it reads belongs to that user, and its group may look into the folder.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use anyhow::{Context as _, bail};

/// What the aggregator reads.
const OF_SERVICE: [&str; 6] =
    ["server.key", "client-ca.key", "server.pem", "client-ca.pem", "root.pem", "client-crl.pem"];
/// The user that the aggregator runs as unless told otherwise, where there is one.
const DEFAULT_USER: &str = "rowcall";
/// The folder's mode where another user reads in it.
const SHARED_MODE: u32 = 0o750;

/// The user that the aggregator runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Service {
    uid: u32,
    gid: u32,
}

impl Service {
    /// The user asked for by name or number, else the default one where there is one and we may
    /// give files away; none: the files stay their writer's.
    pub(crate) fn choose(asked: Option<&str>) -> anyhow::Result<Option<Self>> {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let is_root = rustix::process::geteuid().is_root();
        let Some(asked) = asked else {
            return Ok(find(&passwd, DEFAULT_USER).filter(|_| is_root));
        };
        let Some(found) = find(&passwd, asked) else {
            bail!(
                "/etc/passwd has no user {asked:?} to give the aggregator's files to; make it \
                 first, or give its number"
            );
        };
        if found.uid == 0 {
            return Ok(None);
        }
        if !is_root {
            bail!("only root can give files to another user: run it as root (sudo)");
        }
        Ok(Some(found))
    }

    /// The one whom files of the folder belong to already.
    pub(super) fn of(folder: &Path) -> Option<Self> {
        let ours = fs::metadata(folder).ok()?.uid();
        let others = OF_SERVICE.iter().filter_map(|name| fs::metadata(folder.join(name)).ok());
        let other = others.into_iter().find(|file| file.uid() != ours)?;
        Some(Self { uid: other.uid(), gid: other.gid() })
    }

    /// Lets it look into the folder, and gives it what is its own. Only root can.
    pub(super) fn settle(self, folder: &Path) -> anyhow::Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let shown = || format!("give {} to user {}", folder.display(), self.uid);
        chown(folder, None, Some(self.gid)).with_context(shown)?;
        fs::set_permissions(folder, Permissions::from_mode(SHARED_MODE)).with_context(shown)?;
        for name in OF_SERVICE {
            self.give(folder, name)?;
        }
        Ok(())
    }

    /// Gives it a file if that is its own and is there.
    pub(super) fn give(self, folder: &Path, name: &str) -> anyhow::Result<()> {
        let path = folder.join(name);
        if OF_SERVICE.contains(&name) && path.exists() {
            chown(&path, Some(self.uid), Some(self.gid))
                .with_context(|| format!("give {} to user {}", path.display(), self.uid))?;
        }
        Ok(())
    }

    /// Its name, else its number.
    pub(super) fn name(self) -> String {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let uid = self.uid.to_string();
        let named = passwd.lines().find(|line| line.split(':').nth(2) == Some(uid.as_str()));
        named.and_then(|line| line.split(':').next()).unwrap_or(&uid).to_owned()
    }
}

/// A user by name or number; a number that nobody has stands for itself and a group of its own.
fn find(passwd: &str, asked: &str) -> Option<Service> {
    let listed = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let is_it = name == asked || uid == asked;
        is_it.then(|| Some(Service { uid: uid.parse().ok()?, gid: gid.parse().ok()? }))?
    });
    listed.or_else(|| asked.parse().ok().map(|id| Service { uid: id, gid: id }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_or_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nrowcall:x:998:997::/:/bin/false\nbad\n";
        assert_eq!(find(passwd, "rowcall"), Some(Service { uid: 998, gid: 997 }));
        assert_eq!(find(passwd, "998"), Some(Service { uid: 998, gid: 997 }));
        assert_eq!(find(passwd, "4711"), Some(Service { uid: 4711, gid: 4711 }));
        assert_eq!(find(passwd, "nobody"), None);
        assert_eq!(find(passwd, "-1"), None);
    }
}
