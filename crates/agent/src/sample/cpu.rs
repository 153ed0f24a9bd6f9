//! CPU time by mode, and what the scheduler counts, from /proc/stat.
//!
//! By hand: procfs reads every CPU's line too, which on 256 CPUs costs more than all the rest of a
//! sample, and gives nothing when one line is missing.

use rowcall_core::vitals::Vitals;

use super::text::{lines, number, words};
use super::{count, percent, real};

/// What the file tells, as far as it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stat {
    /// Of all CPUs together.
    pub(super) times: Option<Times>,
    context_switches: Option<u64>,
    forks: Option<u64>,
    running: Option<u64>,
    blocked: Option<u64>,
}

/// Ticks that all CPUs together spent in each mode since boot. The last six came one after the
/// other with Linux 2.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    user: u64,
    nice: u64,
    system: u64,
    idle: u64,
    iowait: Option<u64>,
    irq: Option<u64>,
    softirq: Option<u64>,
    steal: Option<u64>,
    guest: Option<u64>,
    guest_nice: Option<u64>,
}

/// Shares of all CPUs' whole time, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shares {
    /// Idle, without waiting for I/O.
    pub(super) idle: f64,
    /// System, irq and softirq.
    pub(super) kernel: f64,
    /// Neither idle nor waiting for I/O.
    pub(super) busy: f64,
    user: f64,
    nice: f64,
    system: f64,
    iowait: Option<f64>,
    irq: Option<f64>,
    softirq: Option<f64>,
    steal: Option<f64>,
    guest: Option<f64>,
}

impl Stat {
    /// Understands the text of /proc/stat.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut stat = Self::default();
        for line in lines(text) {
            let mut words = words(line);
            match words.next() {
                Some(b"cpu") => stat.times = Times::parse(words),
                Some(b"ctxt") => stat.context_switches = words.next().and_then(number),
                Some(b"processes") => stat.forks = words.next().and_then(number),
                Some(b"procs_running") => stat.running = words.next().and_then(number),
                Some(b"procs_blocked") => stat.blocked = words.next().and_then(number),
                _ => {}
            }
        }
        stat
    }

    /// Writes down what happened from `earlier` to here, and what is now.
    pub(super) fn tell(&self, earlier: &Self, shares: Option<&Shares>, vitals: &mut Vitals) {
        let since = |now: Option<u64>, before: Option<u64>| now?.checked_sub(before?);
        vitals.processes_running = self.running.and_then(count);
        vitals.processes_blocked = self.blocked.and_then(count);
        vitals.context_switches =
            since(self.context_switches, earlier.context_switches).and_then(count);
        vitals.forks = since(self.forks, earlier.forks).and_then(count);
        let Some(shares) = shares else { return };
        vitals.cpu_user_percent = Some(real(shares.user));
        vitals.cpu_nice_percent = Some(real(shares.nice));
        vitals.cpu_system_percent = Some(real(shares.system));
        vitals.cpu_iowait_percent = shares.iowait.map(real);
        vitals.cpu_irq_percent = shares.irq.map(real);
        vitals.cpu_softirq_percent = shares.softirq.map(real);
        vitals.cpu_steal_percent = shares.steal.map(real);
        vitals.cpu_guest_percent = shares.guest.map(real);
    }

    /// Shares of the CPUs' time from `earlier` to here.
    pub(super) fn shares_since(&self, earlier: &Self) -> Option<Shares> {
        self.times?.shares_since(&earlier.times?)
    }
}

impl Times {
    fn parse<'a>(words: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut modes = [None; 10];
        for (mode, word) in modes.iter_mut().zip(words) {
            *mode = Some(number(word)?);
        }
        let [user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice] = modes;
        Some(Self {
            user: user?,
            nice: nice?,
            system: system?,
            idle: idle?,
            iowait,
            irq,
            softirq,
            steal,
            guest,
            guest_nice,
        })
    }

    /// Shares of the time from `earlier` to here. `None` when no time passed or a counter went
    /// back, as after a checkpoint was restored. Waiting for I/O alone may go back: the kernel
    /// documents that it does.
    pub(super) fn shares_since(&self, earlier: &Self) -> Option<Shares> {
        let user = self.user.checked_sub(earlier.user)?;
        let nice = self.nice.checked_sub(earlier.nice)?;
        let system = self.system.checked_sub(earlier.system)?;
        let idle = self.idle.checked_sub(earlier.idle)?;
        let iowait = pair(self.iowait, earlier.iowait).map(|(now, then)| now.saturating_sub(then));
        let irq = since(self.irq, earlier.irq)?;
        let softirq = since(self.softirq, earlier.softirq)?;
        let steal = since(self.steal, earlier.steal)?;
        let kernel = sum([Some(system), irq, softirq])?;
        let busy = sum([Some(user), Some(nice), Some(kernel), steal])?;
        let total = sum([Some(busy), Some(idle), iowait])?;
        // Guest time is part of user and nice already, but counted at another moment.
        let guest = since(self.guest, earlier.guest).flatten().map(|guest| {
            let niced = since(self.guest_nice, earlier.guest_nice).flatten().unwrap_or(0);
            guest.saturating_add(niced).min(user.saturating_add(nice))
        });
        let share = |part: u64| percent(part, total);
        Some(Shares {
            idle: share(idle)?,
            kernel: share(kernel)?,
            busy: share(busy)?,
            user: share(user)?,
            nice: share(nice)?,
            system: share(system)?,
            iowait: iowait.and_then(share),
            irq: irq.and_then(share),
            softirq: softirq.and_then(share),
            steal: steal.and_then(share),
            guest: guest.and_then(share),
        })
    }
}

fn pair(now: Option<u64>, earlier: Option<u64>) -> Option<(u64, u64)> {
    now.zip(earlier)
}

/// What a mode grew by, `Some(None)` where the kernel has no such mode, `None` when it went back.
fn since(now: Option<u64>, earlier: Option<u64>) -> Option<Option<u64>> {
    match pair(now, earlier) {
        Some((now, earlier)) => now.checked_sub(earlier).map(Some),
        None => Some(None),
    }
}

fn sum<const N: usize>(parts: [Option<u64>; N]) -> Option<u64> {
    parts.into_iter().flatten().try_fold(0_u64, u64::checked_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(stat: &str) -> Option<Times> {
        Stat::parse(stat.as_bytes()).times
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
        assert_eq!((shares.idle, shares.kernel, shares.busy), (60.0, 15.0, 36.0));
        assert_eq!((shares.user, shares.nice, shares.system), (20.0, 0.0, 10.0));
        assert_eq!((shares.iowait, shares.irq, shares.softirq), (Some(4.0), Some(3.0), Some(2.0)));
        assert_eq!((shares.steal, shares.guest), (Some(1.0), Some(15.0)));
    }

    #[test]
    fn guest_time_counts_niced_guests_and_is_never_more_than_user_and_nice() {
        let before = times(&format!("cpu  0 0 0 0 0 0 0 0 0 0{TAIL}")).unwrap();
        let after = times(&format!("cpu  30 20 0 50 0 0 0 0 25 15{TAIL}")).unwrap();
        assert_eq!(after.shares_since(&before).unwrap().guest, Some(40.0));
        let late = times(&format!("cpu  30 20 0 50 0 0 0 0 40 15{TAIL}")).unwrap();
        assert_eq!(late.shares_since(&before).unwrap().guest, Some(50.0));
    }

    #[test]
    fn counters_that_went_back_give_no_number() {
        let before = times(&format!("cpu  1000 10 100 5000 50 5 5 0 0 0{TAIL}")).unwrap();
        let after = times(&format!("cpu  10 0 1 50 0 0 0 0 0 0{TAIL}")).unwrap();
        assert_eq!(after.shares_since(&before), None);
        assert_eq!(before.shares_since(&before), None, "no time passed");
        let stolen_back = times(&format!("cpu  1000 10 100 6000 50 5 5 9 0 0{TAIL}")).unwrap();
        let after = times(&format!("cpu  1000 10 100 7000 50 5 5 8 0 0{TAIL}")).unwrap();
        assert_eq!(after.shares_since(&stolen_back), None);
    }

    #[test]
    fn iowait_may_go_back() {
        let before = times(&format!("cpu  0 0 0 100 50 0 0 0 0 0{TAIL}")).unwrap();
        let after = times(&format!("cpu  50 0 0 150 48 0 0 0 0 0{TAIL}")).unwrap();
        let shares = after.shares_since(&before).unwrap();
        assert_eq!((shares.idle, shares.kernel, shares.iowait), (50.0, 0.0, Some(0.0)));
    }

    #[test]
    fn an_old_or_broken_file_is_read_as_far_as_it_goes() {
        let old = times(&format!("cpu  1 2 3 4{TAIL}")).unwrap();
        let later = times(&format!("cpu  2 3 4 5{TAIL}")).unwrap().shares_since(&old).unwrap();
        assert_eq!((later.idle, later.iowait, later.steal), (25.0, None, None), "four modes only");
        for broken in ["", "cpu", "cpu  a b c d\n", "\u{fffd}", "cpu  99999999999999999999 1 1 1\n"]
        {
            assert_eq!(times(broken), None, "{broken:?}");
        }
        let stat = Stat::parse(b"cpu  1 x 3 4\nctxt 5\n");
        assert_eq!((stat.times, stat.context_switches), (None, Some(5)));
        let huge = times("cpu  18446744073709551615 18446744073709551615 1 1\n").unwrap();
        let zero = times("cpu  0 0 0 0\n").unwrap();
        assert_eq!(huge.shares_since(&zero), None, "more than can be summed up");
    }

    #[test]
    fn what_the_scheduler_counts_is_told_over_the_interval() {
        let before = Stat::parse(b"ctxt 1000\nprocesses 50\nprocs_running 9\nprocs_blocked 9\n");
        let after = Stat::parse(b"ctxt 1500\nprocesses 40\nprocs_running 3\nprocs_blocked 1\n");
        let mut vitals = Vitals::default();
        after.tell(&before, None, &mut vitals);
        assert_eq!((vitals.processes_running, vitals.processes_blocked), (Some(3), Some(1)));
        assert_eq!((vitals.context_switches, vitals.forks), (Some(500), None), "forks went back");
    }
}
