//! What the kernels from 3.10 on, and containers, write in their own ways.

use super::*;
use rowcall_core::vitals::Vitals;

/// A sample a minute after the tree was last read.
fn sample_after(tree: &Tree, change: impl FnOnce(&Tree)) -> Sample {
    let clock = TestClock::at(UnixMicros(0));
    let mut sampler = Sampler::new(tree.root(), &Collect::default());
    sampler.prime(&clock);
    change(tree);
    clock.advance(TICK);
    sampler.sample(&clock).sample
}

fn vitals_after(tree: &Tree, change: impl FnOnce(&Tree)) -> Vitals {
    *sample_after(tree, change).vitals.unwrap()
}

#[test]
fn centos_7_tells_all_but_pressure_kills_and_the_packet_filter() {
    let tree = Tree::centos_7();
    let sample = sample_after(&tree, |tree| tree.centos_7_after(100));
    assert_eq!((sample.cpu_idle_percent, sample.cpu_kernel_percent), (Some(70.0), Some(20.0)));
    assert_eq!(
        (sample.memory_free_kib, sample.memory_available_kib),
        (Some(600_000), Some(1_200_232))
    );
    assert_eq!(sample.disk_io, Some(100));
    let expected = Vitals {
        cpu_user_percent: Some(10.0),
        cpu_nice_percent: Some(0.0),
        cpu_system_percent: Some(10.0),
        cpu_iowait_percent: Some(0.0),
        cpu_irq_percent: Some(0.0),
        cpu_softirq_percent: Some(10.0),
        cpu_steal_percent: Some(0.0),
        cpu_guest_percent: Some(0.0),
        cpu_busy_max_percent: Some(30.0),
        load_1: Some(0.31),
        load_5: Some(0.22),
        load_15: Some(0.15),
        processes_running: Some(2),
        processes_blocked: Some(1),
        context_switches: Some(50_000),
        forks: Some(400),
        memory_used_max_kib: Some(682_000),
        memory_buffers_kib: Some(2_072),
        memory_cached_kib: Some(400_500),
        memory_dirty_kib: Some(104),
        memory_slab_kib: Some(91_000),
        huge_pages_kib: Some(0),
        huge_pages_free_kib: Some(0),
        swap_used_kib: Some(0),
        swap_in_kib: Some(i64::try_from(100 * procfs::page_size() / 1024).unwrap()),
        swap_out_kib: Some(0),
        major_faults: Some(100),
        disk_busy_percent: Some(50.0),
        disk_busy_max_percent: Some(50.0),
        disk_read_kib: Some(0),
        disk_written_kib: Some(800),
        net_rx_bytes: Some(150_000),
        net_tx_bytes: Some(60_000),
        net_rx_packets: Some(100),
        net_tx_packets: Some(100),
        net_errors: Some(0),
        net_drops: Some(100),
        tcp_established: Some(5),
        tcp_retransmitted: Some(100),
        tcp_listen_drops: Some(100),
        file_handles: Some(1_216),
        ..Vitals::default()
    };
    // How many links a folder has depends on where the tests run.
    assert_eq!(Vitals { processes: None, ..*sample.vitals.unwrap() }, expected);
}

/// CentOS 8: the files of pressure may be there and cannot be read unless booted with `psi=1`.
#[test]
fn kernel_4_18_has_eighteen_disk_columns_kills_and_unreadable_pressure() {
    let tree = Tree::centos_7();
    for name in ["cpu", "memory", "io"] {
        // A folder can be opened and not be read, as those.
        std::fs::create_dir_all(tree.root().join("proc/pressure").join(name)).unwrap();
    }
    tree.write("proc/diskstats", " 253 0 vda 90 0 800 31 500 8 4000 90 0 600 121 7 0 800 2\n");
    tree.write("proc/vmstat", "pswpin 0\npswpout 0\npgmajfault 0\noom_kill 4\n");
    tree.write("proc/sys/net/netfilter/nf_conntrack_count", "37\n");
    let vitals = vitals_after(&tree, |tree| {
        tree.write(
            "proc/diskstats",
            " 253 0 vda 95 0 880 31 500 8 4000 90 0 30600 121 9 0 900 2\n",
        );
        tree.write("proc/vmstat", "pswpin 0\npswpout 0\npgmajfault 0\noom_kill 6\n");
    });
    assert_eq!((vitals.disk_read_kib, vitals.disk_busy_percent), (Some(40), Some(50.0)));
    assert_eq!((vitals.oom_kills, vitals.conntrack), (Some(2), Some(37)));
    assert_eq!(vitals.pressure_cpu_some_percent, None);
}

/// Files that are there only later, as when a module is loaded: they are opened then.
#[test]
fn the_packet_filter_may_come_and_go() {
    let tree = Tree::centos_7();
    let count = "proc/sys/net/netfilter/nf_conntrack_count";
    let vitals = vitals_after(&tree, |tree| tree.write(count, "12\n"));
    assert_eq!(vitals.conntrack, Some(12));
}

/// Old kernels keep handles that nothing uses any more.
#[test]
fn file_handles_that_are_free_are_not_in_use() {
    let tree = Tree::centos_7();
    let told = |text: &str| {
        vitals_after(&tree, |tree| tree.write("proc/sys/fs/file-nr", text)).file_handles
    };
    assert_eq!(told("1216\t16\t183968\n"), Some(1_200));
    assert_eq!(told("16\t1216\t183968\n"), None);
}

#[test]
fn kernel_5_4_has_no_full_line_for_the_cpu_and_5_15_has() {
    let tree = Tree::centos_7();
    let line =
        |kind, total: u64| format!("{kind} avg10=0.00 avg60=0.00 avg300=0.00 total={total}\n");
    let both = |some, full| line("some", some) + &line("full", full);
    tree.write("proc/pressure/cpu", line("some", 5));
    tree.write("proc/pressure/memory", both(5, 5));
    tree.write("proc/pressure/io", both(5, 5));
    let old = vitals_after(&tree, |tree| {
        tree.write("proc/pressure/cpu", line("some", 6_000_005));
        tree.write("proc/pressure/memory", both(600_005, 5));
        tree.write("proc/pressure/io", both(30_000_005, 15_000_005));
    });
    assert_eq!((old.pressure_cpu_some_percent, old.pressure_cpu_full_percent), (Some(10.0), None));
    assert_eq!(old.pressure_memory_some_percent, Some(1.0));
    assert_eq!(old.pressure_memory_full_percent, Some(0.0));
    assert_eq!(
        (old.pressure_io_some_percent, old.pressure_io_full_percent),
        (Some(50.0), Some(25.0))
    );
    tree.write("proc/pressure/cpu", both(0, 0));
    let new = vitals_after(&tree, |tree| tree.write("proc/pressure/cpu", both(3_000_000, 0)));
    assert_eq!(
        (new.pressure_cpu_some_percent, new.pressure_cpu_full_percent),
        (Some(5.0), Some(0.0))
    );
}

/// A server with 256 CPUs: long lines, many interrupts, huge pages, names beside those known here.
#[test]
fn kernel_6_on_a_large_server_is_read() {
    let tree = Tree::centos_7();
    let stat = |busy: u64| {
        let cpus: String =
            (0..256).map(|cpu| format!("cpu{cpu} {busy} 0 0 9 0 0 0 0 0 0\n")).collect();
        let interrupts = " 123456789".repeat(20_000);
        format!(
            "cpu  {busy} 0 0 {} 0 0 0 0 {busy} 0\n{cpus}intr 5{interrupts}\nctxt 5\nbtime 1\nprocesses 5\nprocs_running 300\nprocs_blocked 0\nsoftirq 5{interrupts}\n",
            3 * busy
        )
    };
    tree.write("proc/stat", stat(1_000));
    tree.write("proc/meminfo", "MemTotal: 1056700000 kB\nMemFree: 9 kB\nMemAvailable: 700000 kB\nZswap: 0 kB\nSecPageTables: 4 kB\nUnaccepted: 0 kB\nHugePages_Total:   65536\nHugePages_Free:    65000\nHugepagesize:       2048 kB\nHugetlb:        134217728 kB\nDirectMap1G: 9 kB\n");
    let vitals = vitals_after(&tree, |tree| tree.write("proc/stat", stat(2_000)));
    assert_eq!((vitals.cpu_user_percent, vitals.cpu_guest_percent), (Some(25.0), Some(25.0)));
    assert_eq!(vitals.processes_running, Some(300));
    assert_eq!(
        (vitals.huge_pages_kib, vitals.huge_pages_free_kib),
        (Some(134_217_728), Some(133_120_000))
    );
}

/// Its interface is one end of a virtual cable; it sees the host's CPUs and disks, and no /sys/block.
#[test]
fn a_container_counts_its_interface_and_no_disks() {
    let tree = Tree::centos_7();
    std::fs::remove_dir_all(tree.root().join("sys/class/net/eth0/device")).unwrap();
    std::fs::remove_dir_all(tree.root().join("sys/block")).unwrap();
    let sample = sample_after(&tree, |tree| tree.centos_7_after(10));
    let vitals = sample.vitals.unwrap();
    assert_eq!(vitals.net_rx_bytes, Some(15_000), "without loopback");
    assert!(vitals.cpu_user_percent.is_some());
    let bare = Tree::centos_7();
    std::fs::remove_dir_all(bare.root().join("sys/block")).unwrap();
    let none = sample_after(&bare, |_| ());
    assert_eq!((none.disk_io, none.vitals.unwrap().disk_read_kib), (None, None));
}

/// The counters of a machine that was restored from a snapshot, or whose container moved on.
#[test]
fn counters_that_all_went_back_give_no_difference() {
    let tree = Tree::new();
    tree.centos_7_after(1_000);
    let sample = sample_after(&tree, |tree| tree.centos_7_after(0));
    assert_eq!((sample.cpu_idle_percent, sample.disk_io), (None, Some(0)));
    let vitals = sample.vitals.unwrap();
    hostile::check_sane(&vitals);
    assert_eq!((vitals.cpu_user_percent, vitals.cpu_busy_max_percent), (None, None));
    assert_eq!((vitals.context_switches, vitals.forks, vitals.swap_in_kib), (None, None, None));
    assert_eq!((vitals.tcp_retransmitted, vitals.tcp_listen_drops), (None, None));
    assert_eq!((vitals.net_rx_bytes, vitals.disk_busy_percent), (Some(0), None));
    assert_eq!(vitals.load_1, Some(0.31), "what is of now is known");
}
