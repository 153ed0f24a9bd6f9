//! Links that swallow what is sent over them: no end, no error, nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rowcall_testkit::database::Database;
use rowcall_testkit::poll::wait_for;
use rowcall_testkit::proxy::Proxy;
use rowcall_testkit::remote::{Remote, Role};
use tokio::time::{Instant, sleep};

use super::spools::resident;
use crate::host::within;
use crate::scene::{Outcome, Say, Scene};
use crate::stack::{Aggregator, TRUST_DOMAIN, serve};

/// Both sides notice within 40 s; ten times that fails.
const NOTICED: Duration = Duration::from_secs(400);

/// A network of its own, with one link to ours.
#[derive(Debug)]
pub struct Network {
    /// Holds it, and ends when this process does.
    holder: Child,
    outer: String,
    here: Ipv4Addr,
    there: Ipv4Addr,
}

impl Network {
    /// Makes one; none where that isn't permitted, which takes root.
    ///
    /// # Errors
    /// When it can be made, but not set up.
    pub async fn new() -> Result<Option<Self>> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let begun = Command::new("unshare")
            .args(["--net", "--", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(holder) = begun else { return Ok(None) };
        // A subnet for each process and use, from the range that is kept for tests.
        let number = (std::process::id() << 3 | NEXT.fetch_add(1, Ordering::Relaxed) & 7) & 0x7fff;
        let base = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number * 4;
        let mut network = Self {
            holder,
            outer: format!("rowcall{number}"),
            here: Ipv4Addr::from(base + 1),
            there: Ipv4Addr::from(base + 2),
        };
        Ok(network.set_up().await?.then_some(network))
    }

    async fn set_up(&mut self) -> Result<bool> {
        let own = format!("/proc/{}/ns/net", self.holder.id());
        let ours = std::fs::read_link("/proc/self/ns/net")?;
        let begun = Instant::now();
        while std::fs::read_link(&own).is_ok_and(|now| now == ours) {
            if self.holder.try_wait()?.is_some() || begun.elapsed() > Duration::from_secs(10) {
                return Ok(false);
            }
            sleep(Duration::from_millis(5)).await;
        }
        let id = self.holder.id().to_string();
        let pair =
            ["link", "add", &self.outer, "type", "veth", "peer", "name", "link0", "netns", &id];
        if ip(&[], &pair).is_err() {
            return Ok(false);
        }
        let inner = self.inside();
        ip(&[], &["addr", "add", &format!("{}/30", self.here), "dev", &self.outer])?;
        ip(&[], &["link", "set", &self.outer, "up"])?;
        ip(&inner, &["addr", "add", &format!("{}/30", self.there), "dev", "link0"])?;
        ip(&inner, &["link", "set", "link0", "up"])?;
        ip(&inner, &["link", "set", "lo", "up"])?;
        Ok(true)
    }

    /// What runs a program in it.
    #[must_use]
    pub fn inside(&self) -> Vec<String> {
        let target = self.holder.id().to_string();
        ["nsenter", "--target", &target, "--net", "--"].map(str::to_owned).to_vec()
    }

    /// From now on the link loses everything, both ways: each side sends to an address that nobody
    /// has.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn swallow(&self) -> Result<()> {
        let (here, there) = (self.here.to_string(), self.there.to_string());
        let to = ["lladdr", "02:00:00:00:00:99", "nud", "permanent", "dev"];
        let command = |address, link| [&["neigh", "replace", address], &to[..], &[link]].concat();
        ip(&self.inside(), &command(&here, "link0"))?;
        ip(&[], &command(&there, &self.outer))
    }

    /// The link passes everything again.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn pass(&self) -> Result<()> {
        ip(&self.inside(), &["neigh", "del", &self.here.to_string(), "dev", "link0"])?;
        ip(&[], &["neigh", "del", &self.there.to_string(), "dev", &self.outer])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The link goes with the network, and that with its last process.
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

fn ip(within: &[String], arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(arguments);
    let output = crate::host::within(within, command).output().context("run ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {said}", arguments.join(" "));
    Ok(())
}

/// For how long a link loses everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// This long; whoever has not noticed by then finds its connection as it was.
    For(Duration),
    /// Until both sides have given their connection up.
    UntilNoticed,
}

/// What the aggregator says is not read for a while, then what the agents say: connections stay, and
/// their windows fill. Neither side may take memory for what the other doesn't take.
///
/// # Errors
/// When samples don't come back, or a side grows.
pub async fn unread(lasts: Duration, say: Say<'_>) -> Result<Outcome> {
    let mut scene = Scene::new(3, "10ms", say)?;
    let database = Database::create().await?;
    let url = database.url();
    let aggregator = scene.aggregator(&url).await?;
    let proxy = Proxy::to(aggregator.address).await?;
    scene.start(&[proxy.address()])?;
    scene.recovered(&url).await?;
    for (who, hold) in
        [("answers", Proxy::hold_answers as fn(&Proxy, bool)), ("requests", Proxy::hold_requests)]
    {
        let process = match who {
            "answers" => aggregator.process.pid(),
            _ => scene.hosts[0].process()?.pid(),
        };
        let before = resident(process)?;
        hold(&proxy, true);
        sleep(lasts).await;
        let grown = resident(process)?.saturating_sub(before) >> 10;
        hold(&proxy, false);
        say(&format!("{who} were not read for {lasts:?}"));
        ensure!(grown < 10 << 10, "{who} not read: the process has grown by {grown} KiB");
        let note = format!("{who} not read: who sends them grew by {grown} KiB");
        scene.outcome.notes.push(note);
        scene.outcome.faults += 1;
        scene.recovered(&url).await?;
    }
    scene.settle(&url).await
}

/// The link between an agent and the aggregator swallows everything. None where no network can be
/// made.
///
/// # Errors
/// When samples don't come back, or a side does not notice.
pub async fn agents_link(lasts: Lasts, say: Say<'_>) -> Result<Option<Outcome>> {
    let mut scene = Scene::new(2, "20ms", say)?;
    let Some(network) = Network::new().await? else { return Ok(None) };
    let database = Database::create().await?;
    let url = database.url();
    let mut command = serve(&scene.site.server()?, TRUST_DOMAIN, &url, "20ms")?;
    command.args(["--listen", "0.0.0.0:0", "--http-listen", "off"]);
    let Aggregator { process: aggregator, address } = Aggregator::of(&mut command).await?;
    let far = &mut scene.hosts[0];
    far.within = network.inside();
    let from_there = format!("https://{}:{}", network.here, address.port());
    far.settings.push(("ROWCALL_AGGREGATOR".into(), from_there));
    far.settings.push(("ROWCALL_SERVER_NAME".into(), "localhost".into()));
    let near = SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()));
    scene.start(&[near])?;
    scene.recovered(&url).await?;
    network.swallow()?;
    let begun = Instant::now();
    match lasts {
        Lasts::For(time) => sleep(time).await,
        Lasts::UntilNoticed => {
            let agent = scene.hosts[0].process()?.pid();
            let mut noticed = [None; 2];
            wait_for("both sides to notice", NOTICED, || {
                let sides = [
                    connections(agent, address.port(), network.here),
                    connections(aggregator.pid(), address.port(), network.there),
                ];
                for (side, open) in noticed.iter_mut().zip(sides) {
                    if open == 0 && side.is_none() {
                        *side = Some(begun.elapsed().as_secs());
                    }
                }
                std::future::ready(noticed.iter().all(Option::is_some).then_some(()))
            })
            .await;
            let [agent, aggregator] = noticed.map(Option::unwrap_or_default);
            let note = format!(
                "half-open link: noticed by the agent after {agent} s, by the aggregator after {aggregator} s"
            );
            scene.outcome.notes.push(note);
        }
    }
    network.pass()?;
    scene.outcome.faults += 1;
    scene.recovered(&url).await?;
    let open = connections(aggregator.pid(), address.port(), network.there);
    ensure!(
        open == 1 || lasts != Lasts::UntilNoticed,
        "the aggregator has {open} connections of one agent"
    );
    Ok(Some(scene.settle(&url).await?))
}

/// The link between the aggregator and PostgreSQL swallows everything. None where no network can
/// be made.
///
/// # Errors
/// When samples don't come back.
pub async fn databases_link(lasts: Lasts, say: Say<'_>) -> Result<Option<Outcome>> {
    let mut scene = Scene::new(2, "20ms", say)?;
    let Some(network) = Network::new().await? else { return Ok(None) };
    let remote = Remote::start().await?;
    let near = remote.database(Role::OverPlain).await?;
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, remote.port()));
    let proxy = Proxy::at(network.here.into(), server).await?;
    let far = near.replace(&format!("localhost:{}", remote.port()), &proxy.address().to_string());
    ensure!(far != near, "{near} names another host");
    let mut command = serve(&scene.site.server()?, TRUST_DOMAIN, &far, "20ms")?;
    command.args(["--listen", "127.0.0.1:0", "--http-listen", "off"]);
    let mut command = within(&network.inside(), command);
    let Aggregator { process: aggregator, address } = Aggregator::of(&mut command).await?;
    for host in &mut scene.hosts {
        host.within = network.inside();
    }
    scene.start(&[address])?;
    scene.recovered(&near).await?;
    network.swallow()?;
    let begun = Instant::now();
    match lasts {
        Lasts::For(time) => sleep(time).await,
        Lasts::UntilNoticed => {
            wait_for("the aggregator to notice", NOTICED, || {
                let said = aggregator.output().contains("the database takes no writes");
                std::future::ready(said.then_some(()))
            })
            .await;
            let after = begun.elapsed().as_secs();
            scene
                .outcome
                .notes
                .push(format!("half-open link to PostgreSQL: noticed after {after} s"));
        }
    }
    network.pass()?;
    scene.outcome.faults += 1;
    scene.recovered(&near).await?;
    let outcome = scene.settle(&near).await?;
    // Its guard waits for nobody, and nothing of it is needed.
    tokio::task::spawn_blocking(move || drop(remote)).await?;
    Ok(Some(outcome))
}

/// Open TCP connections of a process's network that have this port on one side and lead to this
/// address.
fn connections(process: u32, port: u16, to: Ipv4Addr) -> usize {
    const ESTABLISHED: &str = "01";
    let table = std::fs::read_to_string(format!("/proc/{process}/net/tcp")).unwrap_or_default();
    let port = format!(":{port:04X}");
    // The kernel shows the bytes of an address as one number of this machine.
    let to = format!("{:08X}:", u32::from_ne_bytes(to.octets()));
    let of_ours = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, near, far, state, ..] = fields.as_slice() else { return false };
        *state == ESTABLISHED
            && (near.ends_with(&port) || far.ends_with(&port))
            && far.starts_with(&to)
    };
    table.lines().filter(of_ours).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn open_connections_of_an_address_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut near = TcpStream::connect(address).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let count = |to| connections(std::process::id(), address.port(), to);
        assert_eq!((count(Ipv4Addr::LOCALHOST), count(Ipv4Addr::new(127, 0, 0, 2))), (2, 0));
        near.shutdown().await.unwrap();
        drop(far);
        wait_for("none to be open", NOTICED, || {
            std::future::ready((count(Ipv4Addr::LOCALHOST) == 0).then_some(()))
        })
        .await;
    }
}
