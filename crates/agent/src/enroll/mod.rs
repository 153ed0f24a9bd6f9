//! Enrolment: a token for a certificate.
//!
//! The key is made here and kept before anything is sent, so that a reply that got lost is asked for
//! again with the same key, whoever is killed when. The server must have the authority that the token
//! names before it hears any of ours. What comes back is stored as a whole or not at all.

mod at_start;
mod cli;
mod error;
mod name;
mod token;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rowcall_core::clock::SharedClock;
use rowcall_core::id::HostName;
use rowcall_core::proto::v1 as pb;
use rowcall_core::token::{Pin, Token};
use rowcall_proto::v1::enrollment_service_client::EnrollmentServiceClient;
use rowcall_tls::connect::{ConnectError, Connector, pinned_config};
use rowcall_tls::load::Authorities;
use rowcall_tls::pin::pin_of;
use rowcall_tls::request::NewKey;
use rustls::pki_types::ServerName;
use tokio::time::timeout;

pub(crate) use at_start::until_enrolled;
pub(crate) use cli::{Arguments, run as command};
pub(crate) use error::{EnrollError, Why};

use crate::config::Endpoint;
use crate::identity::{self, About, Bundle, Held, IdentityDir, Pending};

/// From the first step to the answer, of one server.
const DEADLINE: Duration = Duration::from_secs(30);

/// What is wanted, of whom.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The identity's folder.
    pub(crate) dir: PathBuf,
    /// Tried in this order.
    pub(crate) servers: Vec<Endpoint>,
    /// Name expected in their certificates, where that isn't their host.
    pub(crate) server_name: Option<String>,
    /// The name that is asked for.
    pub(crate) name: HostName,
    /// `/etc/machine-id`, or empty.
    pub(crate) machine_id: String,
    /// In place of an identity that is there.
    pub(crate) again: bool,
    /// A file, or `-`.
    pub(crate) token_file: PathBuf,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Enrolled {
    /// It was one already, of this name and authority: nothing was asked for.
    Already(Held),
    /// It is one now.
    Now(Box<New>),
}

/// A new identity.
#[derive(Debug)]
pub(crate) struct New {
    pub(crate) held: Held,
    pub(crate) bundle: Bundle,
    pub(crate) server: Endpoint,
    pub(crate) pin: Pin,
    /// By how much the server's clock is ahead of this machine's, in microseconds, up to the time
    /// that the answer took.
    pub(crate) clock_behind_us: i64,
    /// The user's number that its files belong to, where that is another one than this process's.
    pub(crate) owner: Option<u32>,
}

/// Enrols this node, once: the caller tries again where that makes sense.
///
/// # Errors
/// [`EnrollError`]; what was there before stays.
pub(crate) async fn enroll(
    request: &Request,
    clock: &SharedClock,
) -> Result<Enrolled, EnrollError> {
    let prepared = {
        let request = request.clone();
        blocking(move || prepare(&request)).await?
    };
    let ToSend { token, dir, key, csr_der } = match prepared {
        Prepared::Already(held) => return Ok(Enrolled::Already(held)),
        Prepared::ToSend(to_send) => *to_send,
    };
    let asked = ask_each(request, &token, csr_der).await?;
    let clock_behind_us = asked.bundle.now.since(clock.wall());
    let about = About {
        host: request.name.clone(),
        enroll_servers: request.servers.clone(),
        server_name: request.server_name.clone(),
        aggregators: match asked.bundle.aggregators.as_slice() {
            [] => vec![Endpoint { port: asked.bundle.telemetry_port, ..asked.server.clone() }],
            told => told.to_vec(),
        },
        issued_at: asked.bundle.now,
        renew_at: asked.bundle.renew_at(crate::random::share()),
    };
    blocking(move || {
        let Asked { bundle, server } = asked;
        let held = dir.keep(&bundle, &key, &about)?;
        let owner = dir.owner();
        let new = New { held, bundle, server, pin: token.pin, clock_behind_us, owner };
        Ok(Enrolled::Now(Box::new(new)))
    })
    .await
}

enum Prepared {
    Already(Held),
    ToSend(Box<ToSend>),
}

struct ToSend {
    token: Token,
    dir: IdentityDir,
    key: NewKey,
    csr_der: Vec<u8>,
}

/// Reads the token, looks what is there, and makes the key.
fn prepare(request: &Request) -> Result<Prepared, EnrollError> {
    let token = token::read(&request.token_file);
    let pin = token.as_ref().ok().map(|token| token.pin);
    if !request.again
        && let Some(held) = identity::held(&request.dir)?
    {
        return already(request, pin, held).map(Prepared::Already);
    }
    let token = token?;
    let dir = IdentityDir::take(&request.dir)?;
    // Another process may have been quicker.
    if !request.again
        && let Some(held) = dir.held()?
    {
        return already(request, pin, held).map(Prepared::Already);
    }
    // A key is good for one token and one name.
    let about = format!("{} {}", request.name, token.id);
    let key = dir.pending_key(Pending::Enrolment, &about)?;
    let csr_der = key
        .request_der(request.name.as_str())
        .map_err(|error| EnrollError::new(Why::NotNow, error.to_string()))?;
    Ok(Prepared::ToSend(Box::new(ToSend { token, dir, key, csr_der })))
}

/// Whether what is there is what was asked for.
fn already(request: &Request, pin: Option<Pin>, held: Held) -> Result<Held, EnrollError> {
    let refused = |what: String| {
        Err(EnrollError::new(
            Why::Usage,
            format!(
                "{what}; nothing was changed. To give it up and enrol anew, add --again{}",
                " (the host that it was stays known under its old name)"
            ),
        ))
    };
    let host = &held.about.host;
    if *host != request.name {
        return refused(format!("this node is enrolled as {host}, not {}", request.name));
    }
    let is_same = match pin {
        Some(pin) => authorities(&request.dir)?.contains(&pin),
        // A node that is enrolled needs no token any more.
        None => request.servers.iter().any(|server| held.about.enroll_servers.contains(server)),
    };
    if is_same {
        return Ok(held);
    }
    let there: Vec<_> = held.about.enroll_servers.iter().map(ToString::to_string).collect();
    refused(format!(
        "this node is enrolled as {host} at {}, under another authority",
        there.join(", ")
    ))
}

/// The pins of the authorities held.
fn authorities(dir: &Path) -> Result<Vec<Pin>, EnrollError> {
    let found = identity::authorities(dir)
        .map_err(|error| EnrollError::new(Why::Usage, error.to_string()))?;
    let found = found.iter().flat_map(Authorities::certificates);
    Ok(found.filter_map(|der| pin_of(der).ok()).collect())
}

struct Asked {
    bundle: Bundle,
    server: Endpoint,
}

/// The first answer; a refusal ends it, a server that cannot be asked does not.
async fn ask_each(
    request: &Request,
    token: &Token,
    csr_der: Vec<u8>,
) -> Result<Asked, EnrollError> {
    let message = pb::EnrollRequest {
        token: token.reveal(),
        csr_der,
        host_name: request.name.as_str().to_owned(),
        machine_id: request.machine_id.clone(),
    };
    let mut last = EnrollError::new(Why::Usage, "no server to enrol at is named");
    for server in &request.servers {
        let asked = ask(server, request.server_name.as_deref(), token.pin, message.clone());
        match timeout(DEADLINE, asked).await {
            Ok(Ok(bundle)) => return Ok(Asked { bundle, server: server.clone() }),
            Ok(Err(error)) if error.why == Why::NotNow => last = error,
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let text =
                    format!("{server}: no answer within {} s; try again", DEADLINE.as_secs());
                last = EnrollError::new(Why::NotNow, text);
            }
        }
    }
    Err(last)
}

async fn ask(
    server: &Endpoint,
    server_name: Option<&str>,
    pin: Pin,
    message: pb::EnrollRequest,
) -> Result<Bundle, EnrollError> {
    let place = server.to_string();
    let not_now = |text: String| EnrollError::new(Why::NotNow, format!("{place}: {text}"));
    let tls = pinned_config(pin).map_err(|error| not_now(error.to_string()))?;
    let connector = connector(Arc::new(ArcSwap::from_pointee(tls)), server_name)
        .map_err(|text| EnrollError::new(Why::Usage, text))?;
    let endpoint =
        crate::link::channel_endpoint(server).map_err(|error| not_now(error.to_string()))?;
    let channel =
        endpoint.connect_with_connector(connector).await.map_err(
            |error| match ConnectError::find(&error) {
                Some(found) => EnrollError::of_connect(found, &place),
                None => not_now(error.to_string()),
            },
        )?;
    let answer = EnrollmentServiceClient::new(channel)
        .enroll(message)
        .await
        .map_err(|status| EnrollError::of_status(&status, &place))?;
    let bundle = Bundle::read(answer.into_inner().bundle)?;
    if !bundle.authorities.iter().any(|der| pin_of(der).is_ok_and(|found| found == pin)) {
        return Err(not_now(format!(
            "its answer does not hold the authority {pin} that the token names; set server_ca of \
             the aggregator right"
        )));
    }
    Ok(bundle)
}

/// Dials, and expects this name where one is given.
pub(crate) fn connector(
    tls: Arc<ArcSwap<rustls::ClientConfig>>,
    server_name: Option<&str>,
) -> Result<Connector, String> {
    let connector = Connector::new(tls);
    let Some(name) = server_name else { return Ok(connector) };
    let name = ServerName::try_from(name.to_owned())
        .map_err(|_| format!("server_name {name:?} is no DNS name or address"))?;
    Ok(connector.with_server_name(name))
}

/// The name to ask for: the one given, or this machine's. Blocks, for a name lookup too.
pub(crate) fn name_or_ours(given: Option<&str>) -> Result<HostName, EnrollError> {
    match given {
        Some(text) => HostName::parse_new(text).map_err(|error| error.to_string()),
        None => name::of_this_machine(),
    }
    .map_err(|text| EnrollError::new(Why::Usage, text))
}

/// Runs what waits for the disk elsewhere.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EnrollError> + Send + 'static,
) -> Result<T, EnrollError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(ended()))
}

fn ended() -> EnrollError {
    EnrollError::new(Why::NotNow, "the work on the identity's folder ended early; this is a bug")
}

/// The token's pin, for whoever only wants to look at the server.
pub(crate) fn pin_in(token_file: &Path) -> Result<Pin, EnrollError> {
    token::read(token_file).map(|token| token.pin)
}
