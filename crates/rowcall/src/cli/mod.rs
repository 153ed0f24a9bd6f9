//! Commands, options and exit codes.
//!
//! The texts after the options are in paragraphs with a title (`Exit codes:`, `Environment:`,
//! `Files:`), which become sections of the manual pages.

/// Where the connection's settings come from; a macro, since it ends more than one text.
macro_rules! connection {
    () => {
        "\
Environment:
  ROWCALL_SERVER, ROWCALL_SERVER_NAME, ROWCALL_CA, ROWCALL_CERT, ROWCALL_KEY  stand for the \
options under Connection, which go before them
  ROWCALL_DATA_DIR  stands for --data-dir

Files:
  client.toml  says what neither option nor variable says: the one in --data-dir, else the first \
there is of ./.rowcall/client.toml, ~/.config/rowcall/client.toml, /etc/rowcall/client.toml, \
/etc/rowcall/pki/client.toml and the one in `rowcall up`'s default data directory"
    };
}

mod host;
mod pki;
mod token;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use jiff::tz::TimeZone;
use rowcall_agent::collect::Profile;

use crate::args::{self, DeviceInterval, Selector, When};

pub(crate) use host::{
    HostArgs, HostCommand, LabelArgs, ListArgs, RenameArgs, RestoreArgs, RetireArgs, RevokeArgs,
    ShowArgs,
};
pub(crate) use pki::{
    DEFAULT_DIR, IssueKind, PkiArgs, PkiCommand, PkiInitArgs, PkiIssueArgs, PkiRenewArgs,
    PkiRevokeArgs, PkiRotateArgs, RotateKind,
};
pub(crate) use token::{TokenArgs, TokenCommand, TokenCreateArgs, TokenListArgs, TokenRevokeArgs};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed, or declined at a question
  2  an option, or the connection's settings, are missing or make no sense
  3  the aggregator cannot be reached, or does not answer now
  4  a certificate is refused, unreadable, out of date, or of the wrong role
  0 to 3  of `summary --check` as monitors have them: OK, WARNING, CRITICAL, UNKNOWN
  130, 143  `up` was stopped at once by a second Ctrl-C or SIGTERM";

const CONNECTION: &str = connection!();

const SUMMARY_NOTES: &str = concat!(
    "\
Monitoring:
  --check answers as a plugin of Nagios, Icinga and the like: it asks for the roll, prints one \
line with the numbers of windows for graphs, and ends with
  0  OK: every window of every host is complete, or excused: a planned stop; or late because \
nobody could receive its samples in time
  1  WARNING: a window is partial, late or skewed, or nobody observed it
  2  CRITICAL: a window is silent
  3  UNKNOWN: no answer in time, a wrong option, or no window that anybody could judge
  rowcall summary --check --from 15m  judges what ended in the last 15 minutes; a host that is \
back is well again after that time

",
    connection!()
);

const COMPLETIONS: &str = "\
Examples:
  rowcall completions bash > /etc/bash_completion.d/rowcall
  rowcall completions zsh > ~/.zfunc/_rowcall
  rowcall completions fish > ~/.config/fish/completions/rowcall.fish";

const UP_NOTES: &str = "\
Environment:
  ROWCALL_DATA_DIR  stands for --data-dir
  ROWCALL_PROFILE, ROWCALL_DEVICE_INTERVAL, ROWCALL_METRICS_DIR, ROWCALL_LOG  stand for the \
options of these names

Files:
  pki/  authorities and certificates in the data directory, as of `rowcall pki`; renewed while it \
runs
  client.toml  lets `rowcall` speak to it, with --data-dir";

/// Calls the roll of a Linux cluster: every node's minute is a row in PostgreSQL
#[derive(Debug, Parser)]
#[command(name = "rowcall", version, after_help = EXIT_CODES, arg_required_else_help = true)]
#[command(disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: PostgreSQL, aggregator and agent
    #[command(after_help = UP_NOTES)]
    Up(Box<UpArgs>),
    /// Show the reports: hardware, memory, roll, balance, pressure, integrity
    #[command(after_help = SUMMARY_NOTES)]
    Summary(Box<SummaryArgs>),
    /// Show who is connected and when the last commit was
    #[command(after_help = CONNECTION)]
    Status(Box<StatusArgs>),
    /// List, show, label, rename, revoke and retire hosts
    #[command(arg_required_else_help = true, disable_help_subcommand = true)]
    Host(Box<HostArgs>),
    /// Make, list and revoke the tokens that nodes join with; needs a certificate of role operator
    #[command(arg_required_else_help = true, disable_help_subcommand = true)]
    Token(Box<TokenArgs>),
    /// Make and renew the authorities and certificates of a fleet, on the aggregator's host
    #[command(arg_required_else_help = true, disable_help_subcommand = true)]
    Pki(Box<PkiArgs>),
    /// Print what a shell needs to complete commands and options
    #[command(after_help = COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Write manual pages of all of Rowcall's programs
    Man(ManArgs),
}

/// The whole command line, for completions and manual pages.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// How to reach the aggregator.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// Address of the aggregator
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) server: Option<String>,
    /// Name in the server's certificate, where it is not HOST
    #[arg(long, value_name = "NAME")]
    pub(crate) server_name: Option<String>,
    /// CA certificate of the server's certificate, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Certificate of role viewer or operator, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Data directory of a `rowcall up`, whose client.toml says all of the above
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// Options of `rowcall summary`.
#[derive(Debug, Clone, Args)]
pub(crate) struct SummaryArgs {
    /// Reports to show, separated by commas; all by default
    #[arg(long, value_name = "REPORT,...", value_delimiter = ',', hide_possible_values = false)]
    pub(crate) report: Vec<ReportName>,
    /// Start: RFC 3339, a date and time in --tz, or a span ago such as 2h [default: 1 h before --to]
    #[arg(long, value_name = "WHEN", value_parser = args::when, allow_hyphen_values = true)]
    pub(crate) from: Option<When>,
    /// End [default: end of the last finished window]
    #[arg(long, value_name = "WHEN", value_parser = args::when, allow_hyphen_values = true)]
    pub(crate) to: Option<When>,
    /// Length of a window, 1s to 1d [default: 5m]
    #[arg(long, value_name = "SPAN", value_parser = args::window)]
    pub(crate) window: Option<u32>,
    /// Fewest samples of a complete window, at one sample a minute [default: 3 of 5 due]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) min_samples: Option<u32>,
    /// The instant whose hardware is told, in the forms of --from [default: now]
    #[arg(long, value_name = "WHEN", value_parser = args::when, allow_hyphen_values = true)]
    pub(crate) as_of: Option<When>,
    /// Only hosts with all of these labels
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = args::selector)]
    pub(crate) select: Vec<Selector>,
    /// Only hosts with such a name; * stands for any characters, ? for one
    #[arg(long, value_name = "GLOB")]
    pub(crate) name: Option<String>,
    /// Every window of the balance report, not only the least even ones; every host of the roll, also
    /// those that were late only because nobody observed; every host of the pressure report, also
    /// those that waited for nothing
    #[arg(long)]
    pub(crate) all: bool,
    /// Time zone to show times in, such as Europe/Berlin
    #[arg(long, value_name = "AREA/CITY", default_value = "UTC", value_parser = args::zone)]
    pub(crate) tz: TimeZone,
    /// JSON on one line instead of tables; times are in UTC
    #[arg(long)]
    pub(crate) json: bool,
    /// One line and an exit code for Nagios-compatible monitors, from the roll; see Monitoring
    #[arg(long, conflicts_with_all = ["report", "json", "all", "as_of"])]
    pub(crate) check: bool,
    /// With --check: longest time until the answer
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = args::span)]
    #[arg(requires = "check")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// The reports there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportName {
    /// Hosts by number of CPUs
    Hardware,
    /// Average used memory per host and window
    Memory,
    /// Who answered, who did not
    Roll,
    /// How evenly load spreads
    Balance,
    /// What hosts wait for: CPU, memory, I/O
    Pressure,
    /// What does not add up
    Integrity,
}

/// Options of `rowcall status`.
#[derive(Debug, Clone, Args)]
pub(crate) struct StatusArgs {
    /// List only hosts with all of these labels
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = args::selector)]
    pub(crate) select: Vec<Selector>,
    /// List only hosts with such a name; * stands for any characters, ? for one
    #[arg(long, value_name = "GLOB")]
    pub(crate) name: Option<String>,
    /// Time zone to show times in, such as Europe/Berlin
    #[arg(long, value_name = "AREA/CITY", default_value = "UTC", value_parser = args::zone)]
    pub(crate) tz: TimeZone,
    /// JSON on one line instead of tables; times are in UTC
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Options of `rowcall up`.
#[derive(Debug, Clone, Args)]
pub(crate) struct UpArgs {
    /// Where to keep everything [env: ROWCALL_DATA_DIR] [default: ~/.local/share/rowcall, for root
    /// /var/lib/rowcall-up]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Time between samples, from 10ms
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = args::interval)]
    pub(crate) interval: Duration,
    /// What this machine's agent reads [env: ROWCALL_PROFILE] [default: default]
    #[arg(long, value_name = "PROFILE")]
    pub(crate) profile: Option<ProfileName>,
    /// Time between readings of devices, 1s to 1d; 0s with each sample, off never [env:
    /// ROWCALL_DEVICE_INTERVAL] [default: 5 samples, at least 1s, at most 5m; by --profile off or 0s]
    #[arg(long, value_name = "SPAN", value_parser = args::device_interval)]
    pub(crate) device_interval: Option<DeviceInterval>,
    /// Folder whose *.prom files, in node_exporter's textfile format, become rows of host_metric; off
    /// for none [env: ROWCALL_METRICS_DIR]
    #[arg(long, value_name = "DIR")]
    pub(crate) metrics_dir: Option<String>,
    /// Where to listen [default: as the last time, else 127.0.0.1:7443, else a free port]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where other nodes enrol [default: as the last time; else port 7444 of --listen's address, of
    /// 127.0.0.1 without it; else a free port]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) enroll_listen: Option<SocketAddr>,
    /// Time zone to show times in, such as Europe/Berlin
    #[arg(long, value_name = "AREA/CITY", default_value = "UTC", value_parser = args::zone)]
    pub(crate) tz: TimeZone,
    /// What to log to standard error, such as info or rowcall_agent=debug [env: ROWCALL_LOG]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// How much an agent reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProfileName {
    /// The classic columns alone
    Classic,
    /// Vitals with each sample, devices now and then
    Default,
    /// Devices with each sample too, and twice as many processes
    Full,
}

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::Classic => Self::Classic,
            ProfileName::Default => Self::Default,
            ProfileName::Full => Self::Full,
        }
    }
}

/// Options of `rowcall completions`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
    /// The program whose commands to complete
    #[arg(long, value_name = "PROGRAM", default_value = "rowcall")]
    pub(crate) program: Program,
}

/// Shells that completions are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Rowcall's programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    Rowcall,
    RowcallAgent,
    RowcallAggregator,
}

/// Options of `rowcall man`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ManArgs {
    /// Where to write the pages; made if it is not there. `man -l DIR/rowcall.1` shows one
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(args: &[&str]) -> Result<SummaryArgs, clap::Error> {
        let line = ["rowcall", "summary"].iter().chain(args);
        match Cli::try_parse_from(line)?.command {
            Command::Summary(args) => Ok(*args),
            other => panic!("not a summary: {other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn reports_are_separated_by_commas_or_repeated() {
        let args = summary(&["--report", "roll,memory", "--report", "hardware"]).unwrap();
        assert_eq!(args.report, [ReportName::Roll, ReportName::Memory, ReportName::Hardware]);
        assert!(summary(&["--report", "weather"]).is_err());
    }

    #[test]
    fn spans_ago_may_begin_with_a_minus() {
        let args = summary(&["--from", "-2h", "--to", "30m", "--window", "10s"]).unwrap();
        assert!(matches!(args.from, Some(When::Ago(span)) if span.as_secs() == 7200));
        assert!(matches!(args.to, Some(When::Ago(span)) if span.as_secs() == 1800));
        assert_eq!(args.window, Some(10));
    }

    #[test]
    fn a_check_is_of_the_roll_alone_and_has_a_time_limit() {
        assert_eq!(summary(&["--check"]).unwrap().timeout, Duration::from_secs(10));
        let args = summary(&["--check", "--timeout", "1m", "--from", "15m", "--name", "n*"]);
        assert_eq!(args.unwrap().timeout, Duration::from_secs(60));
        for wrong in [
            &["--check", "--json"][..],
            &["--check", "--report", "roll"],
            &["--timeout", "5s"],
            &["--check", "--as-of", "2h"],
        ] {
            assert!(summary(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn exit_codes_are_in_the_help() {
        assert!(Cli::command().render_help().to_string().contains("Exit codes:"));
    }
}
