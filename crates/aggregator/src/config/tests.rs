use super::*;

const LEAST: &str = "database = 'embedded'\ncertificate = 'c'\nkey = 'k'\nclient_ca = 'a'\n";

fn load(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[&str],
) -> Result<(Config, String), Problems> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aggregator.toml");
    std::fs::write(&path, file).unwrap();
    let path = path.to_str().unwrap();
    let arguments = ["x", "--config", path].into_iter().chain(flags.iter().copied());
    let matches = with_flags(clap::Command::new("x")).try_get_matches_from(arguments).unwrap();
    Config::load(&matches, &|name| {
        environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    })
}

#[test]
fn defaults_can_be_read() {
    let config = load(LEAST, &[], &[]).unwrap().0;
    assert_eq!(config.listen.port(), 7443);
    assert_eq!(config.http_listen, Some(([127, 0, 0, 1], 7445).into()));
    assert_eq!((config.retention.as_secs(), config.max_database_bytes), (30 * 86_400, None));
    assert_eq!(config.device_retention.as_secs(), 7 * 86_400);
    assert_eq!(config.interval, Duration::from_secs(60));
    assert_eq!((config.flush_rows, config.flush_after), (1_000, Duration::from_millis(100)));
    assert_eq!(config.database, Database::Embedded);
    assert!(config.validate().is_ok());
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let file = format!("{LEAST}interval = '10s'\nworkers = 3\nflush_rows = 7\n");
    let environment = [("ROWCALL_INTERVAL", "20s"), ("ROWCALL_WORKERS", "4")];
    let config = load(&file, &environment, &["--interval", "30s"]).unwrap().0;
    assert_eq!(config.interval, Duration::from_secs(30));
    assert_eq!((config.workers, config.flush_rows), (4, 7));
    assert_eq!(config.report_connections, 4);
}

#[test]
fn every_problem_is_reported_at_once() {
    let file = "intervall = '1s'\ninterval = '1ms'\nlisten = 'here'\nworkers = 1.5\n\
                drain_deadline = '50ms'\nlog_level = '=='\ntrust_domain = 'A b'\n\
                http_listen = 'there'\nretention = '6d'\nmax_database_size = '100MiB'\n\
                device_retention = '23h'\n";
    let problems = load(file, &[], &[]).unwrap_err().to_string();
    for part in [
        "unknown setting \"intervall\"; did you mean interval?",
        "aggregator.toml): 1ms is not between 10ms and 1d",
        "interval (file /",
        "aggregator.toml): \"here\" is not an address",
        "http_listen (file /",
        "\"there\" is neither an address and port such as 127.0.0.1:7445 nor the word off",
        "6d is not between 7d and 3650d",
        "100MiB is not between 1GiB and 1PiB",
        "23h is not between 1d and 3650d",
        "workers is a float",
        "log_level (file /",
        "trust_domain (file /",
        "drain_deadline must be longer than flush_after",
        "database is not set: give it in the settings file, as ROWCALL_DATABASE or as --database",
        "certificate is not set",
        "key is not set",
        "client_ca is not set: give it in the settings file, as ROWCALL_CLIENT_CA or as --client-ca, or set pki_dir",
    ] {
        assert!(problems.contains(part), "{part} is missing in:\n{problems}");
    }
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    for (line, part) in [
        ("pool_wait = '31s'", "pool_wait must be at most statement_timeout"),
        ("max_handshakes = 10", "max_handshakes_per_source must be at most"),
        ("flush_after = '10s'", "drain_deadline must be longer"),
        ("retention = '8d'\ndevice_retention = '9d'", "device_retention must be at most retention"),
        ("listen = '0.0.0.0:7445'", "http_listen and listen are the same port"),
        ("http_listen = '[::]:7443'", "http_listen and listen are the same port"),
    ] {
        let problems = from_file_text(&format!("{LEAST}{line}\n")).unwrap_err().to_string();
        assert!(problems.contains(part), "{problems}");
    }
}

#[test]
fn the_database_alone_is_enough_for_what_needs_nothing_else() {
    let load = |arguments: &[&str]| {
        let matches = with_flags(clap::Command::new("x")).try_get_matches_from(arguments).unwrap();
        let none = |_: &str| None;
        (Config::load_for_database(&matches, &none), Config::load(&matches, &none))
    };
    let (migrate, serve) = load(&["x", "--database", "embedded"]);
    assert_eq!(migrate.unwrap().0.database, Database::Embedded);
    assert!(serve.unwrap_err().to_string().contains("client_ca is not set"));
    let (migrate, _) = load(&["x"]);
    assert!(migrate.unwrap_err().to_string().starts_with("database is not set"));
}

#[test]
fn a_password_in_a_flag_is_refused_and_not_repeated() {
    let url = "postgresql://rowcall:hunter2@db/host_agent";
    let problems = load(LEAST, &[], &["--database", url]).unwrap_err().to_string();
    assert!(problems.contains("ROWCALL_DATABASE") && problems.contains("passfile"), "{problems}");
    assert!(!problems.contains("hunter2"));
    assert!(load(LEAST, &[("ROWCALL_DATABASE", url)], &[]).is_ok());
}

#[test]
fn no_part_of_a_password_is_shown_however_it_is_written() {
    for url in [
        "postgresql://u:pa?SECRETxx@localhost:1/host_agent",
        "postgresql://localhost/host_agent?user=u&pass%77ord=SECRET",
        "postgresql://u:SECRET",
        "postgres:/u:SECRET@h",
        "host=db user=u pasword=SECRET",
        "postgresql://db/x?password=a&SECRET",
    ] {
        let (config, shown) = load(LEAST, &[("ROWCALL_DATABASE", url)], &[]).unwrap();
        assert!(!shown.contains("SECRET") && !format!("{config:?}").contains("SECRET"), "{shown}");
        from_file_text(&shown).unwrap();
        // The misspelled key is refused as soon as the URL is read.
        if url.contains("pasword") {
            continue;
        }
        let problems = load(LEAST, &[], &["--database", url]).unwrap_err().to_string();
        let expected = "a password in a flag is visible";
        assert!(problems.contains(expected) && !problems.contains("SECRET"), "{url}: {problems}");
    }
    let url = "mysql://u@db/x";
    let problems = load(LEAST, &[], &["--database", url]).unwrap_err().to_string();
    assert!(problems.contains("(flag --database): database URL: it looks like"), "{problems}");
}

#[test]
fn printed_settings_hide_passwords_and_can_be_read_again() {
    let url = "postgresql://rowcall:hunter2@db/host_agent";
    let (config, shown) = load(LEAST, &[("ROWCALL_DATABASE", url)], &[]).unwrap();
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(shown.contains("interval = \"60s\" # default"), "{shown}");
    assert!(from_file_text(&shown).is_ok());
}

#[test]
fn printed_settings_show_what_pki_dir_stands_for_and_can_be_read_again() {
    let text = "database = 'embedded'\npki_dir = '/pki'\n";
    let (_, shown) = load(text, &[], &[]).unwrap();
    for line in [
        "key = \"/pki/server.key\" # default in pki_dir /pki\n",
        "# client_crl is not set: /pki/client-crl.pem, once it is there\n",
        "issuer_key = \"/pki/client-ca.key\" # default in pki_dir /pki\n",
    ] {
        assert!(shown.contains(line), "{line} is missing in:\n{shown}");
    }
    let again = from_file_text(&shown).unwrap();
    assert!(again.enrollment.is_some() && again.revocations.unwrap().may_be_missing);
    let (_, shown) = load(text, &[], &["--issuer=false"]).unwrap();
    assert!(shown.contains("# issuer_key is not set\n"), "{shown}");
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let matches = with_flags(clap::Command::new("x"))
        .try_get_matches_from(["x", "--config", "/nonexistent/a.toml"])
        .unwrap();
    let problems = Config::load(&matches, &|_| None).unwrap_err().to_string();
    assert!(problems.contains("cannot read /nonexistent/a.toml"), "{problems}");
}

#[test]
fn addresses_that_do_not_meet_may_share_a_port() {
    for lines in [
        "listen = '10.0.0.1:7445'\n",
        "listen = '127.0.0.1:0'\nhttp_listen = '127.0.0.1:0'\n",
        "listen = '127.0.0.1:7445'\nhttp_listen = 'off'\n",
    ] {
        from_file_text(&format!("{LEAST}{lines}")).unwrap();
    }
}

#[test]
fn retention_and_size_are_read() {
    let file = format!(
        "{LEAST}retention = '14d'\nmax_database_size = '100GiB'\n\
                        device_retention = '14d'\n"
    );
    let config = from_file_text(&file).unwrap();
    assert_eq!(config.retention.as_secs(), 14 * 86_400);
    assert_eq!(config.device_retention, config.retention);
    assert_eq!(config.max_database_bytes, Some(100 << 30));
}

#[test]
fn every_setting_can_come_from_the_environment() {
    let given = |name: &str| {
        let text = match name {
            "ROWCALL_CONFIG" => return None,
            "ROWCALL_DATABASE" => "embedded",
            "ROWCALL_CERTIFICATE" => "/run/credentials/x/certificate",
            "ROWCALL_KEY" => "/run/credentials/x/key",
            "ROWCALL_CLIENT_CA" => "/run/credentials/x/ca",
            "ROWCALL_PKI_DIR" => "/etc/rowcall/pki",
            "ROWCALL_CLIENT_CRL" => "/run/credentials/x/crl",
            "ROWCALL_SERVER_CA" => "/run/credentials/x/root",
            "ROWCALL_ISSUER_CERTIFICATE" => "/run/credentials/x/issuer",
            "ROWCALL_ISSUER" => "true",
            "ROWCALL_ISSUER_KEY" => "/run/credentials/x/issuer-key",
            "ROWCALL_ADVERTISE" => "https://agg1:7443",
            "ROWCALL_EXEMPT_SOURCES" => "10.0.0.0/8",
            "ROWCALL_PROXY_FROM" => "192.0.2.1",
            "ROWCALL_TRUST_DOMAIN" => "cluster.example",
            "ROWCALL_MAX_DATABASE_SIZE" => "2TiB",
            "ROWCALL_NAME" => "agg1",
            "ROWCALL_DEAD_MAN_URL" => "https://hc.example/x",
            other => {
                let known = SETTINGS.iter().find(|s| settings::variable(s.key) == other);
                return known.and_then(|setting| setting.default).map(str::to_owned);
            }
        };
        Some(text.to_owned())
    };
    let matches = with_flags(clap::Command::new("x")).try_get_matches_from(["x"]).unwrap();
    let (config, shown) = Config::load(&matches, &given).unwrap();
    assert_eq!(config.files.key, PathBuf::from("/run/credentials/x/key"));
    for setting in &SETTINGS {
        let source = format!(" # environment variable {}", settings::variable(setting.key));
        let line = shown.lines().find(|line| line.starts_with(&format!("{} =", setting.key)));
        assert!(line.unwrap().ends_with(&source), "{line:?}");
    }
}

#[test]
fn a_settings_file_without_an_end_is_given_up() {
    let matches = with_flags(clap::Command::new("x"))
        .try_get_matches_from(["x", "--config", "/dev/zero"])
        .unwrap();
    let problems = Config::load(&matches, &|_| None).unwrap_err().to_string();
    assert!(problems.contains("cannot read /dev/zero: it has more than 1 MiB"), "{problems}");
}

#[test]
fn the_environment_can_name_the_settings_file() {
    let matches = with_flags(clap::Command::new("x")).try_get_matches_from(["x"]).unwrap();
    let named = |name: &str| (name == FILE_VARIABLE).then(|| "/nonexistent/b.toml".to_owned());
    let problems = Config::load(&matches, &named).unwrap_err().to_string();
    assert!(problems.contains("cannot read /nonexistent/b.toml"), "{problems}");
}

#[test]
fn an_empty_path_is_refused() {
    let file = LEAST.replace("key = 'k'", "key = ''");
    let problems = from_file_text(&file).unwrap_err().to_string();
    assert_eq!(problems, "key (file settings): the path is empty; name a file");
}

#[test]
fn what_an_aggregator_is_called_and_how_long_it_excuses_can_be_set() {
    let config = load(LEAST, &[], &[]).unwrap().0;
    assert!(!config.name.as_str().is_empty(), "by default as the kernel calls the machine");
    assert_eq!((config.excuse, config.dead_man_url), (Duration::from_secs(900), None));
    let file = format!("{LEAST}name = 'Agg-1'\nexcuse = '0s'\n");
    let config = load(&file, &[], &[]).unwrap().0;
    assert_eq!((config.name.as_str(), config.excuse), ("agg-1", Duration::ZERO));
    for (line, part) in [
        ("name = 'a b'", "only a-z, 0-9, '.', '_' and '-' are allowed"),
        ("excuse = '25h'", "25h is not between 0ms and 1d"),
    ] {
        let problems = from_file_text(&format!("{LEAST}{line}\n")).unwrap_err().to_string();
        assert!(problems.contains(part), "{problems}");
    }
}

#[test]
fn the_dead_mans_url_is_kept_secret() {
    let url = "https://hc.example/SECRET";
    let (config, shown) = load(LEAST, &[("ROWCALL_DEAD_MAN_URL", url)], &[]).unwrap();
    assert!(
        shown.contains("dead_man_url = \"https://hc.example/********\" # environment"),
        "{shown}"
    );
    assert!(!shown.contains("SECRET") && !format!("{config:?}").contains("SECRET"));
    let problems = load(LEAST, &[], &["--dead-man-url", url]).unwrap_err().to_string();
    for part in [
        "a secret in a flag is visible to every user of this machine",
        "give it in the settings file or in ROWCALL_DEAD_MAN_URL",
    ] {
        assert!(problems.contains(part), "{problems}");
    }
    assert!(!problems.contains("SECRET"), "{problems}");
    for (wrong, part) in [
        ("dead_man_url = 'htp://h/SECRET'", "it must begin with https:// or http://"),
        (
            "dead_man_url = 'http://u:SECRET@h/'",
            "expected a host, and no user or password before it",
        ),
        ("dead_man_url = https://h/SECRET", "settings, line 5: "),
    ] {
        let problems = from_file_text(&format!("{LEAST}{wrong}\n")).unwrap_err().to_string();
        assert!(problems.contains(part) && !problems.contains("SECRET"), "{problems}");
    }
}
