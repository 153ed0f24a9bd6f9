//! Where `up` listens: for agents and people, over HTTP for probes and metrics, and for nodes that
//! enrol.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::anyhow;
use rowcall_aggregator::config::{Database, Enrollment, Revocations};
use rowcall_aggregator::{Config, Error, Server};
use rowcall_core::clock::SharedClock;
use rowcall_tls::connect::DEFAULT_PORT;

use super::dir::{Dir, Listen};
use super::pki::Pki;
use crate::cli::UpArgs;
use crate::pki::ENROLL_PORT;
use crate::pki::folder::{CRL, Ca};

/// Port for probes and metrics, as a service's default.
const DEFAULT_HTTP_PORT: u16 = 7445;

/// Binds to the address asked for, else to the last one, else to the default port, else to a free
/// one; for HTTP and enrolment likewise.
pub(super) async fn bind(
    args: &UpArgs,
    dir: &Dir,
    pki: &Pki,
    clock: &SharedClock,
    database_url: String,
) -> anyhow::Result<Server> {
    let mut config = Config::new(Database::Url(database_url), pki.server());
    config.interval = args.interval;
    let file = |name: &str| pki.path().join(name);
    config.revocations = Some(Revocations { path: file(CRL), may_be_missing: true });
    let issuer =
        Enrollment::new(file(&Ca::Client.pem()), file(&Ca::Client.key()), file(&Ca::Root.pem()));

    let mut choices = Choices::new(args, &dir.listen());
    loop {
        let Listen { telemetry, http, enroll } = choices.current();
        let (Some(telemetry), Some(http), Some(enroll)) = (telemetry, http, enroll) else {
            return Err(choices
                .failed
                .map_or_else(|| anyhow!("no address to listen on"), Into::into));
        };
        config.listen = telemetry;
        config.http_listen = Some(http);
        config.enrollment = Some(Enrollment { listen: Some(enroll), ..issuer.clone() });
        match Server::bind(config.clone(), SharedClock::clone(clock)).await {
            Ok(server) => return keep(server, args, dir),
            Err(error @ Error::Listen { setting, .. }) => choices.taken(setting, error),
            Err(error) => return Err(error.into()),
        }
    }
}

/// For each listener the addresses to try, the best one first.
struct Choices {
    telemetry: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    enroll: Vec<SocketAddr>,
    failed: Option<Error>,
}

impl Choices {
    fn new(args: &UpArgs, last: &Listen) -> Self {
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        let telemetry = args
            .listen
            .map_or_else(|| candidates(last.telemetry, local, DEFAULT_PORT), |asked| vec![asked]);
        // Who lets others connect lets them enrol.
        let address = telemetry.first().map_or(local, SocketAddr::ip);
        let last_enroll = last.enroll.filter(|last| last.ip() == address);
        let enroll = args
            .enroll_listen
            .map_or_else(|| candidates(last_enroll, address, ENROLL_PORT), |asked| vec![asked]);
        let http = candidates(last.http, local, DEFAULT_HTTP_PORT);
        Self { telemetry, http, enroll, failed: None }
    }

    /// The next ones to try, no two on one port.
    fn current(&mut self) -> Listen {
        let telemetry = self.telemetry.first().copied();
        let meets = |one: SocketAddr, other: Option<SocketAddr>| {
            one.port() != 0 && other.is_some_and(|other| other.port() == one.port())
        };
        self.http.retain(|http| !meets(*http, telemetry));
        let http = self.http.first().copied();
        self.enroll.retain(|enroll| !meets(*enroll, telemetry) && !meets(*enroll, http));
        Listen { telemetry, http, enroll: self.enroll.first().copied() }
    }

    /// The present one of a listener is somebody else's: it gives way to the next of its kind.
    fn taken(&mut self, setting: &str, error: Error) {
        let list = match setting {
            "http_listen" => &mut self.http,
            "enroll_listen" => &mut self.enroll,
            _ => &mut self.telemetry,
        };
        if !list.is_empty() {
            list.remove(0);
        }
        self.failed = Some(error);
    }
}

/// The last address, the default port, any free port.
fn candidates(last: Option<SocketAddr>, address: IpAddr, default: u16) -> Vec<SocketAddr> {
    let ports = [default, 0].map(|port| SocketAddr::new(address, port));
    last.into_iter().chain(ports).collect()
}

/// Remembers what was taken.
fn keep(server: Server, args: &UpArgs, dir: &Dir) -> anyhow::Result<Server> {
    let handle = server.handle();
    dir.keep_listen(&Listen {
        telemetry: args.listen.is_none().then(|| server.local_addr()),
        http: handle.http_addr(),
        enroll: handle.enroll_addr().filter(|_| args.enroll_listen.is_none()),
    })?;
    Ok(server)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn choices(options: &[&str], last: &Listen) -> Choices {
        let line = ["rowcall", "up"].iter().chain(options);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Up(args) => Choices::new(&args, last),
            other => panic!("not up: {other:?}"),
        }
    }

    fn shown(choices: &mut Choices) -> [String; 3] {
        let Listen { telemetry, http, enroll } = choices.current();
        [telemetry, http, enroll].map(|one| one.map_or_else(String::new, |one| one.to_string()))
    }

    #[test]
    fn who_lets_others_connect_lets_them_enrol_and_http_stays_local() {
        let last = Listen { enroll: Some("127.0.0.1:9444".parse().unwrap()), ..Listen::default() };
        assert_eq!(
            shown(&mut choices(&[], &last)),
            ["127.0.0.1:7443", "127.0.0.1:7445", "127.0.0.1:9444"]
        );
        assert_eq!(
            shown(&mut choices(&["--listen", "0.0.0.0:7443"], &last)),
            ["0.0.0.0:7443", "127.0.0.1:7445", "0.0.0.0:7444"]
        );
        assert_eq!(
            shown(&mut choices(&["--listen", "0.0.0.0:7445", "--enroll-listen", "[::]:1"], &last)),
            ["0.0.0.0:7445", "127.0.0.1:0", "[::]:1"]
        );
    }

    #[test]
    fn an_address_that_is_taken_gives_way_to_the_next_of_its_kind_alone() {
        let mut choices = choices(&[], &Listen::default());
        for setting in ["enroll_listen", "http_listen", "listen"] {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 7443));
            let error = std::io::ErrorKind::AddrInUse.into();
            choices.taken(setting, Error::Listen { setting, address, error });
        }
        assert_eq!(shown(&mut choices), ["127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"]);
        choices.enroll.remove(0);
        assert_eq!(choices.current().enroll, None);
    }
}
