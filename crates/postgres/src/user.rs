//! Operating system users, asked of `getent` so that directory services count too.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Error;

/// An entry of the passwd database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// The user of that id, if it has an entry.
    pub(crate) fn by_uid(uid: u32) -> Result<Option<Self>, Error> {
        lookup(&uid.to_string())
    }

    /// The user of that name, if it has an entry.
    pub(crate) fn by_name(name: &str) -> Result<Option<Self>, Error> {
        lookup(name)
    }
}

/// The effective user id of this process.
pub(crate) fn caller_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The user that the server of `data_dir` runs as.
///
/// That is the caller; for root the owner of an existing data directory (`owner`), else `postgres`,
/// else `nobody`.
pub(crate) fn server_user(data_dir: &Path, owner: Option<u32>) -> Result<User, Error> {
    let caller = caller_uid();
    if caller != 0 {
        if let Some(owner) = owner.filter(|owner| *owner != caller) {
            return Err(Error::WrongOwner { path: data_dir.to_owned(), owner, caller });
        }
        return named(caller);
    }
    match owner {
        Some(0) => Err(Error::WrongOwner { path: data_dir.to_owned(), owner: 0, caller: 0 }),
        Some(owner) => named(owner),
        None => {
            for name in ["postgres", "nobody"] {
                if let Some(user) = User::by_name(name)?.filter(|user| user.uid != 0) {
                    return Ok(user);
                }
            }
            Err(Error::NoSuchUser {
                who: "neither postgres nor nobody".to_owned(),
                remedy: "the server does not run as root; make a user named postgres, \
                         or run this as an ordinary user",
            })
        }
    }
}

/// The user of that id, or an error that says what to do.
pub(crate) fn named(uid: u32) -> Result<User, Error> {
    User::by_uid(uid)?.ok_or_else(|| Error::NoSuchUser {
        who: format!("user id {uid}"),
        remedy: "add the user, or run as another one",
    })
}

fn lookup(key: &str) -> Result<Option<User>, Error> {
    let run = Command::new("getent").args(["passwd", key]).stdin(Stdio::null()).output();
    match run {
        Ok(output) => Ok(find(&String::from_utf8_lossy(&output.stdout), key)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let path = Path::new("/etc/passwd");
            let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
            Ok(find(&text, key))
        }
        Err(source) => Err(Error::Io { action: "run", path: "getent".into(), source }),
    }
}

/// The first line of passwd text whose name or id is `key`.
fn find(text: &str, key: &str) -> Option<User> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, uid, gid) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let user = User { name: name.to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()? };
        (name == key || uid == key).then_some(user)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwd_lines_are_found_by_name_and_by_id() {
        let text = "broken\nroot:x:0:0:root:/root:/bin/sh\nalice:x:1001:1002:A:/home/a:/bin/sh\n";
        let alice = User { name: "alice".to_owned(), uid: 1001, gid: 1002 };
        assert_eq!(find(text, "alice"), Some(alice.clone()));
        assert_eq!(find(text, "1001"), Some(alice));
        assert_eq!(find(text, "1002"), None);
    }

    #[test]
    fn root_is_known_and_an_unused_id_is_not() {
        assert_eq!(User::by_uid(0).unwrap().unwrap().uid, 0);
        assert_eq!(User::by_uid(4_000_000_000).unwrap(), None);
        let error = named(4_000_000_000).unwrap_err().to_string();
        assert!(error.contains("user id 4000000000 has no entry"), "{error}");
    }
}
