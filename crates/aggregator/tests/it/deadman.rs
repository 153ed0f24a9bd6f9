//! The dead man's switch, over HTTP and HTTPS.

use std::net::SocketAddr;
use std::sync::Arc;

use rowcall_testkit::ca::{Leaf, TestCa};
use rowcall_testkit::database::Database;
use rowcall_testkit::poll::wait_for;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::process::{code, logged, program, serve_with, settings_by, signal};
use crate::rig::{Agent, PATIENCE, Rig, dial_at, files, hello};

const SECRET: &str = "/ping/5a7c9e-SECRET?x=1";

/// Answers every request with this status line; gives their heads.
async fn server(tls: Option<TlsAcceptor>, status: &'static str) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heads, received) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let head = match &tls {
                None => answer(stream, status).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => answer(stream, status).await,
                    Err(error) => format!("no TLS: {error}"),
                },
            };
            heads.send(head).await.unwrap();
        }
    });
    (port, received)
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, status: &str) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    // A body that never comes to its end is not waited for.
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 100\r\n\r\nOK");
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    String::from_utf8(head).unwrap()
}

async fn metric(rig: &Rig, series: &str) -> f64 {
    let text = rig.get("/metrics").await.1;
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.unwrap_or_else(|| panic!("{series} is missing")).trim().parse().unwrap()
}

async fn until_metric(rig: &Rig, series: &str, value: f64) {
    wait_for(format!("{series} to be {value}"), PATIENCE, || async {
        (metric(rig, series).await == value).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_url_is_called_once_something_is_committed() {
    let database = Database::create().await.unwrap();
    let (port, mut heads) = server(None, "200 OK").await;
    let rig = Rig::start_with(&database.url(), |config| {
        config.dead_man_url = Some(url(&format!("http://127.0.0.1:{port}{SECRET}")));
    })
    .await;
    let (mut agent, _) = rig.connected_when_ready("node1", 1).await;
    assert!(heads.try_recv().is_err(), "nothing is committed yet");
    agent.samples(1..=3).await;
    agent.acknowledged(3).await;
    let head = heads.recv().await.unwrap();
    assert!(head.starts_with(&format!("GET {SECRET} HTTP/1.1\r\n")), "{head}");
    assert!(head.to_lowercase().contains(&format!("\r\nhost: 127.0.0.1:{port}\r\n")), "{head}");
    until_metric(&rig, "rowcall_dead_man_calls_total{result=\"ok\"}", 1.0).await;
    agent.samples(4..=4).await;
    agent.acknowledged(4).await;
    assert!(heads.try_recv().is_err(), "once a minute is enough");
}

#[tokio::test]
async fn an_answer_that_is_no_success_is_a_failure() {
    let database = Database::create().await.unwrap();
    for status in ["404 Not Found", "301 Moved\r\nLocation: http://127.0.0.1/", "nonsense"] {
        let (port, mut heads) = server(None, status).await;
        let rig = Rig::start_with(&database.url(), |config| {
            config.dead_man_url = Some(url(&format!("http://127.0.0.1:{port}/")));
        })
        .await;
        let (mut agent, _) = rig.connected_when_ready("node1", 1).await;
        agent.samples(1..=1).await;
        agent.acknowledged(1).await;
        heads.recv().await.unwrap();
        until_metric(&rig, "rowcall_dead_man_calls_total{result=\"failed\"}", 1.0).await;
        assert_eq!(metric(&rig, "rowcall_dead_man_calls_total{result=\"ok\"}").await, 0.0);
        drop(agent);
        rig.stop().await.unwrap();
    }
}

fn url(text: &str) -> rowcall_aggregator::config::DeadManUrl {
    rowcall_aggregator::config::DeadManUrl::parse(text).unwrap()
}

/// Runs the program with an HTTPS switch whose authority is in `SSL_CERT_FILE`, or is not; gives
/// what the switch received and the log until `until`.
async fn over_https(trusted: bool, until: &str) -> (String, Vec<String>) {
    let database = Database::create().await.unwrap();
    let (ca, folder) = (TestCa::root("switch").unwrap(), tempfile::tempdir().unwrap());
    let paths = ca.write(folder.path(), "switch", &Leaf::server()).unwrap();
    let chain = CertificateDer::pem_file_iter(&paths.certificate).unwrap();
    let config = ServerConfig::builder_with_provider(rowcall_tls::config::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            chain.collect::<Result<_, _>>().unwrap(),
            PrivateKeyDer::from_pem_file(&paths.key).unwrap(),
        )
        .unwrap();
    let (port, mut heads) = server(Some(TlsAcceptor::from(Arc::new(config))), "200 OK").await;

    let own = TestCa::root("own").unwrap();
    let more = format!(
        "database = '{}'\ndead_man_url = 'https://localhost:{port}{SECRET}'\nlog_level = 'debug'",
        database.url()
    );
    let file = settings_by(&own, folder.path(), &more);
    let mut program = program();
    let stranger = TestCa::root("stranger").unwrap();
    let roots = if trusted { ca.root_pem() } else { stranger.root_pem() };
    let roots_file = folder.path().join("roots.pem");
    std::fs::write(&roots_file, roots).unwrap();
    program.env("SSL_CERT_FILE", &roots_file).env_remove("SSL_CERT_DIR");
    let (child, mut log) = serve_with(program, &file);
    let address: SocketAddr =
        logged(&mut log, "listening").await["address"].as_str().unwrap().parse().unwrap();
    logged(&mut log, "agents are welcome").await;
    let leaf = Leaf::client("spiffe://d/agent/node1");
    let client = files(own.write(folder.path(), "client", &leaf).unwrap());
    let mut agent = Agent::open(dial_at(address, client).await.unwrap()).await;
    agent.hello(hello("node1", 1)).await;
    agent.welcome().await;
    agent.samples(1..=1).await;
    agent.acknowledged(1).await;
    let head = heads.recv().await.unwrap();
    let mut said = Vec::new();
    if !until.is_empty() {
        said.push(logged(&mut log, until).await.to_string());
    }
    signal(&child, "TERM").await;
    drop(agent);
    while let Some(line) = log.next_line().await.unwrap() {
        said.push(line);
    }
    assert_eq!(code(child).await, Some(0));
    (head, said)
}

#[tokio::test]
async fn over_https_its_certificate_is_checked_by_the_systems_authorities() {
    let (head, said) = over_https(true, "").await;
    assert!(head.starts_with(&format!("GET {SECRET} HTTP/1.1\r\n")), "{head}");
    assert!(!said.iter().any(|line| line.contains("SECRET")), "{said:?}");
    let (head, said) = over_https(false, "cannot reach the dead man's switch").await;
    assert!(head.starts_with("no TLS"), "{head}");
    assert!(said[0].contains("TLS fails") && said[0].contains("https://localhost:"), "{said:?}");
    assert!(!said.iter().any(|line| line.contains("SECRET")), "{said:?}");
}
