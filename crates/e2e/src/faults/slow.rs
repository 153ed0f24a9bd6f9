//! Connections that take their time: five ways to hold a place without using it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use arc_swap::ArcSwap;
use prost::Message as _;
use rowcall_proto::v1 as pb;
use rowcall_testkit::ca::Paths;
use rowcall_testkit::database::Database;
use rowcall_testkit::poll::wait_for;
use rowcall_tls::config::client_config;
use rowcall_tls::connect::Connector;
use rowcall_tls::load::Material;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::scene::{Outcome, Say, Scene, fresh};

/// All must be over long before this.
const OVER: Duration = Duration::from_secs(180);
/// Strangers that come from one address: half of the bound on handshakes of one source.
const OF_ONE_SOURCE: u32 = 32;
/// TLS handshakes of ours under way.
const AT_ONCE: usize = 8;
/// What an aggregator may have open besides after a crowd: all connections of its pools, and the
/// second host's stream.
const OTHER_FILES: u64 = 14;
/// Between two bytes of what never becomes a whole message.
const DRIP: Duration = Duration::from_secs(10);

/// How far a peer goes before it takes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It connects.
    Silent,
    /// It says the first words of TLS, and not all of them.
    HalfTls,
    /// It is let in, and says nothing.
    NoPreface,
    /// It opens a stream, and says no Hello; the connection ends soon after the stream is refused.
    NoHello,
    /// After its Hello it says a byte of a message now and then.
    Drips,
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::Silent, Self::HalfTls, Self::NoPreface, Self::NoHello, Self::Drips];
}

/// Opens `each` connections of each kind, from many addresses and with many certificates. A host
/// that comes meanwhile must get in, and they must all be over by themselves.
///
/// # Errors
/// When samples don't come, a connection stays, or the aggregator keeps its file.
pub async fn peers(each: u32, say: Say<'_>) -> Result<Outcome> {
    let mut scene = Scene::new(2, "50ms", say)?;
    let database = Database::create().await?;
    let url = database.url();
    let aggregator = scene.aggregator(&url).await?;
    let names: Vec<_> = scene.hosts.iter().map(|host| host.name.clone()).collect();
    let [first, second] = scene.hosts.as_mut_slice() else { return Ok(scene.outcome) };
    first.start(&[aggregator.address])?;
    fresh(&url, names.get(..1).unwrap_or_default()).await?;
    let process = aggregator.process.pid();
    let before = open_files(process)?;

    let crowd = Arc::new(Crowd::new(aggregator.address));
    let mut peers = JoinSet::new();
    let mut certificates = HashMap::new();
    for number in 0..each {
        for kind in Kind::ALL {
            // One session a host; of its other kinds a certificate may hold a few.
            let holder = if kind == Kind::Drips { number } else { number / 4 };
            let name = format!("{kind:?}-{holder}").to_lowercase();
            if !certificates.contains_key(&name) {
                certificates.insert(name.clone(), scene.site.client("agent", &name)?);
            }
            let files = certificates.get(&name).cloned().context("its certificate")?;
            let crowd = Arc::clone(&crowd);
            peers.spawn(async move { (kind, crowd.one(kind, number, &name, &files).await) });
        }
    }
    let all = u64::from(each) * 5;
    wait_for("half of them to be connected", OVER, || async {
        (crowd.opened.load(Ordering::Relaxed) * 2 >= all).then_some(())
    })
    .await;
    let begun = Instant::now();
    second.start(&[aggregator.address])?;
    let told = |error: anyhow::Error| error.context(format!("its agent said:\n{}", second.tail()));
    fresh(&url, &names).await.map_err(told)?;
    let joined = begun.elapsed();
    let open = open_files(process)?;
    // Those who drip stay for half a minute; the others may be gone if it took long.
    let beside = u64::from(each) / 2;
    ensure!(open > before + beside, "the host got in when only {open} files were open");
    say(&format!("a host got in beside {} slow ones in {joined:?}", open - before));
    scene.outcome.notes.push(format!(
        "{all} slow connections; a host's first row beside {} of them after {} ms",
        open - before,
        joined.as_millis()
    ));

    let mut lifetimes = Vec::new();
    while let Some(peer) =
        tokio::time::timeout(OVER, peers.join_next()).await.context("they stay")?
    {
        let (kind, lifetime) = peer?;
        lifetimes.push((kind, lifetime.with_context(|| format!("a peer of kind {kind:?}"))?));
    }
    for kind in Kind::ALL {
        let of_it = lifetimes.iter().filter(|(other, _)| *other == kind).map(|(_, time)| *time);
        let (least, most) = (of_it.clone().min(), of_it.max());
        let (least, most) = (least.unwrap_or_default(), most.unwrap_or_default());
        scene.outcome.notes.push(format!("{kind:?} closed after {least:.1?} to {most:.1?}"));
    }
    let closed = || async {
        open_files(process).is_ok_and(|open| open <= before + OTHER_FILES).then_some(())
    };
    wait_for(format!("the files of the slow to be closed, {before} before"), OVER, closed).await;
    scene.outcome.faults += all;
    scene.settle(&url).await
}

/// Those who take their time.
struct Crowd {
    server: SocketAddr,
    handshakes: Semaphore,
    /// How many have gone as far as they go.
    opened: AtomicU64,
}

impl Crowd {
    fn new(server: SocketAddr) -> Self {
        Self { server, handshakes: Semaphore::new(AT_ONCE), opened: AtomicU64::new(0) }
    }

    /// One of them, until the server ends it: how long it held its place.
    async fn one(&self, kind: Kind, number: u32, name: &str, files: &Paths) -> Result<Duration> {
        match kind {
            Kind::Silent => self.stranger(number, &[]).await,
            // A record of 512 bytes, of which the first come.
            Kind::HalfTls => self.stranger(number, &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).await,
            Kind::NoPreface => self.guest(files, &[], false).await,
            Kind::NoHello => self.guest(files, &call(), false).await,
            Kind::Drips => {
                let said = [call(), data(&message(&hello(name)))].concat();
                self.guest(files, &said, true).await
            }
        }
    }

    /// Nobody: of a source like half of all sources that an aggregator takes.
    async fn stranger(&self, number: u32, said: &[u8]) -> Result<Duration> {
        let socket = TcpSocket::new_v4()?;
        let source =
            Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + number / OF_ONE_SOURCE);
        socket.bind((source, 0).into())?;
        let mut stream = socket.connect(self.server).await?;
        stream.write_all(said).await?;
        Ok(self.hold(stream, false).await)
    }

    /// Somebody with a certificate.
    async fn guest(&self, files: &Paths, said: &[u8], drips: bool) -> Result<Duration> {
        let place = self.handshakes.acquire().await?;
        let config = client_config(&Material::load(&files.into())?)?;
        let connector = Connector::new(Arc::new(ArcSwap::from_pointee(config)));
        let mut stream = connector.connect("localhost", self.server.port()).await?;
        stream.write_all(said).await?;
        stream.flush().await?;
        drop(place);
        Ok(self.hold(stream, drips).await)
    }

    /// Reads what comes and says next to nothing, until the other side ends it.
    async fn hold(&self, stream: impl AsyncRead + AsyncWrite + Unpin, drips: bool) -> Duration {
        let begun = Instant::now();
        self.opened.fetch_add(1, Ordering::Relaxed);
        let (mut reader, mut writer) = tokio::io::split(stream);
        let dripping = async {
            loop {
                sleep(DRIP).await;
                // A message of 16 MiB would take 5 years.
                let written = async {
                    writer.write_all(&data(&[0])).await.ok()?;
                    writer.flush().await.ok()
                };
                if !drips || written.await.is_none() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let mut nobody = tokio::io::sink();
        tokio::select! {
            // However it ends.
            _ = tokio::io::copy(&mut reader, &mut nobody) => {}
            () = dripping => {}
        }
        begun.elapsed()
    }
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut frame = vec![0, length[0], length[1], kind, flags, 0, 0, 0, stream];
    frame.extend(payload);
    frame
}

/// What opens a call to the telemetry stream.
fn call() -> Vec<u8> {
    let mut block = vec![0x83, 0x87];
    for (index, name, value) in [
        (0x04, "", "/rowcall.v1.TelemetryService/Stream"),
        (0x01, "", "localhost"),
        (0x00, "content-type", "application/grpc"),
        (0x00, "te", "trailers"),
    ] {
        block.push(index);
        for text in [name, value].into_iter().filter(|text| !text.is_empty()) {
            block.push(u8::try_from(text.len()).unwrap_or_default());
            block.extend(text.as_bytes());
        }
    }
    // END_HEADERS
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[]), frame(1, 4, 1, &block)]
        .concat()
}

/// Bytes of the call.
fn data(bytes: &[u8]) -> Vec<u8> {
    frame(0, 0, 1, bytes)
}

/// A message as gRPC has it.
fn message(request: &pb::StreamRequest) -> Vec<u8> {
    let bytes = request.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], &length[..], &bytes].concat()
}

fn hello(name: &str) -> pb::StreamRequest {
    let hello = pb::Hello {
        protocol_min: 1,
        protocol_max: 1,
        host_name: name.to_owned(),
        agent_version: "0.1.0".to_owned(),
        run_id: 1,
        spool_epoch: 1,
        oldest_sequence: 1,
        next_sequence: 1,
        ..Default::default()
    };
    pb::StreamRequest { frame: Some(pb::stream_request::Frame::Hello(hello)) }
}

/// Files that a process has open.
fn open_files(process: u32) -> Result<u64> {
    let folder = format!("/proc/{process}/fd");
    let entries = Path::new(&folder).read_dir().with_context(|| format!("list {folder}"))?;
    Ok(u64::try_from(entries.count())?)
}
