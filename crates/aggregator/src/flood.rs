//! A bound on the frames with which a peer keeps us busy and says nothing.
//!
//! The HTTP/2 library ends connections that flood it with resets, header blocks without an end and
//! empty DATA. PING and SETTINGS it answers one by one for as long as they come, at up to 40 % of a
//! core for each connection, and it takes any number of WINDOW_UPDATE and unknown frames. So the
//! heads of the frames that come are read here as well, and whoever sends more of these than any
//! client has reason to is cut off.

use std::time::Duration;

use tokio::time::Instant;

/// The client's half of what HTTP/2 begins with.
const PREFACE_BYTES: usize = 24;

/// Before each frame's payload.
const HEAD_BYTES: usize = 9;

/// DATA, HEADERS and CONTINUATION: these say something, or the library bounds them.
const CALLS: [u8; 3] = [0, 1, 9];

/// So many at once: what a viewer answers while it reads 160 MB through our windows.
const BURST: u32 = 10_000;

/// And one more in this time: 1,000 a second.
const EACH: Duration = Duration::from_millis(1);

/// What one connection sent so far.
#[derive(Debug)]
pub(crate) struct FrameBudget {
    /// Bytes until the next frame's head.
    skip: usize,
    head: [u8; HEAD_BYTES],
    /// Of the head so far.
    read: usize,
    left: u32,
    since: Instant,
}

impl FrameBudget {
    /// Of a connection that begins now.
    pub(crate) fn new(now: Instant) -> Self {
        Self { skip: PREFACE_BYTES, head: [0; HEAD_BYTES], read: 0, left: BURST, since: now }
    }

    /// Looks at what came; false: it was too much.
    pub(crate) fn allows(&mut self, mut bytes: &[u8], now: Instant) -> bool {
        self.refill(now);
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let wanted = (HEAD_BYTES - self.read).min(bytes.len());
            let (part, rest) = bytes.split_at(wanted);
            if let Some(place) = self.head.get_mut(self.read..self.read + wanted) {
                place.copy_from_slice(part);
            }
            self.read += wanted;
            bytes = rest;
            if self.read < HEAD_BYTES {
                return true;
            }
            let [high, middle, low, kind, ..] = self.head;
            self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            self.read = 0;
            if CALLS.contains(&kind) {
                continue;
            }
            match self.left.checked_sub(1) {
                Some(left) => self.left = left,
                None => return false,
            }
        }
        true
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        let more = u32::try_from(passed.as_millis() / EACH.as_millis()).unwrap_or(u32::MAX);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(BURST);
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;
    const DATA: u8 = 0;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 0];
        // Bytes that would be heads of PING frames, were they taken for heads.
        frame.extend(std::iter::repeat_n(PING, payload));
        frame
    }

    fn begun(now: Instant) -> FrameBudget {
        let mut budget = FrameBudget::new(now);
        assert!(budget.allows(&[b'x'; PREFACE_BYTES], now));
        budget
    }

    #[test]
    fn a_flood_is_seen_however_it_is_cut_into_pieces() {
        let now = Instant::now();
        for piece in [1, 7, 16 * 1024] {
            let (mut budget, mut sent) = (begun(now), 0);
            let flood: Vec<u8> = (0..=BURST).flat_map(|_| frame(PING, 8)).collect();
            for bytes in flood.chunks(piece) {
                if !budget.allows(bytes, now) {
                    break;
                }
                sent += bytes.len();
            }
            let whole = usize::try_from(BURST).unwrap() * (HEAD_BYTES + 8);
            assert!(sent <= whole + HEAD_BYTES && sent + piece > whole, "{piece}: {sent}");
        }
    }

    #[test]
    fn what_says_something_is_not_counted() {
        let now = Instant::now();
        let mut budget = begun(now);
        for payload in [0, 1, 300] {
            for kind in CALLS {
                for _ in 0..4_000 {
                    assert!(budget.allows(&frame(kind, payload), now));
                }
            }
        }
        assert_eq!((budget.left, DATA), (BURST, CALLS[0]));
    }

    #[test]
    fn whoever_sends_a_thousand_a_second_may_go_on() {
        let mut now = Instant::now();
        let mut budget = begun(now);
        for _ in 0..100_000 {
            now += EACH;
            assert!(budget.allows(&frame(PING, 8), now));
        }
        let mut twice = begun(now);
        let sent = (0..100_000)
            .take_while(|_| {
                now += EACH / 2;
                twice.allows(&frame(PING, 8), now)
            })
            .count();
        assert!((19_000..22_000).contains(&sent), "{sent}");
    }
}
