use std::time::Duration;

use rowcall_core::devices::{Devices, Disk, Interface, Metric, Process, SkipReason, Skipped};
use rowcall_core::id::UnixMicros;
use rowcall_core::record::{DiskFacts, HostFacts, Sample};
use rowcall_core::vitals::Vitals;

use super::*;

fn process(pid: i32, command: &str, cpu: Option<f32>, memory_kib: i64) -> Process {
    let command = command.to_owned();
    let memory_kib = Some(memory_kib);
    Process { pid, command, cpu_percent: cpu, memory_kib, ..Process::default() }
}

fn shown() -> Shown {
    let vitals = Vitals {
        cpu_busy_max_percent: Some(93.0),
        memory_used_max_kib: Some(1024),
        context_switches: Some(3000),
        disk_read_kib: Some(4096),
        net_rx_bytes: Some(1000),
        tcp_established: Some(7),
        swap_used_kib: Some(2048),
        disk_busy_max_percent: Some(50.0),
        ..Vitals::default()
    };
    let sample = Sample {
        elapsed_us: Some(2_000_000),
        disk_io: Some(31),
        vitals: Some(Box::new(vitals)),
        ..Sample::default()
    };
    let disk = DiskFacts {
        name: "sda".into(),
        model: Some("WDC".into()),
        size_kib: Some(256 << 20),
        rotational: Some(true),
    };
    let facts = HostFacts {
        cpu_number: Some(2),
        cpu_sockets: Some(1),
        cpu_cores: Some(2),
        virtualization: Some("docker".into()),
        kernel_host_name: Some("vm".into()),
        disks: Some(vec![disk]),
        ..HostFacts::default()
    };
    let devices = Devices {
        disks: vec![Disk { name: "sda".into(), busy_max_percent: Some(1.0), ..Disk::default() }],
        interfaces: vec![Interface {
            name: "eth0".into(),
            up: Some(true),
            rx_max_bytes_per_s: Some(1),
            tx_max_bytes_per_s: Some(1),
            ..Interface::default()
        }],
        processes: vec![
            process(1, "init", None, 9000),
            process(20, &format!("java {}", "-X ".repeat(1000)), Some(5.0), 1),
            process(300, "busy", Some(150.0), 1),
            process(4000, "large", Some(5.0), 7),
        ],
        metrics: vec![Metric { name: "m".into(), labels: vec![], value: 1.5 }],
        skipped: vec![Skipped {
            collector: "metrics".into(),
            item: Some("backup.prom line 5: no value".into()),
            reason: SkipReason::Unreadable,
            count: 1,
        }],
        ..Devices::default()
    };
    Shown {
        reading: Reading {
            time: UnixMicros(0),
            monotonic: Duration::ZERO,
            since_boot: Duration::ZERO,
            sample,
        },
        devices: Some(devices),
        facts,
        machine: MachineIds::default(),
    }
}

/// The lines, each with one blank for many.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_host_is_told_in_the_words_of_its_columns() {
    let lines = lines(&text(&shown(), 80));
    for line in [
        "CPUs 2 (1 socket, 2 cores)",
        "kernel host name vm",
        "virtualization docker",
        "disk sda 256.0 GiB, spins, WDC",
    ] {
        assert!(lines.iter().any(|shown| shown == line), "{line:?} is missing in {lines:#?}");
    }
}

#[test]
fn a_real_machine_is_called_what_the_reports_call_it() {
    let mut shown = shown();
    shown.facts.virtualization = Some("none".into());
    let lines = lines(&text(&shown, 80));
    assert!(lines.contains(&"virtualization bare metal".into()), "{lines:#?}");
}

#[test]
fn what_was_counted_over_the_sample_is_shown_by_the_second() {
    let lines = lines(&text(&shown(), 80));
    for line in [
        "disk io 16/s",
        "context switches 1500/s",
        "disk read 2.0 MiB/s",
        "net rx 500 B/s",
        "tcp established 7",
        "swap used 2.0 MiB",
        "swap in -",
    ] {
        assert!(lines.iter().any(|shown| shown == line), "{line:?} is missing in {lines:#?}");
    }
}

#[test]
fn what_was_skipped_says_why_under_that_word() {
    let text = text(&shown(), 80);
    assert!(text.contains("\nskipped\n  metrics backup.prom line 5: no value\n"), "{text}");
}

#[test]
fn one_reading_has_no_peaks() {
    let shown = shown().without_peaks();
    let lines = lines(&text(&shown, 80));
    for line in ["cpu busy max -", "memory used max (total - available) -", "disk busy max -"] {
        assert!(lines.iter().any(|shown| shown == line), "{line:?} is missing in {lines:#?}");
    }
    let json = json(&shown);
    for path in [
        "/vitals/cpu_busy_max_percent",
        "/vitals/memory_used_max_kib",
        "/vitals/disk_busy_max_percent",
        "/devices/disks/0/busy_max_percent",
        "/devices/interfaces/0/rx_max_bytes_per_s",
        "/devices/interfaces/0/tx_max_bytes_per_s",
    ] {
        assert_eq!(json.pointer(path), Some(&serde_json::Value::Null), "{path}");
    }
}

#[test]
fn processes_stand_by_cpu_then_memory_and_their_commands_are_cut() {
    for width in [80, 100] {
        let text = text(&shown(), width);
        let rows = text.lines().skip_while(|line| !line.contains("CPU (of one)"));
        let rows: Vec<_> = rows.skip(1).take(4).collect();
        let pids: Vec<_> = rows.iter().map(|row| row.split_whitespace().next().unwrap()).collect();
        assert_eq!(pids, ["300", "4000", "20", "1"], "{text}");
        assert!(rows[2].ends_with("...") && rows[2].chars().count() == width, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
    }
}
