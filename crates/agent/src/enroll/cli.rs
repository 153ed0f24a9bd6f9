//! `rowcall-agent enroll`: what it says and ends with.

use std::fmt::Write as _;
use std::path::Path;

use rowcall_core::clock::SharedClock;
use rowcall_core::id::HostName;

use super::{EnrollError, Enrolled, New, Request, Why, enroll};
use crate::config::{Config, Source};
use crate::identity;
use crate::utc::Utc;

/// A clock that differs by more than this is worth a line.
const CLOCK_US: i64 = 60_000_000;

/// The command's own arguments, beside the settings.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// The name to ask for.
    pub(crate) name: Option<String>,
    /// In place of an identity that is there.
    pub(crate) again: bool,
}

/// Enrols this node by the settings and the command's arguments: what people are told.
///
/// # Errors
/// [`EnrollError`] with the exit code.
pub(crate) async fn run(
    config: &Config,
    arguments: &Arguments,
    clock: &SharedClock,
) -> Result<String, EnrollError> {
    let usage = |text: &str| EnrollError::new(Why::Usage, text);
    let Source::Enrolled(dir) = &config.source else {
        return Err(usage(
            "the settings name certificate, key and ca: a node with certificates of its own does \
             not enrol; take them out of the settings",
        ));
    };
    if config.enroll_servers.is_empty() {
        return Err(usage("say where to enrol, with --server HOST:7444"));
    }
    let token_file = config.token_file.clone();
    let token_file = token_file.ok_or_else(|| {
        usage("say where the token is, with --token-file FILE, or - for standard input")
    })?;
    let request = Request {
        dir: dir.clone(),
        servers: config.enroll_servers.clone(),
        server_name: config.server_name.clone(),
        name: name(arguments, dir)?,
        machine_id: crate::machine_id(),
        again: arguments.again,
        token_file,
    };
    Ok(match enroll(&request, clock).await? {
        Enrolled::Already(held) => {
            let servers: Vec<_> =
                held.about.enroll_servers.iter().map(ToString::to_string).collect();
            format!(
                "already enrolled as {} at {}; the token was not used\n",
                held.about.host,
                servers.join(", ")
            )
        }
        Enrolled::Now(new) => done(config, &request, &new),
    })
}

/// The name given; else the one that this node is enrolled under, since whoever says nothing of a
/// name means no other host; else this machine's.
fn name(arguments: &Arguments, dir: &Path) -> Result<HostName, EnrollError> {
    if arguments.name.is_none()
        && let Some(held) = identity::held(dir)?
    {
        return Ok(held.about.host);
    }
    super::name_or_ours(arguments.name.as_deref())
}

fn done(config: &Config, request: &Request, new: &New) -> String {
    let New { held, bundle, server, pin, clock_behind_us, owner } = new;
    let about = &held.about;
    let mut text = format!("enrolled as {} at {server}\n", about.host);
    let mut line = |name: &str, value: &str| {
        // Writing into a String cannot fail.
        let _done = writeln!(text, "  {name:12} {value}");
    };
    line(
        "certificate",
        &format!(
            "until {}, renewed by the running agent from {} on",
            Utc(bundle.not_after),
            Utc(about.renew_at)
        ),
    );
    line("authority", &pin.to_string());
    let streams: Vec<_> = about.aggregators.iter().map(ToString::to_string).collect();
    let streams = if config.aggregators.is_empty() {
        streams.join(", ")
    } else {
        let set: Vec<_> = config.aggregators.iter().map(ToString::to_string).collect();
        format!("{}, as set; the aggregator says {}", set.join(", "), streams.join(", "))
    };
    line("streams to", &streams);
    let whose = owner.map_or_else(String::new, |owner| format!(", files of user {owner}"));
    line("kept in", &format!("{}{whose}", request.dir.display()));
    if clock_behind_us.unsigned_abs() > CLOCK_US.unsigned_abs() {
        let seconds = clock_behind_us.unsigned_abs() / 1_000_000;
        let how = if *clock_behind_us > 0 { "behind" } else { "ahead of" };
        line("clock", &format!("WARNING: this machine's is {seconds} s {how} the aggregator's"));
    }
    if let Some(warning) = spool_of_another(config, request) {
        line("spool", &warning);
    }
    text.push_str(next(config, request));
    text
}

/// What makes an agent use it. One that runs looks at its files whenever it connects, and goes on
/// under the name that it began with.
fn next(config: &Config, request: &Request) -> &'static str {
    match rowcall_spool::inspect(&config.spool.dir) {
        Ok(found) if found.held_by.is_some() && found.owner == request.name.as_str() => {
            "next: the agent that runs takes it at its next connection; systemctl restart \
             rowcall-agent to have it now\n"
        }
        Ok(found) if found.held_by.is_some() => "next: systemctl restart rowcall-agent\n",
        _ => "next: systemctl enable --now rowcall-agent\n",
    }
}

/// What is to be done with what the spool of another host still holds: it is that host's.
fn spool_of_another(config: &Config, request: &Request) -> Option<String> {
    let dir = &config.spool.dir;
    let found = rowcall_spool::inspect(dir).ok()?;
    let (owner, waiting) = (found.owner, found.status.unacknowledged_records);
    if owner.is_empty() || owner == request.name.as_str() {
        return None;
    }
    let dir = dir.display();
    Some(format!(
        "WARNING: {dir} holds records of {owner}, {waiting} of them not acknowledged, and the agent \
         does not start with it as {}. Nothing was removed. To start with an empty one: mv {dir} \
         {dir}.{owner}",
        request.name
    ))
}
