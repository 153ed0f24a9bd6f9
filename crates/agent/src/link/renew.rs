//! The next certificate of an enrolled identity.
//!
//! From a third of its life on it is asked for on the stream's own connection, by a task of its own: a
//! renewal that fails, or waits for a disk, costs the stream nothing. How old the certificate is says
//! the aggregator's clock, taken further by one that nobody sets. A certificate that has expired
//! opens no stream; then it is asked for where enrolment is, with a proof by its key. The key of a
//! request stays on disk until it is answered, so that a reply that got lost comes again.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rowcall_core::backoff::{Backoff, jitter};
use rowcall_core::clock::SharedClock;
use rowcall_core::id::UnixMicros;
use rowcall_core::proto::v1 as pb;
use rowcall_proto::v1::enrollment_service_client::EnrollmentServiceClient;
use rowcall_tls::request::NewKey;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::dial::Dialer;
use super::end::one_line;
use super::journal::Journal;
use super::material::Enrolled;
use crate::config::Endpoint;
use crate::identity::{About, Bundle, FolderError, IdentityDir, Note, Notes, Pending};
use crate::random;
use crate::service::Health;
use crate::utc::Utc;

/// From the call to the answer.
const DEADLINE: Duration = Duration::from_secs(30);

/// After one renewal no other for so long, or for a tenth of the new certificate's life where that is
/// shorter: clocks of two servers that differ, or authorities that they name, must not make a loop.
const LEAST_BETWEEN: Duration = Duration::from_secs(3600);

/// Most of a text from the other side that is repeated.
const MAX_TEXT_BYTES: usize = 1024;

/// A stream's connection, and what its Welcome told.
#[derive(Clone, Debug)]
pub(crate) struct Connected {
    pub(super) channel: Channel,
    /// The aggregator's clock then.
    pub(super) theirs: UnixMicros,
    /// Ours then, which nobody sets.
    pub(super) since_boot: Duration,
    /// Of the authorities that a renewal would give now; empty where it gives none.
    pub(super) authorities_sha256: Vec<u8>,
}

/// How long is waited for what.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// Longest first and longest later wait after a failure.
    pub(super) backoff: Backoff,
    /// Longest wait until other authorities are fetched.
    pub(super) soon: Duration,
    /// Clocks are looked at again after this: a machine that slept knows no better.
    pub(super) look: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let (min, max) = (Duration::from_secs(60), Duration::from_secs(3600));
        Self {
            backoff: Backoff::new(min, max).expect("one minute is below one hour"),
            soon: Duration::from_secs(600),
            look: Duration::from_secs(600),
        }
    }
}

/// Renews an enrolled identity.
#[derive(Debug)]
pub(crate) struct Renewals {
    dir: PathBuf,
    dialer: Dialer,
    /// Those of the settings; else where this node was enrolled.
    servers: Vec<Endpoint>,
    clock: SharedClock,
    notes: Notes,
    health: Arc<Health>,
    journal: Mutex<Journal>,
    pub(super) pace: Pace,
}

/// Why there is no new certificate.
#[derive(Debug)]
struct Failed {
    text: String,
    /// Another aggregator may issue.
    is_elsewhere: bool,
}

/// What is sent, and what it is sent for.
struct Asking {
    dir: IdentityDir,
    key: NewKey,
    about: About,
    request: pb::RenewRequest,
}

impl Renewals {
    /// Of the identity in this folder.
    pub(crate) fn new(
        dir: &Path,
        dialer: &Dialer,
        servers: &[Endpoint],
        clock: &SharedClock,
        notes: &Notes,
        health: &Arc<Health>,
    ) -> Self {
        Self {
            dir: dir.to_owned(),
            dialer: dialer.clone(),
            servers: servers.to_vec(),
            clock: Arc::clone(clock),
            notes: notes.clone(),
            health: Arc::clone(health),
            journal: Mutex::default(),
            pace: Pace::default(),
        }
    }

    /// Renews whenever it is time, on the streams' connections. Never ends.
    pub(crate) async fn run(
        &self,
        mut connected: watch::Receiver<Option<Connected>>,
    ) -> Infallible {
        let mut backoff = self.pace.backoff.clone();
        let mut rests_until = Duration::ZERO;
        let mut spread = random::share();
        // Authorities that were told and asked for: asking again gives no others.
        let mut asked_for = Vec::new();
        loop {
            let connection = connected.borrow_and_update().clone();
            let wait = match (&connection, self.dialer.material.enrolled()) {
                (Some(connection), Some(enrolled)) => {
                    let rest = rests_until.saturating_sub(self.clock.since_boot());
                    self.due_in(connection, &enrolled, &asked_for, spread)
                        .max(rest)
                        .min(self.pace.look)
                }
                _ => self.pace.look,
            };
            let Some(connection) = connection.filter(|_| wait.is_zero()) else {
                tokio::select! {
                    Ok(()) = connected.changed() => {}
                    () = sleep(wait) => {}
                }
                continue;
            };
            match self.through(connection.channel).await {
                Ok(()) => {
                    backoff.reset();
                    rests_until = self.clock.since_boot() + self.least_between();
                    asked_for = connection.authorities_sha256;
                }
                Err(_) => rests_until = self.clock.since_boot() + backoff.next(random::share()),
            }
            spread = random::share();
        }
    }

    /// No other renewal for so long after one.
    pub(super) fn least_between(&self) -> Duration {
        let life = self.dialer.material.enrolled().map(|enrolled| enrolled.life);
        life.map_or(LEAST_BETWEEN, |life| LEAST_BETWEEN.min(life / 10))
    }

    /// How long it is until the next one is due, by the aggregator's clock.
    fn due_in(
        &self,
        connection: &Connected,
        enrolled: &Enrolled,
        asked_for: &[u8],
        spread: f64,
    ) -> Duration {
        let about = &enrolled.held.about;
        let passed = self.clock.since_boot().saturating_sub(connection.since_boot);
        let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        let now = connection.theirs.plus_micros(micros(passed));
        let told = connection.authorities_sha256.as_slice();
        let mut due = about.renew_at;
        if ![&[], asked_for, &enrolled.authorities_sha256].contains(&told) {
            let soon = connection.theirs.plus_micros(micros(jitter(self.pace.soon, spread)));
            due = due.min(soon.max(about.issued_at.plus_micros(micros(LEAST_BETWEEN))));
        }
        Duration::from_micros(u64::try_from(due.since(now)).unwrap_or(0))
    }

    /// On a stream's connection; where that aggregator does not issue, where enrolment is.
    async fn through(&self, channel: Channel) -> Result<(), String> {
        let renewed = self.renew(false, async |request| call(channel.clone(), request).await).await;
        match renewed {
            Err(failed) if failed.is_elsewhere && !self.servers().is_empty() => {
                self.by_proof().await
            }
            renewed => self.tell(renewed),
        }
    }

    /// Where enrolment is, with a proof that our certificate is ours.
    pub(super) async fn by_proof(&self) -> Result<(), String> {
        let servers = self.servers();
        let renewed = self.renew(true, async |request| {
            let mut last = Failed::new("no server to renew at is known: set enroll_server");
            for server in &servers {
                let asked = async {
                    let channel = self.dialer.dial(server).await.map_err(|error| error.reason);
                    call(channel.map_err(Failed::new)?, request.clone()).await
                };
                match asked.await {
                    Ok(bundle) => return Ok(bundle),
                    Err(failed) => last = Failed::new(format!("{server}: {}", failed.text)),
                }
            }
            Err(last)
        });
        let renewed = renewed.await;
        self.tell(renewed)
    }

    fn servers(&self) -> Vec<Endpoint> {
        match self.dialer.material.enrolled() {
            Some(enrolled) if self.servers.is_empty() => enrolled.held.about.enroll_servers.clone(),
            _ => self.servers.clone(),
        }
    }

    async fn renew(
        &self,
        with_proof: bool,
        ask: impl AsyncFnOnce(pb::RenewRequest) -> Result<Bundle, Failed>,
    ) -> Result<UnixMicros, Failed> {
        let dir = self.dir.clone();
        let Asking { dir, key, about, request } =
            blocking(move || prepare(&dir, with_proof)).await?;
        let bundle = ask(request).await?;
        let about = About {
            aggregators: match bundle.aggregators.as_slice() {
                [] => about.aggregators,
                told => told.to_vec(),
            },
            issued_at: bundle.now,
            renew_at: bundle.renew_at(random::share()),
            ..about
        };
        let not_after = bundle.not_after;
        blocking(move || dir.keep(&bundle, &key, &about).map_err(Failed::from)).await?;
        self.dialer.material.reload().await;
        Ok(not_after)
    }

    /// Says, counts and notes what came of it.
    fn tell(&self, renewed: Result<UnixMicros, Failed>) -> Result<(), String> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        self.health.renewed(renewed.is_ok());
        match renewed {
            Ok(not_after) => {
                journal.forget();
                self.notes.change(|told| told.renewal = None);
                tracing::info!(
                    until = %Utc(not_after),
                    "the certificate is renewed; the next connection uses it"
                );
                Ok(())
            }
            Err(Failed { text, .. }) => {
                let note = Note { at: self.clock.wall(), text: text.clone() };
                self.notes.change(|told| told.renewal = Some(note));
                if let Some(repeated) = journal.note(&text, Instant::now()) {
                    let until = Utc(self.dialer.expiry().get());
                    tracing::warn!(%until, "the certificate is not renewed: {text}{repeated}");
                }
                Err(text)
            }
        }
    }
}

impl Failed {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_elsewhere: false }
    }
}

impl From<FolderError> for Failed {
    fn from(error: FolderError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        let said = match one_line(status.message(), MAX_TEXT_BYTES) {
            empty if empty.is_empty() => status.code().description().to_owned(),
            said => said,
        };
        let is_elsewhere = matches!(status.code(), Code::FailedPrecondition | Code::Unimplemented);
        Self { text: said, is_elsewhere }
    }
}

/// Takes the folder and makes the request, whose key is on disk then.
fn prepare(dir: &Path, with_proof: bool) -> Result<Asking, Failed> {
    let dir = IdentityDir::take(dir)?;
    let held =
        dir.held()?.ok_or_else(|| Failed::new("the identity is gone; enrol this node anew"))?;
    let key = dir.pending_key(Pending::Renewal, &dir.generation()?)?;
    let failed = |error: rowcall_tls::request::RequestError| Failed::new(error.to_string());
    let csr_der = key.request_der(held.about.host.as_str()).map_err(failed)?;
    let mut request = pb::RenewRequest { csr_der, ..pb::RenewRequest::default() };
    if with_proof {
        let unreadable = |error: &dyn std::fmt::Display| Failed::new(error.to_string());
        let certificate = CertificateDer::from_pem_file(&held.files.certificate)
            .map_err(|error| unreadable(&error))?;
        let own = std::fs::read_to_string(&held.files.key).map_err(|error| unreadable(&error))?;
        request.certificate_der = certificate.to_vec();
        request.signature =
            rowcall_tls::request::sign_renewal(&own, &request.csr_der).map_err(failed)?;
    }
    Ok(Asking { dir, key, about: held.about, request })
}

async fn call(channel: Channel, request: pb::RenewRequest) -> Result<Bundle, Failed> {
    let mut client = EnrollmentServiceClient::new(channel);
    let answer = timeout(DEADLINE, client.renew(request)).await;
    let answer =
        answer.map_err(|_| Failed::new(format!("no answer within {} s", DEADLINE.as_secs())))??;
    Bundle::read(answer.into_inner().bundle).map_err(|error| Failed::new(error.to_string()))
}

/// Runs what waits for the disk elsewhere.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failed> + Send + 'static,
) -> Result<T, Failed> {
    let ended =
        |_| Err(Failed::new("the work on the identity's folder ended early; this is a bug"));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(ended)
}
