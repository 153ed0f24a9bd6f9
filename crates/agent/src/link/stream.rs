//! One stream: Hello, Welcome, batches and acknowledgements.

use std::time::Duration;

use prost::Message as _;
use rowcall_core::convert::{facts_to_wire, record_to_wire};
use rowcall_core::id::{Sequence, UnixMicros};
use rowcall_core::proto::v1 as pb;
use rowcall_core::record::{Body, Gap, GapCause, GapState, HostFacts, Record};
use rowcall_core::session::agent::{Holdings, Resume, Session};
use rowcall_core::session::aggregator::MAX_BATCH_RECORDS;
use rowcall_core::version;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::end::one_line;
use super::{End, Link};
use crate::queue::Spool;
use crate::service::LinkState;

/// From the call to Welcome.
const WELCOME_DEADLINE: Duration = Duration::from_secs(15);

/// From the first step to Welcome.
const OPEN_DEADLINE: Duration = Duration::from_secs(60);

/// Records of one batch, in encoded bytes; well below the 256 KiB that a frame may have.
const BATCH_BYTES: usize = 200 * 1024;

/// With less room than this in the window, rather wait for an acknowledgement than send crumbs.
/// Any single record fits.
const LEAST_ROOM_BYTES: usize = 4 * 1024;

/// A batch's spool status takes less than this.
const STATUS_BYTES: usize = 64;

/// Frames between the link and HTTP/2: enough to keep it busy.
const WAITING_FRAMES: usize = 2;

/// Empty batches that only show that we are there go no more often than this, or than
/// `min_interval` where that is shorter, whatever the aggregator asks for.
const LEAST_BEAT: Duration = Duration::from_secs(1);

/// Most that is logged of the aggregator's version.
const MAX_VERSION_BYTES: usize = 64;

/// A stream that still acknowledges after this long is no flapping one.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// At most this often the aggregator is told what the queue holds.
const STATUS_EVERY: Duration = Duration::from_secs(60);

/// When the stream takes no more frames, the longest wait for the reason.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// After Drain, the longest wait for what is in flight.
const DRAIN_WAIT: Duration = Duration::from_secs(10);

impl<S: Spool> Link<S> {
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
        let mut client = self.dialer.connect().await?;
        let facts = self.facts.refresh().await;
        let hello = self.hello(&facts);
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
            Some(pb::stream_response::Frame::Drain(drain)) => {
                return Err(End::Drained(Duration::from_millis(drain.reconnect_within_ms.into())));
            }
            Some(pb::stream_response::Frame::Ack(_)) | None => {
                return Err(End::Failed("the aggregator's first frame is no Welcome".into()));
            }
        };
        self.welcomed(&welcome, frames, inbox)
    }

    fn hello(&self, facts: &HostFacts) -> pb::Hello {
        let (epoch, oldest, next) =
            self.queue.with(|spool| (spool.epoch(), spool.oldest(), spool.next()));
        pb::Hello {
            protocol_min: version::OURS.min,
            protocol_max: version::OURS.max,
            host_name: self.dialer.name().as_str().to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            machine_id: self.machine.machine_id.clone(),
            boot_id: self.machine.boot_id.clone(),
            run_id: self.run.as_u64(),
            spool_epoch: epoch.as_u64(),
            oldest_sequence: oldest.as_u64(),
            next_sequence: next.as_u64(),
            clock_unix_us: self.clock.wall().0,
            host_info: Some(facts_to_wire(facts)),
            epoch_origin: pb::EpochOrigin::Unspecified.into(),
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
        let (session, resume) = self
            .queue
            .with(|spool| Session::welcome(welcome, spool))
            .map_err(|violation| End::Failed(violation.to_string()))?;
        let next = match resume {
            Resume::From(next) | Resume::ForgottenThenFrom { first: next, .. } => next,
            Resume::NewEpoch => return Err(End::NewEpoch),
        };
        let asked = Duration::from_millis(welcome.interval_ms.into());
        let interval = asked.max(self.config.min_interval);
        if interval > asked {
            let text = format!(
                "the aggregator asks for a sample every {asked:?}, min_interval allows one every \
                 {interval:?}: its reports will find this host incomplete; raise its interval or \
                 lower min_interval"
            );
            if let Some(repeated) = self.journal.note(&text, Instant::now()) {
                tracing::warn!("{text}{repeated}");
            }
        }
        self.interval.send_if_modified(|held| std::mem::replace(held, interval) != interval);
        self.health.link_is(LinkState::Connected);
        if let Some(repeated) = self.journal.note("connected", Instant::now()) {
            tracing::info!(
                aggregator = %self.config.aggregator,
                version = one_line(&welcome.aggregator_version, MAX_VERSION_BYTES),
                host_id = welcome.host_id,
                interval_ms = interval.as_millis(),
                from_sequence = %next,
                clock_behind_us = UnixMicros(welcome.clock_unix_us).since(self.clock.wall()),
                "connected{repeated}"
            );
        }
        Ok(Stream {
            session,
            next,
            mark_time: welcome.mark.map(|mark| UnixMicros(mark.time_unix_us)),
            frames: Some(frames),
            inbox,
            status_sent: None,
            opened: Instant::now(),
            beat_every: beat_every(asked, self.config.min_interval),
            sent_at: Instant::now(),
            quiet_since: Instant::now(),
            drain: None,
            stop_deadline: None,
        })
    }
}

/// A stream after Welcome.
struct Stream {
    session: Session,
    /// What is sent next.
    next: Sequence,
    /// Time of the record at the mark.
    mark_time: Option<UnixMicros>,
    /// Gone after Bye: our half is closed.
    frames: Option<mpsc::Sender<pb::StreamRequest>>,
    inbox: Streaming<pb::StreamResponse>,
    status_sent: Option<Instant>,
    opened: Instant,
    /// Where we sample less often than the aggregator asks: an empty batch this often keeps the
    /// stream from being taken for silent.
    beat_every: Option<Duration>,
    /// When the newest batch went.
    sent_at: Instant,
    /// Since when something is in flight and nothing was heard.
    quiet_since: Instant,
    drain: Option<Draining>,
    stop_deadline: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Draining {
    within: Duration,
    deadline: Instant,
}

impl Stream {
    async fn serve<S: Spool>(&mut self, link: &mut Link<S>, stop: &CancellationToken) -> End {
        loop {
            // Our half is closed and the aggregator ends the stream: leaving first could overtake
            // what was sent last on its way out.
            if self.drain.is_some() && self.session.is_settled() {
                self.frames = None;
            }
            let has_batch = self.drain.is_none() && self.has_room() && {
                let next = link.queue.with(|spool| Holdings::next(spool));
                next > self.next
            };
            let has_bye = self.stop_deadline.is_some() && !has_batch;
            let beat_at =
                self.beat_every.filter(|_| self.drain.is_none()).map(|e| self.sent_at + e);
            let has_beat = beat_at.is_some_and(|at| Instant::now() >= at);
            let wants_frame = has_batch || has_bye || has_beat;
            let frames = self.frames.clone();
            let reserve = async {
                match &frames {
                    Some(frames) => frames.reserve().await.ok(),
                    None => std::future::pending().await,
                }
            };
            let deadline = self.deadline(link.config.ack_timeout);
            match deadline {
                Some(deadline) => link.health.link.back_by(deadline),
                None => link.health.link.waits_for_others(),
            }
            tokio::select! {
                biased;
                response = self.inbox.message() => match response {
                    Ok(Some(response)) => {
                        self.quiet_since = Instant::now();
                        if let Err(end) = self.response(link, response) {
                            return end;
                        }
                    }
                    Ok(None) => return self.ended(),
                    Err(status) => return self.failed(status),
                },
                permit = reserve, if wants_frame => {
                    let Some(permit) = permit else { return self.closed(link).await };
                    let batch = if has_batch { self.batch(link) } else { None };
                    if let Some(batch) = batch {
                        permit.send(frame(pb::stream_request::Frame::Batch(batch)));
                    } else if self.stop_deadline.is_some() {
                        permit.send(frame(pb::stream_request::Frame::Bye(bye(link))));
                        self.frames = None;
                    } else if has_beat {
                        self.sent_at = Instant::now();
                        let batch = pb::Batch { records: Vec::new(), spool: Some(status(link)) };
                        permit.send(frame(pb::stream_request::Frame::Batch(batch)));
                    }
                }
                () = link.queue.appended(), if self.frames.is_some() => {}
                () = sleep_until(beat_at.unwrap_or_else(Instant::now)), if beat_at.is_some() && !has_beat => {}
                () = stop.cancelled(), if self.stop_deadline.is_none() => {
                    self.stop_deadline = Some(Instant::now() + link.config.stop_wait);
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    if let Some(end) = self.late(link) {
                        return end;
                    }
                }
            }
        }
    }

    /// HTTP/2 takes no more of our frames: the stream is at its end, and the reason comes from the
    /// inbox.
    async fn closed<S: Spool>(&mut self, link: &mut Link<S>) -> End {
        let reason = async {
            loop {
                match self.inbox.message().await {
                    Ok(Some(response)) => self.response(link, response)?,
                    Ok(None) => return Err(self.ended()),
                    Err(status) => return Err(self.failed(status)),
                }
            }
        };
        match timeout(CLOSE_WAIT, reason).await {
            Ok(Err(end)) => end,
            Ok(Ok(())) | Err(_) => self.ended(),
        }
    }

    fn has_room(&self) -> bool {
        self.session.is_settled() || self.session.room_bytes() >= LEAST_ROOM_BYTES
    }

    /// When to give up waiting, if for anything.
    fn deadline(&self, ack_timeout: Duration) -> Option<Instant> {
        let ack = (!self.session.is_settled()).then(|| self.quiet_since + ack_timeout);
        let drain = self.drain.map(|drain| drain.deadline);
        [ack, drain, self.stop_deadline].into_iter().flatten().min()
    }

    fn late<S: Spool>(&self, link: &Link<S>) -> Option<End> {
        let now = Instant::now();
        if self.stop_deadline.is_some_and(|deadline| now >= deadline) {
            return Some(End::Stopped);
        }
        if let Some(drain) = self.drain.filter(|drain| now >= drain.deadline) {
            return Some(End::Drained(drain.within));
        }
        let quiet = now.saturating_duration_since(self.quiet_since);
        (!self.session.is_settled() && quiet >= link.config.ack_timeout).then(|| {
            End::Failed(format!(
                "nothing acknowledged and nothing heard for {} s; the aggregator may be without \
                 its database",
                quiet.as_secs()
            ))
        })
    }

    fn ended(&self) -> End {
        match (self.drain, self.stop_deadline) {
            (Some(drain), _) => End::Drained(drain.within),
            (None, Some(_)) => End::Stopped,
            (None, None) => End::Failed("the aggregator ended the stream".into()),
        }
    }

    fn failed(&self, status: tonic::Status) -> End {
        match (self.drain, self.stop_deadline) {
            (None, None) => status.into(),
            _ => self.ended(),
        }
    }

    fn response<S: Spool>(
        &mut self,
        link: &mut Link<S>,
        response: pb::StreamResponse,
    ) -> Result<(), End> {
        match response.frame {
            Some(pb::stream_response::Frame::Ack(ack)) => {
                let released = self
                    .session
                    .acknowledged(&ack)
                    .map_err(|violation| End::Failed(violation.to_string()))?;
                if let Some(through) = released {
                    link.queue.with(|spool| spool.release(through));
                    link.backoff.reset();
                    link.renewed = false;
                    link.health.acknowledged(link.clock.wall());
                    if self.opened.elapsed() >= HEALTHY_AFTER {
                        link.journal.forget();
                    }
                    tracing::debug!(%through, "acknowledged");
                }
                Ok(())
            }
            Some(pb::stream_response::Frame::Drain(drain)) => {
                self.drain = Some(Draining {
                    within: Duration::from_millis(drain.reconnect_within_ms.into()),
                    deadline: Instant::now() + DRAIN_WAIT,
                });
                Ok(())
            }
            Some(pb::stream_response::Frame::Welcome(_)) => {
                Err(End::Failed("the aggregator sent a second Welcome".into()))
            }
            // A frame of a newer protocol says nothing to us.
            None => Ok(()),
        }
    }

    /// The next batch; counts as sent.
    fn batch<S: Spool>(&mut self, link: &Link<S>) -> Option<pb::Batch> {
        let room = self.session.room_bytes().max(LEAST_ROOM_BYTES) - STATUS_BYTES;
        let (oldest, mut records) = link.queue.with(|spool| {
            let oldest = spool.oldest();
            (oldest, spool.read_from(self.next.max(oldest), room.min(BATCH_BYTES)))
        });
        // One place is for the gap.
        records.truncate(MAX_BATCH_RECORDS - 1);
        let forgotten = self.forgotten(oldest, link.clock.wall());
        let through = records.last().or(forgotten.as_ref()).map(Record::through)?;
        let now = Instant::now();
        let spool = self
            .status_sent
            .is_none_or(|sent| now.saturating_duration_since(sent) >= STATUS_EVERY)
            .then(|| status(link));
        if spool.is_some() {
            self.status_sent = Some(now);
        }
        let records = forgotten.iter().chain(&records).map(record_to_wire).collect();
        let batch = pb::Batch { records, spool };
        if self.session.is_settled() {
            self.quiet_since = now;
        }
        self.sent_at = now;
        self.session.sent(through, batch.encoded_len());
        self.next = through.next();
        Some(batch)
    }

    /// The gap in place of acknowledged records that the aggregator lost and the queue no longer
    /// holds.
    fn forgotten(&self, oldest: Sequence, now: UnixMicros) -> Option<Record> {
        let through = Sequence::new(oldest.as_u64() - 1).ok().filter(|last| *last >= self.next)?;
        let ticks = through.as_i64() - self.next.as_i64() + 1;
        let from = self.mark_time.unwrap_or(now);
        let (state, cause) = (GapState::Forgotten, GapCause::Size);
        let gap = Gap { through, ticks, state, cause, from, to: from.max(now) };
        Some(Record { due_ticks: 0, sequence: self.next, time: now, body: Body::Gap(gap) })
    }
}

/// How often to show that we are there, where samples are less often than asked for.
pub(super) fn beat_every(asked: Duration, min_interval: Duration) -> Option<Duration> {
    (min_interval > asked).then(|| asked.max(min_interval.min(LEAST_BEAT)))
}

fn frame(frame: pb::stream_request::Frame) -> pb::StreamRequest {
    pb::StreamRequest { frame: Some(frame) }
}

fn bye<S: Spool>(link: &Link<S>) -> pb::Bye {
    pb::Bye {
        reason: pb::ByeReason::Stopped.into(),
        unacknowledged_records: link.queue.with(|spool| spool.status().unacknowledged_records),
    }
}

fn status<S: Spool>(link: &Link<S>) -> pb::SpoolStatus {
    let status = link.queue.with(|spool| spool.status());
    let age = status.oldest_unacknowledged.map_or(0, |oldest| link.clock.wall().since(oldest));
    pb::SpoolStatus {
        unacknowledged_records: status.unacknowledged_records,
        size_bytes: status.size_bytes,
        oldest_unacknowledged_age_s: u64::try_from(age / 1_000_000).unwrap_or(0),
        dropped_records: status.dropped_records,
        clock_unix_us: link.clock.wall().0,
        ..pb::SpoolStatus::default()
    }
}
