//! `rowcall pki`: its commands and options.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use rowcall_core::id::HostName;
use rowcall_tls::identity::TrustDomain;

use crate::args::{self, ServerName};

/// Where the aggregator's host keeps its authorities unless told otherwise.
pub(crate) const DEFAULT_DIR: &str = "/etc/rowcall/pki";

/// Longest that a certificate may last, in days: as long as an authority.
const MAX_DAYS: i64 = 3_652;

pub(crate) const PKI_NOTES: &str = "\
Files:
  root.pem, root.key  what nodes trust, by its pin; the key is only needed for rotate and may lie \
elsewhere: move it away and name it with --root-key
  server-ca.pem, server-ca.key  issue certificates of aggregators
  client-ca.pem, client-ca.key  issue certificates of nodes, viewers and operators; several in the \
.pem during a rotation, the newest first
  server.pem, server.key, server.names  the aggregator's certificate, and the names in it
  client-crl.pem  what is revoked; every aggregator needs it
  issued.json  certificates that `pki` issued to people, and which of them are revoked
  client.toml  lets `rowcall` on this host speak as operator admin";

/// Options of `rowcall pki`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PkiArgs {
    #[command(subcommand)]
    pub(crate) command: PkiCommand,
}

/// What to do with the authorities.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum PkiCommand {
    /// Make root, authorities, the server's and an operator's certificate
    #[command(after_help = PKI_NOTES)]
    Init(PkiInitArgs),
    /// Issue a certificate for a further aggregator, a viewer or an operator
    #[command(after_help = PKI_NOTES)]
    Issue(PkiIssueArgs),
    /// Replace an authority by a new one; both are trusted meanwhile
    #[command(after_help = PKI_NOTES)]
    Rotate(PkiRotateArgs),
    /// Issue anew what has less than a third of its life left; for a daily timer
    #[command(after_help = PKI_NOTES)]
    Renew(PkiRenewArgs),
    /// Show what is there, until when, and the pin
    #[command(after_help = PKI_NOTES)]
    Show(PkiShowArgs),
    /// Revoke a viewer's or operator's certificates, or the one in a file
    #[command(after_help = PKI_NOTES)]
    Revoke(PkiRevokeArgs),
}

/// Where the authorities lie.
#[derive(Debug, Clone, Args)]
pub(crate) struct PkiDirArgs {
    /// Folder of the authorities and certificates
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    pub(crate) dir: PathBuf,
}

/// Options of `rowcall pki init`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PkiInitArgs {
    #[command(flatten)]
    pub(crate) folder: PkiDirArgs,
    /// Trust domain: what all identities of this fleet begin with [default: rowcall]
    #[arg(long, value_name = "NAME", value_parser = args::trust_domain)]
    pub(crate) trust_domain: Option<TrustDomain>,
    /// A name or address that nodes reach the aggregator under; repeat it for several [default: this
    /// host's names, localhost and its addresses]
    #[arg(long, value_name = "DNS-OR-IP", value_parser = args::server_name)]
    pub(crate) server_name: Vec<ServerName>,
    /// The user that the aggregator runs as, by name or number: what it reads will be that user's,
    /// the rest stays root's [default: rowcall where there is such a user, else nobody]
    #[arg(long, value_name = "USER")]
    pub(crate) service_user: Option<String>,
}

/// What certificates are issued for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IssueKind {
    /// A further aggregator
    Server,
    /// Somebody who reads reports
    Viewer,
    /// Somebody who also manages hosts and tokens
    Operator,
}

/// Options of `rowcall pki issue`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PkiIssueArgs {
    /// For whom
    #[arg(value_name = "FOR")]
    pub(crate) kind: IssueKind,
    /// The name; the files are FOR-NAME.pem and FOR-NAME.key, of a server with --out server.pem and
    /// server.key
    #[arg(value_name = "NAME", value_parser = args::new_name)]
    pub(crate) name: HostName,
    /// For a server: a name or address that nodes reach it under; repeat it for several [default:
    /// NAME]
    #[arg(long, value_name = "DNS-OR-IP", value_parser = args::server_name)]
    pub(crate) server_name: Vec<ServerName>,
    /// Where to write the files [default: the folder]; for a server with all that its aggregator's
    /// pki_dir needs
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// How many days it lasts, at most as long as its authority
    #[arg(long, value_name = "N", default_value_t = 366)]
    #[arg(value_parser = clap::value_parser!(i64).range(1..=MAX_DAYS))]
    pub(crate) days: i64,
    #[command(flatten)]
    pub(crate) folder: PkiDirArgs,
}

/// The authorities that can be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RotateKind {
    /// What issues certificates of aggregators
    Server,
    /// What issues certificates of nodes, viewers and operators
    Client,
}

/// Options of `rowcall pki rotate`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PkiRotateArgs {
    /// Which authority
    #[arg(value_name = "WHICH")]
    pub(crate) which: RotateKind,
    /// Trust the old client authority no longer
    #[arg(long)]
    pub(crate) finish: bool,
    /// With --finish: even though nodes may not have their new certificates yet
    #[arg(long, requires = "finish")]
    pub(crate) yes: bool,
    /// The root's key, where it is not in the folder
    #[arg(long, value_name = "FILE")]
    pub(crate) root_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) folder: PkiDirArgs,
}

/// Options of `rowcall pki renew`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PkiRenewArgs {
    /// The server's names and addresses from now on; repeat it for several [default: as they are]
    #[arg(long, value_name = "DNS-OR-IP", value_parser = args::server_name)]
    pub(crate) server_name: Vec<ServerName>,
    #[command(flatten)]
    pub(crate) folder: PkiDirArgs,
}

/// Options of `rowcall pki show`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PkiShowArgs {
    /// JSON on one line instead of a table; times are in UTC
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) folder: PkiDirArgs,
}

/// Options of `rowcall pki revoke`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PkiRevokeArgs {
    /// `viewer`, `operator`, or a certificate's file
    #[arg(value_name = "viewer|operator|FILE.pem")]
    pub(crate) what: PathBuf,
    /// Whose: all certificates that were issued under the name
    #[arg(value_name = "NAME", value_parser = args::host_name)]
    pub(crate) name: Option<HostName>,
    #[command(flatten)]
    pub(crate) folder: PkiDirArgs,
}
