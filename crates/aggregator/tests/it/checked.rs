//! What `--check-config` and the start say of a folder of certificates.

use std::os::unix::fs::PermissionsExt as _;

use rowcall_testkit::pki::Pki;
use rowcall_tls::issue::Authority;

use crate::process::program;

/// What the program says of this folder with these settings more: its exit code and its words.
async fn checked(pki: &Pki, more: &[&str]) -> (Option<i32>, String) {
    let mut command = program();
    command.env("ROWCALL_CONFIG", "/dev/null").env("ROWCALL_DATABASE", "embedded");
    command.args(["serve", "--check-config", "--pki-dir"]).arg(pki.dir()).args(more);
    let output = command.output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

async fn refused(pki: &Pki, more: &[&str], part: &str) {
    let (code, said) = checked(pki, more).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(part), "{part} is missing in: {said}");
}

#[tokio::test]
async fn a_folder_as_it_was_made_is_fine() {
    let pki = Pki::create().unwrap();
    let (code, said) = checked(&pki, &[]).await;
    assert_eq!(code, Some(0), "{said}");
    // Nor does an aggregator that does not issue need the key.
    std::fs::remove_file(pki.dir().join("client-ca.key")).unwrap();
    let (code, said) = checked(&pki, &["--issuer", "false"]).await;
    assert_eq!(code, Some(0), "{said}");
    refused(&pki, &[], "or set issuer = false").await;
}

#[tokio::test]
async fn authorities_of_another_trust_domain_are_told() {
    let pki = Pki::create().unwrap();
    let part = "client-ca.pem is of trust domain test.example, and not of other.example";
    refused(&pki, &["--trust-domain", "other.example"], part).await;
    // One of several.
    let now = rowcall_testkit::pki::now();
    let other = Authority::create_root("other.example".parse().unwrap(), now).unwrap();
    let both = format!("{}{}", pki.clients.cert_pem(), other.cert_pem());
    pki.put("client-ca.pem", &both).unwrap();
    refused(&pki, &[], "certificate 2 in ").await;
}

#[tokio::test]
async fn a_revocation_list_that_is_none_of_ours_is_told() {
    let pki = Pki::create().unwrap();
    let stranger = Pki::create().unwrap();
    let day = std::time::Duration::from_secs(86_400);
    let list = stranger.clients.revocation_list(&[], rowcall_testkit::pki::now(), day).unwrap();
    pki.put("client-crl.pem", &list).unwrap();
    refused(&pki, &[], "none of the authorities in the CA file").await;
    pki.put("client-crl.pem", "no list").unwrap();
    refused(&pki, &[], "client-crl.pem").await;
    refused(&pki, &["--client-crl", "/nonexistent/crl.pem"], "/nonexistent/crl.pem").await;
}

#[tokio::test]
async fn an_issuer_that_cannot_issue_or_would_issue_what_is_refused_is_told() {
    let pki = Pki::create().unwrap();
    let stranger = Pki::create().unwrap();
    let file = |name: &str| stranger.dir().join(name).to_str().unwrap().to_owned();
    let (key, certificate) = (file("client-ca.key"), file("client-ca.pem"));
    refused(&pki, &["--issuer-key", &key], "does not belong to the authority's certificate").await;
    let both = ["--issuer-key", &key, "--issuer-certificate", &certificate];
    refused(&pki, &both, "does not stand in client_ca").await;
    let servers = ["server-ca.key", "server-ca.pem"]
        .map(|name| pki.dir().join(name).to_str().unwrap().to_owned());
    let both = ["--issuer-key", &servers[0], "--issuer-certificate", &servers[1]];
    refused(&pki, &both, "may only issue for servers").await;
    refused(&pki, &["--server-ca", &file("root.pem")], "certifies our server certificate").await;
}

#[tokio::test]
async fn keys_that_everybody_can_read_are_told_all_at_once() {
    let pki = Pki::create().unwrap();
    for name in ["server.key", "client-ca.key"] {
        let path = pki.dir().join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    for name in ["server.key", "client-ca.key"] {
        refused(&pki, &[], &format!("chmod 600 {}", pki.dir().join(name).display())).await;
    }
}
