//! The processes that took most of something.

use std::collections::BTreeMap;

/// What a process took. Rates are over the time since the previous pass; absent where that is not
/// known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Usage {
    pub(super) pid: i32,
    /// Shown name, until a command is asked for.
    pub(super) name: String,
    /// Of one CPU.
    pub(super) cpu_percent: Option<f64>,
    pub(super) memory_kib: i64,
    pub(super) read_bytes_per_s: Option<i64>,
    pub(super) written_bytes_per_s: Option<i64>,
}

/// What a process has to take to be told at all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thresholds {
    /// Of one CPU, in percent.
    pub(super) cpu_percent: f64,
    pub(super) memory_kib: i64,
    /// Read and written together.
    pub(super) io_bytes_per_s: i64,
}

/// Keeps some processes by each of CPU, memory and I/O.
#[derive(Debug)]
pub(super) struct Top {
    most: usize,
    thresholds: Thresholds,
    by_cpu: Ranking,
    by_memory: Ranking,
    by_io: Ranking,
}

impl Top {
    pub(super) fn new(most: usize, thresholds: Thresholds) -> Self {
        let [by_cpu, by_memory, by_io] = [(); 3].map(|()| Ranking::default());
        Self { most, thresholds, by_cpu, by_memory, by_io }
    }

    /// Looks at a process; its name is asked for only when it is kept.
    pub(super) fn offer(&mut self, usage: &Usage, name: impl Fn() -> String) {
        let named = || Usage { name: name(), ..usage.clone() };
        if let Some(percent) = usage.cpu_percent.filter(|it| *it >= self.thresholds.cpu_percent) {
            self.by_cpu.offer(percent, self.most, named);
        }
        if usage.memory_kib >= self.thresholds.memory_kib {
            self.by_memory.offer(usage.memory_kib as f64, self.most, named);
        }
        let io = [usage.read_bytes_per_s, usage.written_bytes_per_s];
        let io = io.into_iter().flatten().fold(0, i64::saturating_add);
        if io >= self.thresholds.io_bytes_per_s {
            self.by_io.offer(io as f64, self.most, named);
        }
    }

    /// Those that were kept, each once, by pid.
    pub(super) fn into_all(self) -> Vec<Usage> {
        let all = [self.by_cpu, self.by_memory, self.by_io];
        let by_pid: BTreeMap<_, _> =
            all.into_iter().flat_map(|it| it.0).map(|(_, usage)| (usage.pid, usage)).collect();
        by_pid.into_values().collect()
    }
}

/// The largest first.
#[derive(Debug, Default)]
struct Ranking(Vec<(f64, Usage)>);

impl Ranking {
    fn offer(&mut self, rank: f64, most: usize, usage: impl FnOnce() -> Usage) {
        let at = self.0.partition_point(|(other, _)| *other >= rank);
        if at < most {
            self.0.insert(at, (rank, usage()));
            self.0.truncate(most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds =
        Thresholds { cpu_percent: 1.0, memory_kib: 100, io_bytes_per_s: 1000 };

    fn kept(most: usize, all: &[Usage]) -> Vec<i32> {
        let mut top = Top::new(most, THRESHOLDS);
        for usage in all {
            top.offer(usage, || format!("p{}", usage.pid));
        }
        let all = top.into_all();
        assert!(all.iter().all(|it| it.name == format!("p{}", it.pid)));
        all.into_iter().map(|it| it.pid).collect()
    }

    fn usage(pid: i32, cpu: f64, memory_kib: i64, read: i64, written: i64) -> Usage {
        Usage {
            pid,
            cpu_percent: Some(cpu),
            memory_kib,
            read_bytes_per_s: Some(read),
            written_bytes_per_s: Some(written),
            ..Usage::default()
        }
    }

    #[test]
    fn the_first_by_each_of_cpu_memory_and_io_are_kept_once() {
        let all = [
            usage(1, 50.0, 0, 0, 0),
            usage(2, 60.0, 900, 0, 0),
            usage(3, 40.0, 0, 0, 0),
            usage(4, 0.0, 800, 0, 0),
            usage(5, 0.0, 700, 0, 0),
            usage(6, 0.0, 0, 600, 600),
            usage(7, 0.0, 0, 0, 9000),
            usage(8, 0.0, 0, 1100, 0),
        ];
        assert_eq!(kept(2, &all), [1, 2, 4, 6, 7]);
        assert_eq!(kept(0, &all), [0; 0]);
    }

    #[test]
    fn below_all_thresholds_nothing_is_told() {
        assert_eq!(kept(5, &[usage(1, 0.99, 99, 500, 499)]), [0; 0]);
        assert_eq!(kept(5, &[usage(1, 1.0, 0, 0, 0), usage(2, 0.0, 100, 0, 0)]), [1, 2]);
        assert_eq!(kept(5, &[usage(1, 0.0, 0, 500, 500)]), [1]);
        let unknown = Usage { pid: 1, cpu_percent: None, memory_kib: 100, ..Usage::default() };
        assert_eq!(kept(5, &[unknown]), [1]);
    }
}
