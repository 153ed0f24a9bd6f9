//! Sockets and cores.

use std::collections::BTreeSet;
use std::path::Path;

use super::{text, values};

/// CPUs above this number are not looked at: no kernel is built for more.
const MAX_CPUS: u32 = 8192;

/// Sockets, and cores without their further threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Topology {
    pub(super) sockets: Option<i32>,
    pub(super) cores: Option<i32>,
}

/// From the kernel's topology, else from what /proc/cpuinfo says. One file is read for each core and
/// one for each socket.
pub(super) fn topology(root: &Path, cpuinfo: &str) -> Topology {
    let cpus = root.join("sys/devices/system/cpu");
    let online = text(&cpus.join("online")).and_then(|list| cpu_list(&list)).unwrap_or_default();
    let groups = |list: &str| {
        let mut left = online.clone();
        let mut groups = 0;
        while let Some(cpu) = left.first().copied() {
            let path = cpus.join(format!("cpu{cpu}/topology")).join(list);
            let siblings = cpu_list(&text(&path)?)?;
            left.remove(&cpu);
            left.retain(|cpu| !siblings.contains(cpu));
            groups += 1;
        }
        Some(groups).filter(|groups| *groups > 0)
    };
    let told =
        Topology { sockets: groups("core_siblings_list"), cores: groups("thread_siblings_list") };
    let listed = from_cpuinfo(cpuinfo);
    Topology { sockets: told.sockets.or(listed.sockets), cores: told.cores.or(listed.cores) }
}

/// By the lines that x86 has. Of a file that was read in part the last number of cores of a socket
/// still counts.
fn from_cpuinfo(cpuinfo: &str) -> Topology {
    let number = |text: &str| text.parse::<i32>().ok().filter(|number| *number >= 0);
    let sockets: BTreeSet<_> = values(cpuinfo, "physical id").filter_map(number).collect();
    let sockets = i32::try_from(sockets.len()).ok().filter(|sockets| *sockets > 0);
    let cores_each = values(cpuinfo, "cpu cores").find_map(number).filter(|cores| *cores > 0);
    let cores = cores_each.zip(sockets).and_then(|(each, sockets)| each.checked_mul(sockets));
    Topology { sockets, cores }
}

/// "0-3,8" as numbers.
fn cpu_list(list: &str) -> Option<BTreeSet<u32>> {
    let mut cpus = BTreeSet::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        if last >= MAX_CPUS {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        let read = |list| cpu_list(list).map(|cpus| cpus.into_iter().collect::<Vec<_>>());
        assert_eq!(read("0-3,8"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(read("5"), Some(vec![5]));
        assert_eq!(read("3-0"), Some(vec![]), "a range that runs backwards is empty");
        for broken in ["", "a", "0-", "0-4000000000", "1,,2", "-1"] {
            assert_eq!(read(broken), None, "{broken}");
        }
    }

    #[test]
    fn cpuinfo_tells_where_the_kernel_has_no_topology() {
        let cpu =
            |socket: u32| format!("physical id\t: {socket}\ncore id\t: 0\ncpu cores\t: 8\n\n");
        let cpuinfo: String = [0, 0, 1, 1].map(cpu).concat();
        let told = topology(Path::new("/nonexistent"), &cpuinfo);
        assert_eq!(told, Topology { sockets: Some(2), cores: Some(16) });
        assert_eq!(topology(Path::new("/nonexistent"), "x: 1\n"), Topology::default());
        let hostile = "physical id: 1\ncpu cores: 2147483647\nphysical id: 2\n";
        let told = topology(Path::new("/nonexistent"), hostile);
        assert_eq!(told, Topology { sockets: Some(2), cores: None });
    }
}
