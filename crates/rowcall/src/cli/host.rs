//! `rowcall host`: its commands and options.

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use rowcall_core::id::HostName;

use super::{CONNECTION, ConnectionArgs};
use crate::args::{self, LabelChange, Selector};

/// Options of `rowcall host`.
#[derive(Debug, Clone, Args)]
pub(crate) struct HostArgs {
    #[command(subcommand)]
    pub(crate) command: HostCommand,
}

/// What to do with hosts.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum HostCommand {
    /// List the hosts of the fleet
    #[command(after_help = CONNECTION)]
    List(ListArgs),
    /// Show one host with all its facts
    #[command(after_help = CONNECTION)]
    Show(ShowArgs),
    /// Set and remove labels of a host; needs a certificate of role operator
    #[command(after_help = CONNECTION)]
    Label(LabelArgs),
    /// Give a host another name; needs a certificate of role operator
    #[command(after_help = CONNECTION)]
    Rename(RenameArgs),
    /// Refuse a host's certificates from now on; needs a certificate of role operator
    #[command(after_help = CONNECTION)]
    Revoke(RevokeArgs),
    /// Undo a revoke or retire; needs a certificate of role operator
    #[command(after_help = CONNECTION)]
    Restore(RestoreArgs),
    /// Take a host out: of the roll, and its certificates are refused; needs a certificate of role
    /// operator
    #[command(after_help = CONNECTION)]
    Retire(RetireArgs),
}

impl HostCommand {
    /// How to reach the aggregator.
    pub(crate) fn connection(&self) -> &ConnectionArgs {
        match self {
            Self::List(args) => &args.connection,
            Self::Show(args) => &args.connection,
            Self::Label(args) => &args.connection,
            Self::Rename(args) => &args.connection,
            Self::Revoke(args) => &args.connection,
            Self::Restore(args) => &args.connection,
            Self::Retire(args) => &args.connection,
        }
    }

    /// Whether it needs the role operator.
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Show(_))
    }
}

/// Options of `rowcall host list`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    /// Only hosts with all of these labels
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = args::selector)]
    pub(crate) select: Vec<Selector>,
    /// Only hosts with such a name; * stands for any characters, ? for one
    #[arg(long, value_name = "GLOB")]
    pub(crate) name: Option<String>,
    /// Also hosts that are retired
    #[arg(long)]
    pub(crate) retired: bool,
    /// Their certificates instead of their hardware, what ends first at the top
    #[arg(long)]
    pub(crate) certs: bool,
    /// Time zone to show times in, such as Europe/Berlin
    #[arg(long, value_name = "AREA/CITY", default_value = "UTC", value_parser = args::zone)]
    pub(crate) tz: TimeZone,
    /// JSON on one line instead of a table; times are in UTC
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Options of `rowcall host show`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ShowArgs {
    /// The host's name
    #[arg(value_name = "NAME", value_parser = args::host_name)]
    pub(crate) host: HostName,
    /// Also what it was before, from what to what it changed, and its boots
    #[arg(long)]
    pub(crate) history: bool,
    /// Time zone to show times in, such as Europe/Berlin
    #[arg(long, value_name = "AREA/CITY", default_value = "UTC", value_parser = args::zone)]
    pub(crate) tz: TimeZone,
    /// JSON on one line; times are in UTC
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Options of `rowcall host label`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LabelArgs {
    /// The host's name
    #[arg(value_name = "NAME", value_parser = args::host_name)]
    pub(crate) host: HostName,
    /// KEY=VALUE sets a label, KEY- removes one
    #[arg(value_name = "KEY=VALUE|KEY-", required = true, value_parser = args::label_change)]
    pub(crate) changes: Vec<LabelChange>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Options of `rowcall host rename`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RenameArgs {
    /// The host's name
    #[arg(value_name = "OLD", value_parser = args::host_name)]
    pub(crate) host: HostName,
    /// Its name from now on; certificates of the old one go on to speak for it
    #[arg(value_name = "NEW", value_parser = args::host_name)]
    pub(crate) new: HostName,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Options of `rowcall host revoke`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RevokeArgs {
    /// The host's name
    #[arg(value_name = "NAME", value_parser = args::host_name)]
    pub(crate) host: HostName,
    /// Why: for the record, and for the refused agent's log
    #[arg(long, value_name = "TEXT", value_parser = args::reason)]
    pub(crate) reason: Option<String>,
    /// Do not ask; needed where standard input is no terminal
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Options of `rowcall host restore`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RestoreArgs {
    /// The host's name
    #[arg(value_name = "NAME", value_parser = args::host_name)]
    pub(crate) host: HostName,
    /// As of revoke and retire, for scripts; this never asks
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Options of `rowcall host retire`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RetireArgs {
    /// The host's name
    #[arg(value_name = "NAME", value_parser = args::host_name)]
    pub(crate) host: HostName,
    /// Do not ask; needed where standard input is no terminal
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}
