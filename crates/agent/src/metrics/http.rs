//! One page over HTTP/1 on loopback.
//!
//! It only reads. Every user of this machine may connect, so everything is bounded: connections at
//! a time, bytes and time of a request, time of a connection. A port that is taken costs this page
//! and nothing else.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Metrics;

/// Connections at a time; further ones wait unaccepted.
const MAX_CONNECTIONS: usize = 4;

/// Of one request's head.
const MAX_HEADER_BYTES: usize = 8 * 1024;
const MAX_HEADERS: usize = 32;

/// Longest that a request's head may take.
const HEAD_TIME: Duration = Duration::from_secs(2);

/// Longest that a connection lasts.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// Before the next try where the address is taken or the socket fails.
const AGAIN: Duration = Duration::from_secs(30);

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

type Body = Full<Bytes>;

/// Serves until it is dropped, and its connections with it.
pub(crate) async fn serve(address: SocketAddr, metrics: Metrics) -> Infallible {
    let metrics = Arc::new(metrics);
    let listener = listener(address).await;
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&metrics)));
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection for metrics");
                    sleep(HEAD_TIME).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Once the address is free.
async fn listener(address: SocketAddr) -> TcpListener {
    let mut is_new = true;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                match listener.local_addr() {
                    Ok(address) => tracing::info!(%address, "metrics are served"),
                    Err(error) => tracing::info!(%error, "metrics are served"),
                }
                return listener;
            }
            Err(error) => {
                if std::mem::take(&mut is_new) {
                    tracing::warn!("metrics_listen {address}: {error}; {}", advice(&error));
                }
                sleep(AGAIN).await;
            }
        }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "everything else goes on, and this is tried again; choose another port"
        }
        io::ErrorKind::PermissionDenied => "choose a port from 1024 up",
        _ => "everything else goes on, and this is tried again",
    }
}

async fn connection(stream: TcpStream, metrics: Arc<Metrics>) {
    let service = service_fn(move |request| {
        let answer = answer(&request, &metrics);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics ended"),
        Err(_) => tracing::debug!("a connection for metrics lasted too long"),
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = page(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    if request.uri().path() != "/metrics" {
        return page(StatusCode::NOT_FOUND, PLAIN, "no such page; there is /metrics\n");
    }
    match metrics.text() {
        Ok(text) => page(StatusCode::OK, OPENMETRICS, text),
        Err(_) => {
            let said = "the metrics cannot be written\n";
            page(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, said)
        }
    }
}

fn page(status: StatusCode, kind: HeaderValue, text: impl Into<Bytes>) -> Response<Body> {
    let mut page = Response::new(Full::new(text.into()));
    *page.status_mut() = status;
    let headers = page.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page
}
