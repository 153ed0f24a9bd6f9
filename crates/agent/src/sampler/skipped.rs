//! What readings skip: said when it changes, counted for the metrics.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use rowcall_core::devices::{SkipReason, Skipped};
use tokio::time::Instant;

use super::second::NO_ROOM;
use crate::link::Journal;
use crate::service::Health;

/// Things named in one line; the rest is counted.
const MOST_NAMED: usize = 8;

/// What the last reading skipped.
#[derive(Debug)]
pub(super) struct Watch {
    health: Arc<Health>,
    journal: Journal,
    last: Vec<Skipped>,
}

impl Watch {
    pub(super) fn new(health: Arc<Health>) -> Self {
        Self { health, journal: Journal::default(), last: Vec::new() }
    }

    /// Another reading skipped these.
    pub(super) fn skipped(&mut self, now: Vec<Skipped>) {
        let mut counts = BTreeMap::new();
        for skipped in &now {
            let count = counts.entry((skipped.collector.clone(), skipped.reason)).or_default();
            *count += i64::from(skipped.count.max(1));
        }
        self.health.skips(counts);
        if same(&now, &self.last) {
            return;
        }
        let text = if now.is_empty() {
            "nothing is skipped any more".to_owned()
        } else {
            format!("skipped: {}", in_words(&now))
        };
        if let Some(repeated) = self.journal.note(&text, Instant::now()) {
            if now.is_empty() {
                tracing::info!("{text}{repeated}");
            } else {
                tracing::warn!("{text}{repeated}");
            }
        }
        self.last = now;
    }
}

/// The same things for the same reasons, however many.
fn same(one: &[Skipped], other: &[Skipped]) -> bool {
    let what =
        |skipped: &Skipped| (skipped.collector.clone(), skipped.item.clone(), skipped.reason);
    one.len() == other.len() && one.iter().map(what).eq(other.iter().map(what))
}

/// "filesystems /mnt/a not answered in time, interfaces 24 above the limit".
pub(crate) fn in_words(skipped: &[Skipped]) -> String {
    let named: Vec<_> = skipped.iter().take(MOST_NAMED).map(one_in_words).collect();
    let mut text = named.join(", ");
    if skipped.len() > MOST_NAMED {
        // Writing into a String cannot fail.
        let _done = write!(text, " and {} more", skipped.len() - MOST_NAMED);
    }
    text
}

/// "filesystems /mnt/a not answered in time". Of a drop-in file it is said itself what is wrong with
/// it, "metrics backup.prom line 5: no value", and of readings that were left out, why.
pub(crate) fn one_in_words(skipped: &Skipped) -> String {
    let Skipped { collector, item, reason, count } = skipped;
    let is_unreadable = *reason == SkipReason::Unreadable;
    let says_why = |item: &str| {
        item == NO_ROOM || item.contains(".prom: ") || (is_unreadable && item.contains(": "))
    };
    match (item, count) {
        (Some(item), 0 | 1) if says_why(item) => format!("{collector} {item}"),
        (Some(item), _) if says_why(item) => format!("{collector} {item} ({count})"),
        (Some(item), _) => format!("{collector} {item} {}", reason_in_words(*reason)),
        (None, 0 | 1) => format!("{collector} {}", reason_in_words(*reason)),
        (None, _) => format!("{collector} {count} {}", reason_in_words(*reason)),
    }
}

fn reason_in_words(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::Unknown => "for a reason that this version does not know",
        SkipReason::Hung => "not answered in time",
        SkipReason::Limit => "above the limit",
        SkipReason::Unreadable => "unreadable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rowcall_testkit::log::Log;
    use tracing::Level;

    fn skipped(collector: &str, item: Option<&str>, reason: SkipReason, count: i32) -> Skipped {
        Skipped { collector: collector.into(), item: item.map(str::to_owned), reason, count }
    }

    #[test]
    fn what_is_skipped_is_said_when_it_changes_and_counted_always() {
        let log = Log::start(Level::INFO);
        let health = Arc::<Health>::default();
        let mut watch = Watch::new(Arc::clone(&health));
        let hung = || skipped("filesystems", Some("/mnt/a"), SkipReason::Hung, 1);
        let many = |count| skipped("interfaces", None, SkipReason::Limit, count);
        watch.skipped(Vec::new());
        assert_eq!(log.take().len(), 0, "nothing to say");
        for _ in 0..3 {
            watch.skipped(vec![hung(), many(24)]);
        }
        watch.skipped(vec![hung(), many(25)]);
        let lines = log.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let said = "WARN rowcall_agent::sampler::skipped: skipped: filesystems \
                    /mnt/a not answered in time, interfaces 24 above the limit";
        assert!(lines[0].contains(said), "{lines:?}");
        let count =
            |collector: &str, reason| health.skipped().get(&(collector.into(), reason)).copied();
        assert_eq!(count("interfaces", SkipReason::Limit), Some(25));
        assert_eq!(count("filesystems", SkipReason::Hung), Some(1));
        for _ in 0..10 {
            watch.skipped(Vec::new());
            watch.skipped(vec![hung(), many(24)]);
        }
        let lines = log.take();
        assert_eq!(lines.len(), 1, "what comes and goes fills no log: {lines:?}");
        assert!(lines[0].contains("INFO") && lines[0].contains("nothing is skipped any more"));
        watch.skipped(Vec::new());
        assert!(health.skipped().is_empty());
    }

    #[test]
    fn a_line_names_a_few_and_counts_the_rest() {
        let all: Vec<_> = (0..20)
            .map(|n| skipped("sensors", Some(&format!("s{n}")), SkipReason::Unreadable, 1))
            .collect();
        let text = in_words(&all);
        assert!(text.starts_with("sensors s0 unreadable, sensors s1 unreadable"), "{text}");
        assert!(text.ends_with("sensors s7 unreadable and 12 more"), "{text}");
    }

    #[test]
    fn a_drop_in_file_says_itself_what_is_wrong_with_it() {
        let line = skipped("metrics", Some("a.prom line 5: no value"), SkipReason::Unreadable, 1);
        let values = skipped("metrics", Some("a.prom: left out"), SkipReason::Unreadable, 2);
        let mount = skipped("f", Some("/m: not asked, others hang"), SkipReason::Unreadable, 1);
        let folder = skipped("metrics", Some("/x"), SkipReason::Unreadable, 1);
        let readings = skipped("devices", Some(NO_ROOM), SkipReason::Limit, 7);
        assert_eq!(
            in_words(&[line, values, mount, folder, readings]),
            "metrics a.prom line 5: no value, metrics a.prom: left out (2), \
             f /m: not asked, others hang, metrics /x unreadable, devices readings left out \
             for want of room in the spool (7)"
        );
    }
}
