//! `rowcall token`: its commands and options.

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use rowcall_core::token::TokenId;

use super::{CONNECTION, ConnectionArgs};
use crate::args;

const CREATE_NOTES: &str = concat!(
    "\
Examples:
  rowcall token create --label rack=a1
  rowcall token create --host 'node*' --uses 100 --ttl 2h --quiet > token

",
    connection!()
);

/// Options of `rowcall token`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    pub(crate) command: TokenCommand,
}

/// What to do with join tokens.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token that lets a node join; prints it once, on standard output
    #[command(after_help = CREATE_NOTES)]
    Create(TokenCreateArgs),
    /// List tokens, without their secrets
    #[command(after_help = CONNECTION)]
    List(TokenListArgs),
    /// End a token; hosts that it enrolled stay
    #[command(after_help = CONNECTION)]
    Revoke(TokenRevokeArgs),
}

impl TokenCommand {
    /// How to reach the aggregator.
    pub(crate) fn connection(&self) -> &ConnectionArgs {
        match self {
            Self::Create(args) => &args.connection,
            Self::List(args) => &args.connection,
            Self::Revoke(args) => &args.connection,
        }
    }
}

/// Options of `rowcall token create`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TokenCreateArgs {
    /// Which host names it may enrol; * stands for any characters, ? for one [default: any]
    #[arg(long, value_name = "NAME-OR-GLOB", value_parser = args::host_glob)]
    pub(crate) host: Option<String>,
    /// A label that its hosts get; repeat it for several
    #[arg(long, value_name = "KEY=VALUE", value_parser = args::label)]
    pub(crate) label: Vec<(String, String)>,
    /// How many hosts it may enrol
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) uses: u32,
    /// How long it is good, 1m to 366d
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = args::life)]
    pub(crate) ttl: Duration,
    /// Its hosts retire themselves after being silent for so long, 1m to 366d
    #[arg(long, value_name = "SPAN", value_parser = args::life)]
    pub(crate) ephemeral: Option<Duration>,
    /// It may enrol a name that exists: the host stays the same, its certificates before are revoked
    #[arg(long)]
    pub(crate) replace: bool,
    /// Say nothing on standard error
    #[arg(long, short)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Options of `rowcall token list`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TokenListArgs {
    /// Also tokens that are expired, used up or revoked
    #[arg(long)]
    pub(crate) all: bool,
    /// Time zone to show times in, such as Europe/Berlin
    #[arg(long, value_name = "AREA/CITY", default_value = "UTC", value_parser = args::zone)]
    pub(crate) tz: TimeZone,
    /// JSON on one line instead of a table; times are in UTC
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Options of `rowcall token revoke`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TokenRevokeArgs {
    /// The token's id, as `rowcall token list` shows it
    #[arg(value_name = "ID")]
    pub(crate) id: TokenId,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}
