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
fn each_architecture_names_its_cpu_in_its_own_way() {
    for (cpuinfo, expected) in [
        ("processor\t: 0\ncpu\t\t: POWER9, altivec supported\n", "POWER9, altivec supported"),
        ("processor\t: 0\ncpu model\t\t: MIPS 24Kc V4.12\n", "MIPS 24Kc V4.12"),
        ("processor\t: 0\nhart\t: 1\nuarch\t: sifive,u74-mc\n", "sifive,u74-mc"),
    ] {
        assert_eq!(cpu_model(cpuinfo).as_deref(), Some(expected));
    }
}

#[test]
fn what_stands_in_one_of_two_places_or_units_is_found_in_either() {
    let tree = Tree::new()
        .with("usr/lib/os-release", "PRETTY_NAME='Clear Linux OS'\n")
        .with("sys/devices/system/cpu/cpu0/cache/index2/level", "2\n")
        .with("sys/devices/system/cpu/cpu0/cache/index2/size", "2M\n")
        .with("sys/firmware/devicetree/base/model", "Banana Pi\0");
    let facts = FactsReader::new(tree.0.path()).read();
    assert_eq!(facts.os.as_deref(), Some("Clear Linux OS"));
    assert_eq!((facts.l2_cache_kib, facts.board.as_deref()), (Some(2048), Some("Banana Pi")));
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

const KVM_FLAGS: &str = "flags\t\t: fpu vme hypervisor lahf_lm\n";
const BARE_FLAGS: &str = "flags\t\t: fpu vme lahf_lm\n";

/// A disk or an interface with a device behind it.
fn device(tree: &Tree, path: &str, files: &[(&str, &str)]) {
    fs::create_dir_all(tree.0.path().join(path).join("device")).unwrap();
    for (name, text) in files {
        tree.write(&format!("{path}/{name}"), text);
    }
}

fn driver(tree: &Tree, interface: &str, driver: &str) {
    let link = tree.0.path().join(format!("sys/class/net/{interface}/device/driver"));
    std::os::unix::fs::symlink(format!("../../bus/pci/drivers/{driver}"), link).unwrap();
}

fn names(facts: &rowcall_core::record::HostFacts) -> (Vec<&str>, Vec<&str>) {
    let disks = facts.disks.iter().flatten().map(|disk| disk.name.as_str()).collect();
    (disks, facts.interfaces.iter().flatten().map(|it| it.name.as_str()).collect())
}

#[test]
fn a_laptop_is_described() {
    let tree = server();
    tree.write("proc/cpuinfo", BARE_FLAGS);
    for (name, text) in [
        ("sys_vendor", "LENOVO\n"),
        ("product_name", "20HRCTO1WW\n"),
        ("bios_vendor", "LENOVO\n"),
        ("bios_version", "N1MET70W (1.55 )\n"),
        ("bios_date", "11/14/2022\n"),
    ] {
        tree.write(&format!("sys/class/dmi/id/{name}"), text);
    }
    let rotational = ("queue/rotational", "0\n");
    let model = ("device/model", "SAMSUNG MZVLB512   \n");
    device(&tree, "sys/block/nvme0n1", &[("size", "1000215216\n"), model, rotational]);
    device(&tree, "sys/block/nvme0c0n1", &[("size", "1000215216\n"), ("hidden", "1\n")]);
    device(&tree, "sys/block/sr0", &[("size", "2097151\n")]);
    device(&tree, "sys/block/sdb", &[("size", "0\n")]);
    tree.write("sys/block/loop0/size", "8\n");
    device(&tree, "sys/class/net/wlp4s0", &[("address", "7c:b0:c2:11:22:33\n")]);
    driver(&tree, "wlp4s0", "iwlwifi");
    let made_up = [("address", "02:00:00:11:22:33\n"), ("addr_assign_type", "3\n")];
    device(&tree, "sys/class/net/usb0", &made_up);
    tree.write("sys/class/net/docker0/address", "02:42:00:00:00:01\n");
    let facts = FactsReader::new(tree.0.path()).read();
    assert_eq!(facts.board.as_deref(), Some("LENOVO 20HRCTO1WW"));
    assert_eq!(facts.firmware.as_deref(), Some("LENOVO N1MET70W (1.55 ) 11/14/2022"));
    assert_eq!(facts.virtualization.as_deref(), Some("none"));
    assert_eq!(names(&facts), (vec!["nvme0n1"], vec!["usb0", "wlp4s0"]));
    let disk = &facts.disks.as_ref().unwrap()[0];
    assert_eq!((disk.size_kib, disk.rotational), (Some(500_107_608), Some(false)));
    assert_eq!(disk.model.as_deref(), Some("SAMSUNG MZVLB512"));
    let [usb, wireless] = facts.interfaces.as_deref().unwrap() else { panic!("{facts:?}") };
    assert_eq!((usb.mac.as_deref(), usb.driver.as_deref()), (None, None), "made up at each start");
    assert_eq!(wireless.mac.as_deref(), Some("7c:b0:c2:11:22:33"));
    assert_eq!(wireless.driver.as_deref(), Some("iwlwifi"));
    assert_eq!((facts.boot_id.as_deref(), facts.memory_mhz), (Some("d-e-f"), None));
}

#[test]
fn a_server_with_two_sockets_has_its_cores_counted_once() {
    let tree = server();
    let cpus = "sys/devices/system/cpu";
    tree.write(&format!("{cpus}/online"), "0-255\n");
    // CPUs 0 to 63 and their second threads 128 to 191 are the first socket.
    for cpu in 0..256_u32 {
        let core = cpu % 128;
        let socket = if core < 64 { "0-63,128-191\n" } else { "64-127,192-255\n" };
        let threads = format!("{core},{}\n", core + 128);
        tree.write(&format!("{cpus}/cpu{cpu}/topology/thread_siblings_list"), &threads);
        tree.write(&format!("{cpus}/cpu{cpu}/topology/core_siblings_list"), socket);
    }
    // Slaves of a bond all have its address.
    let slave =
        [("address", "00:11:22:33:44:55\n"), ("bonding_slave/perm_hwaddr", "aa:bb:cc:00:00:02\n")];
    device(&tree, "sys/class/net/ens2f1", &slave);
    device(&tree, "sys/class/net/ib0", &[("address", "00:00:00:00:00:00\n")]);
    device(&tree, "sys/block/sda", &[("size", "16\n"), ("queue/rotational", "1\n")]);
    let facts = FactsReader::new(tree.0.path()).read();
    assert_eq!((facts.cpu_sockets, facts.cpu_cores), (Some(2), Some(128)));
    let interfaces = facts.interfaces.unwrap();
    let macs = interfaces.iter().map(|it| it.mac.as_deref()).collect::<Vec<_>>();
    assert_eq!(macs, [Some("aa:bb:cc:00:00:02"), None], "nothing but zeros is no address");
    assert_eq!(facts.disks.unwrap()[0].rotational, Some(true));
}

#[test]
fn a_raspberry_pi_has_board_and_cores_without_dmi() {
    let model = "Raspberry Pi 4 Model B Rev 1.5";
    let tree = Tree::new()
        .with("proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd\n\nModel\t\t: Raspberry Pi 4\n")
        .with("proc/device-tree/model", &format!("{model}\0"))
        .with("sys/devices/system/cpu/online", "0-3\n");
    for cpu in 0..4 {
        let topology = format!("sys/devices/system/cpu/cpu{cpu}/topology");
        tree.write(&format!("{topology}/thread_siblings_list"), &format!("{cpu}\n"));
        tree.write(&format!("{topology}/core_siblings_list"), "0-3\n");
    }
    device(&tree, "sys/block/mmcblk0", &[("size", "62333952\n"), ("device/name", "SC32G\n")]);
    let facts = FactsReader::new(tree.0.path()).read();
    assert_eq!(facts.board.as_deref(), Some(model));
    assert_eq!((facts.cpu_sockets, facts.cpu_cores), (Some(1), Some(4)));
    assert_eq!((facts.firmware, facts.virtualization.as_deref()), (None, Some("none")));
    assert_eq!(facts.disks.unwrap()[0].model.as_deref(), Some("SC32G"));
}

/// What it is, its files, and the name expected.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);

#[test]
fn what_a_host_runs_in_has_the_name_that_systemd_gives_it() {
    const XEN: (&str, &str) = ("sys/hypervisor/type", "xen\n");
    const CLOCK: &str = "sys/devices/system/clocksource/clocksource0/available_clocksource";
    const VENDOR: &str = "sys/class/dmi/id/sys_vendor";
    const PRODUCT: &str = "sys/class/dmi/id/product_name";
    let cases: [Case; 23] = [
        ("bare metal", &[("proc/cpuinfo", BARE_FLAGS)], "none"),
        ("another hypervisor", &[("proc/cpuinfo", KVM_FLAGS)], "vm-other"),
        (
            "KVM",
            &[("proc/cpuinfo", KVM_FLAGS), (CLOCK, "kvm-clock tsc\n"), (VENDOR, "QEMU\n")],
            "kvm",
        ),
        ("QEMU alone", &[("proc/cpuinfo", KVM_FLAGS), (VENDOR, "QEMU\n")], "qemu"),
        (
            "Amazon",
            &[("proc/cpuinfo", KVM_FLAGS), (CLOCK, "kvm-clock\n"), (VENDOR, "Amazon EC2\n")],
            "amazon",
        ),
        ("Amazon's metal", &[("proc/cpuinfo", BARE_FLAGS), (VENDOR, "Amazon EC2\n")], "none"),
        ("VMware", &[("proc/cpuinfo", KVM_FLAGS), (VENDOR, "VMware, Inc.\n")], "vmware"),
        (
            "Hyper-V",
            &[("proc/cpuinfo", KVM_FLAGS), (CLOCK, "hyperv_clocksource_tsc_page\n")],
            "microsoft",
        ),
        ("VirtualBox", &[("proc/cpuinfo", KVM_FLAGS), (PRODUCT, "VirtualBox\n")], "oracle"),
        ("Xen", &[("proc/cpuinfo", BARE_FLAGS), XEN], "xen"),
        (
            "Xen's first",
            &[("proc/cpuinfo", BARE_FLAGS), XEN, ("proc/xen/capabilities", "control_d\n")],
            "none",
        ),
        (
            "ARM",
            &[
                ("proc/cpuinfo", "Features: fp\n"),
                ("proc/device-tree/hypervisor/compatible", "linux,kvm\0"),
            ],
            "kvm",
        ),
        (
            "PowerVM",
            &[("proc/cpuinfo", "cpu: POWER9\n"), ("proc/device-tree/ibm,partition-name", "a\0")],
            "powervm",
        ),
        ("OpenVZ", &[("proc/vz/version", "")], "openvz"),
        (
            "OpenVZ's host",
            &[("proc/vz/version", ""), ("proc/bc/0", ""), ("proc/cpuinfo", BARE_FLAGS)],
            "none",
        ),
        ("told by its manager", &[("run/host/container-manager", "rkt\n")], "rkt"),
        ("systemd's own", &[("run/systemd/container", "systemd-nspawn\n")], "systemd-nspawn"),
        ("as root", &[("proc/1/environ", "PATH=/\0container=lxc\0")], "lxc"),
        ("Docker", &[(".dockerenv", ""), ("proc/cpuinfo", KVM_FLAGS)], "docker"),
        ("Podman", &[("run/.containerenv", ""), ("run/systemd/container", "oci\n")], "podman"),
        (
            "cgroup v1",
            &[("proc/1/cgroup", "4:memory:/docker/0123\n1:name=systemd:/docker/0123\n")],
            "docker",
        ),
        ("Kubernetes", &[("proc/1/cgroup", "0::/kubepods.slice/x\n")], "kubernetes"),
        ("WSL", &[("proc/sys/kernel/osrelease", "5.15.90.1-microsoft-standard-WSL2\n")], "wsl"),
    ];
    for (case, files, expected) in cases {
        let tree = Tree::new();
        files.iter().for_each(|(path, text)| tree.write(path, text));
        let facts = FactsReader::new(tree.0.path()).read();
        assert_eq!(facts.virtualization.as_deref(), Some(expected), "{case}");
    }
    let nothing = Tree::new();
    assert_eq!(FactsReader::new(nothing.0.path()).read().virtualization, None);
}

#[test]
fn a_maker_who_filled_in_nothing_is_not_quoted() {
    let tree = server()
        .with("sys/class/dmi/id/sys_vendor", "To Be Filled By O.E.M.\n")
        .with("sys/class/dmi/id/product_name", "Default string\n")
        .with("sys/class/dmi/id/board_vendor", "ASRock\n")
        .with("sys/class/dmi/id/board_name", "B450M Pro4\n");
    assert_eq!(FactsReader::new(tree.0.path()).read().board.as_deref(), Some("ASRock B450M Pro4"));
}

#[test]
fn hostile_hardware_gives_facts_that_fit_a_record() {
    let tree = server();
    tree.write("sys/devices/system/cpu/online", "0-4294967295\n");
    tree.write("sys/class/dmi/id/product_name", &"x\u{1b}".repeat(10_000));
    for n in 0..500 {
        let model =
            ("device/model", "\u{202e}evil\0model of a very long name indeed, and longer still");
        device(&tree, &format!("sys/block/sd{n:03}"), &[("size", "-1\n"), model]);
        let mac = ("address", "xx:\u{7}".repeat(100));
        device(&tree, &format!("sys/class/net/eth{n:03}"), &[(mac.0, mac.1.as_str())]);
    }
    device(&tree, "sys/block/sd\u{7}x", &[("size", "8\n")]);
    fs::write(tree.0.path().join("sys/block/sd000/size"), b"\xff\xfe").unwrap();
    let facts = FactsReader::new(tree.0.path()).read();
    assert_eq!((facts.cpu_sockets, facts.cpu_cores), (None, None));
    let wire = rowcall_core::convert::facts_to_wire(&facts);
    let bytes = prost::Message::encoded_len(&wire);
    assert!(bytes < 15 * 1024, "{bytes}");
    let disks = facts.disks.unwrap();
    assert!(disks.len() > 30, "the first ones are told: {}", disks.len());
    assert!(disks.iter().all(|disk| disk.size_kib.is_none() && disk.name.starts_with("sd")));
    assert!(disks.is_sorted_by_key(|disk| disk.name.clone()));
    assert!(disks[0].model.as_deref().unwrap().starts_with("evilmodel"));
    assert!(facts.board.unwrap().len() <= 256);
}
