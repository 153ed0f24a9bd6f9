//! One stream after Welcome: batches and acknowledgements, to its end.

use std::time::Duration;

use rowcall_core::id::{Sequence, UnixMicros};
use rowcall_core::proto::v1 as pb;
use rowcall_core::session::agent::{Holdings as _, Session};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::batch::status;
use super::{End, Link};

/// Empty batches that only show that we are there go no more often than this, or than
/// `min_interval` where that is shorter, whatever the aggregator asks for.
const LEAST_BEAT: Duration = Duration::from_secs(1);

/// A stream that still acknowledges after this long is no flapping one.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// When the stream takes no more frames, the longest wait for the reason.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// After Drain, the longest wait for what is in flight.
const DRAIN_WAIT: Duration = Duration::from_secs(10);

/// A stream after Welcome.
pub(super) struct Stream {
    pub(super) session: Session,
    /// What is sent next.
    pub(super) next: Sequence,
    /// Ticks that were due up to what was sent last, or up to the mark.
    pub(super) due_ticks: i64,
    /// Time of the record at the mark.
    pub(super) mark_time: Option<UnixMicros>,
    /// Gone after Bye: our half is closed.
    frames: Option<mpsc::Sender<pb::StreamRequest>>,
    inbox: Streaming<pb::StreamResponse>,
    pub(super) status_sent: Option<Instant>,
    opened: Instant,
    /// Where we sample less often than the aggregator asks: an empty batch this often keeps the
    /// stream from being taken for silent.
    beat_every: Option<Duration>,
    /// When the newest batch went.
    pub(super) sent_at: Instant,
    /// Since when something is in flight and nothing was heard.
    pub(super) quiet_since: Instant,
    drain: Option<Draining>,
    stopping: Option<Stopping>,
}

#[derive(Clone, Copy)]
struct Draining {
    within: Duration,
    leaves: bool,
    deadline: Instant,
}

/// We stop.
struct Stopping {
    deadline: Instant,
    /// Until everything that was read is on disk and can be sent.
    flush: Option<JoinHandle<bool>>,
}

impl Stream {
    /// Goes on from `next`; samples were asked for so often.
    pub(super) fn new(
        session: Session,
        next: Sequence,
        welcome: &pb::Welcome,
        frames: mpsc::Sender<pb::StreamRequest>,
        inbox: Streaming<pb::StreamResponse>,
        asked: Duration,
        min_interval: Duration,
    ) -> Self {
        let (mark, now) = (welcome.mark.as_ref(), Instant::now());
        Self {
            session,
            next,
            due_ticks: mark.map_or(0, |mark| i64::try_from(mark.due_ticks).unwrap_or(0)),
            mark_time: mark.map(|mark| UnixMicros(mark.time_unix_us)),
            frames: Some(frames),
            inbox,
            status_sent: None,
            opened: now,
            beat_every: beat_every(asked, min_interval),
            sent_at: now,
            quiet_since: now,
            drain: None,
            stopping: None,
        }
    }

    pub(super) async fn serve(&mut self, link: &mut Link, stop: &CancellationToken) -> End {
        loop {
            // Our half is closed and the aggregator ends the stream: leaving first could overtake
            // what was sent last on its way out.
            if self.drain.is_some() && self.session.is_settled() {
                self.frames = None;
            }
            let has_batch =
                self.drain.is_none() && self.has_room() && link.queue.spool.next() > self.next;
            let is_flushed = |stopping: &Stopping| stopping.flush.is_none();
            let has_bye = self.stopping.as_ref().is_some_and(is_flushed) && !has_batch;
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
                    } else if has_bye {
                        permit.send(frame(pb::stream_request::Frame::Bye(bye(link))));
                        self.frames = None;
                    } else if has_beat {
                        self.sent_at = Instant::now();
                        let batch = pb::Batch { records: Vec::new(), spool: Some(status(link)) };
                        permit.send(frame(pb::stream_request::Frame::Batch(batch)));
                    }
                }
                () = link.queue.sendable(), if self.frames.is_some() => {}
                () = sleep_until(beat_at.unwrap_or_else(Instant::now)), if beat_at.is_some() && !has_beat => {}
                () = flushed(&mut self.stopping) => {}
                () = stop.cancelled(), if self.stopping.is_none() => self.stop(link),
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    if let Some(end) = self.late(link) {
                        return end;
                    }
                }
            }
        }
    }

    fn stop(&mut self, link: &Link) {
        let (spool, wait) = (link.queue.spool.clone(), link.config.stop_wait);
        let flush = tokio::task::spawn_blocking(move || spool.flush(wait));
        self.stopping = Some(Stopping { deadline: Instant::now() + wait, flush: Some(flush) });
    }

    /// HTTP/2 takes no more of our frames: the stream is at its end, and the reason comes from the
    /// inbox.
    async fn closed(&mut self, link: &mut Link) -> End {
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

    /// When to give up waiting, if for anything.
    fn deadline(&self, ack_timeout: Duration) -> Option<Instant> {
        let ack = (!self.session.is_settled()).then(|| self.quiet_since + ack_timeout);
        let drain = self.drain.map(|drain| drain.deadline);
        let stop = self.stopping.as_ref().map(|stopping| stopping.deadline);
        [ack, drain, stop].into_iter().flatten().min()
    }

    fn late(&self, link: &Link) -> Option<End> {
        let now = Instant::now();
        if self.stopping.as_ref().is_some_and(|stopping| now >= stopping.deadline) {
            return Some(End::Stopped);
        }
        if let Some(drain) = self.drain.filter(|drain| now >= drain.deadline) {
            return Some(drain.end());
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
        match (self.drain, &self.stopping) {
            (Some(drain), _) => drain.end(),
            (None, Some(_)) => End::Stopped,
            (None, None) => End::Failed("the aggregator ended the stream".into()),
        }
    }

    fn failed(&self, status: tonic::Status) -> End {
        match (self.drain, &self.stopping) {
            (None, None) => status.into(),
            _ => self.ended(),
        }
    }

    fn response(&mut self, link: &mut Link, response: pb::StreamResponse) -> Result<(), End> {
        match response.frame {
            Some(pb::stream_response::Frame::Ack(ack)) => {
                let theirs = UnixMicros(ack.clock_unix_us);
                link.queue.their_clock_is(theirs, link.clock.since_boot());
                let released = self
                    .session
                    .acknowledged(&ack)
                    .map_err(|violation| End::Failed(violation.to_string()))?;
                match released {
                    Some(through) => self.acknowledged(link, through),
                    None => ignored(link, &ack),
                }
                Ok(())
            }
            Some(pb::stream_response::Frame::Drain(drain)) => {
                self.drain = Some(Draining {
                    within: within(&drain),
                    leaves: leaves(&drain),
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

    fn acknowledged(&self, link: &mut Link, through: Sequence) {
        link.queue.spool.release(through);
        link.progressed();
        link.health.acknowledged();
        if self.opened.elapsed() >= HEALTHY_AFTER {
            link.course.journal.forget();
        }
        let epoch = link.queue.spool.epoch();
        tracing::debug!(target: "rowcall_agent::link", %epoch, %through, "acknowledged");
    }
}

impl Draining {
    fn end(self) -> End {
        End::Drained { within: self.within, leaves: self.leaves }
    }
}

/// Done when everything is on disk; never where we don't stop, or that is known already.
async fn flushed(stopping: &mut Option<Stopping>) {
    match stopping.as_mut().and_then(|stopping| stopping.flush.as_mut()) {
        // What could not be written is offered to be sent all the same.
        Some(flush) => drop(flush.await),
        None => std::future::pending().await,
    }
    if let Some(stopping) = stopping {
        stopping.flush = None;
    }
}

/// What an aggregator that drains at once makes of the stream.
pub(super) fn drained(drain: &pb::Drain) -> End {
    End::Drained { within: within(drain), leaves: leaves(drain) }
}

fn within(drain: &pb::Drain) -> Duration {
    Duration::from_millis(drain.reconnect_within_ms.into())
}

fn leaves(drain: &pb::Drain) -> bool {
    drain.reason() == pb::DrainReason::Shutdown
}

/// It says nothing of ours.
fn ignored(link: &mut Link, ack: &pb::Ack) {
    let pb::Ack { spool_epoch, through_sequence, .. } = ack;
    let text = format!(
        "the aggregator acknowledged {through_sequence} of epoch {spool_epoch}, which is not \
         ours: ignored"
    );
    if let Some(repeated) = link.course.journal.note(&text, Instant::now()) {
        tracing::warn!(aggregator = %link.aggregator(), "{text}{repeated}");
    }
}

/// How often to show that we are there, where samples are less often than asked for.
pub(super) fn beat_every(asked: Duration, min_interval: Duration) -> Option<Duration> {
    (min_interval > asked).then(|| asked.max(min_interval.min(LEAST_BEAT)))
}

fn frame(frame: pb::stream_request::Frame) -> pb::StreamRequest {
    pb::StreamRequest { frame: Some(frame) }
}

fn bye(link: &Link) -> pb::Bye {
    pb::Bye {
        reason: pb::ByeReason::Stopped.into(),
        unacknowledged_records: link.queue.spool.status().unacknowledged_records,
    }
}
