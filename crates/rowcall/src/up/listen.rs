//! Where `up` listens: for agents and people, over HTTP for probes and metrics, and for nodes that
//! enrol.
//!
//! What was taken is kept for the next start, asked for or not. An address that other machines reach
//! was asked for once, and nodes may have enrolled for it: nothing but another option replaces it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

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

/// Binds to the first of these addresses that are free, and keeps them in the directory.
pub(super) async fn bind(
    mut choices: Choices,
    interval: Duration,
    dir: &Dir,
    pki: &Pki,
    clock: &SharedClock,
    database_url: String,
) -> anyhow::Result<Server> {
    let mut config = Config::new(Database::Url(database_url), pki.server());
    config.interval = interval;
    let file = |name: &str| pki.path().join(name);
    config.revocations = Some(Revocations { path: file(CRL), may_be_missing: true });
    let issuer =
        Enrollment::new(file(&Ca::Client.pem()), file(&Ca::Client.key()), file(&Ca::Root.pem()));

    loop {
        let Listen { telemetry, http, enroll } = choices.current();
        let (Some(telemetry), Some(http), Some(enroll)) = (telemetry, http, enroll) else {
            return Err(choices.failure());
        };
        config.listen = telemetry;
        config.http_listen = Some(http);
        config.enrollment = Some(Enrollment { listen: Some(enroll), ..issuer.clone() });
        match Server::bind(config.clone(), SharedClock::clone(clock)).await {
            Ok(server) => return keep(server, dir),
            Err(error @ Error::Listen { setting, .. }) => choices.taken(setting, error),
            Err(error) => return Err(error.into()),
        }
    }
}

/// For each listener the addresses to try, the best one first.
#[derive(Debug)]
pub(super) struct Choices {
    telemetry: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    enroll: Vec<SocketAddr>,
    /// Of the last time, and not asked for now.
    kept: Vec<SocketAddr>,
    failed: Option<Error>,
}

impl Choices {
    /// The address asked for, else the last one, else the default port, else a free one; for HTTP
    /// and enrolment likewise.
    pub(super) fn new(args: &UpArgs, last: &Listen) -> Self {
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        let telemetry = args
            .listen
            .map_or_else(|| candidates(last.telemetry, local, DEFAULT_PORT), |asked| vec![asked]);
        // Who lets others connect lets them enrol.
        let address = telemetry.first().map_or(local, SocketAddr::ip);
        let has_moved = args
            .listen
            .is_some_and(|asked| last.telemetry.is_none_or(|last| last.ip() != asked.ip()));
        let fits = |enroll: &SocketAddr| {
            (!has_moved || enroll.ip() == address)
                && !args.listen.is_some_and(|asked| meet(asked, *enroll))
        };
        let last_enroll = last.enroll.filter(fits);
        let enroll = args
            .enroll_listen
            .map_or_else(|| candidates(last_enroll, address, ENROLL_PORT), |asked| vec![asked]);
        let http = candidates(last.http, local, DEFAULT_HTTP_PORT);
        let kept_telemetry = last.telemetry.filter(|_| args.listen.is_none());
        let kept = kept_telemetry.into_iter();
        let kept = kept.chain(last_enroll.filter(|_| args.enroll_listen.is_none())).collect();
        Self { telemetry, http, enroll, kept, failed: None }
    }

    /// Where others connect and enrol, unless those give way: for the server's certificate.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let first = [self.telemetry.first(), self.enroll.first()];
        first.into_iter().flatten().map(SocketAddr::ip).collect()
    }

    /// Why there is nothing left to try.
    fn failure(self) -> anyhow::Error {
        match self.failed {
            Some(Error::Listen { setting, address, error }) if self.kept.contains(&address) => {
                let option = setting.replace('_', "-");
                let failed = Error::Listen { setting, address, error };
                anyhow!(
                    "{failed}; without --{option} it stays where it was the last time, since other \
                     nodes may have enrolled for that"
                )
            }
            Some(failed) => failed.into(),
            None => anyhow!("--enroll-listen needs another port than --listen"),
        }
    }

    /// The next ones to try, no two on one port.
    fn current(&mut self) -> Listen {
        let telemetry = self.telemetry.first().copied();
        let free = |one: SocketAddr, other: Option<SocketAddr>| {
            other.is_none_or(|other| !meet(one, other))
        };
        self.enroll.retain(|enroll| free(*enroll, telemetry));
        let enroll = self.enroll.first().copied();
        // The one that always has another choice comes last.
        self.http.retain(|http| free(*http, telemetry) && free(*http, enroll));
        Listen { telemetry, http: self.http.first().copied(), enroll }
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

/// Whether these are on one port.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() != 0 && one.port() == other.port()
}

/// The last address, the default port, any free port. Where other machines reach the last one it
/// stands alone.
fn candidates(last: Option<SocketAddr>, address: IpAddr, default: u16) -> Vec<SocketAddr> {
    if let Some(known) = last.filter(|last| !last.ip().is_loopback()) {
        return vec![known];
    }
    let ports = [default, 0].map(|port| SocketAddr::new(address, port));
    last.into_iter().chain(ports).collect()
}

/// Remembers what was taken.
fn keep(server: Server, dir: &Dir) -> anyhow::Result<Server> {
    let handle = server.handle();
    dir.keep_listen(&Listen {
        telemetry: Some(server.local_addr()),
        http: handle.http_addr(),
        enroll: handle.enroll_addr(),
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
    fn what_was_asked_for_once_stays_until_another_is_asked_for() {
        let parse = |address: &str| address.parse().ok();
        let last = |telemetry, enroll| Listen {
            telemetry: parse(telemetry),
            http: parse("127.0.0.1:9445"),
            enroll: parse(enroll),
        };
        let apart = last("10.0.0.5:17443", "10.0.0.6:17444");
        let http = "127.0.0.1:9445";
        for (options, last, expected) in [
            (&[][..], &apart, ["10.0.0.5:17443", http, "10.0.0.6:17444"]),
            (&["--listen", "10.0.0.5:1"], &apart, ["10.0.0.5:1", http, "10.0.0.6:17444"]),
            (&["--enroll-listen", "10.0.0.5:1"], &apart, ["10.0.0.5:17443", http, "10.0.0.5:1"]),
            // Who moves takes both along, and who takes the port of the other one gets it.
            (&["--listen", "127.0.0.1:1"], &apart, ["127.0.0.1:1", http, "127.0.0.1:7444"]),
            (&["--listen", "10.0.0.5:17444"], &apart, ["10.0.0.5:17444", http, "10.0.0.5:7444"]),
            (
                &["--listen", "10.0.0.5:9445"],
                &apart,
                ["10.0.0.5:9445", "127.0.0.1:7445", "10.0.0.6:17444"],
            ),
            (
                &["--enroll-listen", "[::]:9445"],
                &apart,
                ["10.0.0.5:17443", "127.0.0.1:7445", "[::]:9445"],
            ),
        ] {
            assert_eq!(shown(&mut choices(options, last)), expected, "{options:?}");
        }
        let addresses = choices(&[], &apart).addresses();
        assert_eq!(addresses, ["10.0.0.5", "10.0.0.6"].map(|ip| ip.parse::<IpAddr>().unwrap()));
    }

    #[test]
    fn what_other_machines_reach_gives_way_to_nothing_and_what_only_this_one_does() {
        let parse = |address: &str| address.parse().ok();
        let known = Listen {
            telemetry: parse("0.0.0.0:17443"),
            http: None,
            enroll: parse("0.0.0.0:17444"),
        };
        for (options, setting, taken, said) in [
            (&[][..], "listen", "0.0.0.0:17443", "; without --listen it stays where it was"),
            (&[], "enroll_listen", "0.0.0.0:17444", "; without --enroll-listen it stays where it"),
            (&["--listen", "0.0.0.0:17443"], "listen", "0.0.0.0:17443", ""),
        ] {
            let mut choices = choices(options, &known);
            choices.taken(setting, busy(setting, taken));
            let Listen { telemetry, enroll, .. } = choices.current();
            assert!(telemetry.is_none() || enroll.is_none(), "{setting}");
            let words = choices.failure().to_string();
            assert!(words.contains(&format!("cannot listen on {taken}: ")), "{words}");
            assert!(
                words.contains(said) && words.contains("it stays") != said.is_empty(),
                "{words}"
            );
        }
        let local = Listen { telemetry: parse("127.0.0.1:4711"), ..Listen::default() };
        let mut choices = choices(&[], &local);
        choices.taken("listen", busy("listen", "127.0.0.1:4711"));
        assert_eq!(shown(&mut choices)[0], "127.0.0.1:7443");
    }

    #[test]
    fn two_on_one_port_is_said_plainly() {
        let options = ["--listen", "0.0.0.0:1", "--enroll-listen", "0.0.0.0:1"];
        let mut choices = choices(&options, &Listen::default());
        assert_eq!(choices.current().enroll, None);
        assert_eq!(
            choices.failure().to_string(),
            "--enroll-listen needs another port than --listen"
        );
    }

    fn busy(setting: &'static str, address: &str) -> Error {
        let (address, error) = (address.parse().unwrap(), std::io::ErrorKind::AddrInUse.into());
        Error::Listen { setting, address, error }
    }

    #[test]
    fn an_address_that_is_taken_gives_way_to_the_next_of_its_kind_alone() {
        let mut choices = choices(&[], &Listen::default());
        for setting in ["enroll_listen", "http_listen", "listen"] {
            choices.taken(setting, busy(setting, "127.0.0.1:7443"));
        }
        assert_eq!(shown(&mut choices), ["127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"]);
        choices.enroll.remove(0);
        assert_eq!(choices.current().enroll, None);
    }
}
