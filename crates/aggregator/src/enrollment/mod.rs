//! EnrollmentService: how a node gets its certificate, and the next one.
//!
//! On a listener of its own, whose peers have no certificate: a token, or a proof of key, says who
//! they are. Renew also on the stream's port, where the connection's certificate does, and Check only
//! there. Bounds: one source may ask [`crate::config::Enrollment::per_source`] times a minute, one
//! host gets [`RENEWALS_PER_HOST`] certificates, and one certificate may ask as often for the next
//! one, and whether it is good; [`MAX_WAITING`] calls wait, [`AT_ONCE`] are served at a time, so
//! that a fleet that enrols never takes the connections of what agents send. No token and no
//! secret is ever logged or repeated.

mod bundle;
mod check;
mod enroll;
mod issuer;
mod rate;
mod renew;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rowcall_core::clock::SharedClock;
use rowcall_core::id::HostName;
use rowcall_core::proto::v1 as pb;
use rowcall_core::proto::v1::enrollment_service_server::EnrollmentService;
use rowcall_store::access::Actor;
use rowcall_store::{Error as StoreError, Store};
use rowcall_tls::accept::source;
use rowcall_tls::csr::CsrKey;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status};
use tracing::info;

use crate::certificates::{Certificates, Issuing};
use crate::connections::Visit;
use crate::database::Database;
use crate::metrics::{Issue, Meters};
use crate::refusals::{Reason, Refusals};
pub(crate) use issuer::Issuer;
use rate::Rate;

/// Calls that the database works on at a time; as many connections are reserved for them.
pub(crate) const AT_ONCE: usize = 2;

/// Calls that wait for their turn; further ones are told to come back.
const MAX_WAITING: usize = 512;

/// Longest wait for a turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Renewals of one host a minute. One is enough; a lost reply is asked for again.
const RENEWALS_PER_HOST: u32 = 6;

/// Longest machine id that is kept; longer ones are none.
const MAX_MACHINE_ID_BYTES: usize = 128;

/// What both listeners share.
#[derive(Debug)]
pub(crate) struct Shared {
    database: Arc<Database>,
    certificates: Arc<Certificates>,
    clock: SharedClock,
    refusals: Arc<Refusals>,
    meters: Arc<Meters>,
    /// This aggregator, for rowcall.audit.
    name: String,
    /// Port of the stream's listener.
    telemetry_port: u16,
    advertise: Vec<String>,
    exempt: Vec<IpNet>,
    sources: Rate<IpAddr>,
    hosts: Rate<HostName>,
    /// Renewals and checks by the certificate's fingerprint: what is refused takes nothing from
    /// what the host has since.
    renewals: Rate<[u8; 32]>,
    checks: Rate<[u8; 32]>,
    turns: Semaphore,
    places: Semaphore,
}

/// A call's turn at the database.
#[derive(Debug)]
struct Turn<'a> {
    _turn: SemaphorePermit<'a>,
    _place: SemaphorePermit<'a>,
}

/// Whose certificate is renewed, and who may ask at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    /// The connection's certificate says who asks.
    Known,
    /// Nobody is known until a token or a proof says so.
    Strangers,
}

/// The service, on one of the listeners.
#[derive(Clone, Debug)]
pub(crate) struct Enrollment {
    shared: Arc<Shared>,
    door: Door,
}

impl Shared {
    /// For an aggregator with these settings; `telemetry_port` is the real one.
    pub(crate) fn new(
        config: &crate::config::Config,
        telemetry_port: u16,
        database: &Arc<Database>,
        certificates: &Arc<Certificates>,
        clock: &SharedClock,
        refusals: &Arc<Refusals>,
        meters: &Arc<Meters>,
    ) -> Arc<Self> {
        let enrollment = config.enrollment.as_ref();
        Arc::new(Self {
            database: Arc::clone(database),
            certificates: Arc::clone(certificates),
            clock: Arc::clone(clock),
            refusals: Arc::clone(refusals),
            meters: Arc::clone(meters),
            name: config.name.to_string(),
            telemetry_port,
            advertise: enrollment.map(|e| e.advertise.clone()).unwrap_or_default(),
            exempt: config.exempt_sources.clone(),
            sources: Rate::per_minute(enrollment.map_or(1, |enrollment| enrollment.per_source)),
            hosts: Rate::per_minute(RENEWALS_PER_HOST),
            renewals: Rate::per_minute(RENEWALS_PER_HOST),
            checks: Rate::per_minute(RENEWALS_PER_HOST),
            turns: Semaphore::new(AT_ONCE),
            places: Semaphore::new(MAX_WAITING),
        })
    }

    /// What certificates are issued with.
    fn issuing(&self) -> Result<Arc<Issuing>, Status> {
        self.certificates.issuing().ok_or_else(|| {
            Status::failed_precondition(
                "this aggregator does not issue certificates; ask another one of this database",
            )
        })
    }

    /// One more call from this source.
    fn ask_source(&self, address: IpAddr) -> Result<(), Status> {
        let address = address.to_canonical();
        if self.exempt.iter().any(|network| network.contains(&address)) {
            return Ok(());
        }
        self.sources.ask(source(address), self.clock.monotonic()).map_err(|wait| {
            Status::resource_exhausted(format!(
                "too many enrolments from {address}; come back in {} s (enroll_per_source and \
                 exempt_sources of the aggregator say how many there may be)",
                wait.as_secs() + 1
            ))
        })
    }

    /// The database, and a turn to use it.
    async fn turn(&self) -> Result<(&Store, Turn<'_>), Status> {
        let store = self.database.store()?;
        if let Some(error) = self.database.error() {
            return Err(Status::unavailable(error));
        }
        let busy = || {
            Status::resource_exhausted("too many nodes enrol or renew at this moment; come back")
        };
        let place = self.places.try_acquire().map_err(|_| busy())?;
        match timeout(PATIENCE, self.turns.acquire()).await {
            Ok(Ok(turn)) => Ok((store, Turn { _turn: turn, _place: place })),
            Ok(Err(_)) | Err(_) => Err(busy()),
        }
    }

    /// Calls that wait or are served.
    pub(crate) fn pending(&self) -> usize {
        MAX_WAITING.saturating_sub(self.places.available_permits())
    }

    fn actor(&self, identity: String, visit: &Visit) -> Actor {
        Actor { identity, peer: visit.peer.address.to_string(), aggregator: self.name.clone() }
    }

    /// Counts and logs how a call ended; a reason never holds a secret.
    fn ended<T>(
        &self,
        what: Issue,
        host: &str,
        visit: &Visit,
        ended: Result<T, Status>,
    ) -> Result<Response<T>, Status> {
        self.meters.issued(what, ended.as_ref().map_or_else(Status::code, |_| Code::Ok));
        if let Err(status) = &ended {
            let reason = match status.code() {
                Code::ResourceExhausted => Reason::TooManyEnrolments,
                Code::Unavailable => Reason::NotReady,
                _ => Reason::NotEnrolled,
            };
            if let Some(held_back) = self.refusals.count(reason) {
                let (what, why) = (what.as_str(), status.message());
                info!(peer = %visit.peer.address, host, why, held_back, "{what} refused");
            }
        }
        ended.map(Response::new)
    }
}

impl Enrollment {
    /// For the stream's listener.
    pub(crate) fn known(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), door: Door::Known }
    }

    /// For the enrolment listener.
    pub(crate) fn strangers(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), door: Door::Strangers }
    }

    /// What is said of how a call ended. Strangers do not hear where the database is, or how it is.
    fn said<T>(&self, ended: Result<Response<T>, Status>) -> Result<Response<T>, Status> {
        match ended {
            Err(status) if self.door == Door::Strangers && status.code() == Code::Unavailable => {
                Err(Status::unavailable("the aggregator cannot use its database; try again"))
            }
            ended => ended,
        }
    }
}

#[tonic::async_trait]
impl EnrollmentService for Enrollment {
    async fn enroll(
        &self,
        request: Request<pb::EnrollRequest>,
    ) -> Result<Response<pb::EnrollResponse>, Status> {
        let visit = visit(&request)?;
        // Until here the connection is idle, so that a request must come soon.
        let _call = visit.call();
        let request = request.into_inner();
        let host = shown(&request.host_name);
        let ended = match self.door {
            Door::Strangers => self.shared.enroll(&visit, request).await,
            Door::Known => Err(Status::unimplemented("enrol on the enrolment port")),
        };
        self.said(self.shared.ended(Issue::Enrolment, &host, &visit, ended))
    }

    async fn renew(
        &self,
        request: Request<pb::RenewRequest>,
    ) -> Result<Response<pb::RenewResponse>, Status> {
        let visit = visit(&request)?;
        let _call = visit.call();
        let request = request.into_inner();
        let known = match self.door {
            Door::Known => self.shared.known(&visit, &request),
            Door::Strangers => self.shared.proven(&visit, &request),
        };
        let host = known.as_ref().map(|known| known.host.to_string()).unwrap_or_default();
        let ended = match known {
            Ok(known) => self.shared.renew(&visit, known, &request.csr_der).await,
            Err(status) => Err(status),
        };
        self.said(self.shared.ended(Issue::Renewal, &host, &visit, ended))
    }

    async fn check(
        &self,
        request: Request<pb::CheckRequest>,
    ) -> Result<Response<pb::CheckResponse>, Status> {
        let visit = visit(&request)?;
        let _call = visit.call();
        match self.door {
            Door::Known => self.shared.check(&visit).await.map(Response::new),
            Door::Strangers => Err(Status::unimplemented(
                "ask on the port of the streams, 7443 unless told otherwise",
            )),
        }
    }
}

fn visit<T>(request: &Request<T>) -> Result<Arc<Visit>, Status> {
    let visit = request.extensions().get::<Arc<Visit>>().map(Arc::clone);
    visit.ok_or_else(|| Status::internal("the server knows nothing about this connection"))
}

fn key_of(csr_der: &[u8]) -> Result<CsrKey, Status> {
    CsrKey::read(csr_der).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// What the database said instead of deciding.
fn unavailable(error: &StoreError) -> Status {
    Status::unavailable(error.to_string())
}

/// A name from outside, for a log.
fn shown(name: &str) -> String {
    rowcall_core::convert::clean_text(name).unwrap_or_default().chars().take(253).collect()
}
