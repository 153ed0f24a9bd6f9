//! A server that greets and echoes, and clients for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rowcall_testkit::ca::{Leaf, Paths, TestCa};
use rowcall_tls::accept::{Acceptor, HandshakeCounts, Limits, PeerInfo};
use rowcall_tls::config::{client_config, server_config};
use rowcall_tls::connect::{ConnectError, Connector, ServerStream};
use rowcall_tls::identity::TrustDomain;
use rowcall_tls::load::{Files, Material};
use rustls::{ClientConfig, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;

pub(crate) const DOMAIN: &str = "example.org";
pub(crate) const AGENT: &str = "spiffe://example.org/agent/node1";
pub(crate) const GREETING: &[u8] = b"settings";

/// Long enough that only a hang reaches it.
pub(crate) const NEVER: Duration = Duration::from_secs(60);

/// An authority, a folder for its files, and a server whose certificate it issued.
pub(crate) struct World {
    pub(crate) ca: TestCa,
    pub(crate) folder: TempDir,
    pub(crate) server: EchoServer,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Leaf::server(), Limits::default()).await
    }

    pub(crate) async fn with(leaf: Leaf, limits: Limits) -> Self {
        let ca = TestCa::root("test root").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let paths = ca.write(folder.path(), "server", &leaf).unwrap();
        let server = EchoServer::start(server_config(&material(&paths)).unwrap(), limits).await;
        Self { ca, folder, server }
    }

    /// A client of this world's authority.
    pub(crate) fn client(&self, leaf: &Leaf) -> Connector {
        self.client_of(&self.ca, leaf)
    }

    /// A client with a certificate of some authority, which believes this world's.
    pub(crate) fn client_of(&self, issuer: &TestCa, leaf: &Leaf) -> Connector {
        let issued = issuer.issue(leaf).unwrap();
        let paths = issued.write(self.folder.path(), "client", self.ca.root_pem()).unwrap();
        connector(client_config(&material(&paths)).unwrap())
    }

    pub(crate) async fn connect(&self, client: &Connector) -> Result<ServerStream, ConnectError> {
        client.connect("localhost", self.server.address.port()).await
    }

    pub(crate) async fn refusal(&self, client: &Connector) -> ConnectError {
        self.connect(client).await.expect_err("the connection should be refused")
    }
}

pub(crate) struct EchoServer {
    pub(crate) address: SocketAddr,
    pub(crate) config: Arc<ArcSwap<ServerConfig>>,
    pub(crate) counts: Arc<HandshakeCounts>,
    pub(crate) peers: mpsc::Receiver<Arc<PeerInfo>>,
    pub(crate) stop: CancellationToken,
    pub(crate) ended: CancellationToken,
}

impl EchoServer {
    pub(crate) async fn start(config: ServerConfig, limits: Limits) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::new(ArcSwap::from_pointee(config));
        let domain = TrustDomain::parse(DOMAIN).unwrap();
        let acceptor = Acceptor::new(listener, Arc::clone(&config), domain).with_limits(limits);
        let counts = acceptor.counts();
        let stop = CancellationToken::new();
        let mut incoming = acceptor.start(&stop);
        let (sender, peers) = mpsc::channel(100);
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        tokio::spawn(async move {
            while let Some(connection) = incoming.next().await {
                let mut connection = connection.unwrap();
                sender.send(Arc::clone(connection.peer())).await.ok();
                tokio::spawn(async move {
                    connection.write_all(GREETING).await?;
                    connection.flush().await?;
                    let (mut reader, mut writer) = tokio::io::split(connection);
                    tokio::io::copy(&mut reader, &mut writer).await
                });
            }
            drop(guard);
        });
        Self { address, config, counts, peers, stop, ended }
    }
}

pub(crate) fn files(paths: &Paths) -> Files {
    Files {
        certificate: paths.certificate.clone(),
        key: paths.key.clone(),
        authorities: paths.authorities.clone(),
    }
}

pub(crate) fn material(paths: &Paths) -> Material {
    Material::load(&files(paths)).unwrap()
}

pub(crate) fn connector(config: ClientConfig) -> Connector {
    Connector::new(Arc::new(ArcSwap::from_pointee(config))).with_deadline(NEVER)
}

/// Reads the greeting, then sends something and reads it back.
pub(crate) async fn echo(stream: &mut ServerStream) {
    let mut greeting = vec![0; GREETING.len()];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(greeting, GREETING);
    stream.write_all(b"roll call").await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = [0; 9];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"roll call");
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(NEVER, wait).await.unwrap_or_else(|_| panic!("never came: {what}"));
}
