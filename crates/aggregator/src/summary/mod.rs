//! SummaryService: the report queries, in one message or in parts.
//!
//! Both calls run the same code; they differ in where the parts go. Limits: a Summary has at most
//! [`MAX_CELLS`] cells and `MAX_SUMMARY_BYTES`; a StreamSummary has parts of at most 500 hosts
//! and [`MAX_STREAM_CELLS`] cells. A request holds at most one connection of the report pool, a
//! certificate at most half of them ([`Turns`]), and a reader that takes no part of a StreamSummary
//! for [`STALL`] loses the rest of it, so that its connection goes to somebody else.

mod parts;
mod pressure;
mod request;
mod roll;
#[cfg(test)]
mod tests;
mod turns;
mod unobserved;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use rowcall_core::proto::MAX_SUMMARY_BYTES;
use rowcall_core::proto::v1 as pb;
use rowcall_core::proto::v1::summary_service_server::SummaryService;
use rowcall_store::Store;
use rowcall_store::reports::{Frame, Scope};
use rowcall_tls::accept::PeerInfo;
use rowcall_tls::identity::{Identity, Role};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};
use tracing::{info, info_span, warn};

use crate::database::Database;
use crate::refusals::{Reason, Refusals};
use crate::tasks::Tasks;
use crate::telemetry::refusal;
use parts::{Hardware, Memory};
use pressure::Pressure;
use request::Asked;
use roll::{Boots, Roll};
pub(crate) use turns::Turns;

/// Most cells (hosts x windows) of a Summary.
pub const MAX_CELLS: u64 = 250_000;

/// Most cells of a StreamSummary: 100,000 hosts over a day of 5-minute windows. The roll holds
/// two bytes of each cell of an incomplete host.
pub const MAX_STREAM_CELLS: u64 = 30_000_000;

/// Most boots that a roll holds, over all hosts; a fleet of 10,000 boots that often in weeks.
const MAX_BOOTS: usize = 250_000;

/// Parts that wait for a reader.
const PARTS_WAITING: usize = 2;

/// Longest that a reader may take to take a part, once [`PARTS_WAITING`] are ready for it.
const STALL: Duration = Duration::from_secs(10);

/// Parts may add up to this much more than the whole that they make.
const PARTS_OVERHEAD_BYTES: usize = 64 * 1024;

/// The service.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) database: Arc<Database>,
    pub(crate) tasks: Tasks,
    pub(crate) turns: Turns,
    pub(crate) refusals: Arc<Refusals>,
}

impl Summary {
    /// A turn for the caller to have a report made.
    async fn turn<T>(&self, request: &Request<T>) -> Result<OwnedSemaphorePermit, Status> {
        let peer = PeerInfo::of(request)?;
        let identity: &Identity = peer.require(&[Role::Viewer, Role::Operator])?;
        self.turns.take(identity).await.inspect_err(|status| {
            if let Some(held_back) = self.refusals.count(Reason::TooManyReports) {
                info!(peer = %peer.address, reason = status.message(), held_back, "report refused");
            }
        })
    }
}

#[tonic::async_trait]
impl SummaryService for Summary {
    async fn summary(
        &self,
        request: Request<pb::SummaryRequest>,
    ) -> Result<Response<pb::SummaryResponse>, Status> {
        let turn = self.turn(&request).await?;
        let asked = Asked::read(request.into_inner())?;
        let mut sink = Sink::Whole { response: Box::default(), bytes: 0 };
        report(self.database.store()?, &asked, &mut sink).await?;
        drop(turn);
        match sink {
            Sink::Whole { response, .. } if response.encoded_len() <= MAX_SUMMARY_BYTES => {
                Ok(Response::new(*response))
            }
            _ => Err(too_large()),
        }
    }

    type StreamSummaryStream =
        Pin<Box<dyn Stream<Item = Result<pb::StreamSummaryResponse, Status>> + Send + 'static>>;

    async fn stream_summary(
        &self,
        request: Request<pb::StreamSummaryRequest>,
    ) -> Result<Response<Self::StreamSummaryStream>, Status> {
        let turn = self.turn(&request).await?;
        let address = PeerInfo::of(&request)?.address;
        let asked = Asked::read(request.into_inner().request.unwrap_or_default())?;
        let store = self.database.store()?.clone();
        let (sender, receiver) = mpsc::channel(PARTS_WAITING + 1);
        // Kept for the reason of an early end, which must not wait for the reader.
        let Ok(last) = sender.clone().try_reserve_owned() else {
            return Err(Status::internal("a new channel has no room"));
        };
        let refusals = Arc::clone(&self.refusals);
        let run = async move {
            let mut sink = Sink::Parts(sender.clone());
            let made = tokio::select! {
                made = report(&store, &asked, &mut sink) => made,
                // The reader is gone: give the connection back.
                () = sender.closed() => return,
            };
            drop(turn);
            if let Err(status) = made {
                if status.message() == STALLED
                    && let Some(held_back) = refusals.count(Reason::StalledReader)
                {
                    info!(peer = %address, reason = STALLED, held_back, "report ended");
                }
                drop(last.send(Err(status)));
            }
        };
        // Ends with its reader, its report or the server.
        drop(self.tasks.spawn(info_span!("report"), run));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// For readers that ask and don't read.
const STALLED: &str = "no part of the report was taken for 10 s, so it ends here incomplete; read \
                       the parts as they come, or ask for fewer hosts or windows";

/// Where parts go.
enum Sink {
    /// Into one message of limited size.
    Whole { response: Box<pb::SummaryResponse>, bytes: usize },
    /// To a reader, who sets the pace.
    Parts(mpsc::Sender<Result<pb::StreamSummaryResponse, Status>>),
}

impl Sink {
    async fn put(&mut self, part: pb::SummaryResponse) -> Result<(), Status> {
        match self {
            Self::Whole { response, bytes } => {
                *bytes += part.encoded_len();
                if *bytes > MAX_SUMMARY_BYTES + PARTS_OVERHEAD_BYTES {
                    return Err(too_large());
                }
                parts::merge(response, part);
                Ok(())
            }
            Self::Parts(sender) => {
                let part = pb::StreamSummaryResponse { part: Some(part) };
                match timeout(STALL, sender.send(Ok(part))).await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) => Err(Status::cancelled("the reader is gone")),
                    Err(_) => Err(Status::deadline_exceeded(STALLED)),
                }
            }
        }
    }

    /// The first part: what is reported, and that it is, even where nothing is found.
    async fn head(&mut self, asked: &Asked, frame: &Frame) -> Result<(), Status> {
        let head = pb::SummaryResponse {
            from: Some(crate::timestamp(frame.from)),
            to: Some(crate::timestamp(frame.to)),
            window_s: frame.window_s,
            generated_at: Some(crate::timestamp(frame.now)),
            hardware: asked.hardware.then(Default::default),
            memory: asked.memory.then(Default::default),
            roll: asked.roll.then(Default::default),
            balance: asked.balance.then(Default::default),
            integrity: asked.integrity.then(Default::default),
            pressure: asked.pressure.then(Default::default),
        };
        match self {
            Self::Whole { response, .. } => {
                **response = head;
                Ok(())
            }
            Self::Parts(_) => self.put(head).await,
        }
    }

    /// Whether that many cells are too many.
    fn check(&self, cells: u64) -> Result<(), Status> {
        match self {
            Self::Whole { .. } if cells > MAX_CELLS => Err(Status::resource_exhausted(format!(
                "{cells} cells (hosts x windows) are more than the {MAX_CELLS} of a Summary: take \
                 fewer hosts or windows, or call rowcall.v1.SummaryService/StreamSummary"
            ))),
            Self::Parts(_) if cells > MAX_STREAM_CELLS => Err(Status::resource_exhausted(format!(
                "{cells} cells (hosts x windows) are more than {MAX_STREAM_CELLS}: take fewer \
                 hosts or windows"
            ))),
            Self::Whole { .. } | Self::Parts(_) => Ok(()),
        }
    }
}

fn too_large() -> Status {
    Status::resource_exhausted(format!(
        "the answer has more than {MAX_SUMMARY_BYTES} bytes: take fewer hosts, windows or reports, \
         or call rowcall.v1.SummaryService/StreamSummary"
    ))
}

/// Makes the reports one after another, so that they take one connection of the pool.
async fn report(store: &Store, asked: &Asked, sink: &mut Sink) -> Result<(), Status> {
    let failed = |error: rowcall_store::Error| {
        if error.kind() != rowcall_store::Kind::Data {
            warn!(%error, "a report failed");
        }
        refusal::report(&error)
    };
    let scope = &asked.scope;
    let frame = store.frame(scope).await.map_err(failed)?;
    sink.check(frame.hosts.saturating_mul(u64::from(frame.windows)))?;
    sink.head(asked, &frame).await?;
    if asked.hardware {
        let mut rows = store.hardware(scope, &frame).await.map_err(failed)?;
        let mut hardware = Hardware::default();
        while let Some(row) = rows.next().await {
            if let Some(part) = hardware.push(row.map_err(failed)?) {
                sink.put(part).await?;
            }
        }
        if let Some(part) = hardware.take() {
            sink.put(part).await?;
        }
    }
    if asked.memory {
        let mut rows = store.memory(scope, &frame).await.map_err(failed)?;
        let mut memory = Memory::new(frame.windows);
        while let Some(row) = rows.next().await {
            if let Some(part) = memory.push(row.map_err(failed)?) {
                sink.put(part).await?;
            }
        }
        if let Some(part) = memory.take() {
            sink.put(part).await?;
        }
    }
    if asked.roll {
        let unobserved = store.unobserved(scope, &frame).await.map_err(failed)?;
        let boots = boots(store, scope, &frame).await.map_err(failed)?;
        let mut roll = Roll::new(&frame, unobserved, boots);
        {
            let mut rows = store.roll(scope, &frame).await.map_err(failed)?;
            while let Some(row) = rows.next().await {
                roll.push(row.map_err(failed)?);
            }
        }
        for part in roll.finish(frame.finished_windows()) {
            sink.put(part).await?;
        }
    }
    if asked.balance {
        for part in parts::balance(store.balance(scope, &frame).await.map_err(failed)?) {
            sink.put(part).await?;
        }
    }
    if asked.pressure {
        let mut rows = store.pressure(scope, &frame).await.map_err(failed)?;
        let mut pressure = Pressure::default();
        while let Some(row) = rows.next().await {
            if let Some(part) = pressure.push(row.map_err(failed)?) {
                sink.put(part).await?;
            }
        }
        sink.put(pressure.finish()).await?;
    }
    if asked.integrity {
        sink.put(parts::integrity(store.integrity(scope, &frame).await.map_err(failed)?)).await?;
    }
    Ok(())
}

/// When hosts booted within the range.
async fn boots(store: &Store, scope: &Scope, frame: &Frame) -> Result<Boots, rowcall_store::Error> {
    let mut rows = store.boots(scope, frame).await?.take(MAX_BOOTS);
    let mut boots = Boots::default();
    while let Some(row) = rows.next().await {
        let row = row?;
        boots.entry(row.host_name).or_default().push(row.booted_at);
    }
    Ok(boots)
}
