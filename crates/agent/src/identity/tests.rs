//! The folder on a real disk, with a process that ends at any step.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::Duration;

use rowcall_core::id::UnixMicros;
use rowcall_core::proto::v1 as pb;
use rowcall_testkit::pki::{Pki, now};
use rowcall_tls::csr::CsrKey;
use tempfile::TempDir;

use super::folder::crash;
use super::*;
use crate::config::Endpoint;

const DAY: Duration = Duration::from_secs(86_400);

/// What an aggregator would answer to a request by this key.
fn answer(pki: &Pki, key: &NewKey, role: Role, name: &str) -> Bundle {
    let csr = CsrKey::read(&key.request_der(name).unwrap()).unwrap();
    let name = name.parse().unwrap();
    let issued = pki.clients.issue_for_key(role, &name, &csr, now(), DAY).unwrap();
    Bundle::read(Some(pb::CertificateBundle {
        certificate_chain_der: issued.chain_der.iter().map(|der| der.to_vec()).collect(),
        server_authorities_der: vec![pki.root.certificate_der().to_vec()],
        now: Some(prost_types::Timestamp { seconds: now().0 / 1_000_000, nanos: 0 }),
        ..pb::CertificateBundle::default()
    }))
    .unwrap()
}

fn about(name: &str, renew_at: i64) -> About {
    About {
        host: name.parse().unwrap(),
        enroll_servers: vec![Endpoint::parse_enroll("db1").unwrap()],
        server_name: None,
        aggregators: vec![Endpoint::parse("db1").unwrap()],
        issued_at: UnixMicros(1),
        renew_at: UnixMicros(renew_at),
    }
}

/// One enrolment or renewal, as both do it.
fn store(
    dir: &Path,
    pki: &Pki,
    keys: &mut BTreeSet<String>,
    renew_at: i64,
) -> Result<(), FolderError> {
    let taken = IdentityDir::take(dir)?;
    let key = taken.pending_key(Pending::Enrolment, &format!("node1 {renew_at}"))?;
    keys.insert(key.pkcs8_pem());
    let bundle = answer(pki, &key, Role::Agent, "node1");
    taken.keep(&bundle, &key, &about("node1", renew_at)).map(|_| ())
}

fn entries(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_process_killed_at_any_step_leaves_one_whole_identity_or_none_and_goes_on_with_its_key() {
    let pki = Pki::create().unwrap();
    let mut ends = 0;
    for steps in 0.. {
        let folder = TempDir::new().unwrap();
        let dir = folder.path().join("state/identity");
        let mut keys = BTreeSet::new();
        crash::after(Some(steps));
        let killed = store(&dir, &pki, &mut keys, 1).is_err();
        crash::after(None);
        // Whoever reads now finds all of it, or nothing.
        let found = load(&dir).unwrap();
        if let Some((held, material)) = &found {
            assert_eq!(held.about, about("node1", 1));
            assert_eq!(material.identity().unwrap().name.as_str(), "node1");
            let own = fs::read_to_string(&held.files.key).unwrap();
            assert!(keys.contains(&own), "step {steps}");
        } else {
            assert!(killed, "step {steps}");
            store(&dir, &pki, &mut keys, 1).unwrap();
            assert_eq!(keys.len(), 1, "step {steps}: what was perhaps sent is sent again");
        }
        ends += u32::from(killed);
        // The next one replaces whatever is there, and leaves nothing of it.
        store(&dir, &pki, &mut BTreeSet::new(), 2).unwrap();
        assert_eq!(held(&dir).unwrap().unwrap().about.renew_at, UnixMicros(2));
        let names = entries(&dir);
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names[0] == "current" && names[1].starts_with("gen-"), "{names:?}");
        if !killed {
            break;
        }
    }
    assert!(ends > 20, "only {ends} steps were seen");
}

#[test]
fn a_key_is_the_same_for_the_same_request_and_another_for_another_one() {
    let folder = TempDir::new().unwrap();
    let key = |request, about: &str| {
        let dir = IdentityDir::take(folder.path()).unwrap();
        dir.pending_key(request, about).unwrap().pkcs8_pem()
    };
    let first = key(Pending::Enrolment, "node1 a");
    assert_eq!(key(Pending::Enrolment, "node1 a"), first);
    assert_ne!(key(Pending::Renewal, "node1 a"), first);
    let second = key(Pending::Enrolment, "node1 b");
    assert_ne!(second, first);
    fs::write(folder.path().join("enroll.key"), "# node1 b\ndamaged").unwrap();
    assert_ne!(key(Pending::Enrolment, "node1 b"), second, "a damaged one is made anew");
}

#[test]
fn what_does_not_fit_is_not_kept_and_the_one_before_stays() {
    let (pki, folder) = (Pki::create().unwrap(), TempDir::new().unwrap());
    store(folder.path(), &pki, &mut BTreeSet::new(), 1).unwrap();
    let dir = IdentityDir::take(folder.path()).unwrap();
    let key = dir.pending_key(Pending::Renewal, "x").unwrap();
    let other = NewKey::generate().unwrap();
    for (bundle, said) in [
        (answer(&pki, &key, Role::Agent, "node2"), "it is for agent node2, not for agent node1"),
        (answer(&pki, &key, Role::Viewer, "node1"), "it is for viewer node1"),
        (answer(&pki, &other, Role::Agent, "node1"), "does not belong to the first certificate"),
        (
            Bundle {
                authorities_pem: answer(&pki, &key, Role::Agent, "node1").certificate_pem,
                ..answer(&pki, &key, Role::Agent, "node1")
            },
            "is not a CA certificate",
        ),
    ] {
        let error = dir.keep(&bundle, &key, &about("node1", 2)).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert_eq!(dir.held().unwrap().unwrap().about.renew_at, UnixMicros(1));
        assert_eq!(entries(folder.path()).len(), 3, "its key still waits for an answer");
    }
}

#[test]
fn what_does_not_become_the_first_identity_leaves_nothing_but_its_key() {
    let (pki, folder) = (Pki::create().unwrap(), TempDir::new().unwrap());
    let dir = IdentityDir::take(folder.path()).unwrap();
    let key = dir.pending_key(Pending::Enrolment, "x").unwrap();
    // What a process that was killed left goes as well.
    fs::create_dir(folder.path().join("gen-0123456789abcdef")).unwrap();
    for _ in 0..2 {
        let other = answer(&pki, &key, Role::Agent, "node2");
        dir.keep(&other, &key, &about("node1", 1)).unwrap_err();
        assert_eq!(entries(folder.path()), ["enroll.key"]);
    }
}

#[test]
fn two_processes_do_not_change_it_at_once() {
    let folder = TempDir::new().unwrap();
    let dir = IdentityDir::take(folder.path()).unwrap();
    let refused = IdentityDir::take(folder.path()).unwrap_err();
    assert!(refused.passes() && refused.to_string().contains("try again"), "{refused}");
    drop(dir);
    IdentityDir::take(folder.path()).unwrap();
}

#[test]
fn files_are_for_one_user_alone_and_what_root_makes_is_of_the_folder_above() {
    let (pki, folder) = (Pki::create().unwrap(), TempDir::new().unwrap());
    let state = folder.path().join("private");
    fs::create_dir(&state).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let owner = if is_root { 61_234 } else { rustix::process::geteuid().as_raw() };
    if is_root {
        std::os::unix::fs::chown(&state, Some(owner), Some(owner)).unwrap();
    }
    // As systemd does it for a user that it makes.
    let link = folder.path().join("rowcall-agent");
    std::os::unix::fs::symlink("private", &link).unwrap();
    let dir = link.join("identity");
    store(&dir, &pki, &mut BTreeSet::new(), 1).unwrap();
    let generation = held(&dir).unwrap().unwrap().files.key.parent().unwrap().to_owned();
    let taken = IdentityDir::take(&dir).unwrap();
    taken.pending_key(Pending::Renewal, "x").unwrap();
    assert_eq!(taken.owner(), is_root.then_some(owner));
    let within =
        |dir: &Path| entries(dir).into_iter().map(|name| dir.join(name)).collect::<Vec<_>>();
    let all = [vec![dir.clone()], within(&dir), within(&generation)].concat();
    assert_eq!(all.len(), 8);
    for path in all {
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!(metadata.uid(), owner, "{}", path.display());
        let mode = metadata.permissions().mode() & 0o777;
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert!(metadata.is_symlink() || mode == expected, "{mode:o} {}", path.display());
    }
}

#[test]
fn no_link_leads_elsewhere() {
    let (elsewhere, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let dir = folder.path().join("identity");
    std::os::unix::fs::symlink(elsewhere.path(), &dir).unwrap();
    let error = IdentityDir::take(&dir).unwrap_err();
    assert!(!error.passes() && error.to_string().contains("link"), "{error}");
    fs::remove_file(&dir).unwrap();
    let taken = IdentityDir::take(&dir).unwrap();
    let precious = elsewhere.path().join("precious");
    fs::write(&precious, "kept").unwrap();
    for name in ["enroll.key", "enroll.key.new"] {
        std::os::unix::fs::symlink(&precious, dir.join(name)).unwrap();
    }
    // A link in place of the key is an error or is replaced; what it points to is not touched.
    drop(taken.pending_key(Pending::Enrolment, "node1 a"));
    assert_eq!(fs::read_to_string(&precious).unwrap(), "kept");
    assert_eq!(entries(elsewhere.path()), ["precious"]);
}

#[test]
fn nothing_is_read_through_links_or_from_pipes_that_somebody_put_there() {
    let (pki, folder) = (Pki::create().unwrap(), TempDir::new().unwrap());
    let dir = folder.path();
    store(dir, &pki, &mut BTreeSet::new(), 1).unwrap();
    let generation = held(dir).unwrap().unwrap().files.key.parent().unwrap().to_owned();
    let put = |name: &str, put: &dyn Fn(&Path)| {
        let path = generation.join(name);
        let before = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        put(&path);
        let error = load(dir).unwrap_err().to_string();
        fs::remove_file(&path).unwrap();
        fs::write(&path, before).unwrap();
        error
    };
    let elsewhere = TempDir::new().unwrap();
    for name in ["identity.toml", "agent.pem", "agent.key", "ca.pem"] {
        let copy = elsewhere.path().join(name);
        fs::copy(generation.join(name), &copy).unwrap();
        for target in [Path::new("/dev/zero"), &copy] {
            let error = put(name, &|path| std::os::unix::fs::symlink(target, path).unwrap());
            assert!(error.contains("symbolic links"), "{name}: {error}");
        }
        let error = put(name, &|path| {
            let (fifo, rights) =
                (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
            rustix::fs::mknodat(rustix::fs::CWD, path, fifo, rights, 0).unwrap();
        });
        assert!(error.contains("no file but a device or a pipe"), "{name}: {error}");
        load(dir).unwrap().unwrap();
    }
    authorities(dir).unwrap().unwrap();
    for target in [elsewhere.path(), Path::new("/etc"), Path::new("gen-1")] {
        fs::remove_file(dir.join("current")).unwrap();
        std::os::unix::fs::symlink(target, dir.join("current")).unwrap();
        let error = held(dir).unwrap_err().to_string();
        assert!(error.contains("current is damaged: it leads to"), "{error}");
    }
    // An enrolment mends it.
    store(dir, &pki, &mut BTreeSet::new(), 2).unwrap();
    assert_eq!(held(dir).unwrap().unwrap().about.renew_at, UnixMicros(2));
    assert_eq!(entries(dir).len(), 2);
}

#[test]
fn a_damaged_identity_is_told_with_what_to_do() {
    let (pki, folder) = (Pki::create().unwrap(), TempDir::new().unwrap());
    store(folder.path(), &pki, &mut BTreeSet::new(), 1).unwrap();
    let path = held(folder.path()).unwrap().unwrap().files.key.with_file_name("identity.toml");
    fs::write(&path, "host = 5").unwrap();
    let error = held(folder.path()).unwrap_err().to_string();
    assert!(error.contains("identity.toml is damaged: host is missing; enrol"), "{error}");
    fs::remove_file(&path).unwrap();
    let error = held(folder.path()).unwrap_err().to_string();
    assert!(error.contains("is damaged: it is missing"), "{error}");
    assert!(held(&folder.path().join("none")).unwrap().is_none());
}
