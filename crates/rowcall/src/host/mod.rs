//! `rowcall host`: lists, shows and labels hosts, and says who may speak, through AdminService.

mod certs;
mod change;
mod facts;
#[cfg(test)]
mod fake;
mod history;
mod json;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeSet;

use anyhow::bail;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rowcall_proto::v1;

use crate::args::{LabelChange, Selector};
use crate::cli::{HostArgs, HostCommand, LabelArgs, ListArgs, ShowArgs};
use crate::client::{Client, ClientError, Need};
use crate::text::Screen;

/// Hosts that are asked for at once.
const PAGE_HOSTS: u32 = 1_000;

/// Does what was asked for, and gives back what to print.
pub(crate) async fn run(args: &HostArgs, client: &Client) -> anyhow::Result<String> {
    match &args.command {
        HostCommand::List(args) => list(args, client).await,
        HostCommand::Show(args) => show(args, client).await,
        HostCommand::Label(args) => label(args, client).await,
        HostCommand::Rename(args) => change::rename(args, client).await,
        HostCommand::Revoke(args) => change::revoke(args, client).await,
        HostCommand::Restore(args) => change::restore(args, client).await,
        HostCommand::Retire(args) => change::retire(args, client).await,
    }
}

fn screen(zone: &TimeZone) -> Screen {
    Screen::detect(zone.clone(), &|name| std::env::var(name).ok())
}

async fn list(args: &ListArgs, client: &Client) -> anyhow::Result<String> {
    let selector = selector(&args.select, args.name.as_deref())?;
    let selected = !selector.labels.is_empty() || !selector.name_glob.is_empty();
    let request = v1::ListHostsRequest {
        hosts: Some(selector),
        include_retired: args.retired,
        include_certificates: args.certs,
        ..v1::ListHostsRequest::default()
    };
    let hosts = pages(client, request).await?;
    if args.json {
        return json::list(&hosts);
    }
    if args.certs {
        return Ok(certs::list(&hosts, selected, Timestamp::now(), &screen(&args.tz)));
    }
    Ok(view::list(&hosts, selected, &screen(&args.tz)))
}

async fn show(args: &ShowArgs, client: &Client) -> anyhow::Result<String> {
    let answer = answer(client, args.host.as_str(), args.history).await?;
    if args.json {
        return json::show(&answer, args.history);
    }
    let (host, screen) = (answer.host.clone().unwrap_or_default(), screen(&args.tz));
    let mut text = view::show(&host, Timestamp::now(), &screen);
    if args.history {
        history::write(&mut text, &answer, &screen);
    }
    Ok(text)
}

async fn label(args: &LabelArgs, client: &Client) -> anyhow::Result<String> {
    let request = changes(args)?;
    let answer = client.admin().label_host(request).await;
    let answer = answer.map_err(|status| client.explain_for(&status, Need::Change))?;
    let host = answer.into_inner().host.unwrap_or_default();
    Ok(view::labelled(&host, &screen(&TimeZone::UTC)))
}

/// The changes as a request.
fn changes(args: &LabelArgs) -> Result<v1::LabelHostRequest, ClientError> {
    let mut request =
        v1::LabelHostRequest { host_name: args.host.to_string(), ..Default::default() };
    let mut named = BTreeSet::new();
    for change in &args.changes {
        let (LabelChange::Set(key, _) | LabelChange::Remove(key)) = change;
        if !named.insert(key) {
            return Err(ClientError::Usage(format!("label {key} is named twice")));
        }
        match change {
            LabelChange::Set(key, value) => drop(request.set.insert(key.clone(), value.clone())),
            LabelChange::Remove(key) => request.remove.push(key.clone()),
        }
    }
    Ok(request)
}

async fn get(client: &Client, name: &str) -> anyhow::Result<v1::Host> {
    Ok(answer(client, name, false).await?.host.unwrap_or_default())
}

async fn answer(
    client: &Client,
    name: &str,
    include_history: bool,
) -> anyhow::Result<v1::GetHostResponse> {
    let request = v1::GetHostRequest { host_name: name.to_owned(), include_history };
    let answer = client.admin().get_host(request).await;
    Ok(answer.map_err(|status| client.explain(&status))?.into_inner())
}

/// The options `--select` and `--name`.
pub(crate) fn selector(
    select: &[Selector],
    name: Option<&str>,
) -> Result<v1::HostSelector, ClientError> {
    let labels = Selector::merge(select).map_err(ClientError::Usage)?;
    let name_glob = name.unwrap_or_default().to_owned();
    Ok(v1::HostSelector { labels: labels.into_iter().collect(), name_glob })
}

/// All hosts that match, page by page.
pub(crate) async fn all(
    client: &Client,
    hosts: v1::HostSelector,
    include_retired: bool,
) -> anyhow::Result<Vec<v1::Host>> {
    let hosts = Some(hosts);
    pages(client, v1::ListHostsRequest { hosts, include_retired, ..Default::default() }).await
}

async fn pages(
    client: &Client,
    mut request: v1::ListHostsRequest,
) -> anyhow::Result<Vec<v1::Host>> {
    request.page_size = PAGE_HOSTS;
    let mut found = Vec::new();
    loop {
        let page = client.admin().list_hosts(request.clone()).await;
        let page = page.map_err(|status| client.explain(&status))?.into_inner();
        let empty = page.hosts.is_empty();
        found.extend(page.hosts);
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        if empty || page.next_page_token == request.page_token {
            bail!("the aggregator at {} answers pages of hosts without end", client.server());
        }
        request.page_token = page.next_page_token;
    }
}

/// Whether any host matches, retired ones included; `None` where the aggregator cannot tell.
pub(crate) async fn any(client: &Client, hosts: v1::HostSelector) -> Option<bool> {
    let request = v1::ListHostsRequest {
        hosts: Some(hosts),
        include_retired: true,
        page_size: 1,
        page_token: String::new(),
        include_certificates: false,
    };
    let page = client.admin().list_hosts(request).await.ok()?;
    Some(!page.into_inner().hosts.is_empty())
}
