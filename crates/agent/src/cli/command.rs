//! What the command line looks like, with every default and variable in its help.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config::{DEFAULT_FILE, SETTINGS};

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
  4        an agent runs, and its certificate or its spool needs a look";

const STATUS_HELP: &str = "\
Reads the settings, the certificate and the spool, as the agent's user or root; asks no process and
changes nothing. Times are UTC.";

const RUN_HELP: &str = "\
Settings come from defaults, then the file, then ROWCALL_* in the environment, then flags; later
ones win. A key of the file is its flag with _ for -. Unknown keys and every other problem are
told at once.

Under systemd it tells readiness, status and that it is alive (Type=notify, WatchdogSec=).

SIGTERM and SIGINT stop it: it sends what waits, says so to the aggregator and waits for outstanding
acknowledgements, at most stop_wait. What is left stays in the spool.";

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
        .subcommand(Command::new("sample").about(
            "Print one sample, taken over a second, and the host's facts as JSON; null is unknown",
        ))
}

fn with_settings(command: Command) -> Command {
    let file =
        format!("Settings file, TOML [env: ROWCALL_CONFIG, default: {DEFAULT_FILE} if there]");
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(std::path::PathBuf))
        .value_hint(clap::ValueHint::FilePath)
        .help(file);
    let settings = SETTINGS.iter().map(|setting| {
        let default = setting.default.map_or_else(String::new, |text| format!(", default: {text}"));
        let arg = Arg::new(setting.key)
            .long(setting.flag())
            .value_name(setting.value_name)
            .help(format!("{} [env: {}{default}]", setting.help, setting.variable()));
        match setting.value_name {
            "FILE" => arg.value_hint(clap::ValueHint::FilePath),
            "DIR" => arg.value_hint(clap::ValueHint::DirPath),
            "URL" => arg.value_hint(clap::ValueHint::Url),
            "BOOL" => arg.num_args(0..=1).default_missing_value("true"),
            _ => arg,
        }
    });
    command.arg(config).args(settings)
}

/// The settings given as flags.
pub(super) fn flags(matches: &ArgMatches) -> Vec<(&'static str, String)> {
    let given = |key: &'static str| Some((key, matches.get_one::<String>(key)?.clone()));
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
