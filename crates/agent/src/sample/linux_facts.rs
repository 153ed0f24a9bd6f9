//! What a Linux host is, from /proc, /sys and /etc.

mod board;
mod cpus;
mod hardware;
mod memory_clock;
mod virtualization;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use procfs::{FromReadSI, KernelStats, current_system_info};
use rowcall_core::convert::clean_text;
use rowcall_core::id::UnixMicros;

use super::host_facts::Platform;

/// Enough for the first CPU of /proc/cpuinfo, flags included, and for every other file read here.
const MAX_TEXT_FILE_BYTES: u64 = 32 * 1024;

/// Every fact below `root`.
pub(super) fn read(root: &Path) -> Platform {
    let cpuinfo = raw(&root.join("proc/cpuinfo")).unwrap_or_default();
    let kernel_stats = KernelStats::from_file(root.join("proc/stat"), current_system_info()).ok();
    let cpu0 = root.join("sys/devices/system/cpu/cpu0");
    let topology = cpus::topology(root, &cpuinfo);
    Platform {
        cpu_number: kernel_stats
            .as_ref()
            .and_then(|stats| i32::try_from(stats.cpu_time.len()).ok())
            .filter(|cpus| *cpus > 0),
        cpu_model: cpu_model(&cpuinfo),
        maximum_mhz: text(&cpu0.join("cpufreq/cpuinfo_max_freq"))
            .and_then(|khz| khz.parse::<u32>().ok())
            .filter(|khz| *khz > 0)
            .map(|khz| f64::from(khz) / 1000.0),
        current_mhz: value(&cpuinfo, "cpu MHz")
            .and_then(|mhz| mhz.parse::<f64>().ok())
            .filter(|mhz| mhz.is_finite() && *mhz > 0.0),
        l2_cache_kib: l2_cache_kib(&cpu0.join("cache")),
        os: os(root),
        kernel: text(&root.join("proc/sys/kernel/osrelease")),
        kernel_host_name: text(&root.join("proc/sys/kernel/hostname")),
        booted: kernel_stats
            .and_then(|stats| i64::try_from(stats.btime).ok())
            .filter(|seconds| *seconds > 0)
            .and_then(|seconds| seconds.checked_mul(1_000_000))
            .map(UnixMicros),
        boot_id: text(&root.join("proc/sys/kernel/random/boot_id")),
        virtualization: virtualization::virtualization(root, &cpuinfo),
        board: board::board(root),
        firmware: board::firmware(root),
        memory_mhz: memory_clock::memory_mhz(root),
        cpu_sockets: topology.sockets,
        cpu_cores: topology.cores,
        disks: hardware::disks(root),
        interfaces: hardware::interfaces(root),
    }
}

/// A short file as clean text; `None` when it is missing or holds none.
pub(super) fn text(path: &Path) -> Option<String> {
    clean_text(&raw(path)?)
}

fn raw(path: &Path) -> Option<String> {
    Some(String::from_utf8_lossy(&bytes(path, MAX_TEXT_FILE_BYTES)?).into_owned())
}

/// The beginning of a file.
fn bytes(path: &Path, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The first value of a key in /proc/cpuinfo's form.
fn value<'a>(cpuinfo: &'a str, key: &str) -> Option<&'a str> {
    values(cpuinfo, key).next()
}

/// Every value of it.
fn values<'a>(cpuinfo: &'a str, key: &str) -> impl Iterator<Item = &'a str> {
    let pairs = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    pairs.filter(move |(name, _)| name.trim() == key).map(|(_, value)| value.trim())
}

/// The model as x86 (`model name`), POWER (`cpu`), MIPS (`cpu model`) and RISC-V (`uarch`) name
/// it. 64-bit ARM names none; a Raspberry Pi at least says what board it is (`Model`).
fn cpu_model(cpuinfo: &str) -> Option<String> {
    ["model name", "cpu model", "cpu", "uarch", "Model"]
        .iter()
        .find_map(|key| value(cpuinfo, key).and_then(clean_text))
}

/// The size of the first CPU's level 2 cache.
fn l2_cache_kib(cache: &Path) -> Option<i64> {
    std::fs::read_dir(cache).ok()?.flatten().find_map(|index| {
        let index = index.path();
        let is_l2 = text(&index.join("level"))? == "2";
        is_l2.then(|| text(&index.join("size")).as_deref().and_then(size_kib)).flatten()
    })
}

/// "1024K" or "2M" in KiB.
fn size_kib(size: &str) -> Option<i64> {
    let kib = match (size.strip_suffix('K'), size.strip_suffix('M')) {
        (Some(kib), _) => kib.parse::<i64>().ok(),
        (None, Some(mib)) => mib.parse::<i64>().ok()?.checked_mul(1024),
        (None, None) => None,
    };
    kib.filter(|kib| *kib > 0)
}

/// PRETTY_NAME of os-release, without its quotes.
fn os(root: &Path) -> Option<String> {
    let release =
        raw(&root.join("etc/os-release")).or_else(|| raw(&root.join("usr/lib/os-release")))?;
    let name = release.lines().find_map(|line| line.trim().strip_prefix("PRETTY_NAME="))?;
    clean_text(name.trim().trim_matches(['"', '\'']))
}

#[cfg(test)]
mod tests;
