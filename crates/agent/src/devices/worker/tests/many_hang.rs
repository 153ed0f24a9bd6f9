//! More things hang than there are threads. The threads are played: what hangs is never given back.

use super::*;

/// A name, and the server without which it hangs.
type Thing = (String, Option<&'static str>);

#[derive(Debug)]
struct Mount(Thing);

impl Source for Mount {
    fn read(&mut self, found: &mut Found) {
        found.devices.cgroups.push(Cgroup { name: self.0.0.clone(), ..Cgroup::default() });
    }

    fn server(&self) -> Option<&str> {
        self.0.1
    }
}

struct Played {
    workers: Workers,
    things: Arc<Mutex<Vec<Thing>>>,
    /// What threads wait for, by thread.
    hang: Vec<(u64, Task, u64)>,
    threads: u64,
}

impl Played {
    fn new(things: &[&str]) -> Self {
        let things: Vec<_> = things.iter().map(|it| local(it)).collect();
        let things = Arc::new(Mutex::new(things));
        let list = Arc::clone(&things);
        let workers = workers(&[Collector::Filesystems, Collector::Disks], move |collector| {
            let list = Arc::clone(&list);
            match collector {
                Collector::Filesystems => fake(move |found| {
                    for thing in list.lock().unwrap().iter() {
                        let source = Box::new(Mount(thing.clone()));
                        found.further.push((thing.0.clone(), source));
                    }
                }),
                _ => finds("disk"),
            }
        });
        Self { workers, things, hang: Vec::new(), threads: 0 }
    }

    fn with_thread<T>(&self, id: u64, does: impl FnOnce(&Worker<'_>) -> T) -> T {
        self.workers.board.state().threads += 1;
        let worker = Worker { board: &self.workers.board, id };
        let done = does(&worker);
        // It does not end: its tasks stay with it.
        std::mem::forget(worker);
        self.workers.board.state().threads -= 1;
        done
    }

    /// A reading as one thread after another makes it, of which those that hang do not go on.
    fn read(&mut self, hangs: impl Fn(&str) -> bool) -> Devices {
        self.workers.begin();
        while self.hang.len() < MAX_THREADS {
            self.threads += 1;
            let id = self.threads;
            let Some((task, round)) = self.with_thread(id, |it| it.begin_task()) else { break };
            if task.key.item.as_deref().is_some_and(&hangs) {
                self.hang.push((id, task, round));
            } else {
                self.answer(id, task, round);
            }
        }
        self.workers.board.end()
    }

    fn answer(&self, id: u64, task: Task, round: u64) {
        let Task { key, mut source } = task;
        let mut found = Found::default();
        source.read(&mut found);
        self.with_thread(id, |worker| worker.end_task(key, round, source, found));
    }
}

fn local(name: &str) -> Thing {
    (name.to_owned(), None)
}

/// Things of each reason, as they are named.
fn said(devices: &Devices, reason: SkipReason) -> Vec<&str> {
    let said = devices.skipped.iter().filter(|it| it.reason == reason);
    said.map(|it| it.item.as_deref().unwrap_or("more")).collect()
}

fn is_new(name: &str) -> bool {
    name.starts_with("/new")
}

#[test]
fn what_answered_is_read_however_many_new_things_hang() {
    let mut played = Played::new(&["/", "/zok"]);
    assert_eq!(names(&played.read(is_new)), ["/", "/zok", "disk"]);
    let new = (0..9).map(|n| local(&format!("/new{n}")));
    played.things.lock().unwrap().splice(1..1, new);
    for _ in 0..5 {
        let devices = played.read(is_new);
        assert_eq!(names(&devices), ["/", "/zok", "disk"]);
        assert_eq!(said(&devices, SkipReason::Hung), ["/new0", "/new1", "/new2", "/new3", "/new4"]);
        let not_asked = ["/new5", "/new6", "/new7", "/new8"];
        let not_asked = not_asked.map(|name| format!("{name}: not asked, others hang"));
        assert_eq!(said(&devices, SkipReason::Unreadable), not_asked);
    }
    // One comes back, and is asked again before those that nobody knows.
    let (id, task, round) = played.hang.remove(3);
    played.answer(id, task, round);
    let devices = played.read(|name| is_new(name) && name != "/new3");
    assert_eq!(names(&devices), ["/", "/new3", "/zok", "disk"]);
}

#[test]
fn when_good_things_all_hang_at_once_what_was_read_before_them_stays() {
    let good: Vec<_> = (0..20).map(|n| format!("/new{n}")).collect();
    let mut things = vec!["/"];
    things.extend(good.iter().map(String::as_str));
    let mut played = Played::new(&things);
    assert_eq!(played.read(|_| false).cgroups.len(), 22);
    for _ in 0..5 {
        assert_eq!(names(&played.read(is_new)), ["/", "disk"]);
        assert_eq!(played.hang.len(), MAX_THREADS_FOR_ANY, "the others are left for later");
    }
}

#[test]
fn of_a_server_that_is_gone_one_thing_is_asked_before_those_of_others() {
    let mut played = Played::new(&["/"]);
    let of = |server: &'static str, n: i32| (format!("/{server}{n}"), Some(server));
    let things = (0..20).map(|n| of("gone", n)).chain((0..3).map(|n| of("good", n)));
    played.things.lock().unwrap().extend(things);
    let is_gone = |name: &str| name.starts_with("/gone");
    for _ in 0..5 {
        assert_eq!(names(&played.read(is_gone)), ["/", "/good0", "/good1", "/good2", "disk"]);
    }
    assert_eq!(played.hang.len(), MAX_THREADS_FOR_ANY);
}

#[test]
fn while_one_after_another_hangs_the_last_thread_is_for_what_is_on_this_machine() {
    let mut played = Played::new(&["/", "/srv"]);
    let servers = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9"];
    played.things.lock().unwrap().extend(servers.map(|it| (format!("/{it}"), Some(it))));
    assert_eq!(played.read(|_| false).cgroups.len(), 13);
    for gone in 0..10 {
        let devices = played.read(|name| servers[..=gone].contains(&name.trim_start_matches('/')));
        let read = names(&devices);
        assert!(["/", "/srv", "disk"].iter().all(|it| read.contains(it)), "{gone}: {read:?}");
        // All that answer, as long as there is a thread that may be lost.
        assert!(read.len() == 3 + 9 - gone || gone >= 6, "{gone}: {read:?}");
        assert!(played.hang.len() <= MAX_THREADS_FOR_ITEMS);
    }
    assert_eq!(played.hang.len(), MAX_THREADS_FOR_ITEMS);
}

#[test]
fn what_there_was_no_time_for_is_not_told_as_hung() {
    let played = Played::new(&["/"]);
    played.workers.begin();
    let mut found = Found::default();
    found.further.push(("/".to_owned(), Box::new(Mount(local("/")))));
    played.workers.board.state().take(Collector::Filesystems, found);
    let devices = played.workers.board.end();
    assert_eq!(said(&devices, SkipReason::Unreadable), ["/: not asked in time"]);
    assert_eq!(said(&devices, SkipReason::Hung), ["more", "more"], "collectors did not answer");
}
