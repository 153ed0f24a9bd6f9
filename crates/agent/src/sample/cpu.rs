//! CPU time by mode, from /proc/stat.

use std::path::Path;

use procfs::{FromReadSI, KernelStats, current_system_info};

/// Ticks that all CPUs together spent in each mode since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    user: u64,
    nice: u64,
    system: u64,
    idle: u64,
    iowait: u64,
    irq: u64,
    softirq: u64,
    steal: u64,
}

/// Shares of all CPUs' whole time, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shares {
    /// Idle, without waiting for I/O.
    pub(super) idle: f64,
    /// System, irq and softirq.
    pub(super) kernel: f64,
}

impl Times {
    /// Reads `<root>/proc/stat`; `None` when it cannot be read or understood.
    pub(super) fn read(root: &Path) -> Option<Self> {
        let total =
            KernelStats::from_file(root.join("proc/stat"), current_system_info()).ok()?.total;
        // Guest time is part of user and nice already.
        Some(Self {
            user: total.user,
            nice: total.nice,
            system: total.system,
            idle: total.idle,
            iowait: total.iowait.unwrap_or(0),
            irq: total.irq.unwrap_or(0),
            softirq: total.softirq.unwrap_or(0),
            steal: total.steal.unwrap_or(0),
        })
    }

    /// Shares of the time from `earlier` to here. `None` when no time passed or a counter went
    /// back, as after a checkpoint was restored. Waiting for I/O alone may go back: the kernel
    /// documents that it does.
    pub(super) fn shares_since(&self, earlier: &Self) -> Option<Shares> {
        let idle = self.idle.checked_sub(earlier.idle)?;
        let kernel = self
            .system
            .checked_sub(earlier.system)?
            .checked_add(self.irq.checked_sub(earlier.irq)?)?
            .checked_add(self.softirq.checked_sub(earlier.softirq)?)?;
        let total = self
            .user
            .checked_sub(earlier.user)?
            .checked_add(self.nice.checked_sub(earlier.nice)?)?
            .checked_add(self.steal.checked_sub(earlier.steal)?)?
            .checked_add(self.iowait.saturating_sub(earlier.iowait))?
            .checked_add(idle)?
            .checked_add(kernel)?;
        Some(Shares { idle: percent(idle, total)?, kernel: percent(kernel, total)? })
    }
}

fn percent(part: u64, whole: u64) -> Option<f64> {
    // Differences of ticks stay far below 2^53, where a float is exact.
    (whole > 0).then(|| part as f64 * 100.0 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(stat: &str) -> Option<Times> {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("proc")).unwrap();
        std::fs::write(root.path().join("proc/stat"), stat).unwrap();
        Times::read(root.path())
    }

    const TAIL: &str = "\nintr 1\nctxt 2\nbtime 1700000000\nprocesses 3\nprocs_running 1\n";

    #[test]
    fn idle_leaves_out_iowait_and_kernel_is_system_irq_and_softirq() {
        let before =
            times(&format!("cpu  1000 10 100 5000 50 5 5 0 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1{TAIL}"))
                .unwrap();
        // +20 user, +0 nice, +10 system, +60 idle, +4 iowait, +3 irq, +2 softirq, +1 steal; guest
        // time is inside user time.
        let after = times(&format!("cpu  1020 10 110 5060 54 8 7 1 15 0{TAIL}")).unwrap();
        let shares = after.shares_since(&before).unwrap();
        assert_eq!((shares.idle, shares.kernel), (60.0, 15.0));
    }

    #[test]
    fn counters_that_went_back_give_no_number() {
        let before = times(&format!("cpu  1000 10 100 5000 50 5 5 0 0 0{TAIL}")).unwrap();
        let after = times(&format!("cpu  10 0 1 50 0 0 0 0 0 0{TAIL}")).unwrap();
        assert_eq!(after.shares_since(&before), None);
        assert_eq!(before.shares_since(&before), None, "no time passed");
    }

    #[test]
    fn iowait_may_go_back() {
        let before = times(&format!("cpu  0 0 0 100 50 0 0 0 0 0{TAIL}")).unwrap();
        let after = times(&format!("cpu  50 0 0 150 48 0 0 0 0 0{TAIL}")).unwrap();
        assert_eq!(after.shares_since(&before), Some(Shares { idle: 50.0, kernel: 0.0 }));
    }

    #[test]
    fn an_old_or_broken_file_is_read_as_far_as_it_goes() {
        assert!(times(&format!("cpu  1 2 3 4{TAIL}")).is_some(), "four modes only");
        for broken in ["", "cpu", "cpu  a b c d\n", "\u{fffd}", "cpu  99999999999999999999 1 1 1\n"]
        {
            assert_eq!(times(broken), None, "{broken:?}");
        }
        assert_eq!(Times::read(Path::new("/nonexistent")), None);
    }

    #[test]
    fn this_machine_has_cpu_time() {
        let times = Times::read(Path::new("/")).unwrap();
        assert!(times.idle + times.user > 0);
    }
}
