use std::sync::Arc;

use rowcall_core::clock::TestClock;
use rowcall_core::devices::Devices;
use rowcall_core::id::UnixMicros;

use super::*;
use crate::collect::Collect;
use crate::devices::linux::tests::{Tree, skipped};

/// A machine with a clock of its own.
struct Machine {
    tree: Tree,
    clock: Arc<TestClock>,
    processes: Processes,
}

/// CPU time in seconds, memory in KiB, bytes read and written.
#[derive(Clone, Copy, Default)]
struct Doing {
    cpu: u64,
    kib: u64,
    io: Option<(u64, u64)>,
    started: u64,
}

impl Machine {
    fn new(collect: Collect) -> Self {
        let tree = Tree::new().with("proc/meminfo", "MemTotal:       1000000 kB\nMemFree: 1 kB\n");
        let clock = Arc::new(TestClock::at(UnixMicros(0)));
        let shared: rowcall_core::clock::SharedClock = Arc::<TestClock>::clone(&clock);
        let context = Context::new(tree.path(""), collect, shared);
        Self { tree, clock, processes: Processes::new(Arc::new(context)) }
    }

    fn run(&self, pid: i32, name: &str, doing: Doing) {
        let ticks = procfs::ticks_per_second();
        let (cpu, started) = (doing.cpu * ticks, doing.started * ticks);
        let pages = doing.kib * 1024 / procfs::page_size();
        let line = format!(
            "{pid} ({name}) S 1 1 1 0 -1 4194560 0 0 0 0 {cpu} 0 9 9 20 0 1 0 {started} 9 {pages} 0\n"
        );
        self.tree.add(&format!("proc/{pid}/stat"), &line);
        if let Some((read, written)) = doing.io {
            let text = format!("rchar: 9\nread_bytes: {read}\nwrite_bytes: {written}\n");
            self.tree.add(&format!("proc/{pid}/io"), &text);
        }
    }

    fn read(&mut self) -> Devices {
        let mut found = Found::default();
        self.processes.read(&mut found);
        found.devices
    }

    fn after(&mut self, seconds: u64) -> Devices {
        self.clock.advance(Duration::from_secs(seconds));
        self.read()
    }
}

/// Command, percent of a CPU, KiB, bytes per second read and written.
type Told = (String, Option<f32>, i64, Option<i64>, Option<i64>);

fn told(devices: &Devices) -> Vec<Told> {
    let one = |it: &Process| {
        let kib = it.memory_kib.unwrap();
        (it.command.clone(), it.cpu_percent, kib, it.read_bytes_per_s, it.written_bytes_per_s)
    };
    devices.processes.iter().map(one).collect()
}

/// One that is told.
fn it(name: &str, cpu: Option<f32>, kib: i64, read: Option<i64>, written: Option<i64>) -> Told {
    (name.to_owned(), cpu, kib, read, written)
}

const IDLE: Doing = Doing { cpu: 5, kib: 8, io: Some((1000, 1000)), started: 1 };

#[test]
fn rates_are_over_the_time_since_the_previous_pass() {
    let mut machine = Machine::new(Collect::default());
    machine.run(10, "idle", IDLE);
    machine.run(20, "busy", IDLE);
    machine.run(30, "disk", IDLE);
    machine.run(40, "large", Doing { kib: 20_000, ..IDLE });
    assert_eq!(told(&machine.read()), [it("large", None, 20_000, None, None)], "no rates yet");
    machine.run(20, "busy", Doing { cpu: 5 + 40, ..IDLE });
    machine.run(30, "disk", Doing { cpu: 6, io: Some((1000 + 10_000_000, 1000)), ..IDLE });
    let devices = machine.after(100);
    assert_eq!(
        told(&devices),
        [
            it("busy", Some(40.0), 8, Some(0), Some(0)),
            it("disk", Some(1.0), 8, Some(100_000), Some(0)),
            it("large", Some(0.0), 20_000, Some(0), Some(0)),
        ]
    );
    assert_eq!(told(&machine.after(100)), [it("large", Some(0.0), 20_000, Some(0), Some(0))]);
}

#[test]
fn what_a_process_read_while_it_was_not_asked_is_spread_over_that_time() {
    let mut machine = Machine::new(Collect::default());
    machine.run(10, "disk", IDLE);
    machine.read();
    machine.run(10, "disk", Doing { io: Some((20_000_000, 1000)), ..IDLE });
    assert_eq!(told(&machine.after(100)), Vec::<Told>::new(), "no CPU time, so it is not asked");
    machine.run(10, "disk", Doing { cpu: 6, io: Some((20_001_000, 1000)), ..IDLE });
    assert_eq!(told(&machine.after(100)), [it("disk", Some(1.0), 8, Some(100_000), Some(0))]);
}

#[test]
fn what_a_large_idle_process_reads_is_told_once() {
    let mut machine = Machine::new(Collect::default());
    let reads = |bytes: u64| Doing { kib: 20_000, io: Some((1000 + bytes, 1000)), ..IDLE };
    machine.run(10, "large", reads(0));
    machine.read();
    for (bytes, rate) in [(10_000_000, 100_000), (10_000_000, 0), (20_000_000, 100_000)] {
        machine.run(10, "large", reads(bytes));
        let expected = [it("large", Some(0.0), 20_000, Some(rate), Some(0))];
        assert_eq!(told(&machine.after(100)), expected);
    }
}

#[test]
fn what_takes_less_than_the_readme_says_is_not_told() {
    const READ: u64 = 200 * 64 * 1024;
    let mut machine = Machine::new(Collect::default());
    for pid in 1..7 {
        machine.run(pid, "p", IDLE);
    }
    machine.read();
    let after = |cpu: u64, read: u64, kib| Doing {
        cpu: 5 + cpu,
        kib,
        io: Some((1000 + read, 1000)),
        ..IDLE
    };
    machine.run(1, "half a percent", after(1, 0, 8));
    machine.run(2, "one percent", after(2, 0, 8));
    machine.run(3, "a byte short", after(1, READ - 200, 8));
    machine.run(4, "64 KiB/s", after(1, READ, 8));
    machine.run(5, "below", after(0, 0, 9_996));
    machine.run(6, "one hundredth", after(0, 0, 10_000));
    let devices = machine.after(200);
    let names: Vec<_> = devices.processes.iter().map(|it| it.command.as_str()).collect();
    assert_eq!(names, ["one percent", "64 KiB/s", "one hundredth"]);
}

#[test]
fn where_all_memory_is_unknown_it_finds_nobody() {
    let mut machine = Machine::new(Collect::default());
    machine.tree.add("proc/meminfo", "MemTotal: many kB\n");
    machine.run(10, "large", Doing { kib: 900_000, ..IDLE });
    assert_eq!(told(&machine.read()), []);
}

#[test]
fn only_a_process_that_started_since_then_counts_from_zero() {
    let mut machine = Machine::new(Collect::default());
    machine.run(10, "idle", IDLE);
    machine.read();
    // The clock began an hour after boot.
    let doing = Doing { cpu: 50, io: Some((0, 50_000_000)), ..IDLE };
    machine.run(11, "new", Doing { started: 3650, ..doing });
    machine.run(12, "old", Doing { started: 100, ..doing });
    assert_eq!(told(&machine.after(100)), [it("new", Some(50.0), 8, Some(0), Some(500_000))]);
}

#[test]
fn a_pid_that_was_given_again_is_another_process() {
    let mut machine = Machine::new(Collect::default());
    machine.run(10, "first", Doing { cpu: 1000, ..IDLE });
    machine.read();
    machine.run(10, "second", Doing { cpu: 1090, kib: 8, io: Some((1000, 1000)), started: 3690 });
    // All of its own 1090 s, of several CPUs, and not the 90 s more.
    assert_eq!(told(&machine.after(100)), [it("second", Some(1090.0), 8, Some(10), Some(10))]);
}

#[test]
fn counters_that_fall_and_a_clock_that_stands_give_no_rate() {
    let mut machine = Machine::new(Collect::default());
    machine.run(10, "odd", Doing { kib: 50_000, ..IDLE });
    machine.read();
    machine.run(10, "odd", Doing { cpu: 1, kib: 50_000, io: Some((1, 1)), started: 1 });
    assert_eq!(told(&machine.after(100)), [it("odd", None, 50_000, None, None)]);
    assert_eq!(told(&machine.after(0)), [it("odd", None, 50_000, None, None)]);
}

#[test]
fn a_moment_within_a_microsecond_is_not_another_pass() {
    let mut machine = Machine::new(Collect::default());
    machine.run(10, "disk", IDLE);
    machine.read();
    machine.run(10, "disk", Doing { cpu: 6, io: Some((10_001_000, 1000)), ..IDLE });
    machine.clock.advance(Duration::from_nanos(100_000_000_999));
    assert_eq!(told(&machine.read()), [it("disk", Some(1.0), 8, Some(100_000), Some(0))]);
}

#[test]
fn among_those_that_come_and_go_each_keeps_its_own_numbers() {
    let mut machine = Machine::new(Collect { top_processes: 50, ..Collect::default() });
    let was = |pid: i32| Doing { cpu: u64::try_from(pid).unwrap(), ..IDLE };
    for pid in [2, 5, 6, 9, 20] {
        machine.run(pid, "old", was(pid));
    }
    machine.read();
    // Before, between and behind those that stay; 6 is another one.
    for pid in [2, 9] {
        machine.tree.remove(&format!("proc/{pid}"));
    }
    for pid in [1, 6, 7, 30] {
        machine.run(pid, "new", Doing { cpu: 10, started: 3650, ..IDLE });
    }
    for pid in [5, 20] {
        machine.run(pid, "old", Doing { cpu: 20 + was(pid).cpu, ..IDLE });
    }
    let percent = |devices: &Devices| {
        let one = |it: &Process| (it.pid, it.cpu_percent.unwrap());
        devices.processes.iter().map(one).collect::<Vec<_>>()
    };
    let all = [(1, 10.0), (5, 20.0), (6, 10.0), (7, 10.0), (20, 20.0), (30, 10.0)];
    assert_eq!(percent(&machine.after(100)), all);
    for pid in [1, 6, 7, 30] {
        machine.run(pid, "new", Doing { cpu: 10 + 5, started: 3650, ..IDLE });
    }
    assert_eq!(percent(&machine.after(100)), [(1, 5.0), (6, 5.0), (7, 5.0), (30, 5.0)]);
}

#[test]
fn thousands_take_little_room_and_leave_none_behind() {
    let mut machine = Machine::new(Collect::default());
    machine.run(1, "stays", IDLE);
    for pid in 2..5000 {
        machine.run(pid, "goes", Doing { io: None, ..IDLE });
    }
    machine.read();
    let room = |machine: &Machine| {
        let Processes { seen, pids, .. } = &machine.processes;
        seen.capacity() * size_of::<Seen>() + pids.capacity() * size_of::<i32>()
    };
    assert!(room(&machine) < 300_000, "{}", room(&machine));
    for pid in 2..5000 {
        machine.tree.remove(&format!("proc/{pid}"));
    }
    machine.after(100);
    assert!(room(&machine) < 1000, "{}", room(&machine));
}

#[test]
fn io_that_is_refused_is_absent() {
    let mut machine = Machine::new(Collect::default());
    let doing = Doing { io: None, ..IDLE };
    machine.run(10, "others", doing);
    machine.read();
    machine.run(10, "others", Doing { cpu: 95, ..doing });
    assert_eq!(told(&machine.after(100)), [it("others", Some(90.0), 8, None, None)]);
    for cpu in [185, 275] {
        machine.run(10, "others", Doing { cpu, ..IDLE });
        let devices = machine.after(100);
        assert_eq!(told(&devices), [it("others", Some(90.0), 8, None, None)], "asked but once");
    }
}

#[test]
fn a_process_that_waits_for_a_disk_is_asked_for_its_io_though_it_takes_no_cpu_time() {
    let mut machine = Machine::new(Collect::default());
    machine.run(10, "waits", IDLE);
    machine.read();
    machine.run(10, "waits", Doing { io: Some((1000, 10_001_000)), ..IDLE });
    let stat = std::fs::read_to_string(machine.tree.path("proc/10/stat")).unwrap();
    machine.tree.add("proc/10/stat", &stat.replace(") S ", ") D "));
    assert_eq!(told(&machine.after(100)), [it("waits", Some(0.0), 8, Some(0), Some(100_000))]);
}

#[test]
fn no_more_processes_are_looked_at_than_the_bound_and_the_others_are_counted() {
    let mut machine = Machine::new(Collect::default());
    machine.processes.most_looked_at = 3;
    for pid in 1..8 {
        machine.run(pid, "large", Doing { kib: 20_000, ..IDLE });
    }
    let devices = machine.read();
    assert_eq!((devices.processes.len(), skipped(&devices)), (3, vec!["processes limit 4".into()]));
}

#[test]
fn the_number_is_bounded_and_what_is_gone_or_broken_is_passed_over() {
    let mut machine = Machine::new(Collect { top_processes: 2, ..Collect::default() });
    for pid in 1..20 {
        machine.run(pid, "p", Doing { kib: 10_000 + 10 * u64::try_from(pid).unwrap(), ..IDLE });
    }
    machine.tree.add("proc/500/stat", "500 (cut) S 1\n");
    machine.tree.add_bytes("proc/501/stat", b"\xff\xff");
    machine.tree.add_dir("proc/502");
    machine.tree.add_dir("proc/99999999999999");
    machine.tree.add_dir("proc/self");
    let pids = |devices: &Devices| devices.processes.iter().map(|it| it.pid).collect::<Vec<_>>();
    assert_eq!(pids(&machine.read()), [18, 19]);
    machine.tree.remove("proc/19");
    let devices = machine.after(10);
    assert_eq!(pids(&devices), [17, 18]);
    assert!(devices.skipped.is_empty());
    let collect = Collect { top_processes: usize::MAX, ..Collect::default() };
    let mut machine = Machine::new(collect);
    for pid in 1..90 {
        machine.run(pid, "p", Doing { kib: 20_000, ..IDLE });
    }
    assert_eq!(machine.read().processes.len(), MAX_PROCESSES / 3);
}

#[test]
fn names_are_clean_and_kernel_threads_lose_their_number() {
    let kernel = "7 (kworker/u8:3-events) I 2 0 0 0 -1 69238880 0 0 0 0 1 0 0 0 20 0 1 0 5 0 0 1\n";
    assert_eq!(name(&stat::parse(kernel.as_bytes()).unwrap()), "kworker");
    let long = kernel.replace("kworker/u8:3-events", "rcu_tasks_trace_kthread");
    assert_eq!(name(&stat::parse(long.as_bytes()).unwrap()), "rcu_tasks_trace_kthread");
    let user = kernel.replace("69238880", "4194560").replace("kworker", "a\n\u{1b}b");
    assert_eq!(name(&stat::parse(user.as_bytes()).unwrap()), "ab/u8:3-events");
}

#[test]
fn arguments_are_told_only_when_asked_for_and_are_clean_and_short() {
    for (process_arguments, expected) in [(false, "short"), (true, "/bin/x --a b[31m")] {
        let mut machine = Machine::new(Collect { process_arguments, ..Collect::default() });
        machine.run(10, "short", Doing { kib: 20_000, ..IDLE });
        machine.tree.add("proc/10/cmdline", "/bin/x\0--a\0b\u{1b}[31m\0");
        assert_eq!(machine.read().processes[0].command, expected);
        machine.tree.add("proc/10/cmdline", &"x".repeat(10_000));
        assert!(machine.after(1).processes[0].command.len() <= 256);
        machine.tree.add("proc/10/cmdline", "");
        assert_eq!(machine.after(1).processes[0].command, "short", "as a kernel thread has none");
    }
}

#[test]
fn a_machine_without_a_process_table_says_so() {
    let context = Context::new(
        "/nonexistent".into(),
        Collect::default(),
        rowcall_core::clock::SystemClock::shared(),
    );
    let mut found = Found::default();
    Processes::new(Arc::new(context)).read(&mut found);
    assert_eq!(skipped(&found.devices), ["processes unreadable 1"]);
    // Something else is mounted there.
    let mut machine = Machine::new(Collect::default());
    assert_eq!(skipped(&machine.read()), ["processes unreadable 1"]);
    machine.run(10, "large", Doing { kib: 20_000, ..IDLE });
    let devices = machine.read();
    assert_eq!((devices.processes.len(), devices.skipped.len()), (1, 0));
}

#[test]
fn a_process_that_hides_its_name_is_told_all_the_same() {
    let mut machine = Machine::new(Collect::default());
    machine.run(10, "", Doing { kib: 20_000, ..IDLE });
    machine.run(20, "\u{1}\u{202e}", Doing { kib: 30_000, ..IDLE });
    let devices = machine.read();
    let mut said: Vec<_> =
        devices.processes.iter().map(|it| (it.pid, it.command.as_str())).collect();
    said.sort_unstable();
    assert_eq!(said, [(10, "(no name)"), (20, "(no name)")]);
}
