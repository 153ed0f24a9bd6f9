//! Hosts as their files describe them.

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
