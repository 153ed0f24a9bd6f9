//! Where `up` listens: for agents and people, and over HTTP for probes and metrics.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::anyhow;
use rowcall_aggregator::config::Database;
use rowcall_aggregator::{Config, Error, Server};
use rowcall_core::clock::SharedClock;
use rowcall_tls::connect::DEFAULT_PORT;

use super::dir::Dir;
use super::pki::Pki;
use crate::cli::UpArgs;

/// Port for probes and metrics, as a service's default.
const DEFAULT_HTTP_PORT: u16 = 7445;

/// Binds to the address asked for, else to the last one, else to the default port, else to a free
/// one; for HTTP likewise.
pub(super) async fn bind(
    args: &UpArgs,
    dir: &Dir,
    pki: &Pki,
    clock: &SharedClock,
    database_url: String,
) -> anyhow::Result<Server> {
    let mut config = Config::new(Database::Url(database_url), pki.server());
    config.interval = args.interval;
    let (last, last_http) = dir.listen();
    let addresses = match args.listen {
        Some(listen) => vec![listen],
        None => candidates(last, DEFAULT_PORT),
    };
    let mut failed = None;
    // Each address that is taken gives way to the next of its kind.
    for listen in addresses {
        config.listen = listen;
        let meets = |http: &SocketAddr| http.port() != 0 && http.port() == listen.port();
        for http in candidates(last_http, DEFAULT_HTTP_PORT) {
            if meets(&http) {
                continue;
            }
            config.http_listen = Some(http);
            match Server::bind(config.clone(), SharedClock::clone(clock)).await {
                Ok(server) => return keep(server, args, dir),
                Err(error @ Error::Listen { setting, .. }) => {
                    let is_http = setting == "http_listen";
                    failed = Some(error);
                    if !is_http {
                        break;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Err(failed.map_or_else(|| anyhow!("there is no address to listen on"), Into::into))
}

/// The last address, the default port, any free port.
fn candidates(last: Option<SocketAddr>, default: u16) -> Vec<SocketAddr> {
    let ports = [default, 0].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    last.into_iter().chain(ports).collect()
}

/// Remembers what was taken.
fn keep(server: Server, args: &UpArgs, dir: &Dir) -> anyhow::Result<Server> {
    if args.listen.is_none() {
        dir.keep_listen(server.local_addr())?;
    }
    if let Some(http) = server.handle().http_addr() {
        dir.keep_http_listen(http)?;
    }
    Ok(server)
}
