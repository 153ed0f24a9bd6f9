//! `rowcall pki issue`: certificates of further aggregators and of people.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rowcall_core::id::UnixMicros;
use rowcall_tls::identity::Role;

use super::certificate::{Certificate, shown};
use super::folder::{CRL, Ca, Folder, SERVER, write};
use super::issued::{Record, stem};
use super::make;
use crate::args::{self, ServerName};
use crate::cli::{IssueKind, PkiIssueArgs};
use crate::client::ClientError;
use crate::text::{self, FAINT};

pub(super) fn run(args: &PkiIssueArgs, now: UnixMicros) -> anyhow::Result<String> {
    if args.kind != IssueKind::Server && !args.server_name.is_empty() {
        let words = "--server-name is for a server's certificate; people's have their name alone";
        bail!(ClientError::Usage(words.to_owned()));
    }
    let folder = Folder::lock(&args.folder.dir)?;
    let lifetime = Duration::from_secs(u64::try_from(args.days).unwrap_or(0) * 86_400);
    let (role, kind) = match args.kind {
        IssueKind::Server => (None, "server"),
        IssueKind::Viewer => (Some(Role::Viewer), "viewer"),
        IssueKind::Operator => (Some(Role::Operator), "operator"),
    };
    let out = args.out.as_deref().unwrap_or_else(|| folder.path());
    let stem = match (role, &args.out) {
        // As an aggregator's pki_dir has it.
        (None, Some(_)) => SERVER.to_owned(),
        _ => stem(kind, args.name.as_str()),
    };
    let (pem, key) = (out.join(format!("{stem}.pem")), out.join(format!("{stem}.key")));
    if let Some(there) = [&pem, &key].into_iter().find(|path| path.exists()) {
        bail!("{} is there already; remove it, or choose another NAME or --out", there.display());
    }
    if !out.exists() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(out);
        made.with_context(|| format!("make {}", out.display()))?;
    }
    let mut record = Record::read(&folder)?;
    let issued = match role {
        None => {
            let authority = folder.authority(Ca::Server, None)?;
            make::issue_server(&authority, &names(args)?, now, lifetime)?
        }
        Some(role) => {
            let authority = folder.authority(Ca::Client, None)?;
            let issued = make::issue_client(&authority, role, &args.name, now, lifetime)?;
            // Before anybody has it: what is not recorded could not be revoked by its name.
            record.add(role, &args.name, &issued, &authority)?;
            record.write(&folder, now)?;
            issued
        }
    };
    write(&key, &issued.key_pem)?;
    write(&pem, &issued.certificate_pem)?;
    let until = shown(Certificate::read(&issued.certificate_pem, &stem)?.not_after);
    let give = match (role, &args.out) {
        (None, Some(_)) => {
            let mut record = Record::read(&folder)?;
            if !folder.has(CRL) {
                record.write_lists(&folder, now)?;
            }
            for name in [&Ca::Root.pem(), &Ca::Client.pem(), CRL] {
                if let Some(text) = folder.read(name)? {
                    write(&out.join(name), &text)?;
                }
            }
            "with root.pem, client-ca.pem and client-crl.pem it is a pki_dir for an aggregator with \
             issuer = false\n\
             copy the last two there again after each `rowcall pki revoke` and `rotate client`: until \
             then it lets in whom this one refuses"
        }
        (None, None) => {
            "with --out DIR it comes with all that its aggregator's pki_dir needs: server.pem, \
             server.key, root.pem, client-ca.pem and client-crl.pem"
        }
        (Some(_), _) => {
            "give it and its key with root.pem; `rowcall` takes them as --cert, --key, --ca"
        }
    };
    let give: String = give.lines().map(|line| format!("{}\n", text::paint(FAINT, line))).collect();
    let key = key.display();
    Ok(format!("{} until {until}\n{key}, its key: a secret\n{give}", pem.display()))
}

/// The names asked for, else the certificate's own.
fn names(args: &PkiIssueArgs) -> Result<Vec<ServerName>, ClientError> {
    if !args.server_name.is_empty() {
        return Ok(args.server_name.clone());
    }
    let own = args::server_name(args.name.as_str());
    own.map(|name| vec![name])
        .map_err(|error| ClientError::Usage(format!("{} is {error}: add --server-name", args.name)))
}
