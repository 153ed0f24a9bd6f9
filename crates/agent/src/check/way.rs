//! The way to each server: name, TCP, TLS, its clock, and whether it takes our certificate.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rowcall_core::clock::SharedClock;
use rowcall_core::id::HostName;
use rowcall_core::token::Pin;
use rowcall_tls::config::client_config;
use rowcall_tls::connect::{ConnectError, Connector, pinned_config};
use rowcall_tls::load::{Authorities, Rfc3339, Validity};
use rowcall_tls::pin::pin_of;
use rustls::ClientConfig;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::local::Identity;
use super::{Report, answer};
use crate::config::{Config, Endpoint};
use crate::enroll::{connector, pin_in};
use crate::identity::About;
use crate::link::remedy;

/// Of each step.
const DEADLINE: Duration = Duration::from_secs(10);

/// Whom we ask, and what we know of them.
struct Way<'a> {
    tls: ClientConfig,
    server_name: Option<&'a str>,
    /// As whom, or with whose pin.
    trust: String,
    /// This host, where it has an identity; without one it is the way to enrolment.
    host: Option<&'a HostName>,
    /// Where that came from; nothing for files of one's own.
    about: Option<&'a About>,
}

/// Walks to every aggregator; without an identity, to where one is to be had.
pub(super) async fn walk(
    report: &mut Report,
    config: &Config,
    identity: Option<&Identity>,
    clock: &SharedClock,
) {
    let (way, servers) = match identity {
        Some(identity) => {
            let Some(way) = as_agent(report, config, identity) else { return };
            let told = identity.about.as_ref().map(|about| about.aggregators.as_slice());
            let servers = match config.aggregators.as_slice() {
                [] => told.unwrap_or_default(),
                set => set,
            };
            (way, servers)
        }
        None => {
            let Some(way) = with_token(report, config) else { return };
            (way, config.enroll_servers.as_slice())
        }
    };
    for server in servers {
        to(report, &way, server, clock).await;
    }
}

fn as_agent<'a>(
    report: &mut Report,
    config: &'a Config,
    identity: &'a Identity,
) -> Option<Way<'a>> {
    let tls = match client_config(&identity.material) {
        Ok(tls) => tls,
        Err(error) => {
            report.fail("tls", error.to_string());
            return None;
        }
    };
    let authorities = Authorities::load(&identity.files.authorities).ok();
    let pins: Vec<_> = authorities
        .iter()
        .flat_map(Authorities::certificates)
        .filter_map(|der| pin_of(der).ok().map(|pin| pin.to_string()))
        .collect();
    let told = identity.about.as_ref().and_then(|about| about.server_name.as_deref());
    Some(Way {
        tls,
        server_name: config.server_name.as_deref().or(told),
        trust: pins.join(" or "),
        host: Some(&identity.name),
        about: identity.about.as_ref(),
    })
}

fn with_token<'a>(report: &mut Report, config: &'a Config) -> Option<Way<'a>> {
    let token_file = config.token_file.as_ref()?;
    let pin: Pin = match pin_in(token_file) {
        Ok(pin) => pin,
        Err(error) => {
            report.fail("token", error.text);
            return None;
        }
    };
    report.fine("token", format!("{}, for the authority {pin}", token_file.display()));
    match pinned_config(pin) {
        Ok(tls) => Some(Way {
            tls,
            server_name: config.server_name.as_deref(),
            trust: pin.to_string(),
            host: None,
            about: None,
        }),
        Err(error) => {
            report.fail("tls", error.to_string());
            None
        }
    }
}

async fn to(report: &mut Report, way: &Way<'_>, server: &Endpoint, clock: &SharedClock) {
    let Some(addresses) = name(report, server).await else { return };
    if !tcp(report, server, &addresses).await {
        return;
    }
    let tls = Arc::new(ArcSwap::from_pointee(way.tls.clone()));
    let connector = match connector(tls, way.server_name) {
        Ok(connector) => connector.with_deadline(DEADLINE),
        Err(text) => return report.fail("tls", text),
    };
    if handshake(report, way, server, &connector).await {
        asked(report, way, server, connector, clock).await;
    }
}

async fn name(report: &mut Report, server: &Endpoint) -> Option<Vec<SocketAddr>> {
    let host = server.host.trim_matches(['[', ']']);
    let found = timeout(DEADLINE, lookup_host((host, server.port))).await;
    match found {
        Ok(Ok(addresses)) => {
            let addresses: Vec<_> = addresses.collect();
            if host.parse::<IpAddr>().is_err() {
                let shown: Vec<_> = addresses.iter().map(|a| a.ip().to_string()).collect();
                report.fine("name", format!("{host} is {}", shown.join(", ")));
            }
            Some(addresses)
        }
        Ok(Err(error)) => {
            report.fail(
                "name",
                format!("{host} cannot be resolved: {error}; check its spelling and DNS"),
            );
            None
        }
        Err(_) => {
            let text = format!("{host}: no answer from DNS; check the name servers");
            report.fail("name", text);
            None
        }
    }
}

async fn tcp(report: &mut Report, server: &Endpoint, addresses: &[SocketAddr]) -> bool {
    let mut reached = Vec::new();
    let mut last = "it has no address".to_owned();
    for address in addresses {
        match timeout(DEADLINE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => reached.push(address.to_string()),
            Ok(Err(error)) => last = format!("{address}: {error}"),
            Err(_) => last = format!("{address}: no answer; a firewall?"),
        }
    }
    let advice = "check that the aggregator runs, its port, and firewalls on the way";
    if reached.is_empty() {
        report.fail("tcp", format!("{server}: {last}; {advice}"));
    } else if reached.len() < addresses.len() {
        let some = reached.join(", ");
        report.warn("tcp", format!("{server}: only {some} can be reached; {last}"));
    } else {
        report.fine("tcp", format!("{server}: {}", reached.join(", ")));
    }
    !reached.is_empty()
}

/// Who the server is; whether it takes us shows here too.
async fn handshake(
    report: &mut Report,
    way: &Way<'_>,
    server: &Endpoint,
    connector: &Connector,
) -> bool {
    let trust = &way.trust;
    match connector.connect(&server.host, server.port).await {
        Ok(stream) => {
            let (_, session) = stream.get_ref().get_ref();
            let leaf = session.peer_certificates().and_then(|chain| chain.first());
            let until = leaf.and_then(|leaf| Validity::of(leaf).ok());
            let until = until.map_or_else(String::new, |dates| {
                format!(", its certificate until {}", Rfc3339(dates.not_after))
            });
            report.fine("tls", format!("{server}: certified by {trust}{until}"));
            true
        }
        Err(error @ ConnectError::CertificateRefused(_)) => {
            report.fine("tls", format!("{server}: certified by {trust}"));
            let then = remedy(&error, way.about);
            report.fail("accepted", format!("{server}: {error}{then}"));
            false
        }
        Err(error) => {
            let then = remedy(&error, way.about);
            report.fail("tls", format!("{server}: {error}{then} (believed: {trust})"));
            false
        }
    }
}

/// One call on a connection of its own, as gRPC sees it.
async fn asked(
    report: &mut Report,
    way: &Way<'_>,
    server: &Endpoint,
    connector: Connector,
    clock: &SharedClock,
) {
    let endpoint = match crate::link::channel_endpoint(server) {
        Ok(endpoint) => endpoint,
        Err(error) => return report.fail("accepted", error.to_string()),
    };
    let channel = match endpoint.connect_with_connector(connector).await {
        Ok(channel) => channel,
        Err(error) => {
            let text =
                ConnectError::find(&error).map_or_else(|| error.to_string(), ToString::to_string);
            return report.fail("accepted", format!("{server}: {text}"));
        }
    };
    let asked_at = clock.wall();
    let Ok(said) = timeout(DEADLINE, answer::ask(channel)).await else {
        let text = format!("{server}: no answer to a call within {} s", DEADLINE.as_secs());
        return report.fail("accepted", text);
    };
    answer::clock(report, server, &said, asked_at, clock.wall());
    answer::accepted(report, server, &said, way.host);
}
