//! SummaryService.
use crate::database::Database;
use crate::tasks::Tasks;
use rowcall_core::proto::v1 as pb;
use rowcall_core::proto::v1::summary_service_server::SummaryService;
use std::pin::Pin;
use std::sync::Arc;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

/// Most cells (hosts x windows) of a Summary.
pub const MAX_CELLS: u64 = 250_000;

#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) database: Arc<Database>,
    pub(crate) tasks: Tasks,
}

#[tonic::async_trait]
impl SummaryService for Summary {
    async fn summary(
        &self,
        _: Request<pb::SummaryRequest>,
    ) -> Result<Response<pb::SummaryResponse>, Status> {
        Err(Status::unimplemented("x"))
    }
    type StreamSummaryStream =
        Pin<Box<dyn Stream<Item = Result<pb::StreamSummaryResponse, Status>> + Send>>;
    async fn stream_summary(
        &self,
        _: Request<pb::StreamSummaryRequest>,
    ) -> Result<Response<Self::StreamSummaryStream>, Status> {
        Err(Status::unimplemented("x"))
    }
}
