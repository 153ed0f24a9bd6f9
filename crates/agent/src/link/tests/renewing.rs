//! The next certificate, on the stream's connection and where enrolment is.

mod expired;
mod refused;

use std::sync::Mutex;

use rowcall_core::clock::TestClock;
use rowcall_core::id::UnixMicros;
use rowcall_core::proto::v1::enrollment_service_server::{
    EnrollmentService, EnrollmentServiceServer,
};
use rowcall_testkit::pki::{Pki, now};
use rowcall_tls::certificate::{PeerCertificate, list_sha256};
use rowcall_tls::config::server_auth_only_config;
use rowcall_tls::csr::CsrKey;
use rowcall_tls::identity::Role;
use rowcall_tls::request::NewKey;
use rustls::pki_types::CertificateDer;
use tonic::{Request as Asked, Response as Answered};

use super::super::renew::Pace;
use super::*;
use crate::config::Source;
use crate::identity::{self, About, Bundle, IdentityDir, Pending};

const DAY_US: i64 = 86_400_000_000;
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// What a request for a renewal is answered with.
#[derive(Clone)]
enum Renewal {
    Issue,
    IssueAs(&'static str),
    /// Good from tomorrow on: by an aggregator whose clock is ahead.
    IssueEarly,
    Refuse(tonic::Code),
}

/// An aggregator that streams and renews; where enrolment is, too.
struct Site {
    pki: Pki,
    folder: tempfile::TempDir,
    peer: Endpoint,
    enrolment: Endpoint,
    calls: mpsc::Receiver<Call>,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

struct Shared {
    /// On the stream's port, and on that of enrolment.
    answers: Mutex<[Renewal; 2]>,
    asked: Mutex<[Vec<pb::RenewRequest>; 2]>,
    clients: rowcall_tls::issue::Authority,
    root: CertificateDer<'static>,
}

struct Renewing(Arc<Shared>, usize);

#[async_trait]
impl EnrollmentService for Renewing {
    async fn enroll(
        &self,
        _: Asked<pb::EnrollRequest>,
    ) -> Result<Answered<pb::EnrollResponse>, Status> {
        Err(Status::unimplemented("this test enrols nobody"))
    }

    async fn renew(
        &self,
        request: Asked<pb::RenewRequest>,
    ) -> Result<Answered<pb::RenewResponse>, Status> {
        let Self(shared, port) = self;
        let request = request.into_inner();
        shared.asked.lock().unwrap()[*port].push(request.clone());
        let answer = shared.answers.lock().unwrap()[*port].clone();
        let (name, at) = match answer {
            Renewal::Issue => ("node1", now()),
            Renewal::IssueAs(name) => (name, now()),
            Renewal::IssueEarly => ("node1", now().plus_micros(DAY_US)),
            Renewal::Refuse(code) => return Err(Status::new(code, "no renewal")),
        };
        let bundle = Some(bundle_at(&shared.clients, &shared.root, &request.csr_der, name, at));
        Ok(Answered::new(pb::RenewResponse { bundle }))
    }

    async fn check(
        &self,
        _: Asked<pb::CheckRequest>,
    ) -> Result<Answered<pb::CheckResponse>, Status> {
        Err(Status::unimplemented("this test tells nobody"))
    }
}

fn bundle(
    clients: &rowcall_tls::issue::Authority,
    root: &CertificateDer<'_>,
    csr_der: &[u8],
    name: &str,
) -> pb::CertificateBundle {
    bundle_at(clients, root, csr_der, name, now())
}

fn bundle_at(
    clients: &rowcall_tls::issue::Authority,
    root: &CertificateDer<'_>,
    csr_der: &[u8],
    name: &str,
    at: UnixMicros,
) -> pb::CertificateBundle {
    let csr = CsrKey::read(csr_der).unwrap();
    let name = name.parse().unwrap();
    let issued = clients.issue_for_key(Role::Agent, &name, &csr, at, MONTH).unwrap();
    pb::CertificateBundle {
        certificate_chain_der: issued.chain_der.iter().map(|der| der.to_vec()).collect(),
        server_authorities_der: vec![root.to_vec()],
        now: Some(prost_types::Timestamp { seconds: now().0 / 1_000_000, nanos: 0 }),
        ..pb::CertificateBundle::default()
    }
}

impl Site {
    async fn start() -> Self {
        let pki = Pki::create().unwrap();
        let place = |name: &str| pki.dir().join(name);
        let material = Material::load(&Files {
            certificate: place("server.pem"),
            key: place("server.key"),
            authorities: place("client-ca.pem"),
        })
        .unwrap();
        let root = pki.root.certificate_der().clone();
        let clients = (pki.clients.cert_pem(), pki.clients.key_pem());
        let shared = Arc::new(Shared {
            answers: Mutex::new([Renewal::Issue, Renewal::Issue]),
            asked: Mutex::default(),
            clients: rowcall_tls::issue::Authority::load(clients.0, &clients.1).unwrap(),
            root: root.clone(),
        });
        let stop = CancellationToken::new();
        let (sender, calls) = mpsc::channel(8);
        let streams = server_config(&material).unwrap();
        let enrols = server_auth_only_config(&material, &[root]).unwrap();
        let mut endpoints = Vec::new();
        for (port, tls) in [streams, enrols].into_iter().enumerate() {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            endpoints.push(Endpoint { host: "127.0.0.1".into(), port: address.port() });
            let tls = Arc::new(arc_swap::ArcSwap::from_pointee(tls));
            let domain = TrustDomain::parse("test.example").unwrap();
            let incoming = Acceptor::new(listener, tls, domain).start(&stop);
            let server = tonic::transport::Server::builder()
                .add_service(TelemetryServiceServer::new(Service(sender.clone())))
                .add_service(EnrollmentServiceServer::new(Renewing(Arc::clone(&shared), port)));
            tokio::spawn(server.serve_with_incoming(incoming));
        }
        let enrolment = endpoints.pop().unwrap();
        let peer = endpoints.pop().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let site = Self { pki, folder, peer, enrolment, calls, shared, stop };
        site.enrol(now());
        site
    }

    /// Puts a new identity in the place of what there is, with a certificate of this time.
    fn enrol(&self, at: UnixMicros) {
        let taken = IdentityDir::take(&self.dir()).unwrap();
        let key = taken.pending_key(Pending::Enrolment, "x").unwrap();
        let csr = key.request_der("node1").unwrap();
        let first = bundle_at(&self.shared.clients, &self.shared.root, &csr, "node1", at);
        let first = Bundle::read(Some(first)).unwrap();
        let about = About {
            host: "node1".parse().unwrap(),
            enroll_servers: vec![self.enrolment.clone()],
            server_name: None,
            aggregators: vec![self.peer.clone()],
            issued_at: first.now,
            renew_at: first.now.plus_micros(11 * DAY_US),
        };
        taken.keep(&first, &key, &about).unwrap();
    }

    fn dir(&self) -> std::path::PathBuf {
        self.folder.path().join("identity")
    }

    /// An enrolled agent, whose renewals wait for nothing but their time.
    async fn agent(&self, clock: Option<Arc<TestClock>>) -> Enrolled {
        let mut config = Config::new(
            self.peer.clone(),
            Files { certificate: "/".into(), key: "/".into(), authorities: "/".into() },
        );
        config.source = Source::Enrolled(self.dir());
        config.aggregators = Vec::new();
        config.spool.dir = self.folder.path().join("spool");
        (config.backoff_min, config.backoff_max) =
            (Duration::from_millis(1), Duration::from_millis(20));
        let (mut link, folder) = link(config).await;
        if let Some(clock) = &clock {
            link.clock = Arc::<TestClock>::clone(clock);
        }
        link.notes = Notes::in_folder(Some(&self.dir()));
        let mut renewals =
            Renewals::new(&self.dir(), &link.dialer, &[], &link.clock, &link.notes, &link.health);
        renewals.pace = Pace {
            backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(5)).unwrap(),
            soon: Duration::ZERO,
            look: Duration::from_millis(5),
        };
        let renewals = Arc::new(renewals);
        link.renewals = Some(Arc::clone(&renewals));
        let seen = link.connected.subscribe();
        tokio::spawn(async move { match renewals.run(seen).await {} });
        let notes = link.notes.clone();
        Enrolled { agent: Agent::running(link, folder), notes }
    }

    async fn call(&mut self) -> (Call, pb::Hello) {
        let mut call = timeout(LONG, self.calls.recv()).await.unwrap().unwrap();
        match call.next().await {
            Some(Request::Hello(hello)) => (call, hello),
            other => panic!("no Hello but {other:?}"),
        }
    }

    /// The next stream, by an aggregator whose clock shows so many days from now.
    async fn welcomed(
        &mut self,
        days: i64,
        authorities_sha256: &[u8],
        mark: Option<(u64, i64)>,
    ) -> (Call, pb::Hello) {
        let (call, hello) = self.call().await;
        call.send(Response::Welcome(pb::Welcome {
            clock_unix_us: now().plus_micros(days * DAY_US).0,
            server_authorities_sha256: authorities_sha256.to_vec(),
            ..welcome(mark)
        }))
        .await;
        (call, hello)
    }

    fn answers(&self, port: usize, answer: Renewal) {
        self.shared.answers.lock().unwrap()[port] = answer;
    }

    fn asked(&self, port: usize) -> Vec<pb::RenewRequest> {
        self.shared.asked.lock().unwrap()[port].clone()
    }

    async fn asked_times(&self, port: usize, times: usize) {
        let look = async || (self.asked(port).len() >= times).then_some(());
        rowcall_testkit::poll::wait_for(format!("request {times}"), LONG, look).await;
    }

    /// The certificate that is kept now.
    fn held(&self) -> PeerCertificate {
        let (_, material) = identity::load(&self.dir()).unwrap().unwrap();
        PeerCertificate::from_chain(material.chain()).unwrap()
    }

    async fn renewed(&self, before: &PeerCertificate) -> PeerCertificate {
        let look = async || Some(self.held()).filter(|held| held != before);
        rowcall_testkit::poll::wait_for("a new certificate", LONG, look).await
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Enrolled {
    agent: Agent,
    notes: Notes,
}

/// The stream is alive.
async fn still_streams(call: &mut Call, hello: &pb::Hello, agent: &Agent, time: i64) {
    agent.sample(time);
    let batch = call.batch().await;
    call.ack(hello, batch.records.last().unwrap().sequence).await;
    agent.unacknowledged(0).await;
}

fn key(request: &pb::RenewRequest) -> [u8; 32] {
    CsrKey::read(&request.csr_der).unwrap().sha256()
}

#[tokio::test]
async fn it_is_renewed_in_time_on_the_streams_connection_which_stays() {
    let mut site = Site::start().await;
    let before = site.held();
    let Enrolled { agent, .. } = site.agent(None).await;
    let (mut call, hello) = site.welcomed(10, b"", None).await;
    still_streams(&mut call, &hello, &agent, 1).await;
    assert!(site.asked(0).is_empty(), "too early");
    drop(call);
    let (mut call, hello) = site.welcomed(12, b"", Some((1, 1))).await;
    let after = site.renewed(&before).await;
    still_streams(&mut call, &hello, &agent, 2).await;
    let asked = site.asked(0);
    assert_eq!((asked.len(), site.asked(1).len()), (1, 0));
    assert!(asked[0].certificate_der.is_empty() && asked[0].signature.is_empty());
    assert_eq!(key(&asked[0]), after.key_sha256);
    assert_ne!(after.key_sha256, before.key_sha256);
    let counted = async || (agent.health.counts().renewals == 1).then_some(());
    rowcall_testkit::poll::wait_for("its count", LONG, counted).await;
    agent.stopped().await;
}

#[tokio::test]
async fn time_passes_by_a_clock_that_nobody_sets() {
    let mut site = Site::start().await;
    let before = site.held();
    let clock = Arc::new(TestClock::at(now()));
    let Enrolled { agent, .. } = site.agent(Some(Arc::clone(&clock))).await;
    let (mut call, hello) = site.welcomed(0, b"", None).await;
    still_streams(&mut call, &hello, &agent, 1).await;
    clock.set_wall(now().plus_micros(20 * DAY_US));
    clock.advance(Duration::from_secs(10 * 86_400));
    still_streams(&mut call, &hello, &agent, 2).await;
    assert!(site.asked(0).is_empty(), "people set the clock, or it is too early");
    clock.suspend(Duration::from_secs(86_400));
    site.renewed(&before).await;
    agent.stopped().await;
}

#[tokio::test]
async fn a_renewal_that_fails_costs_the_stream_nothing_keeps_its_key_and_is_told() {
    let mut site = Site::start().await;
    let before = site.held();
    site.answers(0, Renewal::Refuse(tonic::Code::Unavailable));
    let Enrolled { agent, notes } = site.agent(None).await;
    let (mut call, hello) = site.welcomed(12, b"", None).await;
    site.asked_times(0, 2).await;
    still_streams(&mut call, &hello, &agent, 1).await;
    // The aggregator gives what is another host's, or does not fit.
    site.answers(0, Renewal::IssueAs("node2"));
    site.asked_times(0, site.asked(0).len() + 2).await;
    let told = notes.told().renewal.unwrap().text;
    assert!(told.contains("it is for agent node2, not for agent node1"), "{told}");
    assert_eq!(site.held(), before);
    assert!(agent.health.counts().renewal_failures >= 3);
    site.answers(0, Renewal::Issue);
    site.renewed(&before).await;
    let keys: std::collections::BTreeSet<_> = site.asked(0).iter().map(key).collect();
    assert_eq!(keys.len(), 1, "a reply that got lost must come again");
    still_streams(&mut call, &hello, &agent, 2).await;
    let look = async || notes.told().renewal.is_none().then_some(());
    rowcall_testkit::poll::wait_for("all well", LONG, look).await;
    agent.stopped().await;
}

#[tokio::test]
async fn an_aggregator_that_does_not_issue_sends_it_where_enrolment_is() {
    let mut site = Site::start().await;
    let before = site.held();
    site.answers(0, Renewal::Refuse(tonic::Code::FailedPrecondition));
    let Enrolled { agent, .. } = site.agent(None).await;
    let (mut call, hello) = site.welcomed(12, b"", None).await;
    site.renewed(&before).await;
    let asked = site.asked(1);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].certificate_der, before.chain[0].to_vec());
    still_streams(&mut call, &hello, &agent, 1).await;
    agent.stopped().await;
}

#[tokio::test]
async fn other_authorities_are_fetched_soon_and_not_again_and_again() {
    let mut site = Site::start().await;
    let before = site.held();
    let clock = Arc::new(TestClock::at(now()));
    let Enrolled { agent, .. } = site.agent(Some(Arc::clone(&clock))).await;
    let ours = list_sha256(&[site.shared.root.clone()]);
    let (call, _) = site.welcomed(0, &ours, None).await;
    drop(call);
    let (mut call, hello) = site.welcomed(0, b"others", None).await;
    still_streams(&mut call, &hello, &agent, 1).await;
    assert!(site.asked(0).is_empty(), "it has just been issued");
    clock.advance(Duration::from_secs(3700));
    site.renewed(&before).await;
    still_streams(&mut call, &hello, &agent, 2).await;
    assert_eq!(site.asked(0).len(), 1, "the answer held the same ones");
    agent.stopped().await;
}
