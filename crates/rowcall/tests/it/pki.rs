//! `rowcall pki` as people type it: files, modes, words, exit codes; and openssl's view of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::process::{rowcall, stdout, text};

/// A folder that is made, and one beside it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn initialized() -> Self {
        let place = Self::new();
        let init = ["init", "--server-name", "db.example.org", "--service-user", "root"];
        stdout(place.pki(&init));
        place
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("pki")
    }

    fn pki(&self, args: &[&str]) -> Output {
        rowcall().arg("pki").args(args).arg("--dir").arg(self.dir()).output().unwrap()
    }

    /// What a failure says, and its exit code.
    fn fails(&self, args: &[&str]) -> (i32, String) {
        let output = self.pki(args);
        assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
        (output.status.code().unwrap(), text(&output.stderr))
    }
}

fn openssl(args: &[&str], input: Option<&Path>) -> Vec<u8> {
    let mut command = Command::new("openssl");
    if let Some(path) = input {
        command.stdin(fs::File::open(path).unwrap());
    } else {
        command.stdin(Stdio::null());
    }
    let output = command.args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    output.stdout
}

#[test]
fn init_makes_a_private_folder_once_and_says_what_to_do_next() {
    let place = Place::new();
    let said = stdout(place.pki(&["init", "--service-user", "root"]));
    for line in [
        "What to do next",
        "    rowcall-aggregator serve --pki-dir ",
        "    rowcall token create --data-dir ",
        "    rowcall-agent enroll --server ",
        "/root.key /media/offline/",
        "    rowcall pki renew --dir ",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.dir()), 0o700);
    let mut names: Vec<String> = fs::read_dir(place.dir())
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            assert_eq!(mode(&entry.path()), 0o600, "{name}");
            name
        })
        .collect();
    names.sort();
    assert_eq!(
        names.join(" "),
        ".lock client-ca.key client-ca.pem client-crl.pem client.toml issued.json operator-admin.key \
         operator-admin.pem root.key root.pem server-ca.key server-ca.pem server.key server.names \
         server.pem"
    );
    let server_names = fs::read_to_string(place.dir().join("server.names")).unwrap();
    assert!(server_names.ends_with("localhost\n127.0.0.1\n::1\n"), "{server_names}");

    let root = fs::read(place.dir().join("root.pem")).unwrap();
    let again = stdout(place.pki(&["init"]));
    assert!(again.starts_with("Nothing was changed: this is there already."), "{again}");
    assert_eq!(fs::read(place.dir().join("root.pem")).unwrap(), root);
    let (code, error) = place.fails(&["init", "--trust-domain", "other"]);
    assert!(code == 1 && error.contains("has the trust domain rowcall, not other"), "{error}");
    let (code, error) = place.fails(&["init", "--server-name", "db2"]);
    assert!(code == 1 && error.contains("rowcall pki renew --server-name"), "{error}");
}

#[test]
fn the_pin_is_what_openssl_hashes_and_openssl_believes_the_chains() {
    let place = Place::initialized();
    let root = place.dir().join("root.pem");
    let key = openssl(&["x509", "-noout", "-pubkey"], Some(&root));
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("key.pem");
    fs::write(&pem, key).unwrap();
    let der = openssl(&["pkey", "-pubin", "-outform", "DER"], Some(&pem));
    fs::write(&pem, der).unwrap();
    let hash = text(&openssl(&["dgst", "-sha256", "-r"], Some(&pem)));
    let hash = hash.split_whitespace().next().unwrap();

    let shown: serde_json::Value =
        serde_json::from_str(&stdout(place.pki(&["show", "--json"]))).unwrap();
    assert_eq!(shown["pin"], format!("sha256:{hash}"));
    assert_eq!(shown["trust_domain"], "rowcall");
    assert_eq!(shown["server_names"], serde_json::json!(["db.example.org"]));

    let path = |name: &str| place.dir().join(name).to_str().unwrap().to_owned();
    let verify = |purpose: &str, ca: &str, leaf: &str| {
        let (root, ca, leaf) = (path("root.pem"), path(ca), path(leaf));
        let args = ["verify", "-purpose", purpose, "-CAfile", &root, "-untrusted", &ca, &leaf];
        openssl(&args, None);
    };
    verify("sslserver", "server-ca.pem", "server.pem");
    verify("sslclient", "client-ca.pem", "operator-admin.pem");

    // A list is of the authority that it names, and holds the number.
    stdout(place.pki(&["issue", "viewer", "ann"]));
    stdout(place.pki(&["revoke", "viewer", "ann"]));
    let (crl, ca) = (path("client-crl.pem"), path("client-ca.pem"));
    openssl(&["crl", "-in", &crl, "-CAfile", &ca, "-noout"], None);
    let list = text(&openssl(&["crl", "-in", &crl, "-noout", "-text"], None));
    let issued = fs::read_to_string(path("issued.json")).unwrap();
    let issued: serde_json::Value = serde_json::from_str(&issued).unwrap();
    let entry = issued["certificates"].as_array().unwrap();
    let entry = entry.iter().find(|entry| entry["name"] == "ann").unwrap();
    let serial = entry["serial"].as_str().unwrap().to_uppercase();
    assert!(list.contains(&format!("Serial Number: {serial}")), "{serial} is not in\n{list}");
}

#[test]
fn certificates_are_issued_to_a_folder_of_ones_choice_with_days_and_names() {
    let place = Place::initialized();
    let out = place.folder.path().join("for ann");
    let out = out.to_str().unwrap();
    let said = stdout(place.pki(&["issue", "viewer", "Ann", "--out", out, "--days", "10"]));
    assert!(said.contains("viewer-ann.pem until 20") && said.contains("a secret"), "{said}");
    let file = format!("{out}/viewer-ann.pem");
    openssl(&["x509", "-noout", "-in", &file, "-checkend", "860000"], None);
    let ends = Command::new("openssl")
        .args(["x509", "-noout", "-in", &file, "-checkend", "870000"])
        .output()
        .unwrap();
    assert!(!ends.status.success());
    let (code, error) = place.fails(&["issue", "viewer", "ann", "--out", out]);
    assert!(code == 1 && error.contains("viewer-ann.pem is there already"), "{error}");

    let said = stdout(place.pki(&[
        "issue",
        "server",
        "db2",
        "--server-name",
        "db2.x",
        "--server-name",
        "::2",
    ]));
    assert!(said.contains("with --out DIR it comes with all"), "{said}");
    let server = place.dir().join("server-db2.pem");
    let args = ["x509", "-noout", "-ext", "subjectAltName"];
    let names = text(&openssl(&args, Some(&server)));
    assert!(names.contains("DNS:db2.x, IP Address:0:0:0:0:0:0:0:2"), "{names}");
    let shown = stdout(place.pki(&["show"]));
    assert!(shown.contains("a further aggregator's"), "{shown}");
}

#[test]
fn renew_and_rotate_say_what_they_did() {
    let place = Place::initialized();
    assert_eq!(stdout(place.pki(&["renew"])), "Nothing is due.\n");
    let renewed = stdout(place.pki(&["renew", "--server-name", "db3"]));
    assert!(renewed.starts_with("server.pem is new, until "), "{renewed}");
    let rotated = stdout(place.pki(&["rotate", "server"]));
    assert!(rotated.contains("server-ca.pem is new") && rotated.contains("nothing"), "{rotated}");
    let away = place.folder.path().join("root.key");
    fs::rename(place.dir().join("root.key"), &away).unwrap();
    let (code, error) = place.fails(&["rotate", "client"]);
    assert!(code == 1 && error.contains("name it with --root-key FILE"), "{error}");
    let rotated = stdout(place.pki(&["rotate", "client", "--root-key", away.to_str().unwrap()]));
    assert!(rotated.contains("rotate client --finish"), "{rotated}");
    let shown = stdout(place.pki(&["show"]));
    assert!(shown.contains("the one before, until --finish") && shown.contains("not here"));
    let (code, error) = place.fails(&["rotate", "client", "--finish"]);
    assert!(code == 1 && error.contains("wait, or add --yes"), "{error}");
    let done = stdout(place.pki(&["rotate", "client", "--finish", "--yes"]));
    assert!(done.starts_with("The old client authority is trusted no longer, nor"), "{done}");
}

#[test]
fn wrong_inputs_are_named_with_the_remedy() {
    let place = Place::new();
    for args in [&["show"][..], &["renew"], &["rotate", "server"], &["issue", "viewer", "ann"]] {
        let (code, error) = place.fails(args);
        assert!(code == 1 && error.contains("`rowcall pki init --dir "), "{args:?}: {error}");
    }
    fs::create_dir(place.dir()).unwrap();
    let (code, error) = place.fails(&["show"]);
    assert!(code == 1 && error.contains("has no root.pem: `rowcall pki init"), "{error}");
    stdout(place.pki(&["init", "--server-name", "db"]));
    for (args, code, words) in [
        (&["issue", "agent", "node1"][..], 2, "[possible values: server, viewer, operator]"),
        (&["issue", "viewer", "a b"], 2, "host name"),
        (&["issue", "viewer", "ann", "--days", "0"], 2, "0 is not in 1..=3652"),
        (&["issue", "viewer", "ann", "--days", "3653"], 2, "3653 is not in 1..=3652"),
        (&["issue", "viewer", "ann", "--server-name", "x"], 2, "is for a server's certificate"),
        (&["issue", "server", "10.0.0"], 2, "add --server-name"),
        (&["issue", "server", "db", "--server-name", "db:7443"], 2, "without port"),
        (&["rotate", "server", "--finish"], 2, "nothing to finish for the server authority"),
        (&["rotate", "client", "--yes"], 2, "--finish"),
        (&["rotate", "client", "--finish"], 1, "client-ca.pem has one authority"),
        (&["rotate", "client", "--root-key", "/nowhere"], 1, "there is no /nowhere"),
        (&["revoke", "viewer"], 2, "write `rowcall pki revoke viewer NAME`"),
        (&["revoke", "node1", "node1"], 2, "rowcall host revoke NAME"),
        (&["revoke", "viewer", "bob"], 1, "no certificate of viewer bob"),
        (&["revoke", "bob.pem"], 1, "there is no bob.pem"),
        (&["revoke", "/dev/null"], 1, "is no file"),
        (&["init", "--trust-domain", "a b"], 2, "a b"),
    ] {
        let (got, error) = place.fails(args);
        assert!(got == code && error.contains(words), "{args:?}: {got}: {error}");
    }
    // Another pair's key, damage, a folder that is none.
    fs::copy(place.dir().join("server-ca.key"), place.dir().join("client-ca.key")).unwrap();
    let (code, error) = place.fails(&["issue", "viewer", "ann"]);
    assert!(code == 1 && error.contains("does not belong to"), "{error}");
    assert!(error.contains("client-ca.pem with ") && error.contains("client-ca.key"), "{error}");
    fs::write(place.dir().join("issued.json"), "{").unwrap();
    let (code, error) = place.fails(&["revoke", "operator", "admin"]);
    assert!(code == 1 && error.contains("issued.json is damaged; restore it"), "{error}");
    fs::write(place.dir().join("root.pem"), [0xff]).unwrap();
    let (code, error) = place.fails(&["show"]);
    assert!(code == 1 && error.contains("root.pem is damaged: it is no text"), "{error}");
    let file = place.dir().join("root.pem");
    let output = rowcall().args(["pki", "init", "--dir"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is no folder"), "{}", text(&output.stderr));
}

#[test]
fn what_the_aggregator_reads_belongs_to_its_user_also_when_it_is_written_again() {
    use std::os::unix::fs::MetadataExt as _;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give files to another user");
        return;
    }
    let place = Place::new();
    let user = ["--service-user", "54321"];
    stdout(place.pki(&[&["init", "--server-name", "db"], &user[..]].concat()));
    let owner = |name: &str| fs::metadata(place.dir().join(name)).unwrap().uid();
    let check = || {
        let folder = fs::metadata(place.dir()).unwrap();
        assert_eq!((folder.uid(), folder.gid(), folder.mode() & 0o777), (0, 54_321, 0o750));
        for entry in fs::read_dir(place.dir()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600, "{name}");
            let theirs = [
                "root.pem",
                "client-ca.pem",
                "client-ca.key",
                "server.pem",
                "server.key",
                "client-crl.pem",
            ];
            let expected = if theirs.contains(&name.as_str()) { 54_321 } else { 0 };
            assert_eq!(owner(&name), expected, "{name}");
        }
    };
    check();
    for args in [
        &["renew", "--server-name", "db2"][..],
        &["rotate", "server"],
        &["issue", "viewer", "ann"],
        &["revoke", "viewer", "ann"],
        &["rotate", "client"],
        &["init"],
    ] {
        stdout(place.pki(args));
        check();
    }
    // One that was left behind is given at the next command.
    std::os::unix::fs::chown(place.dir().join("server.key"), Some(0), Some(0)).unwrap();
    stdout(place.pki(&["renew"]));
    check();
    let shown = stdout(place.pki(&["show"]));
    assert!(shown.contains("runs as user 54321, who owns what it reads"), "{shown}");
    let (code, error) = place.fails(&["init", "--service-user", "no such user"]);
    assert!(code == 1 && error.contains("has no user \"no such user\""), "{error}");

    // A folder that was kept until now can be given later.
    let other = Place::initialized();
    assert_eq!(fs::metadata(other.dir().join("server.key")).unwrap().uid(), 0);
    let given = stdout(other.pki(&[&["init"], &user[..]].concat()));
    assert!(given.starts_with("This is there already; only its owner was set."), "{given}");
    assert_eq!(fs::metadata(other.dir().join("server.key")).unwrap().uid(), 54_321);
}

#[test]
fn who_may_not_read_the_folder_is_told_who_may() {
    use std::os::unix::process::CommandExt as _;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can be somebody else");
        return;
    }
    let place = Place::initialized();
    fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir();
    let copy = copy.unwrap().keep();
    let program = copy.join("rowcall");
    fs::copy(env!("CARGO_BIN_EXE_rowcall"), &program).unwrap();
    let output = Command::new(&program)
        .args(["pki", "renew", "--dir"])
        .arg(place.dir())
        .current_dir("/")
        .uid(65_534)
        .gid(65_534)
        .output();
    fs::remove_dir_all(&copy).unwrap();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("run it as the folder's owner or root (sudo)"), "{error}");
}
