//! What is said about files that cannot be used.

use std::fs;
use std::path::Path;

use rowcall_core::clock::{Clock as _, SystemClock};
use rowcall_testkit::ca::{Leaf, TestCa};
use rowcall_tls::load::{Files, Material};
use tempfile::TempDir;

use crate::support::{AGENT, files};

struct Folder {
    folder: TempDir,
    files: Files,
}

impl Folder {
    fn new() -> Self {
        Self::of(&Leaf::client(AGENT))
    }

    fn of(leaf: &Leaf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = TestCa::root("root").unwrap().write(folder.path(), "node", leaf).unwrap();
        Self { folder, files: files(&paths) }
    }

    /// The error with the folder's path taken out.
    fn error(&self) -> String {
        let text = Material::load(&self.files).unwrap_err().to_string();
        text.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn good_files_give_chain_identity_and_dates_but_never_show_the_key() {
    let good = Folder::new();
    let material = Material::load(&good.files).unwrap();
    assert_eq!(material.chain().len(), 1);
    assert_eq!(material.identity().unwrap().to_string(), AGENT);
    assert_eq!(material.check_dates(SystemClock.wall()), Ok(()));
    let shown = format!("{material:?}");
    assert!(shown.contains("node1") && !shown.contains("PRIVATE"), "{shown}");
    let key = read(&good.files.key);
    for line in key.lines() {
        assert!(!shown.contains(line));
    }
}

#[test]
fn missing_file_is_named_with_what_to_do() {
    let case = Folder::new();
    fs::remove_file(&case.files.key).unwrap();
    assert_eq!(
        case.error(),
        "cannot read key file node-key.pem: No such file or directory (os error 2); check the \
         path in the configuration"
    );
}

#[test]
fn folder_instead_of_a_file_is_named() {
    let mut case = Folder::new();
    case.files.authorities = case.folder.path().join("sub");
    fs::create_dir(&case.files.authorities).unwrap();
    assert_eq!(
        case.error(),
        "cannot read CA file sub: Is a directory (os error 21); give the path of a file"
    );
}

#[test]
fn empty_large_and_foreign_files_are_told_apart() {
    let case = Folder::new();
    fs::write(&case.files.certificate, "").unwrap();
    assert_eq!(
        case.error(),
        "certificate file node.pem is empty; write it again, it was probably cut off"
    );
    fs::write(&case.files.certificate, vec![b'x'; 1024 * 1024 + 1]).unwrap();
    assert_eq!(
        case.error(),
        "certificate file node.pem has more than 1 MiB; give the path of a PEM file"
    );
    fs::write(&case.files.certificate, [0x30, 0x82, 0x01, 0x00, 0xff]).unwrap();
    assert_eq!(
        case.error(),
        "certificate file node.pem holds no PEM block of CERTIFICATE; it must be PEM (text); \
         convert DER with `openssl x509 -inform der`"
    );
}

#[test]
fn cut_off_certificate_names_the_line_that_is_missing() {
    let case = Folder::new();
    let whole = read(&case.files.certificate);
    let (start, _) = whole.split_at(whole.len() / 2);
    fs::write(&case.files.certificate, start).unwrap();
    assert_eq!(
        case.error(),
        "certificate file node.pem is not valid PEM: the line \"-----END CERTIFICATE-----\" is \
         missing; write it again"
    );
}

#[test]
fn bytes_that_are_no_certificate_inside_valid_pem_are_named_by_number() {
    let case = Folder::new();
    let good = read(&case.files.certificate);
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(&case.files.certificate, good + bad).unwrap();
    assert_eq!(
        case.error(),
        "certificate 2 in certificate file node.pem cannot be read: its bytes are no X.509 \
         certificate; write it again"
    );
}

#[test]
fn key_file_without_a_key_and_with_an_encrypted_one_are_told_apart() {
    let case = Folder::new();
    let key = read(&case.files.key);
    fs::copy(&case.files.certificate, &case.files.key).unwrap();
    assert_eq!(
        case.error(),
        "key file node-key.pem holds no PEM block of PRIVATE KEY; it holds a certificate; are the \
         paths of certificate and key swapped?"
    );
    fs::write(&case.files.key, "what is this?").unwrap();
    assert_eq!(
        case.error(),
        "key file node-key.pem holds no PEM block of PRIVATE KEY; give the private key that was \
         made with the certificate"
    );
    fs::write(&case.files.key, key.replace("PRIVATE", "ENCRYPTED PRIVATE")).unwrap();
    assert_eq!(
        case.error(),
        "key file node-key.pem is encrypted; take the passphrase off with `openssl pkey -in FILE \
         -out FILE`"
    );
}

#[test]
fn key_of_another_certificate_is_a_mismatch_that_names_both_files() {
    let mut case = Folder::new();
    let other = Folder::new();
    case.files.key = case.folder.path().join("other-key.pem");
    fs::copy(&other.files.key, &case.files.key).unwrap();
    assert_eq!(
        case.error(),
        "key in other-key.pem does not belong to the first certificate in node.pem; give the two \
         files that were made together, and in the certificate file put our own certificate first"
    );
}

#[test]
fn bytes_that_are_no_key_inside_valid_pem_cannot_be_used() {
    let case = Folder::new();
    fs::write(&case.files.key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
        .unwrap();
    let error = case.error();
    assert!(error.starts_with("key in node-key.pem cannot be used: failed to parse"), "{error}");
}

#[test]
fn leaf_certificate_in_the_ca_file_is_no_authority() {
    let case = Folder::new();
    fs::copy(&case.files.certificate, &case.files.authorities).unwrap();
    assert_eq!(
        case.error(),
        "certificate 1 in CA file node-ca.pem is not a CA certificate (its subject is \
         \"CN=test\"); give the certificate of the authority that issued the other side's \
         certificate"
    );
}

#[test]
fn certificates_out_of_date_load_and_say_by_which_dates() {
    for (leaf, words) in [
        (Leaf::client(AGENT).expired(), " expired at "),
        (Leaf::client(AGENT).not_yet_valid(), " is valid only from "),
    ] {
        let case = Folder::of(&leaf);
        let material = Material::load(&case.files).unwrap();
        let now = SystemClock.wall();
        let error = material.check_dates(now).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("node.pem"), "{error}");
        let validity = material.validity();
        assert!(now < validity.not_before || now > validity.not_after);
        let middle = validity.not_before.plus_micros(1);
        assert_eq!(material.check_dates(middle), Ok(()));
    }
}
