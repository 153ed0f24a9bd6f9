//! `rowcall pki`: the authorities and certificates of a fleet, in a folder on the aggregator's host.
//!
//! | file | what |
//! |---|---|
//! | `root.pem` `root.key` | what nodes trust, by its pin; the key may lie elsewhere |
//! | `server-ca.pem` `server-ca.key` | issues certificates of aggregators |
//! | `client-ca.pem` `client-ca.key` | issues those of nodes and people; during a rotation several certificates, the newest first |
//! | `client-ca-old.key` | during a rotation, to sign what the old one revokes |
//! | `server.pem` `server.key` `server.names` | the aggregator's certificate (and the server authority's behind it), and what it is reached under |
//! | `operator-admin.pem`, `.key`, ... | what `issue` made |
//! | `client-crl.pem` | what is revoked |
//! | `issued.json` | what was issued to whom; written last, so without it the folder is not complete |
//! | `client.toml` | how `rowcall` on this host reaches the aggregator |
//!
//! The folder is 0700 and every file 0600, written whole or not at all; where the aggregator has a
//! user of its own, see [`owner`]. `rowcall up` keeps the same folder in its data directory.

pub(crate) mod certificate;
pub(crate) mod folder;
mod issue;
pub(crate) mod issued;
pub(crate) mod make;
mod owner;
pub(crate) mod renew;
mod revoke;
mod rotate;
mod show;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Context as _, bail};
use jiff::tz::TimeZone;
use rowcall_core::clock::{Clock as _, SystemClock};
use rowcall_core::id::{HostName, UnixMicros};
use rowcall_tls::connect::DEFAULT_PORT;
use rowcall_tls::identity::Role;

use crate::args::ServerName;
use crate::cli::{PkiCommand, PkiInitArgs, PkiRenewArgs, PkiRevokeArgs, PkiRotateArgs, RotateKind};
use crate::client::{ClientError, ClientFile, FILE_NAME};
use crate::machine;
use crate::text::{self, FAINT, HEADING, ODD, Screen};

use folder::{Ca, Folder};
use make::{ADMIN, Wanted};
use owner::Service;

/// Where nodes enrol unless told otherwise.
pub(crate) const ENROLL_PORT: u16 = 7444;

/// Does what was asked for, and gives back what to print.
pub(crate) fn run(command: &PkiCommand) -> anyhow::Result<String> {
    let now = SystemClock.wall();
    match command {
        PkiCommand::Init(args) => init(args, now),
        PkiCommand::Issue(args) => issue::run(args, now),
        PkiCommand::Rotate(args) => rotate(args, now),
        PkiCommand::Renew(args) => renew(args, now),
        PkiCommand::Show(args) => {
            let shown = show::look(&Folder::open(&args.folder.dir)?, now)?;
            if args.json { shown.json() } else { Ok(shown.text(now, &screen())) }
        }
        PkiCommand::Revoke(args) => revoke(args, now),
    }
}

fn screen() -> Screen {
    Screen::detect(TimeZone::UTC, &|name| std::env::var(name).ok())
}

fn init(args: &PkiInitArgs, now: UnixMicros) -> anyhow::Result<String> {
    // What people are told to paste, and the aggregator's settings, don't depend on where they are.
    let dir = std::path::absolute(&args.folder.dir).context("find the working directory")?;
    if dir.exists() && !dir.is_dir() {
        bail!("{} is no folder; give another with --dir", dir.display());
    }
    let service = Service::choose(args.service_user.as_deref())?;
    let mut folder = Folder::make(&dir)?;
    if make::is_complete(&folder) {
        if let Some(wanted) = &args.trust_domain {
            make::has_domain(&folder, wanted)?;
        }
        if !args.server_name.is_empty() && args.server_name != make::server_names(&folder)? {
            bail!(
                "{} is there already, with other server names; `rowcall pki renew --server-name \
                 ...` changes them",
                dir.display()
            );
        }
        // A default gives nothing away that was kept until now.
        let given = service.filter(|_| args.service_user.is_some());
        let said = match given {
            Some(service) => {
                folder.give_to(service)?;
                "This is there already; only its owner was set."
            }
            None => "Nothing was changed: this is there already.",
        };
        let shown = show::look(&folder, now)?.text(now, &screen());
        return Ok(format!("{said}\n\n{shown}"));
    }
    let names = if args.server_name.is_empty() {
        machine::server_names()
    } else {
        args.server_name.clone()
    };
    if let Some(service) = service {
        folder.give_to(service)?;
    }
    let admin = HostName::parse(ADMIN).context("the operator's name")?;
    client_file(&folder, &names)?;
    let wanted = Wanted {
        trust_domain: args.trust_domain.as_ref(),
        server_names: &names,
        people: &[(Role::Operator, admin)],
        now,
    };
    make::make(&folder, &wanted)?;
    let shown = show::look(&folder, now)?.text(now, &screen());
    Ok(format!("{shown}{}", next(&dir, &names)))
}

/// Lets `rowcall` on this host speak to its aggregator. One that is there stays as it is.
fn client_file(folder: &Folder, names: &[ServerName]) -> anyhow::Result<()> {
    if folder.has(FILE_NAME) {
        return Ok(());
    }
    let local = ServerName::Dns("localhost".to_owned());
    let here = if names.contains(&local) { Some(&local) } else { names.first() };
    let server = |name: Option<&ServerName>, port: u16| name.map(|name| address(name, port));
    let pair = issued::stem(Role::Operator.as_str(), ADMIN);
    let file = ClientFile {
        server: server(here, DEFAULT_PORT),
        server_name: None,
        ca: Some(Ca::Root.pem().into()),
        cert: Some(format!("{pair}.pem").into()),
        key: Some(format!("{pair}.key").into()),
        operator_cert: None,
        operator_key: None,
        enroll_server: server(names.first(), ENROLL_PORT),
    };
    let about = "# Written by `rowcall pki init`, for `rowcall` on the aggregator's host.";
    let text = toml::to_string(&file).context("write TOML")?;
    folder.write(FILE_NAME, &format!("{about}\n{text}"))
}

/// HOST:PORT, with brackets where a host has colons.
fn address(name: &ServerName, port: u16) -> String {
    match name {
        ServerName::Address(ip) => std::net::SocketAddr::new(*ip, port).to_string(),
        ServerName::Dns(name) => format!("{name}:{port}"),
    }
}

/// What to do after `init`. Lines to paste are indented by 4 blanks.
fn next(dir: &Path, names: &[ServerName]) -> String {
    let shell = |path: &Path| text::shell(&path.to_string_lossy());
    let data = if dir == Path::new(crate::cli::DEFAULT_DIR) {
        String::new()
    } else {
        format!(" --data-dir {}", shell(dir))
    };
    let server = names.first().map_or_else(String::new, |name| address(name, ENROLL_PORT));
    let lines = [
        (
            "start the aggregator (with the database's URL)",
            format!(
                "rowcall-aggregator serve --pki-dir {} --database postgresql:///host_agent",
                shell(dir)
            ),
        ),
        (
            "make a token, with which one node joins within an hour",
            format!("rowcall token create{data}"),
        ),
        (
            "join a node: on it, with the token on standard input",
            format!("rowcall-agent enroll --server {server} --token-file -"),
        ),
        (
            "take the root's key offline: only `rowcall pki rotate` needs it",
            format!("mv {} /media/offline/", shell(&dir.join(Ca::Root.key()))),
        ),
        ("renew what is nearly over: once a day, by a timer", {
            let dir =
                if data.is_empty() { String::new() } else { format!(" --dir {}", shell(dir)) };
            format!("rowcall pki renew{dir}")
        }),
    ];
    let mut out = format!("\n{}\n", text::paint(HEADING, "What to do next"));
    for (about, line) in lines {
        text::line(&mut out, &format!("  {}", text::paint(FAINT, about)));
        text::line(&mut out, &format!("    {line}"));
    }
    out
}

fn rotate(args: &PkiRotateArgs, now: UnixMicros) -> anyhow::Result<String> {
    if args.which == RotateKind::Server && args.finish {
        bail!(ClientError::Usage(
            "there is nothing to finish for the server authority: nodes trust the root, and with \
             it both"
                .to_owned()
        ));
    }
    let folder = Folder::lock(&args.folder.dir)?;
    let key = args.root_key.as_deref();
    let done = match args.which {
        RotateKind::Server => rotate::server(&folder, key, now),
        RotateKind::Client if args.finish => rotate::finish(&folder, args.yes, now),
        RotateKind::Client => rotate::client(&folder, key, now),
    }?;
    Ok(lines(&done))
}

fn renew(args: &PkiRenewArgs, now: UnixMicros) -> anyhow::Result<String> {
    let folder = Folder::lock(&args.folder.dir)?;
    let names = Some(args.server_name.as_slice()).filter(|names| !names.is_empty());
    let renewed = renew::renew(&folder, names, now)?;
    let mut out = String::new();
    if renewed.done.is_empty() {
        text::line(&mut out, "Nothing is due.");
    }
    out.push_str(&lines(&renewed.done));
    for warning in &renewed.warnings {
        text::line(&mut out, &format!("{} {warning}", text::paint(ODD, "warning:")));
    }
    Ok(out)
}

fn revoke(args: &PkiRevokeArgs, now: UnixMicros) -> anyhow::Result<String> {
    let role = [Role::Viewer, Role::Operator]
        .into_iter()
        .find(|role| args.what.as_os_str() == role.as_str());
    let usage = |words: String| ClientError::Usage(words);
    let done = match (role, &args.name) {
        (Some(role), Some(name)) => {
            revoke::person(&Folder::lock(&args.folder.dir)?, role, name, now)
        }
        (Some(role), None) => {
            bail!(usage(format!("whose? write `rowcall pki revoke {} NAME`", role.as_str())))
        }
        (None, Some(_)) => bail!(usage(format!(
            "{:?} is neither viewer nor operator; for a host: `rowcall host revoke NAME`; for the \
             certificate in a file give the file alone",
            args.what.display().to_string()
        ))),
        (None, None) => revoke::file(&Folder::lock(&args.folder.dir)?, &args.what, now),
    }?;
    Ok(lines(&done))
}

fn lines(sentences: &[String]) -> String {
    sentences.iter().map(|sentence| format!("{}\n", text::clean(sentence))).collect()
}
