//! Probes and metrics for machines, over HTTP without TLS; on loopback unless told otherwise.
//!
//! It only reads, and asks PostgreSQL nothing. Bounds: [`MAX_CONNECTIONS`], [`MAX_HEADER_BYTES`]
//! and [`MAX_HEADERS`] of a request, [`HEAD_TIME`] to send it, [`CONNECTION_TIME`] for all requests
//! of a connection; one `/metrics` is made at a time, off the threads that serve agents. It answers
//! until the process ends, so that a stop can be watched.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info_span, warn};

use crate::database::Database;
use crate::metrics::Metrics;
use crate::tasks::Tasks;

/// Connections at a time; further ones are closed at once.
const MAX_CONNECTIONS: usize = 64;
/// Of one request's head.
const MAX_HEADER_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// Longest that a request's head may take, and a connection may idle.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A connection takes no further requests after this, and is cut after twice this.
const CONNECTION_TIME: Duration = Duration::from_secs(30);
/// Before the next try when the socket itself fails, as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

const INDEX: &str = "rowcall-aggregator\n\n\
    /livez    200 while this process serves\n\
    /readyz   200 while the database takes writes, else 503 with the reason\n\
    /metrics  for Prometheus, in OpenMetrics' text format\n";

type Body = Full<Bytes>;

/// What the pages are made of.
#[derive(Debug)]
pub(crate) struct Pages {
    database: Arc<Database>,
    metrics: Arc<Metrics>,
    /// A stop has begun.
    stopping: CancellationToken,
    /// Of whoever makes a page that takes long.
    turn: Semaphore,
}

impl Pages {
    pub(crate) fn new(
        database: Arc<Database>,
        metrics: Metrics,
        stopping: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self { database, metrics: Arc::new(metrics), stopping, turn: Semaphore::new(1) })
    }
}

/// Says so where others than this machine can read it.
pub(crate) fn warn_if_public(address: SocketAddr) {
    if !address.ip().to_canonical().is_loopback() {
        warn!(
            %address,
            "http_listen is not loopback: /metrics tells the hosts' names to whoever reaches it"
        );
    }
}

/// Serves until it is dropped; so do its connections, which are tasks of this group.
pub(crate) async fn serve(listener: TcpListener, pages: Arc<Pages>, tasks: Tasks) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "cannot accept an HTTP connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            debug!(%peer, "too many HTTP connections");
            continue;
        };
        let pages = Arc::clone(&pages);
        let connection = async move {
            connection(stream, pages).await;
            drop(place);
        };
        drop(tasks.spawn(info_span!("http", %peer), connection));
    }
}

async fn connection(stream: TcpStream, pages: Arc<Pages>) {
    let service = service_fn(move |request| {
        let pages = Arc::clone(&pages);
        async move { Ok::<_, Infallible>(pages.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = sleep(CONNECTION_TIME) => {
            connection.as_mut().graceful_shutdown();
            // Who does not read is cut.
            timeout(CONNECTION_TIME, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%error, "HTTP connection ended");
    }
}

impl Pages {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refused = page(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match request.uri().path() {
            "/" => page(StatusCode::OK, INDEX),
            "/livez" => page(StatusCode::OK, "alive\n"),
            "/readyz" => self.readiness(),
            "/metrics" => self.metrics().await,
            _ => page(StatusCode::NOT_FOUND, "no such page\n"),
        }
    }

    fn readiness(&self) -> Response<Body> {
        if self.stopping.is_cancelled() {
            return page(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
        }
        match self.database.error() {
            None => page(StatusCode::OK, "ready\n"),
            Some(error) => page(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
        }
    }

    async fn metrics(&self) -> Response<Body> {
        let metrics = Arc::clone(&self.metrics);
        let turn = self.turn.acquire().await;
        let made = tokio::task::spawn_blocking(move || metrics.text()).await;
        drop(turn);
        let Ok(Ok(text)) = made else {
            return page(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n");
        };
        let mut answer = page(StatusCode::OK, text);
        answer.headers_mut().insert(CONTENT_TYPE, OPENMETRICS);
        answer
    }
}

fn page(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut page = Response::new(Full::new(text.into()));
    *page.status_mut() = status;
    let headers = page.headers_mut();
    headers.insert(CONTENT_TYPE, PLAIN);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    page
}
