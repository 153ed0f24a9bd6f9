use super::*;
use crate::devices::linux::tests::{Tree, read, skipped};

fn version_2() -> Tree {
    Tree::new()
        .with("sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n")
        .with("sys/fs/cgroup/cpu.stat", "usage_usec 1\n")
        .with("sys/fs/cgroup/system.slice/cgroup.type", "domain\n")
        .with(
            "sys/fs/cgroup/system.slice/cpu.stat",
            "usage_usec 5000\nuser_usec 1\nsystem_usec 2\nnr_throttled 3\nthrottled_usec 700\n",
        )
        .with("sys/fs/cgroup/system.slice/memory.current", "1048576\n")
        .with("sys/fs/cgroup/system.slice/memory.events", "low 0\noom 1\noom_kill 2\n")
        .with(
            "sys/fs/cgroup/system.slice/io.stat",
            "8:0 rbytes=100 wbytes=200 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2\n",
        )
        .with("sys/fs/cgroup/system.slice/pids.current", "42\n")
        .with_dir("sys/fs/cgroup/init.scope")
}

#[test]
fn version_2_tells_the_slices_of_the_top_level() {
    let cgroups = read(&version_2(), Collector::Cgroups).cgroups;
    let names: Vec<_> = cgroups.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["init.scope", "system.slice"]);
    let expected = Cgroup {
        name: "system.slice".into(),
        counted_since: cgroups[1].counted_since,
        cpu_us: Some(5000),
        throttled_us: Some(700),
        memory_kib: Some(1024),
        read_bytes: Some(101),
        written_bytes: Some(202),
        processes: Some(42),
        oom_kills: Some(2),
    };
    assert_eq!(cgroups[1], expected);
    let nothing = (cgroups[0].cpu_us, cgroups[0].memory_kib, cgroups[0].read_bytes);
    assert_eq!(nothing, (None, None, None), "a controller that is off has no number");
}

#[test]
fn a_group_made_anew_counts_since_another_time() {
    let tree = version_2();
    let since = |tree: &Tree| read(tree, Collector::Cgroups).cgroups[0].counted_since;
    let first = since(&tree);
    assert_eq!(since(&tree), first);
    // The old one stays under another name for the inode not to be given again.
    tree.rename("sys/fs/cgroup/init.scope", "sys/fs/cgroup/zzz");
    tree.add_dir("sys/fs/cgroup/init.scope");
    assert_ne!(since(&tree), first);
}

#[test]
fn a_container_of_version_2_tells_its_own_group() {
    let tree = Tree::new()
        .with("sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
        .with("sys/fs/cgroup/cgroup.type", "domain\n")
        .with("sys/fs/cgroup/cpu.stat", "usage_usec 9\n")
        .with("sys/fs/cgroup/memory.current", "4096\n");
    let cgroups = read(&tree, Collector::Cgroups).cgroups;
    assert_eq!(cgroups.len(), 1);
    assert_eq!(
        (cgroups[0].name.as_str(), cgroups[0].cpu_us, cgroups[0].memory_kib),
        ("/", Some(9), Some(4))
    );
}

fn version_1() -> Tree {
    let tree = Tree::new();
    for (file, value) in [
        ("cpuacct/system.slice/cpuacct.usage", "5000999\n"),
        ("cpu/system.slice/cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_time 7000\n"),
        ("memory/system.slice/memory.usage_in_bytes", "2048\n"),
        ("memory/system.slice/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
        (
            "blkio/system.slice/blkio.throttle.io_service_bytes_recursive",
            "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\n8:16 Read 1\nTotal 31\n",
        ),
        // Without what groups below it did.
        ("blkio/system.slice/blkio.throttle.io_service_bytes", "8:0 Read 1\n8:0 Write 2\n"),
        ("pids/user.slice/pids.current", "7\n"),
        ("blkio/user.slice/blkio.throttle.io_service_bytes", "8:0 Read 5\n"),
        ("unified/cgroup.controllers", ""),
        ("systemd/system.slice/tasks", ""),
    ] {
        tree.add(&format!("sys/fs/cgroup/{file}"), value);
    }
    tree
}

#[test]
fn version_1_and_the_hybrid_form_put_a_group_together_from_its_controllers() {
    let cgroups = read(&version_1(), Collector::Cgroups).cgroups;
    assert_eq!(cgroups.len(), 2);
    let expected = Cgroup {
        name: "system.slice".into(),
        counted_since: cgroups[0].counted_since,
        cpu_us: Some(5000),
        throttled_us: Some(7),
        memory_kib: Some(2),
        read_bytes: Some(11),
        written_bytes: Some(20),
        processes: None,
        oom_kills: Some(3),
    };
    assert_eq!(cgroups[0], expected);
    assert_eq!((cgroups[1].read_bytes, cgroups[1].processes), (Some(5), Some(7)));
}

#[test]
fn a_container_of_version_1_tells_its_own_group() {
    let tree = Tree::new()
        .with("sys/fs/cgroup/cpuacct/cpuacct.usage", "1000\n")
        .with("sys/fs/cgroup/memory/memory.usage_in_bytes", "1024\n");
    let cgroups = read(&tree, Collector::Cgroups).cgroups;
    assert_eq!(cgroups.len(), 1);
    assert_eq!((cgroups[0].name.as_str(), cgroups[0].cpu_us), ("/", Some(1)));
}

#[test]
fn nonsense_is_absent_and_a_flood_is_bounded() {
    let tree = version_2();
    tree.add("sys/fs/cgroup/system.slice/memory.current", "-1\n");
    tree.add("sys/fs/cgroup/system.slice/cpu.stat", "usage_usec 99999999999999999999\n");
    tree.add_bytes("sys/fs/cgroup/system.slice/io.stat", b"\xff\xff");
    for n in 0..65 {
        tree.add_dir(&format!("sys/fs/cgroup/app{n}"));
    }
    let devices = read(&tree, Collector::Cgroups);
    assert_eq!(devices.cgroups.len(), MAX_CGROUPS);
    assert_eq!(skipped(&devices), ["cgroups limit 3"]);
    let tree = version_2();
    tree.add("sys/fs/cgroup/system.slice/memory.current", "-1\n");
    let slice = read(&tree, Collector::Cgroups).cgroups.remove(1);
    assert_eq!(slice.memory_kib, None);
    assert_eq!(slice.processes, Some(42));
    let none = read(&Tree::new(), Collector::Cgroups);
    assert_eq!((none.cgroups.len(), none.skipped.len()), (0, 0));
}
