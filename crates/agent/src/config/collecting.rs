//! What is read: a profile, and the settings that override it.

use std::path::PathBuf;
use std::time::Duration;

use rowcall_core::devices::MAX_METRICS;

use super::layers::Layers;
use super::{between, boolean, folder, values};
use crate::collect::{Collect, Collector, Filter, Profile};

/// Most patterns of one setting.
const MAX_PATTERNS: usize = 64;

/// Longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 256;

/// Most processes by each of CPU, memory and I/O.
const MAX_TOP_PROCESSES: usize = 50;

/// The collector that has no devices.
const VITALS: &str = "vitals";

pub(super) fn read(layers: &mut Layers) -> Collect {
    let profile = layers.value("profile", profile);
    let of_profile = Collect::of(profile);
    layers.by_profile("device_interval", profile, shown(of_profile.devices_every));
    layers.by_profile("top_processes", profile, of_profile.top_processes.to_string());
    let off = layers.optional("collectors_off", collectors).unwrap_or_default();
    let devices_every = layers.optional("device_interval", device_interval);
    let top_processes = layers.optional("top_processes", up_to(MAX_TOP_PROCESSES));
    let mut filter = |include, exclude| Filter {
        include: layers.optional(include, patterns).unwrap_or_default(),
        exclude: layers.optional(exclude, patterns).unwrap_or_default(),
    };
    Collect {
        vitals: of_profile.vitals && !off.vitals,
        off: off.devices,
        mounts: filter("mounts_include", "mounts_exclude"),
        disks: filter("disks_include", "disks_exclude"),
        interfaces: filter("interfaces_include", "interfaces_exclude"),
        devices_every: devices_every.unwrap_or(of_profile.devices_every),
        peaks_every: layers.value("peak_interval", between("50ms", "1h")),
        network_mounts: layers.value("network_mounts", boolean),
        top_processes: top_processes.unwrap_or(of_profile.top_processes),
        process_arguments: layers.value("process_arguments", boolean),
        metrics_dir: layers.optional("metrics_dir", metrics_dir).flatten(),
        max_metrics: layers.value("max_metrics", up_to(MAX_METRICS)),
        deadline: layers.value("collect_deadline", between("100ms", "30s")),
    }
}

fn profile(text: &str) -> Result<Profile, String> {
    let names = || Profile::ALL.map(Profile::name).join(", ");
    Profile::named(text).ok_or_else(|| format!("{text:?} is no profile; write one of {}", names()))
}

/// What is not read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Off {
    vitals: bool,
    devices: Vec<Collector>,
}

fn collectors(text: &str) -> Result<Off, String> {
    let mut off = Off::default();
    for name in parts(text) {
        match Collector::named(name) {
            _ if name == VITALS => off.vitals = true,
            Some(collector) if off.devices.contains(&collector) => {}
            Some(collector) => off.devices.push(collector),
            None => {
                let names = Collector::ALL.map(Collector::name).join(", ");
                return Err(format!(
                    "{name:?} is no collector; write some of {VITALS}, {names}, with commas"
                ));
            }
        }
    }
    Ok(off)
}

fn patterns(text: &str) -> Result<Vec<String>, String> {
    let patterns: Vec<_> = parts(text).map(str::to_owned).collect();
    if patterns.len() > MAX_PATTERNS {
        let count = patterns.len();
        return Err(format!("{count} patterns are too many; the most is {MAX_PATTERNS}"));
    }
    if let Some(long) = patterns.iter().find(|pattern| pattern.len() > MAX_PATTERN_BYTES) {
        let begin: String = long.chars().take(20).collect();
        return Err(format!(
            "the pattern {begin:?}... is too long; the most is {MAX_PATTERN_BYTES} bytes"
        ));
    }
    Ok(patterns)
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Zero: with each sample; none: never.
fn device_interval(text: &str) -> Result<Option<Duration>, String> {
    match text {
        "off" => Ok(None),
        _ if values::duration(text).is_ok_and(|duration| duration.is_zero()) => {
            Ok(Some(Duration::ZERO))
        }
        _ => between("1s", "1d")(text)
            .map(Some)
            .map_err(|problem| format!("{problem}; or write 0s for each sample, off for never")),
    }
}

fn shown(devices_every: Option<Duration>) -> String {
    match devices_every {
        None => "off".to_owned(),
        Some(every) if every.is_zero() => "0s".to_owned(),
        Some(every) => values::show_duration(every),
    }
}

fn up_to(most: usize) -> impl Fn(&str) -> Result<usize, String> {
    move |text| match text.parse::<usize>() {
        Ok(number) if number <= most => Ok(number),
        Ok(_) => Err(format!("{text:?} is too many; the most is {most}")),
        Err(_) => Err(format!("{text:?} is no whole number from 0 to {most}")),
    }
}

fn metrics_dir(text: &str) -> Result<Option<PathBuf>, String> {
    if text == "off" { Ok(None) } else { folder(text).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Problems};
    use super::*;

    fn load(settings: &[(&'static str, &str)]) -> Result<(Collect, String), Problems> {
        let flags: Vec<_> = settings.iter().map(|(key, text)| (*key, (*text).to_owned())).collect();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent.toml");
        std::fs::write(&file, "").unwrap();
        Config::load(Some(&file), |_| None, &flags).map(|(config, shown)| (config.collect, shown))
    }

    #[test]
    fn a_profile_is_what_single_settings_start_from() {
        for profile in Profile::ALL {
            let (collect, _) = load(&[("profile", profile.name())]).unwrap();
            assert_eq!(collect, Collect::of(profile));
        }
        assert_eq!(load(&[]).unwrap().0, Collect::default());
        let settings = [("profile", "classic"), ("device_interval", "10m"), ("top_processes", "3")];
        let expected = Collect {
            devices_every: Some(Duration::from_secs(600)),
            top_processes: 3,
            ..Collect::of(Profile::Classic)
        };
        assert_eq!(load(&settings).unwrap().0, expected);
        let (collect, _) = load(&[("profile", "full"), ("device_interval", "off")]).unwrap();
        assert_eq!((collect.devices_every, collect.top_processes), (None, 10));
    }

    #[test]
    fn what_the_profile_gives_is_shown_as_such() {
        let (_, shown) = load(&[("profile", "full"), ("top_processes", "2")]).unwrap();
        for line in [
            "device_interval = \"0s\" # profile full",
            "top_processes = \"2\" # flag --top-processes",
            "profile = \"full\" # flag --profile",
            "# metrics_dir is not set",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line:?} is missing in:\n{shown}");
        }
    }

    #[test]
    fn collectors_are_chosen_by_name_and_pattern() {
        let settings = [
            ("collectors_off", "vitals, sensors,sensors, processes"),
            ("mounts_exclude", "/mnt/*, /media/?"),
            ("disks_include", "sd*"),
            ("interfaces_exclude", ""),
            ("network_mounts", "true"),
            ("process_arguments", "true"),
            ("metrics_dir", "/var/lib/x"),
            ("max_metrics", "4096"),
            ("collect_deadline", "100ms"),
            ("peak_interval", "50ms"),
        ];
        let (collect, _) = load(&settings).unwrap();
        let expected = Collect {
            vitals: false,
            off: vec![Collector::Sensors, Collector::Processes],
            mounts: Filter {
                include: Vec::new(),
                exclude: vec!["/mnt/*".into(), "/media/?".into()],
            },
            disks: Filter { include: vec!["sd*".into()], exclude: Vec::new() },
            network_mounts: true,
            process_arguments: true,
            metrics_dir: Some("/var/lib/x".into()),
            max_metrics: 4096,
            deadline: Duration::from_millis(100),
            peaks_every: Duration::from_millis(50),
            ..Collect::default()
        };
        assert_eq!(collect, expected);
    }

    #[test]
    fn what_cannot_be_is_told_with_what_can() {
        let many = "a,".repeat(65);
        let long = "x".repeat(257);
        let settings = [
            ("profile", "all"),
            ("device_interval", "100ms"),
            ("peak_interval", "0s"),
            ("collectors_off", "sensors, disk"),
            ("mounts_include", many.as_str()),
            ("disks_exclude", long.as_str()),
            ("top_processes", "-1"),
            ("max_metrics", "4097"),
            ("metrics_dir", "x"),
            ("collect_deadline", "31s"),
        ];
        let said = load(&settings).unwrap_err().to_string();
        for part in [
            "10 problems",
            "--profile: \"all\" is no profile; write one of classic, default, full",
            "--device-interval: \"100ms\" is too short; the least is 1s; or write 0s for each",
            "--peak-interval: \"0s\" is too short; the least is 50ms",
            "--collectors-off: \"disk\" is no collector; write some of vitals, disks, ",
            "--mounts-include: 65 patterns are too many; the most is 64",
            "--disks-exclude: the pattern \"xxxxxxxxxxxxxxxxxxxx\"... is too long",
            "--top-processes: \"-1\" is no whole number from 0 to 50",
            "--max-metrics: \"4097\" is too many; the most is 4096",
            "--metrics-dir: \"x\" depends on where the agent is started",
            "--collect-deadline: \"31s\" is too long; the most is 30s",
        ] {
            assert!(said.contains(part), "{part:?} is missing in:\n{said}");
        }
    }

    #[test]
    fn the_help_names_every_collector() {
        let help = super::super::Setting::find("collectors_off").unwrap().help;
        for collector in Collector::ALL {
            assert!(help.contains(collector.name()), "{}", collector.name());
        }
    }

    #[test]
    fn the_most_values_that_are_taken_are_what_a_record_may_hold() {
        let help = super::super::Setting::find("max_metrics").unwrap().help;
        assert!(help.ends_with(&format!("0 to {MAX_METRICS}")), "{help}");
        let files =
            [include_str!("../../README.md"), include_str!("../../../../deploy/agent.toml")];
        for text in files {
            assert!(text.contains(&format!(" to {MAX_METRICS}")), "{MAX_METRICS}");
        }
    }
}
