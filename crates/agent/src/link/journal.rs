//! What was said already, so that an outage of a day is no flood of lines.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// The same thing is said again after this long.
const AGAIN_AFTER: Duration = Duration::from_secs(600);

/// Different things remembered; the one said longest ago is forgotten first.
const MOST_REMEMBERED: usize = 8;

/// Decides what is said: a thing at once, and while it goes on every 10 minutes with a count.
#[derive(Debug, Default)]
pub(crate) struct Journal(VecDeque<Said>);

#[derive(Debug)]
struct Said {
    what: String,
    first: Instant,
    last: Instant,
    unsaid: u64,
}

/// How often a thing happened; shown after it, empty for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Repeated {
    /// Since it was last said, this time included.
    pub(crate) times: u64,
    /// Since it was first said.
    pub(crate) lasts: Duration,
}

impl Journal {
    /// Something happens. Texts that differ in nothing but digits (times, ports, addresses) are
    /// the same thing.
    pub(crate) fn note(&mut self, text: &str, now: Instant) -> Option<Repeated> {
        let what = without_digits(text);
        if let Some(said) = self.0.iter_mut().find(|said| said.what == what) {
            said.unsaid += 1;
            if now.saturating_duration_since(said.last) < AGAIN_AFTER {
                return None;
            }
            said.last = now;
            let lasts = now.saturating_duration_since(said.first);
            return Some(Repeated { times: std::mem::take(&mut said.unsaid), lasts });
        }
        if self.0.len() >= MOST_REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Said { what, first: now, last: now, unsaid: 0 });
        Some(Repeated { times: 1, lasts: Duration::ZERO })
    }

    /// The next time that this happens is news.
    pub(crate) fn forget_this(&mut self, text: &str) {
        let what = without_digits(text);
        self.0.retain(|said| said.what != what);
    }

    /// All is well again: whatever happens next is news.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

fn without_digits(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

impl Repeated {
    /// Whether it has gone on since an earlier line.
    pub(crate) fn goes_on(self) -> bool {
        !self.lasts.is_zero()
    }
}

impl fmt::Display for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.goes_on() {
            let Self { times, lasts } = self;
            write!(f, " (for {} min, {times} times since the last line)", lasts.as_secs() / 60)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(notes: &[(&str, u64)]) -> Vec<String> {
        let mut journal = Journal::default();
        let start = Instant::now();
        let said = notes.iter().filter_map(|(text, second)| {
            let repeated = journal.note(text, start + Duration::from_secs(*second))?;
            Some(format!("{text}{repeated}"))
        });
        said.collect()
    }

    #[test]
    fn a_thing_is_said_at_once_and_again_every_ten_minutes_with_its_count() {
        let notes: Vec<_> = (0..1300).map(|second| ("x", second)).collect();
        assert_eq!(
            lines(&notes),
            [
                "x",
                "x (for 10 min, 600 times since the last line)",
                "x (for 20 min, 600 times since the last line)"
            ]
        );
    }

    #[test]
    fn another_reason_is_said_at_once_and_digits_make_none() {
        let notes = [("a:1 refuses", 0), ("a:2 refuses", 1), ("no route", 2), ("a:1 refuses", 3)];
        assert_eq!(lines(&notes), ["a:1 refuses", "no route"]);
    }

    #[test]
    fn one_thing_can_be_made_news_and_the_others_stay_said() {
        let mut journal = Journal::default();
        let now = Instant::now();
        assert!(journal.note("a:1", now).is_some() && journal.note("b", now).is_some());
        journal.forget_this("a:2");
        assert_eq!(journal.note("a:3", now), Some(Repeated { times: 1, lasts: Duration::ZERO }));
        assert_eq!(journal.note("b", now), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_can_be_forgotten() {
        let mut journal = Journal::default();
        let now = Instant::now();
        for n in 0_u8..200 {
            let text = "x".repeat(n.into());
            assert!(journal.note(&text, now).is_some());
            assert!(journal.note(&text, now).is_none());
        }
        assert!(journal.0.len() <= MOST_REMEMBERED);
        journal.forget();
        let repeated = journal.note(&"x".repeat(199), now).unwrap();
        assert!(!repeated.goes_on());
    }
}
