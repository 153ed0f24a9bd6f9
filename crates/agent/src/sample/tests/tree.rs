//! Recorded machines: made up, in the forms of their kernels.

use std::fs;
use std::path::Path;

/// The files of [`Tree::centos_7`] that a sample reads.
pub(super) const FILES: [&str; 9] = [
    "proc/diskstats",
    "proc/loadavg",
    "proc/meminfo",
    "proc/net/dev",
    "proc/net/netstat",
    "proc/net/snmp",
    "proc/stat",
    "proc/sys/fs/file-nr",
    "proc/vmstat",
];

/// A root folder with what a test writes into it.
#[derive(Debug)]
pub(super) struct Tree(tempfile::TempDir);

impl Tree {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The CPUs' time, in ticks of each mode.
    pub(super) fn cpu(&self, modes: &str) {
        self.write("proc/stat", format!("cpu  {modes}\nctxt 1\nbtime 1\nprocesses 1\n"));
    }

    /// One disk's requests and the milliseconds it was busy.
    pub(super) fn disk(&self, reads: u64, busy_ms: u64) {
        fs::create_dir_all(self.root().join("sys/block/sda/device")).unwrap();
        self.write("proc/diskstats", format!("8 0 sda {reads} 0 0 0 5 0 0 0 0 {busy_ms} 0\n"));
    }

    /// Memory in KiB.
    pub(super) fn memory(&self, total: u64, available: u64) {
        let text = format!("MemTotal: {total} kB\nMemFree: 10 kB\nMemAvailable: {available} kB\n");
        self.write("proc/meminfo", text);
    }

    /// What stands in a file.
    pub(super) fn text(&self, path: &str) -> Vec<u8> {
        fs::read(self.root().join(path)).unwrap()
    }

    /// CentOS 7 on a virtual machine: kernel 3.10, no pressure, no packet filter.
    pub(super) fn centos_7() -> Self {
        let tree = Self::new();
        tree.centos_7_after(0);
        tree
    }

    /// After so much work was done.
    pub(super) fn centos_7_after(&self, work: u64) {
        let cpu = 1_000 + 10 * work;
        self.write("proc/stat", format!("cpu  {cpu} 0 {cpu} {} 7 0 {cpu} 0 0 0\ncpu0 1 0 1 1 7 0 1 0 0 0\nintr 900 12 0 0\nctxt {}\nbtime 1700000000\nprocesses {}\nprocs_running 2\nprocs_blocked 1\nsoftirq 44 0 1\n", 5_000 + 70 * work, 1_000 + 500 * work, 300 + 4 * work));
        self.write("proc/meminfo", "MemTotal:        1882232 kB\nMemFree:          600000 kB\nMemAvailable:    1200232 kB\nBuffers:            2072 kB\nCached:           400500 kB\nSwapCached:            0 kB\nDirty:               104 kB\nSlab:              91000 kB\nSwapTotal:       2097148 kB\nSwapFree:        2097148 kB\nHugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n");
        self.write("proc/loadavg", "0.31 0.22 0.15 2/151 2915\n");
        self.write("proc/vmstat", format!("nr_free_pages 150000\nnr_alloc_batch 2000\npgpgin 8000\npgpgout 9000\npswpin {work}\npswpout 0\npgfault 900000\npgmajfault {}\n", 3_000 + work));
        self.write("proc/diskstats", format!("  11       0 sr0 0 0 0 0 0 0 0 0 0 0 0\n 253       0 vda {} 12 90000 3100 5100 800 {} 9000 0 {} 12100\n 253       1 vda1 400 12 80000 3000 5000 800 200000 8000 0 5000 11000\n", 9_000 + work, 200_000 + 16 * work, 6_000 + 300 * work));
        fs::create_dir_all(self.root().join("sys/block/vda/device")).unwrap();
        self.write("proc/net/dev", format!("Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n  eth0: {} {work} 0 {work} 0 0 0 0 {} {work} 0 0 0 0 0 0\n    lo: {} 9 0 0 0 0 0 0 500 9 0 0 0 0 0 0\n", 70_000 + 1_500 * work, 50_000 + 600 * work, 500 + 9_999 * work));
        fs::create_dir_all(self.root().join("sys/class/net/eth0/device")).unwrap();
        self.write("proc/net/snmp", format!("Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\nTcp: 1 200 120000 -1 60 12 3 4 5 9000 8000 {} 0 6 0\n", 40 + work));
        self.write("proc/net/netstat", format!("TcpExt: SyncookiesSent SyncookiesRecv ListenOverflows ListenDrops\nTcpExt: 0 0 {work} {work}\nIpExt: InNoRoutes\nIpExt: 0\n"));
        self.write("proc/sys/fs/file-nr", "1216\t0\t183968\n");
    }
}
