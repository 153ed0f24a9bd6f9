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
    Config::load(Some(&file.path()), look_up, &flags).map(|(config, _)| config)
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
    assert_eq!(config.aggregators, [Endpoint { host: "a".into(), port: 1 }]);
}

#[test]
fn every_problem_is_told_at_once_with_its_place() {
    let file = File::of(
        "min_interval = '1ms'\nspool_max_bytes = 1\nintervall = 5\nalign = 'maybe'\nca = 1.5\nbackoff_min = '5m'\n",
    );
    let environment = [("ROWCALL_LOG_FORMAT", "xml"), ("ROWCALL_OTHER_PROGRAM", "x")];
    let problems = load(&file, &environment, &[("ack_timeout", "10")]).unwrap_err();
    let said = problems.to_string();
    for part in [
        "8 problems",
        "agent.toml: min_interval: \"1ms\" is too short; the least is 10ms",
        "agent.toml: spool_max_bytes: \"1\" is too little; the least is 1MiB",
        "agent.toml: unknown key \"intervall\"; remove it; `rowcall-agent run --help` has all of them\n",
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
    let (config, _) = Config::load(None, look_up, &[]).unwrap();
    assert_eq!(config.aggregators[0].host, "from-file");
}

#[test]
fn what_is_printed_names_its_sources_and_reads_back_the_same() {
    let file = File::of(
        "aggregator = 'https://[::1]:7'\nserver_name = 'db1'\nalign = true\nlog_level = 'info,rowcall_agent=debug'\nlog_format = 'json'\nidentity_dir = '/a\"b # c'",
    );
    let look_up = |name: &str| (name == "ROWCALL_SPOOL_MAX_BYTES").then(|| "2MiB".to_owned());
    let flags = [("min_interval", "1500ms".to_owned())];
    let (config, shown) = Config::load(Some(&file.path()), look_up, &flags).unwrap();
    assert_eq!(load(&File::of(&shown), &[], &[]).unwrap(), config);
    let path = file.path();
    for line in [
        format!("aggregator = \"https://[::1]:7\" # file {path:?}"),
        "spool_max_bytes = \"2MiB\" # environment ROWCALL_SPOOL_MAX_BYTES".into(),
        "min_interval = \"1500ms\" # flag --min-interval".into(),
        "ack_timeout = \"90s\" # default".into(),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line:?} is missing in:\n{shown}");
    }
    let (_, shown) =
        Config::load(Some(&File::of("aggregator = 'a'").path()), |_| None, &[]).unwrap();
    assert!(shown.contains("# server_name is not set\n"), "{shown}");
}

#[test]
fn several_aggregators_are_a_list_in_the_file_or_a_text_with_commas() {
    for text in ["aggregator = ['db1:1', 'https://db2']", "aggregator = 'db1:1,db2'"] {
        let config = load(&File::of(text), &[], &[]).unwrap();
        let shown: Vec<_> = config.aggregators.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["https://db1:1", "https://db2:7443"]);
    }
    let environment = [("ROWCALL_AGGREGATOR", "db3,db4")];
    let config = load(&File::of("aggregator = 'db1'"), &environment, &[]).unwrap();
    assert_eq!(config.aggregators.len(), 2);
    for (text, said) in [
        ("aggregator = []", "aggregator: \"\" names no host; write https://HOST:7443"),
        ("aggregator = ['db1', 5]", "aggregator: write each in quotes"),
        (
            "aggregator = 'db1'\nca = ['x']",
            "ca: an array cannot stand here; write a text in quotes",
        ),
    ] {
        let problems = load(&File::of(text), &[], &[]).unwrap_err().to_string();
        assert!(problems.contains(said), "{problems}");
    }
}

#[test]
fn a_node_has_certificates_of_its_own_or_an_identity_that_it_enrols_for() {
    let identity_dir = PathBuf::from("/var/lib/rowcall-agent/identity");
    let plain = load(&File::of(""), &[], &[]).unwrap();
    assert_eq!((plain.source, plain.aggregators), (Source::Enrolled(identity_dir), vec![]));
    let text = "enroll_server = ['db1', 'db2:1']\ntoken_file = '/t'\nidentity_dir = '/id'";
    let config = load(&File::of(text), &[], &[]).unwrap();
    assert_eq!(config.source, Source::Enrolled("/id".into()));
    let servers: Vec<_> = config.enroll_servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["https://db1:7444", "https://db2:1"]);
    let own = "certificate = 'c'\nkey = 'k'\nca = 'a'\n";
    let config = load(&File::of(&format!("{own}aggregator = 'a'")), &[], &[]).unwrap();
    assert!(matches!(config.source, Source::Files(files) if files.key == Path::new("k")));
    let both = format!("{own}aggregator = 'a'\nenroll_server = 'a'");
    for (text, said) in [
        ("certificate = 'c'\nca = 'a'", "certificate and ca are set, but not key: give cert"),
        ("key = 'k'", "key is set, but not certificate and ca: "),
        (own, "aggregator is not set; set it in the file, as ROWCALL_AGGREGATOR"),
        (&both, "enroll_server is set beside certificate, key, ca: a node with"),
        ("token_file = '/t'", "token_file is set, but not enroll_server"),
        ("enroll_server = 'http://a'", "would not be encrypted; write https://HOST:7444"),
        ("identity_dir = 'x'", "depends on where the agent is started"),
    ] {
        let problems = load(&File::of(text), &[], &[]).unwrap_err().to_string();
        assert!(problems.contains(said), "{problems}");
    }
}

#[test]
fn a_slip_in_a_key_is_guessed() {
    let file = File::of("agregator = 'a'");
    let said = load(&file, &[], &[]).unwrap_err().to_string();
    assert!(said.contains("unknown key \"agregator\"; did you mean aggregator?"), "{said}");
}

#[test]
fn values_out_of_range_are_told_with_the_range() {
    let no_time = "18446744073709551615ms";
    let text = ["min_interval", "backoff_min", "backoff_max", "refused_wait", "ack_timeout"]
        .map(|key| format!("{key} = '{no_time}'\n"))
        .concat();
    let rest = "aggregator = 'a'\nstop_wait = '301s'\nspool_max_age = '59m'\nspool_max_bytes = '65GiB'\nspool_dir = 'spool'";
    let said = load(&File::of(&(text + rest)), &[], &[]).unwrap_err().to_string();
    for part in [
        "9 problems",
        "min_interval: \"18446744073709551615ms\" is too long; the most is 1d",
        "ack_timeout: \"18446744073709551615ms\" is too long; the most is 1h",
        "stop_wait: \"301s\" is too long; the most is 5m",
        "spool_max_age: \"59m\" is too short; the least is 1h",
        "spool_max_bytes: \"65GiB\" is too much; the most is 64GiB",
        "spool_dir: \"spool\" depends on where the agent is started; begin it with /",
    ] {
        assert!(said.contains(part), "{part:?} is missing in:\n{said}");
    }
}

#[test]
fn metrics_are_off_and_otherwise_on_loopback_only() {
    let listen = |text: &str| {
        let text = format!("aggregator = 'a'\nmetrics_listen = '{text}'");
        load(&File::of(&text), &[], &[]).map(|config| config.metrics_listen)
    };
    assert_eq!(load(&File::of("aggregator = 'a'"), &[], &[]).unwrap().metrics_listen, None);
    assert_eq!(listen("off"), Ok(None));
    for loopback in ["127.0.0.1:7446", "127.1.2.3:1", "[::1]:7446", "[::ffff:127.0.0.1]:1"] {
        assert_eq!(listen(loopback), Ok(Some(loopback.parse().unwrap())));
    }
    for (text, said) in [
        ("0.0.0.0:7446", "reachable from other machines"),
        ("[::]:7446", "reachable from other machines"),
        ("10.0.0.1:7446", "write 127.0.0.1:PORT, and put a proxy with TLS before it"),
        ("on", "is no address; write off, or for example 127.0.0.1:7446"),
        ("7446", "is no address"),
    ] {
        let problems = listen(text).unwrap_err().to_string();
        assert!(problems.contains(said), "{problems}");
    }
}

#[test]
fn a_file_that_is_none_is_told_and_not_read_to_its_end() {
    let said = |path: &Path| Config::load(Some(path), |_| None, &[]).unwrap_err().to_string();
    let endless = said(Path::new("/dev/zero"));
    assert!(
        endless.contains("/dev/zero: cannot be read: it has more than 1 MiB; name a TOML file"),
        "{endless}"
    );
    let file = File::of("");
    let folder = said(file.0.path());
    assert!(folder.contains("cannot be read: ") && folder.contains("name a TOML file"), "{folder}");
    std::fs::write(file.path(), b"\xff\xfe").unwrap();
    let binary = said(&file.path());
    assert!(binary.contains("it is no UTF-8 text"), "{binary}");
}

#[test]
fn the_readme_names_every_key_and_its_default() {
    let readme = include_str!("../../README.md");
    for setting in SETTINGS {
        assert!(readme.contains(&format!("`{}`", setting.key)), "{}", setting.key);
        let folder = "/etc/rowcall/";
        let default = setting.default.filter(|default| !default.starts_with(folder));
        if let Some(default) = default {
            assert!(readme.contains(&format!("`{default}`")), "{} = {default}", setting.key);
        }
    }
}
