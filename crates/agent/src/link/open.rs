//! The beginning of a stream: connection, Hello, Welcome, and where to go on from.

use std::time::Duration;

use rowcall_core::clock::NOT_SET_BEFORE;
use rowcall_core::convert::{facts_to_wire, origin_to_wire};
use rowcall_core::id::{Sequence, UnixMicros};
use rowcall_core::proto::v1 as pb;
use rowcall_core::record::HostFacts;
use rowcall_core::session::agent::{Resume, Session};
use rowcall_core::version;
use rowcall_spool::Status;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::dial::telemetry;
use super::end::one_line;
use super::stream::{Stream, drained};
use super::{Connected, End, Link, Refill};
use crate::service::LinkState;

/// From the call to Welcome.
const WELCOME_DEADLINE: Duration = Duration::from_secs(15);

/// From the first step to Welcome.
const OPEN_DEADLINE: Duration = Duration::from_secs(60);

/// Frames between the link and HTTP/2: enough to keep it busy.
const WAITING_FRAMES: usize = 2;

/// With more records than this waiting, a stream is compressed: they shrink to a third.
const COMPRESSED_BACKLOG: u64 = 300;

/// Most that is logged of the aggregator's version.
const MAX_VERSION_BYTES: usize = 64;

/// What the log says when there is a stream.
const CONNECTED: &str = "connected";

impl Link {
    /// Connects and serves one stream to its end.
    pub(super) async fn stream(&mut self, stop: &CancellationToken) -> End {
        match stop.run_until_cancelled(Box::pin(self.open())).await {
            None => End::Stopped,
            Some(Err(end)) => end,
            Some(Ok(mut stream)) => Box::pin(stream.serve(self, stop)).await,
        }
    }

    async fn open(&mut self) -> Result<Stream, End> {
        // Each step has a deadline of its own, all below this.
        self.health.link.back_within(OPEN_DEADLINE);
        let backlog = self.queue.spool.status().unacknowledged_records;
        let gzip = backlog > COMPRESSED_BACKLOG;
        let Some(aggregator) = self.aggregators.get(self.turns.place()) else {
            return Err(End::NeedsPeople("no aggregator is known: set `aggregator`".into()));
        };
        let channel = self.dialer.connect(aggregator).await?;
        let mut client = telemetry(channel.clone(), gzip);
        // First the spool: a change that is recorded while facts are read counts as told after them.
        let spool = self.queue.spool.status();
        let facts = self.facts.refresh().await;
        let hello = self.hello(&facts, &spool);
        let (frames, outbox) = mpsc::channel(WAITING_FRAMES);
        let frame = Some(pb::stream_request::Frame::Hello(hello));
        frames
            .try_send(pb::StreamRequest { frame })
            .map_err(|_| End::Failed("no room for Hello".into()))?;
        let opened = timeout(WELCOME_DEADLINE, async {
            let mut inbox = client.stream(ReceiverStream::new(outbox)).await?.into_inner();
            let first = inbox.message().await?;
            Ok::<_, tonic::Status>((inbox, first))
        });
        let (inbox, first) = opened.await.map_err(|_| {
            End::Failed(format!(
                "the aggregator did not answer Hello within {} s; it may be overloaded or without \
                 its database",
                WELCOME_DEADLINE.as_secs()
            ))
        })??;
        let welcome = match first.and_then(|response| response.frame) {
            Some(pb::stream_response::Frame::Welcome(welcome)) => welcome,
            Some(pb::stream_response::Frame::Drain(drain)) => return Err(drained(&drain)),
            Some(pb::stream_response::Frame::Ack(_)) | None => {
                return Err(End::Failed("the aggregator's first frame is no Welcome".into()));
            }
        };
        let stream = self.welcomed(&welcome, frames, inbox)?;
        self.notes.change(|told| told.refused = None);
        self.connected.send_replace(Some(Connected {
            channel,
            theirs: UnixMicros(welcome.clock_unix_us),
            since_boot: self.clock.since_boot(),
            authorities_sha256: welcome.server_authorities_sha256,
        }));
        Ok(stream)
    }

    fn hello(&self, facts: &HostFacts, spool: &Status) -> pb::Hello {
        pb::Hello {
            protocol_min: version::OURS.min,
            protocol_max: version::OURS.max,
            host_name: self.dialer.name().as_str().to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            machine_id: self.machine.machine_id.clone(),
            boot_id: self.machine.boot_id.clone(),
            run_id: self.run.as_u64(),
            spool_epoch: spool.epoch.as_u64(),
            oldest_sequence: spool.oldest.as_u64(),
            next_sequence: spool.next.as_u64(),
            clock_unix_us: self.clock.wall().0,
            host_info: Some(facts_to_wire(facts)),
            epoch_origin: origin_to_wire(spool.origin).into(),
        }
    }

    fn welcomed(
        &mut self,
        welcome: &pb::Welcome,
        frames: mpsc::Sender<pb::StreamRequest>,
        inbox: Streaming<pb::StreamResponse>,
    ) -> Result<Stream, End> {
        if !(version::OURS.min..=version::OURS.max).contains(&welcome.protocol) {
            let protocol = welcome.protocol;
            return Err(End::Failed(format!("the aggregator chose protocol {protocol}, unasked")));
        }
        if self.clock.wall() < NOT_SET_BEFORE {
            // It knows what time it is; what was read here until now can be given its times.
            let theirs = UnixMicros(welcome.clock_unix_us);
            self.queue.clock_is(theirs, self.clock.since_boot());
        }
        let (session, resume) = Session::welcome(welcome, &self.queue.spool)
            .map_err(|violation| End::Failed(violation.to_string()))?;
        let next = match resume {
            Resume::From(next) | Resume::ForgottenThenFrom { first: next, .. } => next,
            Resume::NewEpoch => return Err(End::NewEpoch),
        };
        self.compare(welcome.mark.as_ref(), next);
        let interval = self.take_interval(Duration::from_millis(welcome.interval_ms.into()));
        let aggregator = self.aggregator();
        self.health.streaming();
        self.health.link_is(LinkState::Connected(aggregator.clone()));
        // Or whoever reads the log believes this node cut off.
        if std::mem::take(&mut self.course.told_why_not) {
            self.course.journal.forget_this(CONNECTED);
        }
        if let Some(repeated) = self.course.journal.note(CONNECTED, Instant::now()) {
            tracing::info!(
                %aggregator,
                version = one_line(&welcome.aggregator_version, MAX_VERSION_BYTES),
                host_id = welcome.host_id,
                interval_ms = interval.as_millis(),
                from_sequence = %next,
                clock_behind_us = UnixMicros(welcome.clock_unix_us).since(self.clock.wall()),
                "{CONNECTED}{repeated}"
            );
        }
        let asked = Duration::from_millis(welcome.interval_ms.into());
        Ok(Stream::new(session, next, welcome, frames, inbox, asked, self.config.min_interval))
    }

    /// Looks whether the aggregator lost what it had acknowledged.
    pub(super) fn compare(&mut self, mark: Option<&pb::Mark>, next: Sequence) {
        let acknowledged = self.queue.spool.status().acknowledged;
        let acknowledged = acknowledged.map_or(0, |(through, _)| through.as_u64());
        let mark = mark.map_or(0, |mark| mark.through_sequence);
        if mark >= acknowledged {
            self.course.refill = None;
            return;
        }
        self.health.refilling();
        let before = self.course.refill.filter(|before| mark <= before.mark);
        let times = before.map_or(1, |before| before.times.saturating_add(1));
        self.course.refill = Some(Refill { mark, times });
        let text = format!(
            "the aggregator's mark is {mark}, below {acknowledged} that was acknowledged: its \
             database lost rows, as after a restored backup; sending again from {next}"
        );
        if let Some(repeated) = self.course.journal.note(&text, Instant::now()) {
            tracing::warn!(aggregator = %self.aggregator(), "{text}{repeated}");
        }
    }

    /// The interval that comes of what the aggregator asks for.
    fn take_interval(&mut self, asked: Duration) -> Duration {
        let interval = asked.max(self.config.min_interval);
        if interval > asked {
            let text = format!(
                "the aggregator asks for a sample every {asked:?}, min_interval allows one every \
                 {interval:?}: its reports will find this host incomplete; raise its interval or \
                 lower min_interval"
            );
            if let Some(repeated) = self.course.journal.note(&text, Instant::now()) {
                tracing::warn!("{text}{repeated}");
            }
        }
        self.interval.send_if_modified(|held| std::mem::replace(held, interval) != interval);
        interval
    }
}
