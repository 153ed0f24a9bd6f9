//! An enrolment listener whose every answer the test decides, and that remembers what it was asked.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rowcall_core::id::UnixMicros;
use rowcall_core::proto::v1 as pb;
use rowcall_core::proto::v1::enrollment_service_server::{
    EnrollmentService, EnrollmentServiceServer,
};
use rowcall_core::token::{Pin, Token, TokenId, TokenSecret};
use rowcall_testkit::ca::Paths;
use rowcall_testkit::pki::{Pki, now};
use rowcall_tls::accept::Acceptor;
use rowcall_tls::config::server_auth_only_config;
use rowcall_tls::csr::CsrKey;
use rowcall_tls::identity::{Role, TrustDomain};
use rowcall_tls::issue::Issued;
use rowcall_tls::load::Material;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::HealthService;

use super::agent;

const DAY: Duration = Duration::from_secs(86_400);

/// What is answered.
#[derive(Clone)]
pub(crate) enum Answer {
    /// A certificate for the name and key of the request.
    Issue,
    /// The same, for another name.
    IssueAs(&'static str),
    /// The same, and another authority to trust.
    IssueUnder(Vec<u8>),
    /// A refusal.
    Refuse(tonic::Code, &'static str),
    /// Nothing, ever.
    Hang,
}

/// What is said of the host that asks: its name, or why it is refused.
pub(crate) type Check = Result<&'static str, (tonic::Code, &'static str)>;

/// The listener.
pub(crate) struct Server {
    pub(crate) pki: Pki,
    pub(crate) port: u16,
    state: Arc<State>,
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    answer: Mutex<Option<Answer>>,
    check: Mutex<Option<Check>>,
    asked: Mutex<Vec<pb::EnrollRequest>>,
    pki: Mutex<Option<Issuing>>,
}

struct Issuing {
    root: Vec<u8>,
    clients: rowcall_tls::issue::Authority,
}

struct Service(Arc<State>);

#[async_trait]
impl EnrollmentService for Service {
    async fn enroll(
        &self,
        request: Request<pb::EnrollRequest>,
    ) -> Result<Response<pb::EnrollResponse>, Status> {
        let request = request.into_inner();
        self.0.asked.lock().unwrap().push(request.clone());
        let answer = self.0.answer.lock().unwrap().clone().unwrap();
        let (name, authorities) = match answer {
            Answer::Issue => (request.host_name.as_str(), None),
            Answer::IssueAs(name) => (name, None),
            Answer::IssueUnder(authority) => (request.host_name.as_str(), Some(authority)),
            Answer::Refuse(code, text) => return Err(Status::new(code, text)),
            Answer::Hang => return std::future::pending().await,
        };
        let bundle = self.0.issue(&request.csr_der, name, authorities);
        Ok(Response::new(pb::EnrollResponse { bundle: Some(bundle) }))
    }

    async fn renew(
        &self,
        _: Request<pb::RenewRequest>,
    ) -> Result<Response<pb::RenewResponse>, Status> {
        Err(Status::unimplemented("this test renews nothing"))
    }

    async fn check(
        &self,
        _: Request<pb::CheckRequest>,
    ) -> Result<Response<pb::CheckResponse>, Status> {
        match *self.0.check.lock().unwrap() {
            None => Err(Status::unimplemented("enrolment alone is here")),
            Some(Ok(name)) => Ok(Response::new(pb::CheckResponse { host_name: name.to_owned() })),
            Some(Err((code, text))) => Err(Status::new(code, text)),
        }
    }
}

impl State {
    fn issue(
        &self,
        csr_der: &[u8],
        name: &str,
        authority: Option<Vec<u8>>,
    ) -> pb::CertificateBundle {
        let csr = CsrKey::read(csr_der).unwrap();
        let pki = self.pki.lock().unwrap();
        let Issuing { root, clients } = pki.as_ref().unwrap();
        let name = name.parse().unwrap();
        let issued = clients.issue_for_key(Role::Agent, &name, &csr, now(), DAY).unwrap();
        let seconds =
            |at: UnixMicros| prost_types::Timestamp { seconds: at.0 / 1_000_000, nanos: 0 };
        pb::CertificateBundle {
            certificate_chain_der: issued.chain_der.iter().map(|der| der.to_vec()).collect(),
            server_authorities_der: vec![authority.unwrap_or_else(|| root.clone())],
            expires_at: Some(seconds(issued.not_after)),
            telemetry_port: 7443,
            now: Some(seconds(now())),
            ..pb::CertificateBundle::default()
        }
    }
}

impl Server {
    /// With a good certificate.
    pub(crate) async fn start(answer: Answer) -> Self {
        Self::with(answer, |pki| pki.server(now(), DAY).unwrap()).await
    }

    /// With this certificate.
    pub(crate) async fn with(answer: Answer, server: impl FnOnce(&mut Pki) -> Issued) -> Self {
        Self::serve(answer, None::<HealthServer<HealthService>>, server).await
    }

    /// With the health of an aggregator, too.
    pub(crate) async fn aggregator(answer: Answer) -> Self {
        let (reporter, health) = tonic_health::server::health_reporter();
        let serving = tonic_health::ServingStatus::Serving;
        reporter.set_service_status("rowcall.v1.TelemetryService", serving).await;
        Self::serve(answer, Some(health), |pki| pki.server(now(), DAY).unwrap()).await
    }

    async fn serve(
        answer: Answer,
        health: Option<HealthServer<impl Health>>,
        server: impl FnOnce(&mut Pki) -> Issued,
    ) -> Self {
        let mut pki = Pki::create().unwrap();
        let issued = server(&mut pki);
        pki.put_pair("server", &issued).unwrap();
        let place = |name: &str| pki.dir().join(name);
        let files = (&Paths {
            certificate: place("server.pem"),
            key: place("server.key"),
            authorities: place("client-ca.pem"),
        })
            .into();
        let material = Material::load(&files).unwrap();
        let root = pki.root.certificate_der().clone();
        let tls = server_auth_only_config(&material, std::slice::from_ref(&root)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let clients =
            rowcall_tls::issue::Authority::load(pki.clients.cert_pem(), &pki.clients.key_pem());
        let issuing = Issuing { root: root.to_vec(), clients: clients.unwrap() };
        let state = Arc::new(State {
            answer: Mutex::new(Some(answer)),
            pki: Mutex::new(Some(issuing)),
            ..State::default()
        });
        let stop = CancellationToken::new();
        let tls = Arc::new(arc_swap::ArcSwap::from_pointee(tls));
        let domain = TrustDomain::parse("test.example").unwrap();
        let incoming = Acceptor::new(listener, tls, domain).start(&stop);
        let server = tonic::transport::Server::builder()
            .add_service(EnrollmentServiceServer::new(Service(Arc::clone(&state))))
            .add_optional_service(health)
            .serve_with_incoming(incoming);
        tokio::spawn(server);
        Self { pki, port, state, stop }
    }

    /// From now on.
    pub(crate) fn answers(&self, answer: Answer) {
        *self.state.answer.lock().unwrap() = Some(answer);
    }

    /// From now on, to whoever asks whether it is let in. None: as if there were no such call.
    pub(crate) fn says(&self, check: Option<Check>) {
        *self.state.check.lock().unwrap() = check;
    }

    /// What it was asked.
    pub(crate) fn asked(&self) -> Vec<pb::EnrollRequest> {
        self.state.asked.lock().unwrap().clone()
    }

    /// A token for this server.
    pub(crate) fn token(&self) -> Token {
        token(self.pki.pin().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A token with this pin.
pub(crate) fn token(pin: Pin) -> Token {
    Token { id: TokenId::new([0xa5; 8]), secret: TokenSecret::new([0x5a; 32]), pin }
}

/// A machine that is to be enrolled.
pub(crate) struct Machine(tempfile::TempDir);

impl Machine {
    /// With this in its token file.
    pub(crate) fn with_token(token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), token).unwrap();
        std::fs::write(
            folder.path().join("agent.toml"),
            format!(
                "identity_dir = {:?}\nspool_dir = {:?}\n",
                folder.path().join("state/identity"),
                folder.path().join("state/spool")
            ),
        )
        .unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = agent();
        command.arg(name).arg("--config").arg(self.path("agent.toml"));
        command
    }

    /// `enroll` at this port, as node1 with the token file.
    pub(crate) fn enroll(&self, port: u16) -> Command {
        let mut command = self.command("enroll");
        command.arg("--server").arg(format!("127.0.0.1:{port}")).args(["--name", "Node1"]);
        command.arg("--token-file").arg(self.path("token"));
        command
    }
}
