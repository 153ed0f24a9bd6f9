//! Answers that are too large for one message, from a server made for the test.

use std::pin::Pin;

use rowcall_proto::v1::summary_service_server::{SummaryService, SummaryServiceServer};
use rowcall_proto::v1::{self, SummaryRequest};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status};

use super::{ask, samples};
use crate::client::{Client, ClientError};

/// Has one answer to Summary, and parts for StreamSummary.
struct Fake {
    summary: Status,
    parts: Vec<Result<v1::StreamSummaryResponse, Status>>,
}

type Parts = Vec<Result<v1::StreamSummaryResponse, Status>>;

/// A stream over what is there already.
struct Ready(std::vec::IntoIter<Result<v1::StreamSummaryResponse, Status>>);

impl tonic::codegen::tokio_stream::Stream for Ready {
    type Item = Result<v1::StreamSummaryResponse, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}

#[tonic::async_trait]
impl SummaryService for Fake {
    async fn summary(
        &self,
        _: Request<SummaryRequest>,
    ) -> Result<Response<v1::SummaryResponse>, Status> {
        Err(self.summary.clone())
    }

    type StreamSummaryStream = Ready;

    async fn stream_summary(
        &self,
        request: Request<v1::StreamSummaryRequest>,
    ) -> Result<Response<Ready>, Status> {
        let request = request.into_inner().request.unwrap();
        assert_eq!(request.window_s, Some(7), "the same request");
        Ok(Response::new(Ready(self.parts.clone().into_iter())))
    }
}

/// What the command gets from it.
async fn answer(summary: Status, parts: Parts) -> anyhow::Result<v1::SummaryResponse> {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let service = SummaryServiceServer::new(Fake { summary, parts });
    let server = Server::builder().add_service(service).serve_with_incoming(incoming);
    let server = tokio::spawn(server);
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let client = Client::over(endpoint.connect().await.unwrap());
    let request = SummaryRequest { window_s: Some(7), ..SummaryRequest::default() };
    let answer = ask(&client, request).await;
    server.abort();
    answer
}

fn part(
    change: impl FnOnce(&mut v1::SummaryResponse),
) -> Result<v1::StreamSummaryResponse, Status> {
    let mut part = v1::SummaryResponse::default();
    change(&mut part);
    Ok(v1::StreamSummaryResponse { part: Some(part) })
}

#[tokio::test]
async fn an_exhausted_summary_is_asked_for_in_parts() {
    let hosts = samples::answer().memory.unwrap().hosts;
    let halves: Parts = hosts
        .chunks(2)
        .map(|hosts| part(|p| p.memory = Some(v1::MemoryReport { hosts: hosts.to_vec() })))
        .collect();
    assert_eq!(halves.len(), 2);
    let whole = answer(Status::resource_exhausted("too many cells"), halves).await.unwrap();
    assert_eq!(format!("{:?}", whole.memory.unwrap().hosts), format!("{hosts:?}"));
}

#[tokio::test]
async fn an_error_in_the_middle_of_the_parts_is_an_error() {
    let parts = vec![part(|p| p.window_s = 7), Err(Status::unavailable("the database is down"))];
    let error = answer(Status::resource_exhausted(""), parts).await.unwrap_err();
    let error = error.downcast_ref::<ClientError>().unwrap();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("UNAVAILABLE: the database is down"), "{error}");
}

#[tokio::test]
async fn other_errors_are_explained_with_their_exit_code() {
    for (code, exit) in
        [(Code::InvalidArgument, 2), (Code::PermissionDenied, 4), (Code::Internal, 1)]
    {
        let error = answer(Status::new(code, "why"), Vec::new()).await.unwrap_err();
        let error = error.downcast_ref::<ClientError>().unwrap();
        assert_eq!(error.exit_code(), exit, "{error}");
        assert!(error.to_string().starts_with("the aggregator at test:1 answers"), "{error}");
    }
}
