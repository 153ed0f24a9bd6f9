//! Debian's node_exporter as it comes, and a scrape of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rowcall_testkit::process::Process;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PROGRAM: &str = "prometheus-node-exporter";

/// Where `.ci/deps` puts it.
const UNPACKED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools/node-exporter");

/// For one scrape.
const PATIENCE: Duration = Duration::from_secs(30);

/// What no scrape is larger than.
const MOST_BYTES: u64 = 64 << 20;

/// A running node_exporter. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Exporter {
    pub(crate) process: Process,
    address: SocketAddr,
}

/// What came of one scrape.
#[derive(Debug)]
pub(crate) struct Scrape {
    /// Head and body as they came.
    pub(crate) answer: Vec<u8>,
    /// Bytes in both directions, without what TCP adds.
    pub(crate) bytes: u64,
}

impl Exporter {
    /// Starts it on a free port of this machine, with its default collectors.
    pub(crate) async fn start() -> Result<Self> {
        let program =
            program().with_context(|| format!("{PROGRAM} is missing: run `.ci/deps bench`"))?;
        let mut command = Command::new(program);
        command.arg("--web.listen-address=127.0.0.1:0");
        let process = Process::start(PROGRAM, &mut command)?;
        let line = process.line("Listening on").await;
        let address = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("address="))
            .with_context(|| format!("no address in {line:?}"))?
            .parse()?;
        Ok(Self { process, address })
    }

    /// Scrapes it once, over a connection of its own.
    pub(crate) async fn scrape(&self, gzip: bool) -> Result<Scrape> {
        timeout(PATIENCE, self.get(gzip)).await.context("node_exporter does not answer")?
    }

    async fn get(&self, gzip: bool) -> Result<Scrape> {
        let encoding = if gzip { "Accept-Encoding: gzip\r\n" } else { "" };
        // HTTP/1.0: the answer is not in chunks, and ends with the connection.
        let request = format!("GET /metrics HTTP/1.0\r\nHost: localhost\r\n{encoding}\r\n");
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        (&mut stream).take(MOST_BYTES).read_to_end(&mut answer).await?;
        let told = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
        ensure!(told.ends_with(b"200 OK"), "node_exporter: {}", String::from_utf8_lossy(told));
        let bytes = u64::try_from(request.len() + answer.len())?;
        Ok(Scrape { answer, bytes })
    }
}

/// Names of the families of a scrape, and how many values it has, without what the exporter tells
/// of its own process.
pub(crate) fn families(scrape: &Scrape) -> Result<(Vec<String>, usize)> {
    let text = std::str::from_utf8(&scrape.answer).context("the scrape is no text")?;
    let body = text.split_once("\r\n\r\n").context("the scrape has no body")?.1;
    let is_own = |name: &str| !name.starts_with("node_");
    let families = body
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| !is_own(name));
    let values = body.lines().filter(|line| !line.starts_with('#') && !is_own(line)).count();
    Ok((families.map(ToOwned::to_owned).collect(), values))
}

/// Whether this machine has it.
pub(crate) fn is_there() -> bool {
    program().is_some()
}

/// The one on the PATH, else the unpacked one.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([Path::new(UNPACKED).to_owned()])
        .map(|folder| folder.join(PROGRAM))
        .find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_values_are_those_of_the_host() {
        let answer = b"HTTP/1.0 200 OK\r\n\r\n# TYPE go_gc gauge\ngo_gc 1\n# HELP node_a b\n\
            # TYPE node_a gauge\nnode_a{x=\"1\"} 1\nnode_a{x=\"2\"} 2\n# TYPE node_b counter\nnode_b 3\n";
        let scrape = Scrape { answer: answer.to_vec(), bytes: 0 };
        let (families, values) = families(&scrape).unwrap();
        assert_eq!(families, ["node_a", "node_b"]);
        assert_eq!(values, 3);
    }
}
