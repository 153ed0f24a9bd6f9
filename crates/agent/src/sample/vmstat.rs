//! Swapping, faults and kills, from /proc/vmstat.
//!
//! By hand: four of some 190 lines are needed; procfs makes a map of all of them.

use rowcall_core::vitals::Vitals;

use super::count;
use super::text::{lines, number, words};

/// Counters since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    swapped_in_pages: Option<u64>,
    swapped_out_pages: Option<u64>,
    major_faults: Option<u64>,
    oom_kills: Option<u64>,
}

impl Counters {
    /// Understands the text of /proc/vmstat.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut counters = Self::default();
        for line in lines(text) {
            // Most lines begin otherwise and need not be taken apart.
            if !matches!(line.first(), Some(b'p' | b'o')) {
                continue;
            }
            let mut words = words(line);
            let field = match words.next() {
                Some(b"pswpin") => &mut counters.swapped_in_pages,
                Some(b"pswpout") => &mut counters.swapped_out_pages,
                Some(b"pgmajfault") => &mut counters.major_faults,
                Some(b"oom_kill") => &mut counters.oom_kills,
                _ => continue,
            };
            *field = words.next().and_then(number);
        }
        counters
    }

    /// Writes down what happened from `earlier` to here.
    pub(super) fn tell(&self, earlier: &Self, page_bytes: u64, vitals: &mut Vitals) {
        let since = |now: Option<u64>, before: Option<u64>| now?.checked_sub(before?);
        let kib = |pages: u64| pages.checked_mul(page_bytes).map(|bytes| bytes / 1024);
        vitals.swap_in_kib =
            since(self.swapped_in_pages, earlier.swapped_in_pages).and_then(kib).and_then(count);
        vitals.swap_out_kib =
            since(self.swapped_out_pages, earlier.swapped_out_pages).and_then(kib).and_then(count);
        vitals.major_faults = since(self.major_faults, earlier.major_faults).and_then(count);
        vitals.oom_kills = since(self.oom_kills, earlier.oom_kills).and_then(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(before: &str, after: &str) -> Vitals {
        let mut vitals = Vitals::default();
        let before = Counters::parse(before.as_bytes());
        Counters::parse(after.as_bytes()).tell(&before, 4096, &mut vitals);
        vitals
    }

    #[test]
    fn swapping_is_told_in_kib_and_kills_where_the_kernel_counts_them() {
        let before = "nr_free_pages 9\npgpgin 4\npswpin 100\npswpout 200\npgfault 77\npgmajfault 5\noom_kill 1\n";
        let after = "nr_free_pages 8\npgpgin 9\npswpin 103\npswpout 200\npgfault 99\npgmajfault 25\noom_kill 2\n";
        let vitals = told(before, after);
        assert_eq!((vitals.swap_in_kib, vitals.swap_out_kib), (Some(12), Some(0)));
        assert_eq!((vitals.major_faults, vitals.oom_kills), (Some(20), Some(1)));
        let old = "pswpin 1\npswpout 1\npgmajfault 1\n";
        assert_eq!(told(old, old).oom_kills, None, "Linux 4.12 and before do not count them");
    }

    #[test]
    fn counters_that_went_back_or_overflow_are_unknown() {
        let vitals =
            told("pswpin 5\npgmajfault 5\n", "pswpin 18446744073709551615\npgmajfault 4\n");
        assert_eq!((vitals.swap_in_kib, vitals.major_faults), (None, None));
        assert_eq!(told("oom_kill 0\n", "oom_kill 1"), Vitals::default(), "cut");
    }
}
