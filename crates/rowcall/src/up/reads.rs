//! What this machine's agent reads: options, else `ROWCALL_*`, else what suits the interval.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum as _;
use rowcall_agent::collect::{Collect, Profile};

use crate::args::{self, DeviceInterval};
use crate::cli::{ProfileName, UpArgs};
use crate::client::{ClientError, Surroundings};
use crate::text;

/// Devices are read at most this many samples apart unless told otherwise, so that a try-out with a
/// short interval soon shows rates.
const SAMPLES_PER_DEVICES: u32 = 5;

/// The agent's own lower limit of the time between readings of devices.
const MIN_DEVICE_INTERVAL: Duration = Duration::from_secs(1);

/// Instead of a folder: none.
const OFF: &str = "off";

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reads {
    profile: Option<ProfileName>,
    device_interval: Option<DeviceInterval>,
    /// Absolute.
    metrics_dir: Option<PathBuf>,
}

impl Reads {
    /// From options, which go before variables.
    ///
    /// # Errors
    /// When a variable makes no sense, or the folder is none or would never be read.
    pub(super) fn find(args: &UpArgs, around: &Surroundings<'_>) -> Result<Self, ClientError> {
        let profile = match args.profile {
            None => variable(around, "ROWCALL_PROFILE", |name| {
                let unknown = |_| "not a profile; write classic, default or full".to_owned();
                ProfileName::from_str(name, false).map_err(unknown)
            })?,
            given => given,
        };
        let device_interval = match args.device_interval {
            None => variable(around, "ROWCALL_DEVICE_INTERVAL", args::device_interval)?,
            given => given,
        };
        let metrics_dir = args.metrics_dir.clone().or_else(|| around.var("ROWCALL_METRICS_DIR"));
        let metrics_dir = metrics_dir.filter(|dir| dir != OFF);
        let metrics_dir = metrics_dir.map(|dir| around.working_dir.join(dir));
        let reads = Self { profile, device_interval, metrics_dir };
        if let Some(dir) = &reads.metrics_dir {
            if !dir.is_dir() {
                let dir = dir.display();
                return Err(ClientError::Usage(format!(
                    "the folder of metrics {dir} is not there; make it, or name another with \
                     --metrics-dir"
                )));
            }
            if reads.devices_every(Duration::ZERO).is_none() {
                return Err(ClientError::Usage(
                    "the folder of metrics is read with the devices, and these are switched off; \
                     give --device-interval"
                        .to_owned(),
                ));
            }
        }
        Ok(reads)
    }

    /// The agent's settings, for samples so far apart.
    pub(super) fn collect(&self, interval: Duration) -> Collect {
        Collect {
            devices_every: self.devices_every(interval),
            metrics_dir: self.metrics_dir.clone(),
            ..Collect::of(self.profile())
        }
    }

    /// Zero: with each sample; none: never.
    fn devices_every(&self, interval: Duration) -> Option<Duration> {
        if let Some(DeviceInterval(every)) = self.device_interval {
            return every;
        }
        let soon = interval.saturating_mul(SAMPLES_PER_DEVICES).max(MIN_DEVICE_INTERVAL);
        Collect::of(self.profile()).devices_every.map(|every| every.min(soon))
    }

    fn profile(&self) -> Profile {
        self.profile.map_or_else(Profile::default, Profile::from)
    }

    /// In words: how often devices are read.
    pub(super) fn describe(&self, interval: Duration) -> String {
        match self.devices_every(interval) {
            None => "no devices".to_owned(),
            Some(every) if every.is_zero() => "devices with each".to_owned(),
            Some(every) => format!("devices every {}", text::span(every)),
        }
    }

    /// Whether there is more to see than the classic columns.
    pub(super) fn has_vitals(&self) -> bool {
        Collect::of(self.profile()).vitals
    }

    /// The options that ask for the same again, each after a blank.
    pub(super) fn options(&self) -> String {
        let profile = self.profile.and_then(|profile| profile.to_possible_value());
        let profile = profile.map(|profile| format!(" --profile {}", profile.get_name()));
        let every = self.device_interval.map(|every| format!(" --device-interval {every}"));
        let dir = self.metrics_dir.as_ref().map(|dir| text::shell(&dir.to_string_lossy()));
        let dir = dir.map(|dir| format!(" --metrics-dir {dir}"));
        [profile, every, dir].into_iter().flatten().collect()
    }
}

fn variable<T>(
    around: &Surroundings<'_>,
    name: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, ClientError> {
    let Some(text) = around.var(name) else { return Ok(None) };
    let parsed = parse(text.trim());
    parsed.map(Some).map_err(|error| ClientError::Usage(format!("{name}={text}: {error}")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn find(line: &[&str], env: &[(&str, &str)], at: &Path) -> Result<Reads, ClientError> {
        let line = ["rowcall", "up"].iter().chain(line);
        let Command::Up(args) = Cli::try_parse_from(line).unwrap().command else { panic!() };
        let around = Surroundings {
            env: &|name| env.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned()),
            working_dir: at,
            root: at,
            is_root: false,
        };
        Reads::find(&args, &around)
    }

    #[test]
    fn devices_are_read_soon_where_samples_come_soon_and_as_told_where_told() {
        let every = |line: &[&str], millis| {
            let reads = find(line, &[], Path::new("/")).unwrap();
            reads.collect(Duration::from_millis(millis)).devices_every.map(|every| every.as_secs())
        };
        for (millis, seconds) in [(10, 1), (1_000, 5), (60_000, 300), (3_600_000, 300)] {
            assert_eq!(every(&[], millis), Some(seconds), "{millis}");
        }
        assert_eq!(every(&["--device-interval", "10m"], 1_000), Some(600));
        assert_eq!(every(&["--device-interval", "off"], 1_000), None);
        assert_eq!(every(&["--profile", "full"], 1_000), Some(0));
        assert_eq!(every(&["--profile", "classic"], 1_000), None);
        assert_eq!(every(&["--profile", "classic", "--device-interval", "7s"], 1_000), Some(7));
    }

    #[test]
    fn options_go_before_variables_and_both_are_repeated_as_options() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("o'ne")).unwrap();
        let env = [
            ("ROWCALL_PROFILE", "full"),
            ("ROWCALL_DEVICE_INTERVAL", "7s"),
            ("ROWCALL_METRICS_DIR", "o'ne"),
        ];
        let reads = find(&[], &env, folder.path()).unwrap();
        let collect = reads.collect(Duration::from_secs(1));
        let expected = Collect {
            devices_every: Some(Duration::from_secs(7)),
            metrics_dir: Some(folder.path().join("o'ne")),
            ..Collect::of(Profile::Full)
        };
        assert_eq!(collect, expected);
        let dir = folder.path().display();
        let words = format!(r" --profile full --device-interval 7s --metrics-dir '{dir}/o'\''ne'");
        assert_eq!(reads.options(), words);
        let line = ["--profile", "default", "--device-interval", "1500ms", "--metrics-dir", "off"];
        let reads = find(&line, &env, folder.path()).unwrap();
        assert_eq!(reads.options(), " --profile default --device-interval 1500ms");
        assert_eq!(find(&[], &[("ROWCALL_PROFILE", "")], folder.path()).unwrap().options(), "");
    }

    #[test]
    fn what_makes_no_sense_is_said_with_its_name() {
        let root = Path::new("/");
        for (name, value, words) in [
            ("ROWCALL_PROFILE", "all", "write classic, default or full"),
            ("ROWCALL_DEVICE_INTERVAL", "500ms", "1 s to 1 day"),
            ("ROWCALL_METRICS_DIR", "/nowhere/at-all", "is not there"),
        ] {
            let error = find(&[], &[(name, value)], root).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(value), "{error}");
        }
        let never = find(&["--profile", "classic", "--metrics-dir", "/"], &[], root).unwrap_err();
        assert!(never.to_string().contains("give --device-interval"), "{never}");
    }
}
