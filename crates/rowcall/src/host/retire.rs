//! Retiring a host: says what it means, asks, does it.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use anyhow::{bail, ensure};
use rowcall_proto::v1;

use super::get;
use crate::cli::RetireArgs;
use crate::client::{Client, ClientError, Need};
use crate::summary::instant;
use crate::text::{self, ODD};

/// Longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 100;

pub(super) async fn run(args: &RetireArgs, client: &Client) -> anyhow::Result<String> {
    let name = args.host.as_str();
    if !args.yes && !io::stdin().is_terminal() {
        let words = format!("standard input is no terminal to ask at: add --yes to retire {name}");
        bail!(ClientError::Usage(words));
    }
    let host = get(client, name).await?;
    if let Some(at) = instant(host.retired_at.as_ref()) {
        let at = text::timestamp(at, &jiff::tz::TimeZone::UTC);
        return Ok(format!("{name} is retired already, since {at}.\n"));
    }
    let request = v1::StatusRequest {
        hosts: Some(v1::HostSelector { name_glob: name.to_owned(), ..Default::default() }),
    };
    // What it says is advice; the host can be retired without it.
    let status = client.admin().status(request).await.ok().map(tonic::Response::into_inner);
    let mut err = anstream::stderr().lock();
    write!(err, "{}", warning(name, status.as_ref()))?;
    if !args.yes {
        write!(err, "{}Retire {name}? [y/N] ", meaning(name))?;
        err.flush()?;
        let mut answer = String::new();
        io::stdin().lock().take(MAX_ANSWER_BYTES).read_line(&mut answer)?;
        ensure!(is_yes(&answer), "{name} is not retired");
    }
    let request = v1::RetireHostRequest { host_name: name.to_owned() };
    let answer = client.admin().retire_host(request).await;
    let answer = answer.map_err(|status| client.explain_for(&status, Need::Change))?;
    Ok(done(name, &answer.into_inner()))
}

/// Before it is done.
fn meaning(name: &str) -> String {
    format!(
        "{name} goes out of the roll from now on; its rows stay.\n\
         If its agent still runs, its next Hello brings it back.\n"
    )
}

/// After it is done.
pub(super) fn done(name: &str, answer: &v1::RetireHostResponse) -> String {
    let at = answer.host.as_ref().and_then(|host| instant(host.retired_at.as_ref()));
    let since = at.map_or_else(
        || "from now on".to_owned(),
        |at| format!("since {}", text::timestamp(at, &jiff::tz::TimeZone::UTC)),
    );
    format!(
        "{name} is out of the roll {since}; its rows stay.\n\
         If its agent still runs, its next Hello brings it back.\n"
    )
}

/// What speaks against it: the host is there.
pub(super) fn warning(name: &str, status: Option<&v1::StatusResponse>) -> String {
    let Some(status) = status else { return String::new() };
    let Some(host) = status.connected.iter().find(|host| host.host_name == name) else {
        return String::new();
    };
    let last = instant(host.last_sample_at.as_ref()).zip(instant(status.now.as_ref()));
    let last =
        last.map_or_else(String::new, |(at, now)| format!(", last sample {}", text::age(at, now)));
    let peer = text::clean(&host.peer_address);
    format!(
        "{} {name} is connected now, from {peer}{last}\n\
         \x20 Stop its agent first, or it comes back with its next connection.\n",
        text::paint(ODD, "warning:")
    )
}

/// Anything else is a no.
pub(super) fn is_yes(answer: &str) -> bool {
    let answer = answer.trim();
    answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes")
}
