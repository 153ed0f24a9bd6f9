//! CPU time and memory of another process, as the kernel counts them.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use procfs::process::Process;

/// Bytes of a process's pages that are in memory (`VmRSS`), and of those that no file backs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) anonymous: u64,
}

/// What a process holds now.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let status = process(pid)?.status()?;
    let bytes = |kib: Option<u64>| kib.map(|kib| kib * 1024).context("the kernel does not tell");
    Ok(Memory { resident: bytes(status.vmrss)?, anonymous: bytes(status.rssanon)? })
}

/// User and system time of a whole process, threads that have ended included. In steps of a clock
/// tick, 10 ms on most machines.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let stat = process(pid)?.stat()?;
    let ticks = u32::try_from(stat.utime + stat.stime).context("too many clock ticks")?;
    let per_second = u32::try_from(procfs::ticks_per_second()).context("clock ticks per second")?;
    Ok(Duration::from_secs(1) * ticks / per_second)
}

/// CPU time of a process, to the nanosecond. A thread that ends between two looks loses what it
/// used since the first of them.
#[derive(Debug)]
pub(crate) struct FineCpu {
    pid: u32,
    threads: HashMap<i32, u64>,
}

impl FineCpu {
    pub(crate) fn new(pid: u32) -> Self {
        Self { pid, threads: HashMap::new() }
    }

    /// Time used by all threads seen so far.
    pub(crate) fn look(&mut self) -> Result<Duration> {
        for task in process(self.pid)?.tasks()?.flatten() {
            // It may end just now.
            if let Ok(schedstat) = task.schedstat() {
                self.threads.insert(task.tid, schedstat.sum_exec_runtime);
            }
        }
        Ok(Duration::from_nanos(self.threads.values().sum()))
    }
}

/// Files and sockets that a process has open.
pub(crate) fn descriptors(pid: u32) -> Result<usize> {
    Ok(process(pid)?.fd_count()?)
}

/// Connections of this machine that found a listener's queue full, since it was started.
pub(crate) fn listen_overflows() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/net/netstat").context("read /proc/net/netstat")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = lines.next().zip(lines.next()).context("no TcpExt in netstat")?;
    let mut pairs = names.split(' ').zip(values.split(' '));
    let found = pairs.find(|(name, _)| *name == "ListenOverflows");
    found.context("no ListenOverflows in netstat")?.1.parse().context("ListenOverflows")
}

fn process(pid: u32) -> Result<Process> {
    let pid = i32::try_from(pid).context("process id")?;
    Process::new(pid).with_context(|| format!("process {pid} is gone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_uses_time() {
        let own = std::process::id();
        let memory = memory(own).unwrap();
        assert!(memory.resident >= memory.anonymous && memory.anonymous > 0, "{memory:?}");
        let mut fine = FineCpu::new(own);
        let before = fine.look().unwrap();
        let mut sum = 0_u64;
        while fine.look().unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
        // The coarse one may be behind by a tick for each of the two times that it adds up.
        assert!(cpu(own).unwrap() <= fine.look().unwrap() + Duration::from_millis(100));
    }
}
