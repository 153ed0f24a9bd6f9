//! Debian's node_exporter, as one more witness of this machine.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rowcall_testkit::process::Process;

use crate::stack::root;

/// A running node_exporter with its defaults.
#[derive(Debug)]
pub(crate) struct Exporter {
    address: SocketAddr,
    _process: Process,
}

/// What it said at one instant: names with labels, and values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scrape(Vec<Metric>);

#[derive(Clone, Debug)]
struct Metric {
    family: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Exporter {
    /// Starts it on a free port.
    pub(crate) async fn start() -> Result<Self> {
        let program = program().context("prometheus-node-exporter is missing: run `make deps`")?;
        let mut command = Command::new(program);
        command.arg("--web.listen-address=127.0.0.1:0");
        let process = Process::start("prometheus-node-exporter", &mut command)?;
        let line = process.line("msg=\"Listening on\"").await;
        let address = line.split_whitespace().find_map(|word| word.strip_prefix("address="));
        let address = address.with_context(|| format!("no address in {line:?}"))?.parse()?;
        Ok(Self { address, _process: process })
    }

    /// Asks it.
    pub(crate) fn scrape(&self) -> Result<Scrape> {
        let mut stream = TcpStream::connect(self.address)?;
        // The older version answers in one piece.
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").context("an answer")?;
        ensure!(head.contains(" 200 "), "{head}");
        Ok(Scrape::parse(body))
    }
}

/// The system's, else the one that `make deps` fetched.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([root().join(".tools/node-exporter")]);
    folders.map(|folder| folder.join("prometheus-node-exporter")).find(|path| path.is_file())
}

impl Scrape {
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(metric).collect())
    }

    /// The sum of a family's values whose labels are these, with any others; none where there is
    /// none.
    pub(crate) fn sum(&self, family: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let found = self.0.iter().filter(|metric| {
            metric.family == family
                && labels.iter().all(|(name, value)| {
                    metric.labels.get(*name).map_or("", String::as_str) == *value
                })
        });
        found.map(|metric| metric.value).reduce(|sum, value| sum + value)
    }

    /// The values that a label has in a family.
    pub(crate) fn labels<'a>(&'a self, family: &str, label: &str) -> Vec<&'a str> {
        let of_family = self.0.iter().filter(|metric| metric.family == family);
        let mut values: Vec<_> =
            of_family.filter_map(|metric| metric.labels.get(label).map(String::as_str)).collect();
        values.sort_unstable();
        values.dedup();
        values
    }
}

/// "name{label="value",..} 1.5"
fn metric(line: &str) -> Option<Metric> {
    let (named, value) = line.rsplit_once(' ')?;
    let (family, labels) = named.split_once('{').unwrap_or((named, ""));
    let mut known = BTreeMap::new();
    let mut rest = labels.trim_end_matches('}');
    while let Some((name, more)) = rest.split_once("=\"") {
        let mut text = String::new();
        let mut chars = more.char_indices();
        let mut end = more.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => text.extend(chars.next().map(|(_, c)| if c == 'n' { '\n' } else { c })),
                '"' => {
                    end = at + 1;
                    break;
                }
                c => text.push(c),
            }
        }
        known.insert(name.trim_start_matches(',').to_owned(), text);
        rest = more.get(end..).unwrap_or_default();
    }
    Some(Metric { family: family.to_owned(), labels: known, value: value.parse().ok()? })
}

#[test]
fn its_text_is_read_with_labels_and_exponents() {
    let text = "# HELP x y\nx 1.5e+09\nd{a=\"b\\\"c\",e=\"/f g\"} 2\nd{a=\"h\",e=\"/f g\"} 3\n";
    let scrape = Scrape::parse(text);
    assert_eq!(scrape.sum("x", &[]), Some(1.5e9));
    assert_eq!(scrape.sum("d", &[("a", "b\"c")]), Some(2.0));
    assert_eq!(scrape.sum("d", &[("e", "/f g")]), Some(5.0));
    assert_eq!((scrape.sum("d", &[("a", "i")]), scrape.sum("y", &[])), (None, None));
    assert_eq!(scrape.labels("d", "a"), ["b\"c", "h"]);
}
