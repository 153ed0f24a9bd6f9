//! TelemetryService: what agents send becomes rows.

mod lanes;
mod pace;
pub(crate) mod queue;
pub(crate) mod refusal;
mod stream;
#[cfg(test)]
mod tests;
pub(crate) mod writer;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rowcall_core::clock::SharedClock;
use rowcall_core::id::RunId;
use rowcall_core::proto::v1 as pb;
use rowcall_core::proto::v1::telemetry_service_server::TelemetryService;
use rowcall_tls::identity::Role;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{field, info_span};

use crate::admin::Credentials;
use crate::connections::Visit;
use crate::database::Database;
use crate::farewells::Farewells;
use crate::leases::Leases;
use crate::metrics::Meters;
use crate::refusals::Refusals;
use crate::registry::Registry;
use crate::tasks::Tasks;
pub(crate) use pace::Pace;
use queue::Queue;

/// Responses that wait for a peer to read them. Acknowledgements that find no place are merged.
const OUTBOUND: usize = 2;

/// What all streams share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) database: Arc<Database>,
    /// This aggregator, for people, and this process.
    pub(crate) name: String,
    pub(crate) run: RunId,
    pub(crate) registry: Arc<Registry>,
    pub(crate) queue: Queue,
    pub(crate) clock: SharedClock,
    pub(crate) interval: Duration,
    /// Sessions that may be opened at a time: one connection fewer than the pool has, so that the
    /// writer never waits behind a fleet that comes back.
    pub(crate) openings: Semaphore,
    pub(crate) pace: Pace,
    pub(crate) draining: CancellationToken,
    pub(crate) tasks: Tasks,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) farewells: Arc<Farewells>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) credentials: Arc<dyn Credentials>,
}

/// The service.
#[derive(Debug)]
pub(crate) struct Telemetry(pub(crate) Arc<Shared>);

#[tonic::async_trait]
impl TelemetryService for Telemetry {
    type StreamStream =
        Pin<Box<dyn Stream<Item = Result<pb::StreamResponse, Status>> + Send + 'static>>;

    async fn stream(
        &self,
        request: Request<Streaming<pb::StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let visit =
            request.extensions().get::<Arc<Visit>>().map(Arc::clone).ok_or_else(|| {
                Status::internal("the server knows nothing about this connection")
            })?;
        let name = visit.peer.require(&[Role::Agent])?.name.clone();
        if self.0.draining.is_cancelled() {
            return Err(Status::unavailable("shutting down"));
        }
        let (sender, receiver) = mpsc::channel(OUTBOUND);
        let address = visit.peer.address;
        let (host_id, called) = (field::Empty, field::Empty);
        let span = info_span!("stream", host = %name, called, peer = %address, host_id);
        let shared = Arc::clone(&self.0);
        let run = stream::run(shared, visit, name, request.into_inner(), sender);
        // Nobody awaits a single stream; the group of tasks does.
        drop(self.0.tasks.spawn(span, run));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}
