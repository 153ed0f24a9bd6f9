//! The table of settings, and the command line made of it.
//!
//! Everything that names settings (the file's keys, the environment's variables, the flags and
//! their help, `--print-config`) is made from [`SETTINGS`].

use clap::{Arg, Command};

/// Where `serve` and `migrate` look for settings unless told otherwise.
pub const DEFAULT_FILE: &str = "/etc/rowcall/aggregator.toml";

/// Settings in the environment begin with this, then follows the key in capitals.
const PREFIX: &str = "ROWCALL_";

/// What pki_dir gives, with the names that `rowcall pki init` gives the files. There is a
/// revocation list only once something was revoked: see [`CRL_IN_PKI_DIR`].
pub(super) const IN_PKI_DIR: [(&str, &str); 6] = [
    ("certificate", "server.pem"),
    ("key", "server.key"),
    ("client_ca", "client-ca.pem"),
    ("server_ca", "root.pem"),
    ("issuer_certificate", "client-ca.pem"),
    ("issuer_key", "client-ca.key"),
];

/// client_crl in pki_dir, if it is there.
pub(super) const CRL_IN_PKI_DIR: &str = "client-crl.pem";

/// What only an aggregator that issues certificates reads.
pub(super) const OF_ISSUER: [&str; 3] = ["server_ca", "issuer_certificate", "issuer_key"];

/// One setting.
pub(super) struct Setting {
    /// Key in the file; the flag has dashes for underscores.
    pub(super) key: &'static str,
    /// Default as it would be written; none: must be given, or is left out.
    pub(super) default: Option<&'static str>,
    value_name: &'static str,
    help: &'static str,
}

const fn setting(
    key: &'static str,
    default: Option<&'static str>,
    value_name: &'static str,
    help: &'static str,
) -> Setting {
    Setting { key, default, value_name, help }
}

/// Every setting, in the order in which it is shown.
pub(super) const SETTINGS: [Setting; 40] = [
    setting(
        "listen",
        Some("0.0.0.0:7443"),
        "ADDRESS",
        "Address for agents and viewers; port 0 takes a free one",
    ),
    setting(
        "http_listen",
        Some("127.0.0.1:7445"),
        "ADDRESS",
        "Address for probes and metrics, HTTP without TLS, or the word `off`; port 0 takes a free one",
    ),
    setting(
        "enroll_listen",
        Some("0.0.0.0:7444"),
        "ADDRESS",
        "Address for nodes that enrol, used only where certificates are issued, or the word `off`; port 0 takes a free one",
    ),
    setting(
        "advertise",
        None,
        "URLS",
        "Where enrolled nodes send to, https://HOST:PORT, several with commas; by default the host that they enrolled at",
    ),
    setting(
        "database",
        None,
        "URL",
        "PostgreSQL URL without a password, or the word `embedded`: a private server under data_dir",
    ),
    setting(
        "name",
        None,
        "NAME",
        "What reports and logs of this database call this aggregator; by default the kernel's host name",
    ),
    setting("data_dir", Some("/var/lib/rowcall"), "DIR", "Directory of the embedded server"),
    setting(
        "pki_dir",
        None,
        "DIR",
        "Folder made by `rowcall pki init`, such as /etc/rowcall/pki: where the seven files below are unless told otherwise",
    ),
    setting("certificate", None, "FILE", "Server certificate, then its intermediates, PEM"),
    setting("key", None, "FILE", "Private key of the certificate, PEM"),
    setting("client_ca", None, "FILE", "Authorities whose client certificates are believed, PEM"),
    setting(
        "client_crl",
        None,
        "FILE",
        "Revocation lists of these authorities, PEM; refused once they are out of date",
    ),
    setting(
        "server_ca",
        None,
        "FILE",
        "Authorities that enrolled nodes are told to trust, PEM; ours is under one of them",
    ),
    setting(
        "issuer",
        None,
        "BOOL",
        "Whether to issue certificates to nodes; by default where server_ca and the issuer's two files are set; false: their key is not even read",
    ),
    setting(
        "issuer_certificate",
        None,
        "FILE",
        "Authority that nodes' certificates are issued by, PEM; the first one in the file",
    ),
    setting("issuer_key", None, "FILE", "Private key of that authority, PEM"),
    setting(
        "trust_domain",
        None,
        "NAME",
        "Trust domain of client certificates, spiffe://NAME/...; by default the one that a client CA names",
    ),
    setting(
        "interval",
        Some("60s"),
        "DURATION",
        "Time between two samples of an agent, 10ms to 1d",
    ),
    setting(
        "flush_rows",
        Some("1000"),
        "ROWS",
        "Most rows written in one transaction, 1 to 10,000",
    ),
    setting(
        "flush_after",
        Some("100ms"),
        "DURATION",
        "Longest that a record waits for others before it is written, 1ms to 10s",
    ),
    setting(
        "ingest_connections",
        Some("4"),
        "NUMBER",
        "Database connections for what agents send, 2 to 64",
    ),
    setting("report_connections", Some("4"), "NUMBER", "Database connections for reports, 1 to 64"),
    setting(
        "statement_timeout",
        Some("30s"),
        "DURATION",
        "Longest that a statement may run, 100ms to 1h",
    ),
    setting(
        "pool_wait",
        Some("10s"),
        "DURATION",
        "Longest wait for a database connection; at most statement_timeout",
    ),
    setting(
        "drain_deadline",
        Some("10s"),
        "DURATION",
        "Longest that a shutdown may take; more than flush_after, at most 5min",
    ),
    setting(
        "handshake_timeout",
        Some("10s"),
        "DURATION",
        "Longest that a TLS handshake may take, and then the time until the first call, 100ms to 10s",
    ),
    setting("max_handshakes", Some("4096"), "NUMBER", "Most TLS handshakes at a time, 1 to 65,536"),
    setting(
        "max_handshakes_per_source",
        Some("64"),
        "NUMBER",
        "Most TLS handshakes at a time from one address, at most max_handshakes; more where a fleet comes through one NAT",
    ),
    setting(
        "exempt_sources",
        None,
        "NETWORKS",
        "Networks without a bound per address, such as 10.0.0.0/8,192.0.2.7, for a fleet behind one NAT",
    ),
    setting(
        "proxy_from",
        None,
        "NETWORKS",
        "Balancers that must begin each connection with a PROXY protocol v2 header, whose source counts",
    ),
    setting(
        "enroll_per_source",
        Some("60"),
        "NUMBER",
        "Most enrolments and renewals a minute from one address on enroll_listen, 1 to 100,000",
    ),
    setting(
        "retention",
        Some("30d"),
        "DURATION",
        "Samples older than this are dropped, by whole days, 7d to 3650d",
    ),
    setting(
        "device_retention",
        Some("7d"),
        "DURATION",
        "Readings of devices and metrics older than this are dropped, by whole days, 1d to retention",
    ),
    setting(
        "max_database_size",
        None,
        "SIZE",
        "Above this size of the database the oldest day of samples is dropped, such as 100GiB; 1GiB to 1PiB",
    ),
    setting(
        "excuse",
        Some("15min"),
        "DURATION",
        "How long a host may be silent after its agent was stopped on purpose before it counts as silent, 0s to 24h",
    ),
    setting(
        "dead_man_url",
        None,
        "URL",
        "URL to call once a minute while rows are committed, http or https; a secret, so not as a flag",
    ),
    setting("migrate", Some("true"), "BOOL", "Bring the database's schema up to date at the start"),
    setting("workers", Some("2"), "NUMBER", "Threads, 1 to 64"),
    setting("log_format", Some("text"), "FORMAT", "text or json"),
    setting(
        "log_level",
        Some("info"),
        "FILTER",
        "error, warn, info, debug, trace, or a filter such as info,rowcall_store=debug",
    ),
];

/// The environment's variable for a setting.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase())
}

/// Adds a flag for each setting to a command.
pub fn with_flags(mut command: Command) -> Command {
    command = command
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(clap::value_parser!(std::path::PathBuf))
                .help(format!(
                    "Settings file, TOML [env: ROWCALL_CONFIG, default: {DEFAULT_FILE} if it is there]"
                )),
        )
        .arg(
            Arg::new("print-config")
                .long("print-config")
                .action(clap::ArgAction::SetTrue)
                .help("Print the settings in force, passwords hidden, and exit"),
        )
        .arg(
            Arg::new("check-config")
                .long("check-config")
                .action(clap::ArgAction::SetTrue)
                .help("Check settings, the certificates that are needed and the database's URL without connecting, and exit"),
        );
    for setting in &SETTINGS {
        let default = setting.default.map_or_else(String::new, |text| format!(", default: {text}"));
        command = command.arg(
            Arg::new(setting.key)
                .long(setting.key.replace('_', "-"))
                .value_name(setting.value_name)
                .help(format!("{} [env: {}{default}]", setting.help, variable(setting.key))),
        );
    }
    command
}
