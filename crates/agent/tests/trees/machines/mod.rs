//! Machines of several kinds, each at a number of minutes after it was first looked at. Their
//! numbers are made so that what must come of them can be worked out by hand.

mod centos7;
mod container;
mod laptop;
mod pi;
mod server;

use std::fmt::Write as _;

pub(crate) use centos7::centos7;
pub(crate) use container::{container_v1, container_v2};
pub(crate) use laptop::laptop;
pub(crate) use pi::pi;
pub(crate) use server::server;

use super::machine::Machine;

/// A machine's name, and how it looks after so many minutes.
pub(crate) type Kind = (&'static str, fn(u64) -> Machine);

/// All of them.
pub(crate) const ALL: [Kind; 6] = [
    ("laptop", laptop),
    ("server", server),
    ("container_v1", container_v1),
    ("container_v2", container_v2),
    ("pi", pi),
    ("centos7", centos7),
];

/// What every machine has.
fn common(host: &str, kernel: &str, system: &str) -> Machine {
    Machine::default()
        .link("proc/net", "self/net")
        .lines(
            "proc/sys/kernel",
            &[
                ("hostname", host),
                ("osrelease", kernel),
                ("random/boot_id", "0a1b2c3d-0000-4000-8000-00000000beef"),
            ],
        )
        .file("etc/os-release", format!("NAME=x\nPRETTY_NAME=\"{system}\"\nID=x\n"))
        .file("etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        .file("proc/uptime", "3600.00 7200.00\n")
        .lines("sys/devices/system/cpu/cpu0/cache/index0", &[("level", "1"), ("size", "48K")])
        .lines("sys/devices/system/cpu/cpu0/cache/index2", &[("level", "2"), ("size", "1280K")])
}

/// /proc/cpuinfo as x86 writes it, with `cores` in each of `sockets`.
fn cpuinfo(cpus: u64, sockets: u64, cores: u64, model: &str) -> String {
    let mut text = String::new();
    for cpu in 0..cpus {
        let (socket, core) = (cpu % sockets, cpu / sockets % cores);
        write!(
            text,
            "processor\t: {cpu}\nvendor_id\t: x\nmodel name\t: {model}\ncpu MHz\t\t: 800.000\n\
             cache size\t: 12288 KB\nphysical id\t: {socket}\nsiblings\t: {}\ncore id\t\t: {core}\n\
             cpu cores\t: {cores}\nflags\t\t: fpu vme de\n\n",
            cpus / sockets
        )
        .unwrap();
    }
    text
}

impl Machine {
    /// With a group of the top level of cgroup v2, whose processes were killed so often for memory.
    fn slice(self, name: &str, cpu_us: u64, memory_kib: u64, oom_kills: u64) -> Self {
        let memory = (memory_kib * 1024).to_string();
        let pids = "10";
        self.lines(
            &format!("sys/fs/cgroup/{name}"),
            &[
                (
                    "cpu.stat",
                    &format!(
                        "usage_usec {cpu_us}\nuser_usec 1\nsystem_usec 1\nnr_periods 0\n\
                         nr_throttled 0\nthrottled_usec {}",
                        cpu_us / 100
                    ),
                ),
                ("memory.current", &memory),
                ("memory.events", &format!("low 0\nhigh 0\nmax 0\noom 0\noom_kill {oom_kills}")),
                ("io.stat", "259:0 rbytes=1000 wbytes=2000 rios=1 wios=2 dbytes=0 dios=0\n8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0"),
                ("pids.current", pids),
                ("cgroup.procs", ""),
            ],
        )
    }
}
