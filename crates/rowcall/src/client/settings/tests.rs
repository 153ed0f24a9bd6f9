//! Where settings come from, in a file system made for the test.

use std::collections::HashMap;
use std::fs;

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
        self.find_for(given, Need::Read)
    }

    fn find_for(&self, given: &Given, need: Need) -> Result<Settings, ClientError> {
        Settings::find(
            given,
            &Surroundings {
                env: &|name| self.env.get(name).cloned(),
                working_dir: &self.root.path().join("work"),
                root: self.root.path(),
                is_root: self.is_root,
            },
            need,
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
        let name = folder.rsplit('/').nth(1).unwrap_or("x").trim_start_matches('.');
        world.file(folder, &naming(name));
        world.find(&Given::default()).unwrap().server
    };
    assert_eq!(expect(&mut world, "home/.local/share/rowcall"), "share:7443");
    assert_eq!(expect(&mut world, "etc/rowcall"), "etc:7443");
    assert_eq!(expect(&mut world, "home/.config/rowcall"), "config:7443");
    assert_eq!(expect(&mut world, "work/.rowcall"), "work:7443");
    let dir = world.file("named/dir", &naming("variable"));
    world.env.insert("ROWCALL_DATA_DIR", dir.display().to_string());
    assert_eq!(world.find(&Given::default()).unwrap().server, "variable:7443");
    let dir = world.file("flag/dir", &naming("flag"));
    let given = Given { data_dir: Some(dir), ..Given::default() };
    assert_eq!(world.find(&given).unwrap().server, "flag:7443");
}

#[test]
fn roots_default_is_under_var() {
    let mut world = World::new();
    world.is_root = true;
    world.file("var/lib/rowcall-up", &naming("root"));
    assert_eq!(world.find(&Given::default()).unwrap().server, "root:7443");
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
fn a_certificate_and_its_key_come_from_one_place() {
    let world = World::new();
    world.file("work/.rowcall", &naming("file:1"));
    let given = Given { key: Some("other.key".into()), ..Given::default() };
    let message = world.find(&given).unwrap_err().to_string();
    assert!(message.ends_with("give also its certificate: --cert FILE"), "{message}");
    let given = Given { cert: Some("other.pem".into()), ..Given::default() };
    let message = world.find(&given).unwrap_err().to_string();
    assert!(message.ends_with("give also its key: --key FILE"), "{message}");
}

#[test]
fn what_changes_something_shows_the_operators_certificate() {
    let world = World::new();
    let folder = world.file(
        "work/.rowcall",
        &format!(
            "{}operator_cert = \"pki/op.pem\"\noperator_key = \"pki/op.key\"\n",
            naming("file:1")
        ),
    );
    let read = world.find(&Given::default()).unwrap();
    assert_eq!(read.files.certificate, folder.join("pki/viewer.pem"));
    let change = world.find_for(&Given::default(), Need::Change).unwrap();
    assert_eq!(change.files.certificate, folder.join("pki/op.pem"));
    assert_eq!(change.files.key, folder.join("pki/op.key"));
    // One that is given goes before it, and without one the file's only certificate serves.
    let own = Given { cert: Some("a".into()), key: Some("b".into()), ..Given::default() };
    let change = world.find_for(&own, Need::Change).unwrap();
    assert_eq!(change.files.certificate, Path::new("a"));
    world.file("work/.rowcall", &naming("file:1"));
    let change = world.find_for(&Given::default(), Need::Change).unwrap();
    assert_eq!(change.files.certificate, folder.join("pki/viewer.pem"));
}

#[test]
fn the_address_may_be_a_url_and_must_have_a_port_that_there_is() {
    let world = World::new();
    world.file("work/.rowcall", &naming("file:1"));
    let find =
        |server: &str| world.find(&Given { server: Some(server.to_owned()), ..Given::default() });
    for (given, dialled) in [
        ("https://db.example.com:7443", "db.example.com:7443"),
        ("https://db.example.com/", "db.example.com:7443"),
        ("db.example.com", "db.example.com:7443"),
        ("[::1]:9", "[::1]:9"),
    ] {
        assert_eq!(find(given).unwrap().server, dialled, "{given}");
    }
    for wrong in ["db:99999", "db:0", "db:", "http://db:1", "https://db/x", "", "a b"] {
        let error = find(wrong).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{wrong}");
        assert!(error.to_string().contains("write https://HOST:7443"), "{wrong}: {error}");
    }
}

#[test]
fn a_settings_file_is_small_and_no_device() {
    let world = World::new();
    let folder = world.file("work/.rowcall", &"#".repeat(70_000));
    let message = world.find(&Given::default()).unwrap_err().to_string();
    assert!(message.contains("larger than 65536 bytes"), "{message}");
    fs::remove_file(folder.join(FILE_NAME)).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.join(FILE_NAME)).unwrap();
    let message = world.find(&Given::default()).unwrap_err().to_string();
    assert!(message.ends_with("client.toml: is no file"), "{message}");
}
