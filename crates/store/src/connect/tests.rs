//! Against real servers, each test with the message that a person sees.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rowcall_testkit::ca::{Issued, Leaf, TestCa};
use rowcall_testkit::remote::{PASSWORD, Remote, Role};

use super::*;

mod links;

/// Connects, and says who is there and over what.
async fn open(url: &str) -> Result<(String, String), Error> {
    let connector = Connector::new(url, "-c TimeZone=UTC", Duration::from_secs(5))?;
    let (client, link) = connector.connect().await?;
    tokio::spawn(link);
    let row = client
        .query_one(
            "SELECT current_user::text, coalesce(version, 'plain') FROM pg_stat_ssl \
             WHERE pid = pg_backend_pid()",
            &[],
        )
        .await?;
    Ok((row.get(0), row.get(1)))
}

async fn refused(url: &str, kind: Kind, words: &[&str]) {
    let error = match open(url).await {
        Err(error) => error,
        Ok(found) => panic!("{url} is let in: {found:?}"),
    };
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{url}: {text}");
    for word in words {
        assert!(text.contains(word), "{url}: {text}");
    }
    for secret in [PASSWORD, "geheim"] {
        assert!(!text.contains(secret), "{url}: {text}");
        assert!(!format!("{error:?}").contains(secret), "{url}: {error:?}");
    }
}

async fn over(url: &str) -> String {
    open(url).await.unwrap_or_else(|error| panic!("{url}: {error}")).1
}

fn with_files(url: &str, parameters: &[(&str, &Path)]) -> String {
    parameters
        .iter()
        .fold(url.to_owned(), |url, (name, path)| format!("{url}&{name}={}", path.display()))
}

#[tokio::test]
async fn every_mode_takes_the_way_that_the_server_offers() {
    let remote = Remote::shared().await.unwrap();
    let root = remote.root_file().unwrap();
    let url = |role: Role, mode: &str| {
        let url = format!("{}?sslmode={mode}", remote.url(role));
        if mode.starts_with("verify") { with_files(&url, &[("sslrootcert", &root)]) } else { url }
    };
    for (mode, role, way) in [
        ("disable", Role::EitherWay, "plain"),
        ("disable", Role::OverPlain, "plain"),
        ("allow", Role::EitherWay, "plain"),
        ("allow", Role::OverPlain, "plain"),
        ("allow", Role::OverTls, "TLSv1.3"),
        ("prefer", Role::EitherWay, "TLSv1.3"),
        ("prefer", Role::OverTls, "TLSv1.3"),
        ("prefer", Role::OverPlain, "plain"),
        ("require", Role::EitherWay, "TLSv1.3"),
        ("verify-ca", Role::OverTls, "TLSv1.3"),
        ("verify-full", Role::OverTls, "TLSv1.3"),
    ] {
        assert_eq!(over(&url(role, mode)).await, way, "{mode} {role:?}");
    }
    assert_eq!(over(&remote.url(Role::OverTls)).await, "TLSv1.3", "the default is prefer");

    let hba = "where it wants TLS, set sslmode=require or stronger";
    refused(&url(Role::OverTls, "disable"), Kind::Config, &["over_tls in", hba]).await;
    let hba = "where it wants a client certificate, set sslcert and sslkey";
    refused(&url(Role::OverPlain, "require"), Kind::Config, &["over_plain in", hba]).await;
}

#[tokio::test]
async fn a_server_without_tls_is_reached_only_where_the_mode_allows_it() {
    let remote = Remote::start().await.unwrap();
    remote.turn_tls_off().await.unwrap();
    let root = remote.root_file().unwrap();
    for mode in ["disable", "allow", "prefer"] {
        let url = format!("{}?sslmode={mode}", remote.url(Role::EitherWay));
        assert_eq!(over(&url).await, "plain", "{mode}");
        let url = with_files(&url, &[("sslrootcert", &root)]);
        assert_eq!(over(&url).await, "plain", "{mode} with authorities");
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = format!("{}?sslmode={mode}", remote.url(Role::EitherWay));
        let url = with_files(&url, &[("sslrootcert", &root)]);
        let words = format!("has no TLS, and sslmode={mode} wants it; turn ssl on at the server");
        refused(&url, Kind::Config, &[&words, "PostgreSQL at localhost:"]).await;
    }
    let url = format!("{}?sslmode=allow", remote.url(Role::OverTls));
    refused(&url, Kind::Config, &["does not let user over_tls in"]).await;
    tokio::task::spawn_blocking(move || drop(remote)).await.unwrap();
}

#[tokio::test]
async fn the_servers_certificate_is_checked_as_the_mode_says() {
    let remote = Remote::start().await.unwrap();
    let other = TestCa::root("Other").unwrap();
    let root = remote.root_file().unwrap();
    let wrong_root = remote.client_file("other.pem", other.root_pem()).unwrap();
    let url = |mode: &str, root: &Path| {
        let url = format!("{}?sslmode={mode}", remote.url(Role::EitherWay));
        with_files(&url, &[("sslrootcert", root)])
    };
    let require = format!("{}?sslmode=require", remote.url(Role::EitherWay));

    // Of another authority: also where require or prefer was given one.
    for mode in ["prefer", "require", "verify-ca", "verify-full"] {
        let words =
            ["the certificate of PostgreSQL at localhost:", "not signed by an authority in sslroo"];
        refused(&url(mode, &wrong_root), Kind::Config, &words).await;
    }
    refused(
        &format!("{}?sslrootcert=system", remote.url(Role::EitherWay)),
        Kind::Config,
        &["sslrootcert=system"],
    )
    .await;

    // For another name.
    let elsewhere = Leaf::server().dns_names(&["db.example.org"]);
    remote.show_certificate(&remote.ca().issue(&elsewhere).unwrap()).await.unwrap();
    for mode in ["require", "verify-ca"] {
        assert_eq!(over(&url(mode, &root)).await, "TLSv1.3");
    }
    let words =
        ["it is for db.example.org, ", "not for localhost; use one of its names in the URL"];
    refused(&url("verify-full", &root), Kind::Config, &words).await;
    let named = url("verify-full", &root).replace("@localhost", "@db.example.org");
    assert_eq!(over(&format!("{named}&hostaddr=127.0.0.1")).await, "TLSv1.3");
    let address = url("verify-full", &root).replace("@localhost", "@127.0.0.1");
    refused(&address, Kind::Config, &["not for 127.0.0.1"]).await;

    // By its common name, where it has no other.
    let common = Leaf::server().dns_names(&[]).common_name("localhost");
    remote.show_certificate(&remote.ca().issue(&common).unwrap()).await.unwrap();
    assert_eq!(over(&url("verify-full", &root)).await, "TLSv1.3");
    let common = Leaf::server().dns_names(&[]).common_name("db.example.org");
    remote.show_certificate(&remote.ca().issue(&common).unwrap()).await.unwrap();
    refused(&url("verify-full", &root), Kind::Config, &["CN=db.example.org, not for local"]).await;

    // Not any more, and not yet.
    remote.show_certificate(&remote.ca().issue(&Leaf::server().expired()).unwrap()).await.unwrap();
    refused(&url("verify-ca", &root), Kind::Config, &["it has expired; renew it"]).await;
    assert_eq!(over(&require).await, "TLSv1.3", "nobody asked for a check");
    let early = remote.ca().issue(&Leaf::server().not_yet_valid()).unwrap();
    remote.show_certificate(&early).await.unwrap();
    refused(&url("verify-full", &root), Kind::Transient, &["not valid yet; check this mach"]).await;

    // What stands in sslrootcert itself is believed, even as its own authority.
    let own = remote.ca().issue(&Leaf::server().as_authority()).unwrap();
    remote.show_certificate(&own).await.unwrap();
    let pinned = remote.client_file("pinned.pem", &own.chain_pem).unwrap();
    assert_eq!(over(&url("verify-full", &pinned)).await, "TLSv1.3");

    let old = remote.ca().issue(&Leaf::server().as_authority().expired()).unwrap();
    remote.show_certificate(&old).await.unwrap();
    let expired = remote.client_file("expired.pem", &old.chain_pem).unwrap();
    refused(&url("verify-ca", &expired), Kind::Config, &["it has expired"]).await;
    remote.show_certificate(&own).await.unwrap();

    // TLS 1.2 will do, and where TLS is impossible prefer goes on without.
    remote.set("ssl_max_protocol_version", "TLSv1.2").await.unwrap();
    assert_eq!(over(&url("verify-full", &pinned)).await, "TLSv1.2");
    remote.set("ssl_min_protocol_version", "TLSv1.1").await.unwrap();
    remote.set("ssl_max_protocol_version", "TLSv1.1").await.unwrap();
    refused(&require, Kind::Config, &["no TLS with PostgreSQL at", "TLS 1.2 or 1.3"]).await;
    assert_eq!(over(&remote.url(Role::EitherWay)).await, "plain");
    tokio::task::spawn_blocking(move || drop(remote)).await.unwrap();
}

/// As PostgreSQL's manual has it: with older OpenSSL it makes certificates of version 1.
#[tokio::test]
async fn certificates_made_as_in_postgresqls_manual_are_taken() {
    let remote = Remote::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let openssl = |line: &str| {
        let mut command = std::process::Command::new("openssl");
        let done = command.args(line.split(' ')).current_dir(folder.path()).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    };
    for name in ["root", "other"] {
        openssl(&format!(
            "req -new -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=Root -keyout {name}.key \
             -out {name}.pem"
        ));
    }
    openssl("req -new -newkey rsa:2048 -nodes -subj /CN=localhost -keyout key.pem -out csr.pem");
    openssl(
        "x509 -req -in csr.pem -days 2 -CA root.pem -CAkey root.key -CAcreateserial -out cert.pem",
    );
    let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let issued = Issued { chain_pem: text("cert.pem"), key_pem: text("key.pem") };
    remote.show_certificate(&issued).await.unwrap();
    assert_eq!(over(&remote.url(Role::OverTls)).await, "TLSv1.3");
    let url = |host: &str, root: &str| {
        let url = remote.url(Role::OverTls).replace("localhost", host);
        let root = folder.path().join(root);
        with_files(&format!("{url}?sslmode=verify-full"), &[("sslrootcert", &root)])
    };
    assert_eq!(over(&url("localhost", "root.pem")).await, "TLSv1.3");
    refused(&url("127.0.0.1", "root.pem"), Kind::Config, &["CN=localhost, not for 127.0.0.1"])
        .await;
    refused(&url("localhost", "other.pem"), Kind::Config, &["not signed by an authority"]).await;
    tokio::task::spawn_blocking(move || drop(remote)).await.unwrap();
}

#[tokio::test]
async fn client_certificates_are_shown_and_their_lack_is_named() {
    let remote = Remote::shared().await.unwrap();
    let root = remote.root_file().unwrap();
    let url = |role: Role, client: Option<&rowcall_testkit::ca::Paths>| {
        let url = remote.url(role).replace(&format!(":{PASSWORD}"), "");
        let url = with_files(&format!("{url}?sslmode=verify-full"), &[("sslrootcert", &root)]);
        match client {
            None => url,
            Some(client) => {
                with_files(&url, &[("sslcert", &client.certificate), ("sslkey", &client.key)])
            }
        }
    };
    let with_password = |url: String| url.replace("@localhost", &format!(":{PASSWORD}@localhost"));

    let good = remote.client(Role::ByCertificate).unwrap();
    let found = open(&url(Role::ByCertificate, Some(&good))).await.unwrap();
    assert_eq!(found, ("by_certificate".into(), "TLSv1.3".into()));
    let both = remote.client(Role::ByBoth).unwrap();
    over(&with_password(url(Role::ByBoth, Some(&both)))).await;

    let missing = "where it wants a client certificate, set sslcert and sslkey";
    refused(&url(Role::ByCertificate, None), Kind::Config, &[missing]).await;
    refused(&with_password(url(Role::ByBoth, None)), Kind::Config, &[missing]).await;
    let words = ["the common name of sslcert must be the user's name"];
    refused(&url(Role::ByCertificate, Some(&both)), Kind::Config, &words).await;

    // The refusal comes when we believe ourselves connected; its words must not get lost.
    let other = TestCa::root("Other").unwrap();
    let strange = remote.client_of(&other, Role::ByCertificate.name()).unwrap();
    for _ in 0..20 {
        let words = ["refuses the client certificate sslcert", "ssl_ca_file"];
        refused(&url(Role::ByCertificate, Some(&strange)), Kind::Config, &words).await;
    }
}

#[tokio::test]
async fn unusable_files_are_named_with_what_to_do() {
    let remote = Remote::shared().await.unwrap();
    let good = remote.client(Role::ByCertificate).unwrap();
    let other = remote.client(Role::ByBoth).unwrap();
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    let file = |name: &str, text: &str| remote.client_file(name, text).unwrap();
    let open_key = file("open-key.pem", &text(&good.key));
    std::fs::set_permissions(&open_key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let label = "ENCRYPTED PRIVATE KEY";
    let encrypted = text(&good.key).replace("PRIVATE KEY", label);
    let encrypted = file("encrypted-key.pem", &encrypted);
    let prose = file("prose.pem", "dear");
    let broken = file("broken.pem", &text(&good.certificate).replace("-----END", "-----ENT"));
    let missing = Path::new("/nonexistent/file.pem");
    let folder = good.key.parent().unwrap();

    let base = format!("{}?sslmode=verify-full", remote.url(Role::ByCertificate));
    for (root, certificate, key, words) in [
        (missing, None, None, "sslrootcert /nonexistent/file.pem: No such file"),
        (folder, None, None, "it is a folder; give the path of a file"),
        (&prose, None, None, "prose.pem holds no certificate; it must be PEM"),
        (&broken, None, None, "broken.pem is no good PEM"),
        (&good.authorities, Some(missing), Some(&*good.key), "sslcert /nonexistent/file.pem: No"),
        (&good.authorities, Some(&*good.certificate), Some(missing), "sslkey /nonexistent/file"),
        (&good.authorities, Some(&*good.certificate), Some(&*open_key), "(mode 0644); chmod 0600"),
        (&good.authorities, Some(&*good.certificate), Some(&*encrypted), "is encrypted, and a se"),
        (&good.authorities, Some(&*good.certificate), Some(&*prose), "holds no private key"),
        (&good.authorities, Some(&*good.certificate), Some(&*other.key), "is not the key of sslce"),
    ] {
        let mut parameters = vec![("sslrootcert", root)];
        parameters.extend(certificate.map(|path| ("sslcert", path)));
        parameters.extend(key.map(|path| ("sslkey", path)));
        let url = with_files(&base, &parameters);
        refused(&url, Kind::Config, &["database URL: ", words]).await;
        assert!(check(&url).unwrap_err().to_string().contains(words), "{words}");
    }
    let url = with_files(
        &base,
        &[
            ("sslrootcert", &good.authorities),
            ("sslcert", &good.certificate),
            ("sslkey", &good.key),
        ],
    );
    check(&url).unwrap();

    // An ordinary user may not be let in at all.
    if std::fs::File::open("/etc/shadow").is_err() {
        let url = format!("{base}&sslrootcert=/etc/shadow");
        refused(&url, Kind::Config, &["sslrootcert /etc/shadow: Permission denied"]).await;
    }
}

/// Nobody ever writes into it: whoever waits for that waits for ever.
#[tokio::test]
async fn a_named_pipe_in_place_of_a_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let pipe = pipe.display();
    let remote = Remote::shared().await.unwrap();
    let good = remote.client(Role::ByCertificate).unwrap();
    let (certificate, key) = (good.certificate.display(), good.key.display());
    for (parameter, parameters) in [
        ("passfile", format!("passfile={pipe}")),
        ("sslrootcert", format!("sslmode=verify-ca&sslrootcert={pipe}")),
        ("sslcert", format!("sslcert={pipe}&sslkey={key}")),
        ("sslkey", format!("sslcert={certificate}&sslkey={pipe}")),
    ] {
        let url = format!("postgresql://u@127.0.0.1:1/x?{parameters}");
        let words = format!("{parameter} {pipe}: it is a named pipe; give the path of a file");
        assert!(check(&url).unwrap_err().to_string().contains(&words), "{words}");
        refused(&url, Kind::Config, &["database URL: ", &words]).await;
    }
}

#[tokio::test]
async fn the_passfile_is_looked_up_for_each_server() {
    let remote = Remote::shared().await.unwrap();
    let port = remote.port();
    let url = |file: &Path| format!("{}?passfile={}", remote.url_of("either_way"), file.display());
    let file = |text: &str| remote.client_file("pass", text).unwrap();
    let line = |host: &str, user: &str| format!("{host}:{port}:postgres:{user}:{PASSWORD}\n");

    let right = file(&line("localhost", "either_way"));
    over(&url(&right)).await;
    // An entry for another host first, then one for this: each server has its own.
    let several = file(&(line("db", "either_way") + &line("localhost", "either_way")));
    let two = format!(
        "host=127.0.0.1,localhost port={port} user=either_way dbname=postgres passfile={}",
        several.display()
    );
    over(&two).await;
    let none = file(&line("localhost", "somebody"));
    let words =
        ["has no line that fits localhost:", &format!("{port}:postgres:either_way (host:port:da")];
    refused(&url(&none), Kind::Config, &words).await;
    refused(&remote.url_of("either_way"), Kind::Config, &["that the URL does not have"]).await;
    let wrong = file(&line("*", "*").replace(PASSWORD, "geheim"));
    let words = ["does not let user either_way in", "check user and password in passfile /"];
    refused(&url(&wrong), Kind::Config, &words).await;
    let before = url(&wrong).replace("either_way@", &format!("either_way:{PASSWORD}@"));
    over(&before).await;

    let exposed = file(&line("*", "*"));
    std::fs::set_permissions(&exposed, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(&url(&exposed), Kind::Config, &["passfile /", "(mode 0644); chmod 0600"]).await;
    let missing = url(Path::new("/nonexistent/pass"));
    refused(&missing, Kind::Config, &["passfile /nonexistent/pass: No such file"]).await;
}

#[tokio::test]
async fn renewed_files_are_in_force_with_the_next_connection() {
    let remote = Remote::shared().await.unwrap();
    let pass = remote.client_file("pass", "*:*:*:*:geheim").unwrap();
    let root = remote.client_file("root.pem", TestCa::root("Old").unwrap().root_pem()).unwrap();
    let url = format!("{}?sslmode=verify-full", remote.url_of("over_tls"));
    let url = with_files(&url, &[("sslrootcert", &root), ("passfile", &pass)]);
    let connector = Connector::new(&url, "", Duration::from_secs(5)).unwrap();
    let failure = async || connector.connect().await.map(drop).unwrap_err().to_string();
    assert!(failure().await.contains("not signed by"));
    std::fs::write(&root, remote.ca().root_pem()).unwrap();
    assert!(failure().await.contains("password authentication failed"));
    std::fs::write(&pass, format!("*:*:*:*:{PASSWORD}")).unwrap();
    connector.connect().await.map(drop).unwrap();
}

#[tokio::test]
async fn a_login_is_bound_to_the_servers_certificate() {
    let remote = Remote::shared().await.unwrap();
    let required = format!("{}?channel_binding=require", remote.url(Role::EitherWay));
    assert_eq!(over(&required).await, "TLSv1.3");
    let plain = format!("{required}&sslmode=disable");
    refused(&plain, Kind::Config, &["a way to log in", "did not use channel binding"]).await;
}

#[tokio::test]
async fn tls_without_a_word_before_it_is_for_newer_servers() {
    let remote = Remote::shared().await.unwrap();
    let root = remote.root_file().unwrap();
    let url = format!("{}?sslmode=verify-full&sslnegotiation=direct", remote.url(Role::OverTls));
    let url = with_files(&url, &[("sslrootcert", &root)]);
    if remote.version_major() >= 17 {
        assert_eq!(over(&url).await, "TLSv1.3");
    } else {
        refused(&url, Kind::Transient, &["direct needs PostgreSQL 17"]).await;
    }
}

#[tokio::test]
async fn a_wrong_password_database_or_right_is_named_over_tls_too() {
    let remote = Remote::shared().await.unwrap();
    let url = |credentials: &str| format!("{}?sslmode=require", remote.url_of(credentials));
    let words = ["does not let user over_tls in", "check user and password in the URL"];
    refused(&url("over_tls:geheim"), Kind::Config, &words).await;
    let missing = url(&format!("over_tls:{PASSWORD}")).replace("/postgres?", "/no_such?");
    refused(&missing, Kind::Config, &["CREATE DATABASE \"no_such\""]).await;

    let admin = remote.admin().await.unwrap();
    admin.batch_execute("CREATE DATABASE closed").await.unwrap();
    admin.batch_execute("REVOKE CONNECT ON DATABASE closed FROM PUBLIC").await.unwrap();
    let closed = url(&format!("over_tls:{PASSWORD}")).replace("/postgres?", "/closed?");
    let words = ["GRANT CONNECT ON DATABASE \"closed\" TO \"over_tls\""];
    refused(&closed, Kind::Config, &words).await;
}

#[tokio::test]
async fn servers_are_tried_in_turn_and_all_are_named_when_none_will_do() {
    let remote = Remote::shared().await.unwrap();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap();
    let url = |last: u16| {
        format!(
            "postgresql://either_way:{PASSWORD}@127.0.0.1:1,{silent},localhost:{last}/postgres\
             ?sslmode=require"
        )
    };
    // The silent one costs twice the time for a connection.
    let connector = Connector::new(&url(remote.port()), "", Duration::from_secs(2)).unwrap();
    connector.connect().await.map(drop).unwrap();
    let random = url(remote.port()).replace(&format!("{silent},"), "");
    for _ in 0..5 {
        assert_eq!(over(&format!("{random}&load_balance_hosts=random")).await, "TLSv1.3");
    }
    let connector = Connector::new(&url(1), "", Duration::from_millis(50)).unwrap();
    let error = connector.connect().await.map(drop).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), Kind::Transient, "{text}");
    let parts = ["127.0.0.1:1 (", "no answer in time", "cannot reach PostgreSQL at localhost:1"];
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    assert!(!format!("{connector:?}").contains(PASSWORD), "{connector:?}");

    let url = remote.database(Role::EitherWay).await.unwrap();
    let name = url.rsplit('/').next().unwrap();
    let alter = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    remote.admin().await.unwrap().batch_execute(&alter).await.unwrap();
    over(&url).await;
    let words = ["only reads, and target_session_attrs=read-write wants a server that writes"];
    refused(&format!("{url}?target_session_attrs=read-write"), Kind::ReadOnly, &words).await;
}

#[tokio::test]
async fn on_a_socket_there_is_no_tls_whatever_the_mode() {
    let database = rowcall_testkit::database::Database::create().await.unwrap();
    let remote = Remote::shared().await.unwrap();
    let url = format!("{}?sslmode=verify-full", database.url());
    let url = with_files(&url, &[("sslrootcert", &remote.root_file().unwrap())]);
    assert_eq!(over(&url).await, "plain");
}

#[tokio::test]
async fn a_pool_gives_the_same_words() {
    let remote = Remote::shared().await.unwrap();
    let root = remote.client_file("other.pem", TestCa::root("Other").unwrap().root_pem()).unwrap();
    let url = format!("{}?sslmode=verify-ca", remote.url(Role::EitherWay));
    let settings = crate::Settings::new(with_files(&url, &[("sslrootcert", &root)]));
    let error = crate::Store::connect(&settings).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config, "{error}");
    assert!(error.to_string().contains("not signed by an authority in sslrootcert"), "{error}");
    let settings = crate::Settings::new(format!("{}?sslmode=require", remote.url(Role::OverTls)));
    crate::Store::connect(&settings).await.unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn a_store_does_all_its_work_over_tls_as_the_databases_owner() {
    let remote = Remote::shared().await.unwrap();
    let client = remote.client(Role::ByBoth).unwrap();
    let url = remote.database(Role::ByBoth).await.unwrap();
    let url = with_files(
        &format!("{url}?sslmode=verify-full"),
        &[
            ("sslrootcert", &client.authorities),
            ("sslcert", &client.certificate),
            ("sslkey", &client.key),
        ],
    );
    let store = crate::Store::connect(&crate::Settings::new(&url)).await.unwrap();
    store.migrate().await.unwrap();
    store.ensure_partitions().await.unwrap();
    store.opened(&crate::testing::hello("node1", 1), crate::testing::MINUTE).await.unwrap();
    let ways = remote
        .admin()
        .await
        .unwrap()
        .query(
            "SELECT DISTINCT s.ssl, s.client_dn FROM pg_stat_ssl s JOIN pg_stat_activity a \
             USING (pid) WHERE a.usename = 'by_both' AND a.application_name = 'rowcall-aggregator'",
            &[],
        )
        .await
        .unwrap();
    let ways: Vec<(bool, Option<String>)> = ways.iter().map(|r| (r.get(0), r.get(1))).collect();
    assert_eq!(ways, [(true, Some("/CN=by_both".into()))]);
}
