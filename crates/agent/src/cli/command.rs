//! What the command line looks like, with every default and variable in its help.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config::{DEFAULT_FILE, SETTINGS, Setting};
use crate::enroll::Arguments;

/// What the process ends with; shown below the help.
const EXIT_CODES: &str = "\
Exit codes:
  0        stopped as asked, or what was asked for is printed
  1        could not start or go on
  2        wrong command line, configuration or certificate
  128 + N  ended at once by a second signal N, a second or more after the first";

/// Of `status`, in place of those.
const STATUS_EXIT_CODES: &str = "\
Exit codes:
  0        an agent runs
  1        the spool cannot be read, so whether one runs is unknown
  2        wrong command line or configuration
  3        no agent runs
  4        an agent runs, and its certificate, its spool or a refusal needs a look";

/// Of `enroll`, in place of those.
const ENROLL_EXIT_CODES: &str = "\
Exit codes:
  0  enrolled, or it was already, by this authority and under this name
  1  not now: the network, the server, or another process at the identity's folder; try again
  2  wrong command line, settings or token file; a folder that cannot be written; enrolled otherwise
  3  the token is refused: unknown, expired, used up or revoked
  4  the server is not certified by the authority that the token names; nothing was sent
  5  by this machine's clock the server's certificate is not valid; nothing was sent
  6  the name is refused: it is taken, or the token is for others";

const ENROLL_HELP: &str = "\
Trades the token of `rowcall token create` for a certificate of this node's own. The key is \
made here and stays here. The token is never taken from a flag or the environment, and is sent \
only to a server with the authority that it names. What went wrong half-way is taken up again \
by the same command. Run as root: files belong to the owner of the folder above identity_dir.";

/// Of `check`, in place of those.
const CHECK_EXIT_CODES: &str = "\
Exit codes:
  0  all is fine, warnings aside
  1  something fails
  2  wrong command line or configuration";

const CHECK_HELP: &str = "\
Goes the way of an agent that starts: identity, then for each aggregator name, TCP, TLS, its \
clock and whether it lets this host in, then the spool. Sends no samples and changes nothing; \
goes on after what fails, where that makes sense.";

const SAMPLE_HELP: &str = "\
Reads what the settings say, as an agent that starts would, and sends nothing. - and null are \
unknown: so are peaks, which need an agent that runs. Counters of devices are since the kernel \
counts them. As root it reads more than the service does: see README.md of the units.";

const STATUS_HELP: &str = "\
Reads the settings, the certificate and the spool, as the agent's user or root; asks no \
process and changes nothing. Times are UTC.";

const RUN_HELP: &str = "\
Settings come from defaults, then the file, then ROWCALL_* in the environment, then flags; \
later ones win. A key of the file is its flag with _ for -. Unknown keys and every other \
problem are told at once.

Under systemd it tells readiness, status and that it is alive (Type=notify, WatchdogSec=).

SIGTERM and SIGINT stop it: it sends what waits, says so to the aggregator and waits for \
outstanding acknowledgements, at most stop_wait. What is left stays in the spool.";

/// The whole command line of `rowcall-agent`, for running it and for making completions and man
/// pages.
#[must_use]
pub fn command() -> Command {
    let run = Command::new("run")
        .about("Sample this host and stream to the aggregator until stopped")
        .after_help(format!("{RUN_HELP}\n\n{EXIT_CODES}"));
    let status = Command::new("status")
        .about("Show whether an agent runs here, what it holds and what was acknowledged")
        .after_help(format!("{STATUS_HELP}\n\n{STATUS_EXIT_CODES}"))
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print it as JSON"));
    Command::new("rowcall-agent")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Streams this host's samples to a Rowcall aggregator")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(EXIT_CODES)
        .subcommand(with_settings(
            run.args([
                Arg::new("print-config")
                    .long("print-config")
                    .action(ArgAction::SetTrue)
                    .help("Print the settings in force, each with its source, and exit"),
                Arg::new("check-config")
                    .long("check-config")
                    .action(ArgAction::SetTrue)
                    .help("Check settings, certificate files and the spool's folder, and exit"),
            ]),
        ))
        .subcommand(with_settings(status))
        .subcommand(enroll())
        .subcommand(with_settings(
            Command::new("check")
                .about("Walk the way to the aggregator, one line a step, with what to do")
                .after_help(format!("{CHECK_HELP}\n\n{CHECK_EXIT_CODES}"))
                .arg(
                    Arg::new("json")
                        .long("json")
                        .action(ArgAction::SetTrue)
                        .help("Print it as JSON"),
                ),
        ))
        .subcommand(with_settings(
            Command::new("sample")
                .about("Print one sample, taken over a second, devices and the host's facts")
                .after_help(SAMPLE_HELP)
                .arg(
                    Arg::new("json")
                        .long("json")
                        .action(ArgAction::SetTrue)
                        .help("Print everything as JSON; null is unknown"),
                ),
        ))
}

/// Settings that `enroll` takes as flags, and the flags' names.
const ENROLL_SETTINGS: [(&str, &str); 6] = [
    ("enroll_server", "server"),
    ("token_file", "token-file"),
    ("server_name", "server-name"),
    ("identity_dir", "identity-dir"),
    ("log_format", "log-format"),
    ("log_level", "log-level"),
];

fn enroll() -> Command {
    let settings = SETTINGS.iter().filter_map(|setting| {
        let (_, flag) = ENROLL_SETTINGS.into_iter().find(|(key, _)| *key == setting.key)?;
        let help = match setting.key {
            "enroll_server" => "Where to enrol: the aggregator's port 7444".to_owned(),
            "token_file" => "Holds the token; - reads it from standard input".to_owned(),
            _ => setting.help.to_owned(),
        };
        Some(flag_of(setting, flag, &help))
    });
    let name = Arg::new("name").long("name").value_name("NAME").help(
        "Name of this host [default: that it is enrolled under, else its fully qualified name]",
    );
    let again = Arg::new("again")
        .long("again")
        .action(ArgAction::SetTrue)
        .help("Enrol anew, in place of the identity that is there");
    Command::new("enroll")
        .about("Trade a token for a certificate of this node's own")
        .after_help(format!("{ENROLL_HELP}\n\n{ENROLL_EXIT_CODES}"))
        .arg(config_file())
        .args(settings)
        .args([name, again])
}

/// The arguments of `enroll` that are no settings.
pub(super) fn enrolment(matches: &ArgMatches) -> Arguments {
    let name = matches.get_one::<String>("name").cloned();
    Arguments { name, again: matches.get_flag("again") }
}

fn config_file() -> Arg {
    let file =
        format!("Settings file, TOML [env: ROWCALL_CONFIG, default: {DEFAULT_FILE} if there]");
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(std::path::PathBuf))
        .value_hint(clap::ValueHint::FilePath)
        .help(file)
}

fn with_settings(command: Command) -> Command {
    let settings = SETTINGS.iter().map(|setting| flag_of(setting, &setting.flag(), setting.help));
    command.arg(config_file()).args(settings)
}

fn flag_of(setting: &'static Setting, flag: &str, help: &str) -> Arg {
    let default = setting.default.map_or_else(String::new, |text| format!(", default: {text}"));
    let arg = Arg::new(setting.key)
        .long(flag.to_owned())
        .value_name(setting.value_name)
        .help(format!("{help} [env: {}{default}]", setting.variable()));
    match setting.value_name {
        "FILE" => arg.value_hint(clap::ValueHint::FilePath),
        "DIR" => arg.value_hint(clap::ValueHint::DirPath),
        "URL" => arg.value_hint(clap::ValueHint::Url),
        "BOOL" => arg.num_args(0..=1).default_missing_value("true"),
        _ => arg,
    }
}

/// The settings given as flags.
pub(super) fn flags(matches: &ArgMatches) -> Vec<(&'static str, String)> {
    // A command may not have them all.
    let given =
        |key: &'static str| Some((key, matches.try_get_one::<String>(key).ok().flatten()?.clone()));
    SETTINGS.iter().filter_map(|setting| given(setting.key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_setting_has_its_flag_with_default_and_variable_in_the_help() {
        let mut command = command();
        let help = command.find_subcommand_mut("run").unwrap().render_long_help().to_string();
        let flat = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for setting in SETTINGS {
            let default =
                setting.default.map_or(String::new(), |text| format!(", default: {text}"));
            assert!(flat.contains(&format!("--{} ", setting.flag())), "{}", setting.key);
            let source = format!("[env: {}{default}]", setting.variable());
            assert!(flat.contains(&source), "{source} is missing in:\n{help}");
        }
        for code in ["Exit codes:", "ended at once by a second signal"] {
            assert!(help.contains(code), "{help}");
        }
    }

    #[test]
    fn flags_are_read() {
        let line = ["rowcall-agent", "run", "--aggregator", "a", "--align"];
        let matches = command().try_get_matches_from(line).unwrap();
        let given = flags(matches.subcommand_matches("run").unwrap());
        assert_eq!(given, [("aggregator", "a".to_owned()), ("align", "true".to_owned())]);
    }
}
