//! What changes who may speak, and under which name: says what it means, asks where it hurts, does
//! it.

use std::io::Write as _;

use jiff::tz::TimeZone;
use rowcall_proto::v1;

use super::get;
use crate::cli::{RenameArgs, RestoreArgs, RetireArgs, RevokeArgs};
use crate::client::{Client, Need};
use crate::confirm;
use crate::summary::instant;
use crate::text::{self, ODD};

/// `rowcall host retire`.
pub(super) async fn retire(args: &RetireArgs, client: &Client) -> anyhow::Result<String> {
    let name = args.host.as_str();
    confirm::possible(args.yes, &format!("retire {name}"))?;
    let host = get(client, name).await?;
    if let Some(at) = time(host.retired_at.as_ref()) {
        return Ok(format!("{name} is retired already, since {at}.\n"));
    }
    warn(name, client).await?;
    let meaning = format!(
        "{name} goes out of the roll and its certificates are refused from now on; its rows stay.\n"
    );
    confirm::ask(
        args.yes,
        &meaning,
        &format!("Retire {name}?"),
        &format!("{name} is not retired"),
    )?;
    let request = v1::RetireHostRequest { host_name: name.to_owned() };
    let answer = client.admin().retire_host(request).await;
    let answer = answer.map_err(|status| client.explain_for(&status, Need::Change))?.into_inner();
    let at = answer.host.as_ref().and_then(|host| time(host.retired_at.as_ref()));
    Ok(format!(
        "{name} is out of the roll {}, and its certificates are refused; its rows stay.\n\
         `rowcall host restore {name}` takes it back.\n",
        since(at)
    ))
}

/// `rowcall host revoke`.
pub(super) async fn revoke(args: &RevokeArgs, client: &Client) -> anyhow::Result<String> {
    let name = args.host.as_str();
    confirm::possible(args.yes, &format!("revoke {name}"))?;
    let host = get(client, name).await?;
    if let Some(at) = time(host.revoked_at.as_ref()) {
        let why = why(&host.revoked_reason);
        return Ok(format!("{name} is revoked already, since {at}{why}.\n"));
    }
    let issues = warn(name, client).await?;
    let meaning = format!(
        "Every certificate of {name} is refused from now on, whoever issued it. It stays in the \
         roll.\n"
    );
    confirm::ask(
        args.yes,
        &meaning,
        &format!("Revoke {name}?"),
        &format!("{name} is not revoked"),
    )?;
    let reason = args.reason.clone().unwrap_or_default();
    let request = v1::RevokeHostRequest { host_name: name.to_owned(), reason };
    let answer = client.admin().revoke_host(request).await;
    let answer = answer.map_err(|status| client.explain_for(&status, Need::Change))?.into_inner();
    let host = answer.host.unwrap_or_default();
    let at = since(time(host.revoked_at.as_ref()));
    let again = if issues {
        format!("A new one: `rowcall token create --host {name} --replace`.")
    } else {
        "This aggregator issues none; with an authority of your own: let its list (client_crl) name \
         the old one, give out another, then undo this."
            .to_owned()
    };
    Ok(format!(
        "Certificates of {name} are refused {at}{}; it stays in the roll.\n\
         {again} Undo it: `rowcall host restore {name}`.\n",
        why(&host.revoked_reason)
    ))
}

/// `rowcall host restore`.
pub(super) async fn restore(args: &RestoreArgs, client: &Client) -> anyhow::Result<String> {
    let name = args.host.as_str();
    let host = get(client, name).await?;
    if host.revoked_at.is_none() && host.retired_at.is_none() {
        return Ok(format!("{name} is neither revoked nor retired.\n"));
    }
    let request = v1::RestoreHostRequest { host_name: name.to_owned() };
    let answer = client.admin().restore_host(request).await;
    answer.map_err(|status| client.explain_for(&status, Need::Change))?;
    Ok(format!(
        "{name} is in the roll, and its certificates are good again, but those that an enrolment \
         replaced.\nIts agent comes back by itself within its refused_wait (5 min, unless its \
         settings say otherwise), or at once when it is restarted.\n"
    ))
}

/// `rowcall host rename`.
pub(super) async fn rename(args: &RenameArgs, client: &Client) -> anyhow::Result<String> {
    let (old, new) = (args.host.as_str(), args.new.as_str());
    if old == new {
        return Ok(format!("{old} has this name already.\n"));
    }
    let request = v1::RenameHostRequest { host_name: old.to_owned(), new_name: new.to_owned() };
    let answer = client.admin().rename_host(request).await;
    answer.map_err(|status| client.explain_for(&status, Need::Change))?;
    Ok(format!(
        "{old} is {new} from now on: the same host with the same rows.\n\
         Certificates of the old name go on to speak for it, and the old name stays taken.\n"
    ))
}

/// Says on standard error that the host is there; gives back whether the aggregator issues
/// certificates, as most do. It is advice; the change is possible without it.
async fn warn(name: &str, client: &Client) -> anyhow::Result<bool> {
    let request = v1::StatusRequest {
        hosts: Some(v1::HostSelector { name_glob: name.to_owned(), ..Default::default() }),
    };
    let status = client.admin().status(request).await.ok().map(tonic::Response::into_inner);
    write!(anstream::stderr(), "{}", warning(name, status.as_ref()))?;
    Ok(status.is_none_or(|status| status.issues_certificates))
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
         \x20 Its stream is cut within seconds, and what its agent has not sent yet waits on it.\n",
        text::paint(ODD, "warning:")
    )
}

fn time(at: Option<&prost_types::Timestamp>) -> Option<String> {
    instant(at).map(|at| text::timestamp(at, &TimeZone::UTC))
}

fn since(at: Option<String>) -> String {
    at.map_or_else(|| "from now on".to_owned(), |at| format!("since {at}"))
}

fn why(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({})", text::clean(reason)) }
}
