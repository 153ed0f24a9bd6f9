//! What is read of each machine. The snapshots tell all of it; the numbers that a reader can work
//! out from the machine's own file, and that matter most, stand here.

use super::machines::{ALL, centos7, container_v1, container_v2, laptop, pi, server};
use super::observed::{Observed, Observer};

#[tokio::test]
async fn all_of_each_machine_is_read() {
    for (name, machine) in ALL {
        let observed = Observer::new().watch(machine(0), machine(1)).await;
        insta::with_settings!({snapshot_path => "golden", prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!(name, observed.text());
        });
    }
}

/// A number of vitals by its name.
#[track_caller]
fn vital(observed: &Observed, name: &str) -> Option<f64> {
    let vitals = observed.reading.sample.vitals.as_ref().unwrap();
    let (_, value) = vitals.values().into_iter().find(|(found, _)| *found == name).unwrap();
    value
}

#[track_caller]
fn assert_vitals(observed: &Observed, expected: &[(&str, Option<f64>)]) {
    for (name, expected) in expected {
        let found = vital(observed, name);
        let same = match (found, expected) {
            // Shares are 32-bit numbers.
            (Some(found), Some(expected)) => (found - expected).abs() <= expected.abs() * 1e-6,
            (found, expected) => found.is_none() && expected.is_none(),
        };
        assert!(same, "{name} is {found:?}, not {expected:?}");
    }
}

#[tokio::test]
async fn a_laptops_minute_adds_up() {
    let observed = Observer::new().watch(laptop(0), laptop(1)).await;
    assert_vitals(
        &observed,
        &[
            ("cpu_user_percent", Some(20.0)),
            ("cpu_nice_percent", Some(1.0)),
            ("cpu_system_percent", Some(10.0)),
            ("cpu_iowait_percent", Some(5.0)),
            ("cpu_irq_percent", Some(1.0)),
            ("cpu_softirq_percent", Some(2.0)),
            ("cpu_steal_percent", Some(1.0)),
            ("cpu_guest_percent", Some(4.0)),
            ("load_1", Some(1.25)),
            ("processes_running", Some(3.0)),
            ("processes_blocked", Some(1.0)),
            ("context_switches", Some(120_000.0)),
            ("forks", Some(360.0)),
            ("memory_slab_kib", Some(800_000.0)),
            ("swap_used_kib", Some(100_000.0)),
            // Pages of 4 KiB.
            ("swap_in_kib", Some(20.0)),
            ("swap_out_kib", Some(100.0)),
            ("major_faults", Some(7.0)),
            ("oom_kills", Some(1.0)),
            ("pressure_cpu_some_percent", Some(5.0)),
            ("pressure_cpu_full_percent", Some(0.0)),
            ("pressure_memory_some_percent", Some(2.0)),
            ("pressure_memory_full_percent", Some(1.0)),
            ("pressure_io_some_percent", Some(10.0)),
            ("pressure_io_full_percent", Some(4.0)),
            ("disk_busy_percent", Some(25.0)),
            // The partition and the mapped device would count the same again.
            ("disk_read_kib", Some(61_440.0)),
            ("disk_written_kib", Some(122_880.0)),
            // The wireless one alone: the bridge has no device behind it.
            ("net_rx_bytes", Some(6_000_000.0)),
            ("net_tx_bytes", Some(1_200_000.0)),
            ("net_rx_packets", Some(5_000.0)),
            ("net_errors", Some(2.0)),
            ("net_drops", Some(4.0)),
            ("tcp_established", Some(42.0)),
            ("tcp_retransmitted", Some(9.0)),
            ("tcp_listen_drops", Some(4.0)),
            ("conntrack", Some(77.0)),
            ("file_handles", Some(12_345.0)),
        ],
    );
    let sample = &observed.reading.sample;
    assert_eq!((sample.cpu_idle_percent, sample.cpu_kernel_percent), (Some(60.0), Some(13.0)));
    assert_eq!(sample.disk_io, Some(1_800));
    assert_eq!(
        (sample.memory_free_kib, sample.memory_available_kib),
        (Some(2_000_000), Some(9_000_000))
    );
}

#[tokio::test]
async fn what_an_old_kernel_lacks_is_unknown_and_not_zero() {
    let observed = Observer::new().watch(centos7(0), centos7(1)).await;
    let unknown = [
        "oom_kills",
        "conntrack",
        "pressure_cpu_some_percent",
        "pressure_memory_full_percent",
        "pressure_io_some_percent",
    ];
    assert_vitals(&observed, &unknown.map(|name| (name, None)));
    assert_vitals(&observed, &[("cpu_user_percent", Some(12.5)), ("disk_read_kib", Some(80.0))]);
    let groups =
        observed.devices.cgroups.iter().map(|one| (one.name.as_str(), one.memory_kib, one.cpu_us));
    assert_eq!(groups.collect::<Vec<_>>(), [("system.slice", Some(204_800), None)]);

    let observed = Observer::new().watch(server(0), server(1)).await;
    assert_vitals(
        &observed,
        &[("pressure_cpu_some_percent", Some(75.0)), ("pressure_cpu_full_percent", None)],
    );
    let observed = Observer::new().watch(container_v1(0), container_v1(1)).await;
    assert_vitals(&observed, &[("pressure_io_some_percent", None), ("oom_kills", Some(2.0))]);
}

#[tokio::test]
async fn both_versions_of_cgroups_tell_the_same_of_a_container() {
    for machine in [container_v1, container_v2] {
        let observed = Observer::new().watch(machine(0), machine(1)).await;
        let [own] = observed.devices.cgroups.as_slice() else {
            panic!("{:?}", observed.devices.cgroups)
        };
        assert_eq!(own.name, "/");
        let told = (own.cpu_us, own.memory_kib, own.processes);
        assert_eq!(told, (Some(7_000_000), Some(102_400), Some(3)));
        assert_eq!(observed.facts.virtualization.as_deref(), Some("docker"));
    }
}

#[tokio::test]
async fn a_large_servers_cpus_and_arrays_are_read() {
    let observed = Observer::new().watch(server(0), server(1)).await;
    assert_vitals(
        &observed,
        &[
            ("cpu_user_percent", Some(50.0)),
            ("cpu_guest_percent", Some(10.0)),
            // The busier of two.
            ("disk_busy_percent", Some(90.0)),
            ("net_rx_bytes", Some(6_000_000_000.0)),
            ("huge_pages_kib", Some(104_857_600.0)),
            ("huge_pages_free_kib", Some(26_214_400.0)),
        ],
    );
    let facts = &observed.facts;
    assert_eq!(
        (facts.cpu_number, facts.cpu_sockets, facts.cpu_cores),
        (Some(256), Some(2), Some(128))
    );
    let arrays =
        observed.devices.md_arrays.iter().map(|md| (md.name.as_str(), md.disks, md.disks_active));
    let mut arrays: Vec<_> = arrays.collect();
    arrays.sort_unstable();
    assert_eq!(arrays, [("md0", 2, 2), ("md1", 2, 1)]);
    let errors = observed.devices.memory_controllers.iter().map(|mc| mc.corrected_errors);
    assert_eq!(errors.collect::<Vec<_>>(), [0, 3]);
}

#[tokio::test]
async fn a_board_without_dmi_tells_its_model_and_its_card() {
    let observed = Observer::new().watch(pi(0), pi(1)).await;
    let facts = &observed.facts;
    assert_eq!(facts.cpu_model.as_deref(), Some("Raspberry Pi 4 Model B Rev 1.4"));
    assert_eq!(facts.board.as_deref(), Some("Raspberry Pi 4 Model B Rev 1.4"));
    assert_eq!(facts.cpu_mhz, Some(1_800.0));
    let disks: Vec<_> = observed.devices.disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(disks, ["mmcblk0"]);
    assert_eq!(observed.devices.sensors.len(), 1);
    assert_eq!(observed.devices.sensors[0].temperature_mc, 48_686);
}

#[tokio::test]
async fn arguments_of_processes_stay_on_the_host() {
    let observed = Observer::new().watch(laptop(0), laptop(1)).await;
    assert!(observed.devices.processes.iter().any(|process| process.command == "firefox"));
    assert!(!observed.text().contains("hunter2"), "{}", observed.text());
}
