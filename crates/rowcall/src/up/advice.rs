//! What to do next: lines to paste, whatever the working directory.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rowcall_core::id::HostName;

use super::dir::Dir;
use super::pki::Pki;
use super::reads::Reads;
use crate::args;
use crate::pki::ENROLL_PORT;
use crate::text::{self, FAINT, HEADING};

/// Windows that show something soon, in seconds: of this length, or of one interval.
const QUICK_WINDOW_S: u64 = 10;

/// The time between samples by default, in seconds.
const DEFAULT_INTERVAL_S: u64 = 60;

/// The length of windows by default, in seconds.
const DEFAULT_WINDOW_S: u64 = 300;

/// What the lines are about.
#[derive(Debug)]
pub(super) struct Next<'a> {
    pub(super) dir: &'a Dir,
    pub(super) pki: &'a Pki,
    pub(super) host: &'a HostName,
    /// Where agents and people connect.
    pub(super) address: SocketAddr,
    /// The same as it was bound.
    pub(super) listens: SocketAddr,
    /// Where probes and metrics are.
    pub(super) http: Option<SocketAddr>,
    /// Where nodes enrol.
    pub(super) enroll: Option<SocketAddr>,
    /// The line that opens psql.
    pub(super) psql: &'a str,
    pub(super) interval: Duration,
    pub(super) reads: &'a Reads,
}

impl Next<'_> {
    /// The whole block. Lines to paste are indented by 4 blanks.
    pub(super) fn words(&self) -> anyhow::Result<String> {
        let Next { dir, pki, host, address, listens, http, enroll, psql, interval, reads } = *self;
        let program = program()?;
        let data = shell(dir.path());
        let window = QUICK_WINDOW_S.max(interval.as_secs()).min(DEFAULT_WINDOW_S);
        let files = pki.viewer();
        let found = on_path("grpcurl");
        let grpcurl = found.as_deref().map_or_else(|| "grpcurl".to_owned(), shell);
        let any_client = match found {
            Some(_) => "the reports for any gRPC client",
            None => "the reports for any gRPC client (grpcurl is not installed here)",
        };
        let grpcurl = format!(
            "{grpcurl} -cacert {} -cert {} -key {} -d '{{\"window_s\": {window}}}' {address} \
         rowcall.v1.SummaryService/Summary",
            shell(&files.authorities),
            shell(&files.certificate),
            shell(&files.key)
        );
        let span = text::span(Duration::from_secs(window)).replace(' ', "").replace("min", "m");
        let summary = format!("{program} summary --data-dir {data}");
        let sooner = (window < DEFAULT_WINDOW_S)
            .then(|| ("sooner: in windows that end soon", format!("{summary} --window {span}")));
        let lines = [
            (
                "who is connected, when the last commit was",
                format!("{program} status --data-dir {data}"),
            ),
            ("the tables, with SQL", psql.to_owned()),
        ];
        let vitals = reads.has_vitals().then(|| {
            let about =
                "what this machine does; more: host_disk, host_filesystem, host_process, ...";
            let last = "SELECT * FROM host_vitals ORDER BY timestamp DESC LIMIT 1";
            (about, format!("{psql} -xc '{last}'"))
        });
        let clients = [(any_client, grpcurl)];
        let again = again(interval, reads);
        let others = others(&program, &data, host, listens, enroll, &again);
        let metrics = http.map(|http| {
            let about = "metrics; /readyz says whether the database takes writes";
            (about, format!("curl http://{http}/metrics"))
        });
        let stop =
            [("stop: Ctrl-C here, or from elsewhere", format!("kill {}", std::process::id()))];
        let mut out = format!("\n{}\n", text::paint(HEADING, "What to do next"));
        let reports = std::iter::once(("the reports", summary)).chain(sooner);
        let tables = lines.into_iter().chain(vitals).chain(clients);
        for (about, line) in reports.chain(tables).chain(metrics).chain(others).chain(stop) {
            writeln!(out, "  {}\n    {line}", text::paint(FAINT, about))?;
        }
        let first = format!(
            "\nEach sample, as it is committed; the first within {}:\n",
            text::span(Duration::from_secs(interval.as_secs().saturating_add(2)))
        );
        out.push_str(&text::paint(FAINT, first.trim_end()));
        out.push('\n');
        Ok(out)
    }
}

/// The options that were given, each after a blank, but for what else the line says.
fn again(interval: Duration, reads: &Reads) -> String {
    let interval = if interval == Duration::from_secs(DEFAULT_INTERVAL_S) {
        String::new()
    } else {
        format!(" --interval {}", args::short_span(interval))
    };
    interval + &reads.options()
}

/// How other nodes join.
fn others(
    program: &str,
    data: &str,
    host: &HostName,
    listens: SocketAddr,
    enroll: Option<SocketAddr>,
    again: &str,
) -> Vec<(&'static str, String)> {
    let Some(enroll) = enroll else { return Vec::new() };
    let open = if listens.ip().is_loopback() {
        Some("--listen 0.0.0.0:7443".to_owned())
    } else {
        let beside = SocketAddr::new(listens.ip(), ENROLL_PORT);
        enroll.ip().is_loopback().then(|| format!("--enroll-listen {beside}"))
    };
    if let Some(open) = open {
        let about = "other nodes can join once it listens for them: stop it, and start it so";
        return vec![(about, format!("{program} up --data-dir {data}{again} {open}"))];
    }
    let server = enroll_server(enroll, host);
    vec![
        (
            "let another node join: a token, good for one node and an hour",
            format!("{program} token create --data-dir {data}"),
        ),
        (
            "and on that node, with the token on standard input",
            format!("rowcall-agent enroll --server {server} --token-file -"),
        ),
    ]
}

/// HOST:PORT where nodes enrol; others know this machine by its name where it listens everywhere.
pub(super) fn enroll_server(enroll: SocketAddr, host: &HostName) -> String {
    if enroll.ip().is_unspecified() {
        return format!("{host}:{}", enroll.port());
    }
    enroll.to_string()
}

fn shell(path: &Path) -> String {
    text::shell(&path.to_string_lossy())
}

/// How to call this program: by its name where PATH has it, else by its path.
fn program() -> anyhow::Result<String> {
    let exe = std::env::current_exe().context("find this program's own path")?;
    let same = |found: PathBuf| found.canonicalize().ok() == exe.canonicalize().ok();
    let is_first = on_path("rowcall").is_some_and(same);
    Ok(if is_first { "rowcall".to_owned() } else { shell(&exe) })
}

/// The program of this name that PATH has. The shell that the lines are pasted into may have
/// another PATH (`make up` adds to it), so it is shown with its folder.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joining(listens: &str, enroll: &str, interval: Duration) -> Vec<String> {
        let (host, again) = (HostName::parse("vm").unwrap(), again(interval, &Reads::default()));
        let (listens, enroll) = (listens.parse().unwrap(), enroll.parse().ok());
        let lines = others("rowcall", "d", &host, listens, enroll, &again);
        lines.into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn the_line_to_start_it_for_others_keeps_the_interval() {
        let line = |millis| {
            joining("127.0.0.1:7443", "127.0.0.1:7444", Duration::from_millis(millis)).concat()
        };
        assert_eq!(line(60_000), "rowcall up --data-dir d --listen 0.0.0.0:7443");
        assert_eq!(line(1_000), "rowcall up --data-dir d --interval 1s --listen 0.0.0.0:7443");
        assert_eq!(line(1_500), "rowcall up --data-dir d --interval 1500ms --listen 0.0.0.0:7443");
    }

    #[test]
    fn others_can_join_where_both_are_open_and_else_what_is_missing_is_said() {
        let lines = |listens, enroll| joining(listens, enroll, Duration::from_secs(60));
        let start = "rowcall up --data-dir d";
        assert_eq!(
            lines("127.0.0.1:9", "0.0.0.0:17444"),
            [format!("{start} --listen 0.0.0.0:7443")]
        );
        assert_eq!(
            lines("10.0.0.5:17443", "127.0.0.1:17444"),
            [format!("{start} --enroll-listen 10.0.0.5:7444")]
        );
        let join = lines("0.0.0.0:17443", "0.0.0.0:17444");
        assert_eq!(join[1], "rowcall-agent enroll --server vm:17444 --token-file -");
    }
}
