use super::*;

struct File(tempfile::TempDir);

impl File {
    fn of(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("agent.toml"), text).unwrap();
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("agent.toml")
    }
}

fn load(
    file: &File,
    environment: &[(&str, &str)],
    flags: &[(&'static str, &str)],
) -> Result<Config, Problems> {
    let look_up = |name: &str| {
        environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    };
    let flags: Vec<_> = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    Config::load(Some(&file.path()), look_up, &flags)
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let file =
        File::of("aggregator = 'a:1'\nmin_interval = '2s'\nack_timeout = '20s'\nalign = true");
    let environment = [("ROWCALL_MIN_INTERVAL", "3s"), ("ROWCALL_ACK_TIMEOUT", "30s")];
    let config = load(&file, &environment, &[("min_interval", "4s")]).unwrap();
    assert_eq!(config.min_interval, Duration::from_secs(4));
    assert_eq!(config.ack_timeout, Duration::from_secs(30));
    assert!(config.align);
    assert_eq!(config.backoff_max, Duration::from_secs(120));
    assert_eq!(config.aggregator, Endpoint { host: "a".into(), port: 1 });
}

#[test]
fn every_problem_is_told_at_once_with_its_place() {
    let file = File::of(
        "min_interval = '1ms'\nqueue_records = 1\nintervall = 5\nalign = 'maybe'\nca = 1.5\nbackoff_min = '5m'\n",
    );
    let environment = [("ROWCALL_LOG_FORMAT", "xml"), ("ROWCALL_OTHER_PROGRAM", "x")];
    let problems = load(&file, &environment, &[("ack_timeout", "10")]).unwrap_err();
    let said = problems.to_string();
    for part in [
        "9 problems",
        "aggregator is not set",
        "agent.toml: min_interval: \"1ms\" is too short; the least is 10ms",
        "agent.toml: queue_records: \"1\" is no number of records",
        "agent.toml: unknown key \"intervall\"; remove it or write one of aggregator, ",
        "agent.toml: align: \"maybe\" is neither true nor false",
        "agent.toml: ca: a float cannot stand here",
        "environment variable ROWCALL_LOG_FORMAT: \"xml\" is no log format; write text or json",
        "--ack-timeout: \"10\" is no duration; write a whole number and ms, s, m, h or d",
        "backoff_min is 5m, above backoff_max with 2m",
    ] {
        assert!(said.contains(part), "{part:?} is missing in:\n{said}");
    }
}

#[test]
fn a_named_file_must_exist_and_be_toml() {
    let missing = Config::load(Some(Path::new("/nonexistent/x.toml")), |_| None, &[]).unwrap_err();
    assert!(missing.to_string().contains("/nonexistent/x.toml: cannot be read"), "{missing}");
    let broken = load(&File::of("a = 1\n\nb = [\n"), &[], &[]).unwrap_err().to_string();
    assert!(broken.contains("agent.toml, line") && broken.contains("no valid TOML"), "{broken}");
}

#[test]
fn the_environment_can_name_the_file() {
    let file = File::of("aggregator = 'from-file'");
    let path = file.path().display().to_string();
    let look_up = |name: &str| (name == "ROWCALL_CONFIG").then(|| path.clone());
    let config = Config::load(None, look_up, &[]).unwrap();
    assert_eq!(config.aggregator.host, "from-file");
}

#[test]
fn what_is_printed_reads_back_the_same() {
    let file = File::of(
        "aggregator = 'https://[::1]:7'\nserver_name = 'db1'\nalign = true\nmin_interval = '1500ms'\nlog_level = 'info,rowcall_agent=debug'\nlog_format = 'json'",
    );
    let config = load(&file, &[], &[]).unwrap();
    assert_eq!(load(&File::of(&config.to_toml()), &[], &[]).unwrap(), config);
}

#[test]
fn the_readme_names_every_key() {
    let readme = include_str!("../../README.md");
    for (key, _) in KEYS {
        assert!(readme.contains(&format!("`{key}`")), "{key}");
    }
}
