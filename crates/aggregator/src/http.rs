//! Probes and metrics for machines, over HTTP without TLS; on loopback unless told otherwise.
//!
//! It only reads, and asks PostgreSQL nothing. Bounds: [`MAX_CONNECTIONS`], [`MAX_HEADER_BYTES`]
//! and [`MAX_HEADERS`] of a request, [`HEAD_TIME`] to send it, [`CONNECTION_TIME`] for all requests
//! of a connection; one `/metrics` is made at a time, off the threads that serve agents. Whoever
//! comes always gets a place, if need be that of the oldest connection without a request: every
//! user of this machine may connect, and a probe that fails gets this process restarted. It
//! answers until the process ends, so that a stop can be watched.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info_span, warn};

use crate::database::Database;
use crate::metrics::Metrics;
use crate::tasks::Tasks;

/// Connections at a time; a further one takes the place of another.
const MAX_CONNECTIONS: usize = 64;
/// Of one request's head.
const MAX_HEADER_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// Longest that a request's head may take, and a connection may idle.
const HEAD_TIME: Duration = Duration::from_secs(2);
/// No connection loses its place sooner, so that a flood leaves a probe the time to be read; until
/// then further ones wait unaccepted.
const LEAST_STAY: Duration = Duration::from_millis(20);
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
    let places = Arc::new(Places::default());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "cannot accept an HTTP connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let place = places.take().await;
        let pages = Arc::clone(&pages);
        let connection = async move {
            let guest = Arc::clone(&place.guest);
            let served = connection(stream, pages, Arc::clone(&guest));
            if guest.cut.run_until_cancelled(served).await.is_none() {
                debug!("too many HTTP connections, this one makes room");
            }
            drop(place);
        };
        drop(tasks.spawn(info_span!("http", %peer), connection));
    }
}

/// One connection, as whoever looks for a place sees it.
#[derive(Debug)]
struct Guest {
    since: Instant,
    /// A request is being answered.
    busy: AtomicBool,
    cut: CancellationToken,
}

/// Who is connected, the oldest first.
#[derive(Debug, Default)]
struct Places(Mutex<Vec<Arc<Guest>>>);

/// A connection's place, given back when dropped.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    guest: Arc<Guest>,
}

impl Places {
    /// A place, if need be the one of the oldest connection that is not being answered, or else of
    /// the oldest.
    async fn take(self: &Arc<Self>) -> Place {
        loop {
            let wait = {
                let mut guests = self.lock();
                let last = if guests.len() < MAX_CONNECTIONS {
                    None
                } else {
                    guests.iter().position(|guest| !guest.busy.load(Ordering::Relaxed)).or(Some(0))
                };
                let stayed = last.and_then(|last| guests.get(last)).map(|g| g.since.elapsed());
                match stayed.map(|stayed| LEAST_STAY.saturating_sub(stayed)) {
                    Some(wait) if !wait.is_zero() => wait,
                    _ => {
                        if let Some(last) = last {
                            guests.remove(last).cut.cancel();
                        }
                        let guest = Arc::new(Guest {
                            since: Instant::now(),
                            busy: AtomicBool::new(false),
                            cut: CancellationToken::new(),
                        });
                        guests.push(Arc::clone(&guest));
                        return Place { places: Arc::clone(self), guest };
                    }
                }
            };
            sleep(wait).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Guest>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().retain(|guest| !Arc::ptr_eq(guest, &self.guest));
    }
}

async fn connection(stream: TcpStream, pages: Arc<Pages>, guest: Arc<Guest>) {
    let service = service_fn(move |request| {
        let (pages, guest) = (Arc::clone(&pages), Arc::clone(&guest));
        async move {
            guest.busy.store(true, Ordering::Relaxed);
            let answer = pages.answer(&request).await;
            // From here on it costs nobody a probe to be cut: small answers go at once.
            guest.busy.store(false, Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn full() -> (Arc<Places>, Vec<Place>) {
        let places = Arc::new(Places::default());
        let mut taken = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            taken.push(places.take().await);
        }
        (places, taken)
    }

    fn cut(taken: &[Place]) -> Vec<usize> {
        let cut = taken.iter().enumerate().filter(|(_, place)| place.guest.cut.is_cancelled());
        cut.map(|(index, _)| index).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_takes_the_place_of_the_oldest_that_is_not_being_answered() {
        let (places, taken) = full().await;
        assert_eq!(cut(&taken), [0_usize; 0]);
        for busy in [0, 1, 3] {
            taken[busy].guest.busy.store(true, Ordering::Relaxed);
        }
        let _more = (places.take().await, places.take().await);
        assert_eq!(cut(&taken), [2, 4]);
        assert_eq!(places.lock().len(), MAX_CONNECTIONS);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_are_being_answered_the_oldest_goes() {
        let (places, taken) = full().await;
        taken.iter().for_each(|place| place.guest.busy.store(true, Ordering::Relaxed));
        let _one = places.take().await;
        assert_eq!(cut(&taken), [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_cut_before_its_request_can_be_read_and_who_leaves_makes_room_at_once() {
        let (places, mut taken) = full().await;
        let started = Instant::now();
        let _one = places.take().await;
        assert_eq!(started.elapsed(), LEAST_STAY);
        drop(taken.pop());
        let started = Instant::now();
        let _two = places.take().await;
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert_eq!(cut(&taken), [0]);
    }
}
