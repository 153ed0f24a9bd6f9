//! Authorities that come and go, with handshakes between what they certified; clocks are moved.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser as _;
use rowcall_tls::config::{client_config, server_config};
use rowcall_tls::load::{Files, Material};
use rustls::{ClientConnection, ServerConnection};

use super::issued::Record;
use super::*;
use crate::args;
use crate::cli::{Cli, Command};
use crate::text::tests::plain;

const DAY_US: i64 = 86_400 * 1_000_000;

/// Handshakes go by the real clock.
fn now() -> UnixMicros {
    SystemClock.wall()
}

fn later(days: i64) -> UnixMicros {
    now().plus_micros(days * DAY_US)
}

fn names() -> Vec<ServerName> {
    ["db.example.org", "localhost"].map(|name| args::server_name(name).unwrap()).to_vec()
}

fn name(text: &str) -> HostName {
    HostName::parse(text).unwrap()
}

fn make_all(folder: &Folder) -> anyhow::Result<()> {
    let people = [(Role::Operator, name(ADMIN)), (Role::Viewer, name("ann"))];
    let (names, now) = (names(), now());
    let wanted = Wanted { trust_domain: None, server_names: &names, people: &people, now };
    make::make(folder, &wanted)
}

fn made() -> (tempfile::TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::make(&dir.path().join("pki")).unwrap();
    make_all(&folder).unwrap();
    (dir, folder)
}

fn content(folder: &Folder, name: &str) -> String {
    folder.need(name).unwrap()
}

fn server(folder: &Folder) -> Files {
    files(folder, "server", "client-ca.pem")
}

fn person(folder: &Folder, stem: &str) -> Files {
    files(folder, stem, "root.pem")
}

fn files(folder: &Folder, stem: &str, authorities: &str) -> Files {
    Files {
        certificate: folder.join(&format!("{stem}.pem")),
        key: folder.join(&format!("{stem}.key")),
        authorities: folder.join(authorities),
    }
}

/// What somebody keeps of what they were given.
fn copy(files: &Files, to: &Path) -> Files {
    let kept = |path: &PathBuf| {
        let kept = to.join(path.file_name().unwrap());
        fs::copy(path, &kept).unwrap();
        kept
    };
    Files {
        certificate: kept(&files.certificate),
        key: kept(&files.key),
        authorities: files.authorities.clone(),
    }
}

/// A handshake between both, with the revocation lists if there are some; the error that ended it.
fn handshake(server: &Files, client: &Files) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut material = Material::load(server).map_err(|e| text(&e))?;
    let lists = server.authorities.with_file_name("client-crl.pem");
    if lists.exists() {
        material = material.with_revocations(&lists).map_err(|e| text(&e))?;
    }
    let server = Arc::new(server_config(&material).map_err(|e| text(&e))?);
    let material = Material::load(client).map_err(|e| text(&e))?;
    let client = Arc::new(client_config(&material).map_err(|e| text(&e))?);
    let name = "db.example.org".try_into().unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().map_err(|e| text(&e))?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets().map_err(|e| text(&e))?;
    }
    Ok(())
}

fn refused(server: &Files, client: &Files, why: &str) {
    let error = handshake(server, client).unwrap_err();
    assert!(error.contains(why), "{error}");
}

#[test]
fn what_is_made_fits_together() {
    let (_dir, folder) = made();
    handshake(&server(&folder), &person(&folder, "operator-admin")).unwrap();
    handshake(&server(&folder), &person(&folder, "viewer-ann")).unwrap();
    assert!(make::is_complete(&folder));
}

#[test]
fn an_interrupted_start_goes_on_with_what_is_there_and_damage_is_not_mended_silently() {
    let (_dir, folder) = made();
    let order = [
        "root.key",
        "root.pem",
        "server-ca.key",
        "server-ca.pem",
        "client-ca.key",
        "client-ca.pem",
        "server.names",
        "server.key",
        "server.pem",
        "operator-admin.key",
        "operator-admin.pem",
        "viewer-ann.key",
        "viewer-ann.pem",
        "issued.json",
    ];
    for made in (0..order.len()).rev() {
        folder.remove(order[made]).unwrap();
        let kept: Vec<(&str, String)> = order[..made]
            .iter()
            .filter(|name| name.ends_with("ca.pem") || **name == "root.pem")
            .map(|name| (*name, content(&folder, name)))
            .collect();
        make_all(&folder).unwrap();
        assert!(make::is_complete(&folder));
        for (name, before) in kept {
            assert_eq!(content(&folder, name), before, "{name} after {made}");
        }
        handshake(&server(&folder), &person(&folder, "operator-admin")).unwrap();
        for name in &order[made..] {
            folder.remove(name).unwrap();
        }
    }
    make_all(&folder).unwrap();
    for lost in ["root.pem", "server-ca.pem", "client-ca.pem"] {
        let before = content(&folder, lost);
        folder.remove(lost).unwrap();
        let error = make_all(&folder).unwrap_err().to_string();
        assert!(error.contains(&format!("but no {lost}; restore it")), "{error}");
        folder.write(lost, &before).unwrap();
    }
}

#[test]
fn a_new_server_authority_needs_nothing_on_nodes() {
    let (dir, folder) = made();
    let old = copy(&server(&folder), dir.path());
    let node = person(&folder, "viewer-ann");
    let authority = content(&folder, "server-ca.pem");
    rotate::server(&folder, None, now()).unwrap();
    assert_ne!(content(&folder, "server-ca.pem"), authority);
    handshake(&old, &node).unwrap();
    handshake(&server(&folder), &node).unwrap();
}

#[test]
fn both_client_authorities_are_trusted_until_the_rotation_is_finished() {
    let (dir, folder) = made();
    let old = copy(&person(&folder, "viewer-ann"), dir.path());
    // Somebody has his certificate elsewhere.
    let mut record = Record::read(&folder).unwrap();
    make::person(&folder, &mut record, Role::Operator, &name("bob"), now()).unwrap();
    record.write(&folder, now()).unwrap();
    folder.remove("operator-bob.pem").unwrap();
    let said = rotate::client(&folder, None, now()).unwrap().join("\n");
    assert!(said.contains("viewer-ann.pem is new") && said.contains("has a copy"), "{said}");
    assert!(said.contains("\noperator bob have none of the new authority"), "{said}");
    let new = person(&folder, "viewer-ann");
    handshake(&server(&folder), &old).unwrap();
    handshake(&server(&folder), &new).unwrap();
    let again = rotate::client(&folder, None, now()).unwrap_err().to_string();
    assert!(again.contains("a rotation is not finished"), "{again}");

    let early = rotate::finish(&folder, false, later(29)).unwrap_err().to_string();
    assert!(early.contains("add --yes"), "{early}");
    let locked_out = rotate::finish(&folder, false, later(31)).unwrap_err().to_string();
    assert!(locked_out.starts_with("the certificates of operator bob would end"), "{locked_out}");
    handshake(&server(&folder), &old).unwrap();
    let done = rotate::finish(&folder, true, later(31)).unwrap().join("\n");
    assert!(done.contains("ended the certificates of operator bob:"), "{done}");
    refused(&server(&folder), &old, "UnknownIssuer");
    handshake(&server(&folder), &new).unwrap();
    assert!(!folder.has("client-ca-old.key"));
    let nothing = rotate::finish(&folder, true, now()).unwrap_err().to_string();
    assert!(nothing.contains("nothing to finish"), "{nothing}");
}

#[test]
fn a_rotation_that_was_interrupted_is_done_by_another_one() {
    let (dir, folder) = made();
    let old = copy(&person(&folder, "viewer-ann"), dir.path());
    let before = content(&folder, "client-ca.pem");
    rotate::client(&folder, None, now()).unwrap();
    // The new key was there, and the certificate was not yet.
    folder.write("client-ca.pem", &before).unwrap();
    let error = folder.authority(Ca::Client, None).unwrap_err();
    assert!(format!("{error:#}").contains("does not belong to"), "{error:#}");
    rotate::client(&folder, None, now()).unwrap();
    handshake(&server(&folder), &old).unwrap();
    // The old key is still the old one.
    revoke::file(&folder, &old.certificate, now()).unwrap();
    refused(&server(&folder), &old, "Revoked");
    handshake(&server(&folder), &person(&folder, "viewer-ann")).unwrap();
}

#[test]
fn what_is_revoked_is_refused_and_nothing_else() {
    let (dir, folder) = made();
    let (ann, admin) = (person(&folder, "viewer-ann"), person(&folder, "operator-admin"));
    let older = copy(&ann, dir.path());
    // Renewed meanwhile; the one before is still good, wherever it is.
    let mut record = Record::read(&folder).unwrap();
    make::person(&folder, &mut record, Role::Viewer, &name("ann"), now()).unwrap();
    record.write(&folder, now()).unwrap();
    let done = revoke::person(&folder, Role::Viewer, &name("ann"), now()).unwrap().join("\n");
    assert!(done.contains("2 certificates of viewer ann revoked"), "{done}");
    refused(&server(&folder), &older, "Revoked");
    handshake(&server(&folder), &admin).unwrap();
    assert!(!ann.key.exists());
    let again = revoke::person(&folder, Role::Viewer, &name("ann"), now()).unwrap().join("\n");
    assert!(again.contains("were revoked before"), "{again}");
    let nobody = revoke::person(&folder, Role::Viewer, &name("bob"), now()).unwrap_err();
    assert!(nobody.to_string().contains("no certificate of viewer bob"), "{nobody}");

    // In a rotation each authority has its list, and one that comes later keeps the other's.
    let older_admin = dir.path().join("old");
    fs::create_dir(&older_admin).unwrap();
    let older_admin = copy(&admin, &older_admin);
    rotate::client(&folder, None, now()).unwrap();
    refused(&server(&folder), &older, "Revoked");
    handshake(&server(&folder), &older_admin).unwrap();
    revoke::file(&folder, &older_admin.certificate, now()).unwrap();
    refused(&server(&folder), &older_admin, "Revoked");
    handshake(&server(&folder), &admin).unwrap();
    folder.remove("client-ca-old.key").unwrap();
    revoke::file(&folder, &admin.certificate, now()).unwrap();
    for revoked in [&older, &older_admin, &admin] {
        refused(&server(&folder), revoked, "Revoked");
    }
    let no_key = revoke::file(&folder, &older.certificate, now()).unwrap_err().to_string();
    assert!(no_key.contains("client-ca-old.key: only it can sign"), "{no_key}");
}

#[test]
fn who_has_a_certificate_is_shown_with_who_is_revoked() {
    let (_dir, folder) = made();
    let mut record = Record::read(&folder).unwrap();
    make::person(&folder, &mut record, Role::Viewer, &name("bob"), now()).unwrap();
    record.write(&folder, now()).unwrap();
    // Given away, as with --out.
    folder.remove("viewer-bob.pem").unwrap();
    let (revoked, at) = (later(1), later(2));
    revoke::person(&folder, Role::Viewer, &name("ann"), revoked).unwrap();
    let revoked = certificate::shown(revoked);
    let shown = show::look(&folder, at).unwrap();
    let text = plain(&shown.text(at, &screen()));
    let rows: Vec<&str> = text.lines().skip_while(|line| !line.contains("WHO")).collect();
    let starts = ["  operator admin  ", "  viewer ann  ", "  viewer bob  "];
    let ends = ["  good", &format!("  revoked on {revoked}"), "  good"];
    for ((row, start), end) in rows[1..].iter().zip(starts).zip(ends) {
        assert!(row.starts_with(start) && row.contains(end), "{text}");
    }
    assert_eq!(rows.len(), 4, "{text}");
    let json: serde_json::Value = serde_json::from_str(&shown.json().unwrap()).unwrap();
    let ann = &json["issued"][1];
    assert_eq!((&ann["role"], &ann["name"]), (&"viewer".into(), &"ann".into()), "{json}");
    assert_eq!(ann["revoked_at"], revoked.as_str());
    assert!(json["issued"][0]["revoked_at"].is_null(), "{json}");
    // Nobody asks who had one that has ended.
    let later_on = show::look(&folder, later(400)).unwrap().json().unwrap();
    let later_on: serde_json::Value = serde_json::from_str(&later_on).unwrap();
    assert_eq!(later_on["issued"], serde_json::json!([]));
}

#[test]
fn a_further_aggregators_folder_refuses_whom_this_one_refuses_once_it_has_the_list() {
    let (dir, folder) = made();
    let ann = copy(&person(&folder, "viewer-ann"), dir.path());
    let path = folder.path().to_owned();
    drop(folder);
    let out = dir.path().join("agg2");
    let [to, from] = [&out, &path].map(|path| path.to_str().unwrap());
    let line = ["rowcall", "pki", "issue", "server", "db.example.org", "--out", to, "--dir", from];
    let issue = || match Cli::try_parse_from(line).unwrap().command {
        Command::Pki(args) => run(&args.command),
        other => panic!("not about certificates: {other:?}"),
    };
    let said = plain(&issue().unwrap());
    assert!(said.contains("server.pem until") && said.contains("after each"), "{said}");
    let again = issue().unwrap_err().to_string();
    assert!(again.contains("server.pem is there already"), "{again}");
    let further = Folder::open(&out).unwrap();
    for key in ["client-ca.key", "root.key", "server-ca.key"] {
        assert!(!further.has(key), "{key}");
    }
    handshake(&server(&further), &ann).unwrap();
    // There is a list before anybody is revoked, and one command keeps it up to date.
    assert!(further.has("client-crl.pem"));
    let folder = Folder::lock(&path).unwrap();
    revoke::person(&folder, Role::Viewer, &name("ann"), now()).unwrap();
    fs::copy(folder.join("client-crl.pem"), further.join("client-crl.pem")).unwrap();
    refused(&server(&further), &ann, "Revoked");
}

#[test]
fn a_folder_of_before_gets_its_list_with_the_next_renewal() {
    let (_dir, folder) = made();
    folder.remove("client-crl.pem").unwrap();
    let mut record = Record::read(&folder).unwrap();
    record.lists = None;
    record.write(&folder, now()).unwrap();
    let done = renew::renew(&folder, None, now()).unwrap().done;
    assert_eq!(done, ["The revocation list is signed anew."]);
    assert!(folder.has("client-crl.pem"));
    // Where the authority's key is elsewhere there is nothing to do, and nothing is said.
    folder.remove("client-crl.pem").unwrap();
    folder.remove("client-ca.key").unwrap();
    record.write(&folder, now()).unwrap();
    assert_eq!(renew::renew(&folder, None, now()).unwrap().done, Vec::<String>::new());
    assert!(!folder.has("client-crl.pem"));
}

#[test]
fn what_is_revoked_stays_so_in_a_rotation_without_the_old_key() {
    let (dir, folder) = made();
    let older = copy(&person(&folder, "viewer-ann"), dir.path());
    revoke::person(&folder, Role::Viewer, &name("ann"), now()).unwrap();
    folder.remove("client-ca.key").unwrap();
    rotate::client(&folder, None, now()).unwrap();
    assert!(!folder.has("client-ca-old.key"));
    refused(&server(&folder), &older, "Revoked");
    handshake(&server(&folder), &person(&folder, "operator-admin")).unwrap();
}

#[test]
fn certificates_of_others_are_not_ours_to_revoke() {
    let (_dir, folder) = made();
    let (_other_dir, other) = made();
    let file = other.join("viewer-ann.pem");
    let error = revoke::file(&folder, &file, now()).unwrap_err().to_string();
    assert!(error.contains("is no certificate of this client authority"), "{error}");
    let error = revoke::file(&folder, &folder.join("server.pem"), now()).unwrap_err().to_string();
    assert!(error.contains("is no certificate of this client authority"), "{error}");
    fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let error = format!("{:#}", revoke::file(&folder, &file, now()).unwrap_err());
    assert!(error.contains("is damaged"), "{error}");
}

#[test]
fn what_is_due_is_renewed_and_nothing_before() {
    let (_dir, folder) = made();
    let all = ["server.pem", "operator-admin.pem", "viewer-ann.pem"];
    let read = || all.map(|name| content(&folder, name));
    revoke::person(&folder, Role::Viewer, &name("ann"), now()).unwrap();
    let mut record = Record::read(&folder).unwrap();
    make::person(&folder, &mut record, Role::Viewer, &name("ann"), now()).unwrap();
    record.write(&folder, now()).unwrap();
    let (before, lists) = (read(), content(&folder, "client-crl.pem"));
    let idle = renew::renew(&folder, None, later(243)).unwrap();
    assert!(idle.done.is_empty() && idle.warnings.is_empty(), "{idle:?}");
    assert_eq!(read(), before);
    let done = renew::renew(&folder, None, later(245)).unwrap().done;
    assert_eq!(done.len(), 4, "{done:?}");
    assert!(read().iter().zip(&before).all(|(new, old)| new != old));
    assert_ne!(content(&folder, "client-crl.pem"), lists);
    assert!(renew::renew(&folder, None, later(245)).unwrap().done.is_empty());
    // Authorities last ten years.
    let warned = renew::renew(&folder, None, later(2500)).unwrap().warnings.join("\n");
    assert!(
        warned.contains("server-ca.pem ends on") && warned.contains("rotate client"),
        "{warned}"
    );
    let over = renew::renew(&folder, None, later(3700)).unwrap_err().to_string();
    assert!(over.contains("make a new authority with `rowcall pki rotate server`"), "{over}");
}

#[test]
fn the_servers_names_can_be_changed_and_a_damaged_list_of_them_is_named() {
    let (_dir, folder) = made();
    let other = [args::server_name("10.1.2.3").unwrap()];
    assert_eq!(renew::renew(&folder, Some(&other), now()).unwrap().done.len(), 1);
    assert!(renew::renew(&folder, Some(&other), now()).unwrap().done.is_empty());
    assert_eq!(make::server_names(&folder).unwrap(), other);
    folder.write("server.names", "a b\n").unwrap();
    let error = renew::renew(&folder, None, now()).unwrap_err().to_string();
    assert!(error.contains("server.names: \"a b\" is neither"), "{error}");
    renew::renew(&folder, Some(&names()), now()).unwrap();
    handshake(&server(&folder), &person(&folder, "viewer-ann")).unwrap();
}

#[test]
fn the_roots_key_may_lie_elsewhere_and_must_be_the_roots() {
    let (dir, folder) = made();
    let away = dir.path().join("away.key");
    fs::rename(folder.join("root.key"), &away).unwrap();
    let error = rotate::server(&folder, None, now()).unwrap_err().to_string();
    assert!(error.contains("root.key; where it was taken offline") && error.contains("--root-key"));
    rotate::server(&folder, Some(&away), now()).unwrap();
    let wrong = folder.join("server.key");
    let error = format!("{:#}", rotate::client(&folder, Some(&wrong), now()).unwrap_err());
    assert!(error.contains("does not belong to"), "{error}");
    let missing = dir.path().join("nowhere");
    let error = rotate::client(&folder, Some(&missing), now()).unwrap_err().to_string();
    assert!(error.contains("there is no") && !error.contains("offline"), "{error}");
    // Nothing was changed by what failed.
    handshake(&server(&folder), &person(&folder, "viewer-ann")).unwrap();
    folder.write("root.pem", "no PEM").unwrap();
    let error = format!("{:#}", rotate::server(&folder, Some(&away), now()).unwrap_err());
    assert!(error.contains("root.pem"), "{error}");
}
