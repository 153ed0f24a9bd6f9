//! What a Linux host is, from /proc, /sys and /etc.

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
    }
}

/// A short file as clean text; `None` when it is missing or holds none.
pub(super) fn text(path: &Path) -> Option<String> {
    clean_text(&raw(path)?)
}

fn raw(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_TEXT_FILE_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first value of a key in /proc/cpuinfo's form.
fn value<'a>(cpuinfo: &'a str, key: &str) -> Option<&'a str> {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
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
mod tests {
    use super::super::host_facts::{FactsReader, MachineIds};
    use super::*;
    use std::fs;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn with(self, path: &str, text: &str) -> Self {
            self.write(path, text);
            self
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    fn server() -> Tree {
        Tree::new()
            .with("proc/cpuinfo", "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Gold 6430\ncpu MHz\t\t: 2100.123\n\nprocessor\t: 1\ncpu MHz\t\t: 800.0\n")
            .with("proc/stat", "cpu  1 1 1 1\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nctxt 1\nbtime 1700000000\nprocesses 1\n")
            .with("sys/devices/system/cpu/cpu0/cache/index0/level", "1\n")
            .with("sys/devices/system/cpu/cpu0/cache/index0/size", "48K\n")
            .with("sys/devices/system/cpu/cpu0/cache/index2/level", "2\n")
            .with("sys/devices/system/cpu/cpu0/cache/index2/size", "2048K\n")
            .with("etc/os-release", "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n")
            .with("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
            .with("proc/sys/kernel/hostname", "node1\n")
            .with("etc/machine-id", "abc\n")
            .with("proc/sys/kernel/random/boot_id", "d-e-f\n")
    }

    #[test]
    fn a_server_is_described() {
        let tree = server();
        let facts = FactsReader::new(tree.0.path()).read();
        assert_eq!(facts.cpu_number, Some(2));
        assert_eq!(facts.cpu_model.as_deref(), Some("Intel(R) Xeon(R) Gold 6430"));
        assert_eq!(facts.l2_cache_kib, Some(2048));
        assert_eq!(facts.os.as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
        assert_eq!(facts.kernel.as_deref(), Some("6.1.0-18-amd64"));
        assert_eq!(facts.kernel_host_name.as_deref(), Some("node1"));
        assert_eq!(facts.booted, Some(UnixMicros(1_700_000_000_000_000)));
        let ids = MachineIds::read(tree.0.path());
        assert_eq!((ids.machine_id.as_str(), ids.boot_id.as_str()), ("abc", "d-e-f"));
    }

    /// In the forms of its kernel 3.10; a virtual machine, so without cpufreq.
    #[test]
    fn a_centos_7_machine_is_described() {
        let tree = Tree::new()
            .with("proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) CPU E5-2670 0 @ 2.60GHz\ncpu MHz\t\t: 2600.000\ncache size\t: 20480 KB\n")
            .with("proc/stat", "cpu  10132153 290696 3084719 46828483 16683 0 25195 0 0 0\ncpu0 1393280 32966 572056 13343292 6130 0 17875 0 0 0\nintr 1\nctxt 1990473\nbtime 1062191376\nprocesses 2915\nprocs_running 1\nprocs_blocked 0\nsoftirq 183433 0\n")
            .with("sys/devices/system/cpu/cpu0/cache/index2/level", "2\n")
            .with("sys/devices/system/cpu/cpu0/cache/index2/size", "256K\n")
            .with("etc/os-release", "NAME=\"CentOS Linux\"\nVERSION=\"7 (Core)\"\nID=\"centos\"\nPRETTY_NAME=\"CentOS Linux 7 (Core)\"\n")
            .with("proc/sys/kernel/osrelease", "3.10.0-1160.el7.x86_64\n")
            .with("proc/sys/kernel/random/boot_id", "b7cd0ef1-7c2c-4d2a-9a15-4de1b2ad5f37\n")
            .with("etc/machine-id", "");
        let facts = FactsReader::new(tree.0.path()).read();
        assert_eq!((facts.cpu_number, facts.cpu_mhz), (Some(1), Some(2600.0)));
        assert_eq!(facts.l2_cache_kib, Some(256));
        assert_eq!(facts.os.as_deref(), Some("CentOS Linux 7 (Core)"));
        assert_eq!(facts.kernel.as_deref(), Some("3.10.0-1160.el7.x86_64"));
        let ids = MachineIds::read(tree.0.path());
        assert_eq!(ids.machine_id, "", "an image that was never booted has an empty one");
        assert!(ids.boot_id.starts_with("b7cd0ef1"));
    }

    #[test]
    fn the_maximum_clock_wins_over_the_one_of_the_moment() {
        let tree = server();
        tree.write("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "3400000\n");
        assert_eq!(FactsReader::new(tree.0.path()).read().cpu_mhz, Some(3400.0));
    }

    #[test]
    fn without_a_maximum_the_first_clock_stays() {
        let tree = server();
        let mut reader = FactsReader::new(tree.0.path());
        assert_eq!(reader.read().cpu_mhz, Some(2100.123));
        tree.write("proc/cpuinfo", "cpu MHz\t: 900.0\n");
        assert_eq!(reader.read().cpu_mhz, Some(2100.123));
    }

    #[test]
    fn a_kernel_without_a_clock_line_has_no_clock() {
        let tree = Tree::new().with("proc/cpuinfo", "processor : 0\nBogoMIPS : 50.00\n");
        let facts = FactsReader::new(tree.0.path()).read();
        assert_eq!((facts.cpu_mhz, facts.cpu_model), (None, None));
        assert_eq!((facts.cpu_number, facts.l2_cache_kib, facts.booted), (None, None, None));
    }

    #[test]
    fn a_raspberry_pi_names_its_board() {
        let cpuinfo = "processor\t: 0\nBogoMIPS\t: 108.00\nCPU part\t: 0xd08\n\nRevision\t: c03115\nModel\t\t: Raspberry Pi 4 Model B Rev 1.5\n";
        assert_eq!(cpu_model(cpuinfo).as_deref(), Some("Raspberry Pi 4 Model B Rev 1.5"));
    }

    #[test]
    fn hostile_files_give_clean_text_or_nothing() {
        let tree = server();
        fs::write(tree.0.path().join("proc/sys/kernel/hostname"), b"a\0b\xff\x1b[31m\n").unwrap();
        tree.write("proc/cpuinfo", &"model name: x\u{202e}y\n".repeat(100_000));
        tree.write("sys/devices/system/cpu/cpu0/cache/index2/size", "99999999999999999999M");
        let facts = FactsReader::new(tree.0.path()).read();
        assert_eq!(facts.kernel_host_name.as_deref(), Some("ab\u{fffd}[31m"));
        assert_eq!(facts.cpu_model.as_deref(), Some("xy"));
        assert_eq!(facts.l2_cache_kib, None);
    }
}
