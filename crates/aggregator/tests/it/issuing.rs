//! An aggregator that issues certificates, from a folder as `rowcall pki init` makes it, and nodes
//! that want some. Its clock is the test's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rowcall_aggregator::config::from_file_text;
use rowcall_aggregator::{Config, Error, Handle, Server, Stopped};
use rowcall_core::clock::{SharedClock, TestClock};
use rowcall_core::token::Pin;
use rowcall_proto::v1 as pb;
use rowcall_proto::v1::admin_service_client::AdminServiceClient;
use rowcall_proto::v1::enrollment_service_client::EnrollmentServiceClient;
use rowcall_testkit::database::Database;
use rowcall_testkit::pki::{Pki, now};
use rowcall_testkit::poll::wait_for;
use rowcall_tls::certificate::to_pem;
use rowcall_tls::connect::{Connector, pinned_config};
use rowcall_tls::identity::Role;
use rowcall_tls::load::Files;
use rowcall_tls::request::NewKey;
use rustls::pki_types::CertificateDer;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::rig::{Agent, PATIENCE, dial_at, hello, request};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A running aggregator.
pub(crate) struct Issuing {
    pub(crate) pki: Pki,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) handle: Handle,
    shutdown: CancellationToken,
    pub(crate) running: JoinHandle<Result<Stopped, Error>>,
}

/// Settings for an aggregator with this folder, on free ports.
pub(crate) fn settings(pki: &Pki, url: &str, more: &str) -> String {
    format!(
        "database = '{url}'\npki_dir = '{}'\nlisten = '127.0.0.1:0'\nhttp_listen = '127.0.0.1:0'\n\
         enroll_listen = '127.0.0.1:0'\nflush_after = '5ms'\n{more}\n",
        pki.dir().display()
    )
}

impl Issuing {
    /// On this database, once agents are welcome.
    pub(crate) async fn start(database: &Database) -> Self {
        Self::start_with(database, "", |_| {}).await
    }

    /// The same with more settings.
    pub(crate) async fn start_with(
        database: &Database,
        more: &str,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut issuing =
            Self::start_on(Pki::create().unwrap(), &database.url(), more, change).await;
        assert!(issuing.handle.ready().await, "the aggregator ended: {:?}", issuing.running.await);
        issuing
    }

    /// From a folder that is there; doesn't wait for the database.
    pub(crate) async fn start_on(
        pki: Pki,
        url: &str,
        more: &str,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        rowcall_testkit::log::install();
        let mut config = from_file_text(&settings(&pki, url, more)).unwrap();
        change(&mut config);
        let clock = Arc::new(TestClock::at(now()));
        let shared: SharedClock = Arc::<TestClock>::clone(&clock);
        let server = Server::bind(config, shared).await.unwrap();
        let handle = server.handle();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(server.run(shutdown.clone()));
        Self { pki, clock, handle, shutdown, running }
    }

    pub(crate) fn pin(&self) -> Pin {
        self.pki.pin().unwrap()
    }

    /// A connection to the enrolment port, as a node without a certificate makes it.
    pub(crate) async fn strangers(&self) -> EnrollmentServiceClient<Channel> {
        let channel = dial_pinned(self.handle.enroll_addr().unwrap(), self.pin()).await;
        EnrollmentServiceClient::new(channel.unwrap())
    }

    /// A connection to the stream's port with a certificate of this role and name.
    pub(crate) async fn channel(&self, role: Role, name: &str) -> Channel {
        let files = (&self.pki.client(role, name).unwrap()).into();
        dial_at(self.handle.local_addr(), files).await.unwrap()
    }

    pub(crate) async fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel(Role::Operator, "admin").await)
    }

    /// A new token.
    pub(crate) async fn token(&self, wanted: pb::CreateTokenRequest) -> String {
        self.admin().await.create_token(wanted).await.unwrap().into_inner().token
    }

    /// A token for one host of any name.
    pub(crate) async fn any_token(&self) -> String {
        self.token(pb::CreateTokenRequest::default()).await
    }

    /// Enrols a host with a new key.
    pub(crate) async fn enroll(&self, token: &str, host: &str) -> Result<Enrolled, Status> {
        let key = NewKey::generate().unwrap();
        self.enroll_with(token, host, key).await
    }

    pub(crate) async fn enroll_with(
        &self,
        token: &str,
        host: &str,
        key: NewKey,
    ) -> Result<Enrolled, Status> {
        let answer = self.strangers().await.enroll(enrollment(token, host, &key)).await?;
        Ok(Enrolled { bundle: answer.into_inner().bundle.unwrap(), key })
    }

    /// Files of what a host got.
    pub(crate) fn files(&self, name: &str, enrolled: &Enrolled) -> Files {
        let chain = enrolled.bundle.certificate_chain_der.iter();
        let chain: Vec<_> = chain.map(|der| CertificateDer::from(der.clone())).collect();
        let put = |suffix: &str, text: &str| self.pki.put(&format!("{name}.{suffix}"), text);
        Files {
            certificate: put("pem", &to_pem(&chain)).unwrap(),
            key: put("key", &enrolled.key.pkcs8_pem()).unwrap(),
            authorities: self.pki.dir().join("root.pem"),
        }
    }

    /// A connection with what a host got.
    pub(crate) async fn dial(&self, name: &str, enrolled: &Enrolled) -> Channel {
        dial_at(self.handle.local_addr(), self.files(name, enrolled)).await.unwrap()
    }

    /// A stream with what a host got, after its Hello.
    pub(crate) async fn stream(&self, name: &str, enrolled: &Enrolled, run: u64) -> Agent {
        let agent = Agent::open(self.dial(name, enrolled).await).await;
        agent.hello(pb::Hello { clock_unix_us: self.now(), ..hello(name, run) }).await;
        agent
    }

    fn now(&self) -> i64 {
        use rowcall_core::clock::Clock as _;
        self.clock.wall().0
    }

    /// The text of its metrics.
    pub(crate) async fn metrics(&self) -> String {
        request(self.handle.http_addr().unwrap(), "GET /metrics").await.body
    }

    /// Waits until the metrics hold this line, after having the files looked at.
    pub(crate) async fn reloaded(&self, line: &str) {
        self.handle.reload();
        wait_for(line, PATIENCE, || async {
            self.metrics().await.lines().any(|found| found == line).then_some(())
        })
        .await;
    }

    pub(crate) async fn status(&self) -> pb::StatusResponse {
        self.admin().await.status(pb::StatusRequest::default()).await.unwrap().into_inner()
    }

    /// Stops it.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// What a host got, and its key.
#[derive(Debug)]
pub(crate) struct Enrolled {
    pub(crate) bundle: pb::CertificateBundle,
    pub(crate) key: NewKey,
}

impl Enrolled {
    /// Its own certificate.
    pub(crate) fn leaf(&self) -> &[u8] {
        self.bundle.certificate_chain_der.first().unwrap()
    }
}

pub(crate) fn enrollment(token: &str, host: &str, key: &NewKey) -> pb::EnrollRequest {
    pb::EnrollRequest {
        token: token.to_owned(),
        csr_der: key.request_der("ignored").unwrap(),
        host_name: host.to_owned(),
        machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
    }
}

/// A connection that trusts a pin and has no certificate.
pub(crate) async fn dial_pinned(
    address: SocketAddr,
    pin: Pin,
) -> Result<Channel, tonic::transport::Error> {
    let config = pinned_config(pin).unwrap();
    let connector = Connector::new(Arc::new(arc_swap::ArcSwap::from_pointee(config)));
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
    endpoint.connect_with_connector(connector).await
}
