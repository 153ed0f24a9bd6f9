use std::sync::mpsc::{Receiver, channel};
use std::sync::{Condvar, PoisonError};

use rowcall_core::devices::Cgroup;

use super::*;

mod many_hang;

/// Time enough for everything that answers at all.
const LONG: Duration = Duration::from_secs(600);

/// Time in which what hangs does not answer, whatever it is.
const SHORT: Duration = Duration::from_millis(100);

type Reads = Box<dyn FnMut(&mut Found) + Send>;

struct Fake(Reads);

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

impl Source for Fake {
    fn read(&mut self, found: &mut Found) {
        (self.0)(found);
    }
}

fn fake(reads: impl FnMut(&mut Found) + Send + 'static) -> Box<dyn Source> {
    Box::new(Fake(Box::new(reads)))
}

/// Finds one group of this name.
fn finds(name: &'static str) -> Box<dyn Source> {
    fake(move |found| {
        found.devices.cgroups.push(Cgroup { name: name.to_owned(), ..Cgroup::default() });
    })
}

fn workers(
    wanted: &[Collector],
    sources: impl Fn(Collector) -> Box<dyn Source> + Send + 'static,
) -> Workers {
    Workers::new(wanted.to_vec(), Box::new(move |collector| Some(sources(collector))))
}

/// Holds up whoever comes until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn pass(&self) {
        let (open, opened) = &*self.0;
        let mut is_open = open.lock().unwrap_or_else(PoisonError::into_inner);
        while !*is_open {
            is_open = opened.wait(is_open).unwrap();
        }
    }

    fn open(&self) {
        let (open, opened) = &*self.0;
        *open.lock().unwrap() = true;
        opened.notify_all();
    }
}

/// Sorted: two threads may end their tasks in any order.
fn names(devices: &Devices) -> Vec<&str> {
    let mut names: Vec<_> = devices.cgroups.iter().map(|it| it.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn hung(devices: &Devices) -> i32 {
    let hung = devices.skipped.iter().filter(|it| it.reason == SkipReason::Hung);
    hung.map(|it| it.count).sum()
}

#[tokio::test]
async fn collectors_keep_what_they_remember_from_reading_to_reading() {
    let mut workers = workers(&[Collector::Disks], |_| {
        let mut times = 0;
        fake(move |found| {
            times += 1;
            found.skip(Collector::Disks, None, SkipReason::Limit, times);
        })
    });
    for times in 1..5 {
        assert_eq!(workers.read(LONG).await.skipped[0].count, times);
    }
    while workers.board.state().resting.is_none() {
        tokio::task::yield_now().await;
    }
    // A reading in which nobody came to it.
    workers.begin();
    assert_eq!(hung(&workers.board.end()), 1);
    assert_eq!(workers.read(LONG).await.skipped[0].count, 5);
}

#[tokio::test]
async fn one_thread_rests_between_readings_and_ends_with_its_owner() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let mut workers = workers(&Collector::ALL, move |_| {
        let notes = Arc::clone(&notes);
        fake(move |_| notes.lock().unwrap().push(thread::current().id()))
    });
    let first = workers.read(LONG).await;
    assert!(first.skipped.is_empty());
    for _ in 0..20 {
        workers.read(LONG).await;
        let state = workers.board.state();
        assert!(state.resting.is_some() && state.threads == 1, "{}", state.threads);
    }
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(seen.len(), 21 * Collector::ALL.len());
    assert!(seen.iter().all(|id| *id == seen[0]));
    let board = Arc::downgrade(&workers.board);
    drop(workers);
    while board.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_slow_is_waited_for_while_another_thread_goes_on() {
    let (ran, waits) = channel::<()>();
    let (ran, waits) = (Mutex::new(Some(ran)), Mutex::new(Some(waits)));
    let wanted = [Collector::Disks, Collector::Interfaces];
    let mut workers = workers(&wanted, move |collector| {
        if collector == Collector::Disks {
            let waits: Receiver<()> = waits.lock().unwrap().take().unwrap();
            fake(move |found| {
                // Goes on when the one after it has been read.
                waits.recv().unwrap();
                found.devices.cgroups.push(Cgroup { name: "slow".into(), ..Cgroup::default() });
            })
        } else {
            let ran = ran.lock().unwrap().take().unwrap();
            fake(move |_| ran.send(()).unwrap())
        }
    });
    let devices = workers.read(LONG).await;
    assert_eq!(names(&devices), ["slow"]);
    assert!(devices.skipped.is_empty());
    // One of the two rests, the other ends.
    while workers.board.state().threads > 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_hangs_is_named_and_left_alone_until_it_came_back() {
    let gate = Gate::default();
    let asked = Arc::new(Mutex::new(0));
    let (hangs, counts) = (gate.clone(), Arc::clone(&asked));
    let mut workers =
        workers(&[Collector::Disks, Collector::Interfaces], move |collector| match collector {
            Collector::Disks => {
                let (hangs, counts) = (hangs.clone(), Arc::clone(&counts));
                fake(move |found| {
                    *counts.lock().unwrap() += 1;
                    hangs.pass();
                    found.devices.cgroups.push(Cgroup { name: "late".into(), ..Cgroup::default() });
                })
            }
            _ => finds("quick"),
        });
    for _ in 0..3 {
        // However short it is, the quick one answers some time.
        loop {
            let devices = workers.read(SHORT).await;
            assert!(devices.skipped.iter().any(|it| it.collector == "disks"
                && it.item.is_none()
                && it.reason == SkipReason::Hung));
            if names(&devices) == ["quick"] {
                break;
            }
        }
    }
    assert_eq!(*asked.lock().unwrap(), 1);
    gate.open();
    loop {
        // What it found for a reading that is over is no part of another.
        let devices = workers.read(LONG).await;
        if devices.skipped.is_empty() {
            assert_eq!(names(&devices), ["late", "quick"]);
            break;
        }
        assert_eq!(names(&devices), ["quick"]);
        tokio::task::yield_now().await;
    }
    assert_eq!(*asked.lock().unwrap(), 2);
}

#[tokio::test]
async fn a_thing_that_hangs_holds_one_thread_however_often_its_collector_finds_it() {
    let gate = Gate::default();
    let asked = Arc::new(Mutex::new(0));
    let (hangs, counts) = (gate.clone(), Arc::clone(&asked));
    let mut workers = workers(&[Collector::Filesystems, Collector::Disks], move |collector| {
        let (hangs, counts) = (hangs.clone(), Arc::clone(&counts));
        match collector {
            Collector::Filesystems => fake(move |found| {
                let (hangs, counts) = (hangs.clone(), Arc::clone(&counts));
                let mount = fake(move |_| {
                    *counts.lock().unwrap() += 1;
                    hangs.pass();
                });
                found.further.push(("/m".to_owned(), mount));
            }),
            _ => finds("disk"),
        }
    });
    for _ in 0..3 {
        // However short it is, it is begun some time; the disks come before it then.
        while names(&workers.read(SHORT).await) != ["disk"] || *asked.lock().unwrap() == 0 {}
        assert_eq!(*asked.lock().unwrap(), 1);
    }
    let devices = workers.read(LONG).await;
    let said: Vec<_> = devices.skipped.iter().map(|it| (it.item.as_deref(), it.reason)).collect();
    assert_eq!(said, [(Some("/m"), SkipReason::Hung)]);
    assert_eq!(*asked.lock().unwrap(), 1);
    gate.open();
}

#[tokio::test]
async fn however_many_things_hang_the_threads_are_bounded_and_the_rest_is_read() {
    const ITEMS: i32 = 20;
    let gate = Gate::default();
    let hangs = gate.clone();
    let mut workers = workers(&[Collector::Disks, Collector::Filesystems], move |collector| {
        let hangs = hangs.clone();
        match collector {
            Collector::Filesystems => fake(move |found| {
                for n in 0..ITEMS {
                    let hangs = hangs.clone();
                    found.further.push((format!("/m{n}"), fake(move |_| hangs.pass())));
                }
            }),
            _ => finds("disk"),
        }
    });
    let stuck = |workers: &Workers| workers.board.state().running.len();
    let unread = |devices: &Devices| devices.skipped.iter().map(|it| it.count).sum::<i32>();
    // Each reading leaves one behind at least, until no more may be.
    while stuck(&workers) < MAX_THREADS_FOR_ANY {
        let devices = workers.read(SHORT).await;
        assert!(workers.board.state().threads <= MAX_THREADS);
        assert!(unread(&devices) == ITEMS || names(&devices).is_empty(), "{devices:?}");
    }
    for _ in 0..5 {
        let devices = workers.read(LONG).await;
        assert_eq!(names(&devices), ["disk"], "a thread is left for everything else");
        assert_eq!((unread(&devices), hung(&devices)), (ITEMS, 5));
    }
    gate.open();
    while unread(&workers.read(LONG).await) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn when_all_threads_hang_nothing_more_is_started_and_all_is_named() {
    let gate = Gate::default();
    let hangs = gate.clone();
    let mut workers = workers(&Collector::ALL, move |_| {
        let hangs = hangs.clone();
        fake(move |_| hangs.pass())
    });
    while workers.board.state().threads < MAX_THREADS {
        workers.read(SHORT).await;
    }
    // It does not wait: nobody is left who could answer.
    let devices = workers.read(LONG).await;
    let mut said: Vec<_> = devices.skipped.iter().map(|it| it.collector.as_str()).collect();
    said.sort_unstable();
    let mut all = Collector::ALL.map(Collector::name);
    all.sort_unstable();
    assert_eq!(said, all);
    assert_eq!(workers.board.state().threads, MAX_THREADS);
    gate.open();
}

#[tokio::test]
async fn a_collector_that_panics_is_named_and_made_anew() {
    let made = Arc::new(Mutex::new(0));
    let counts = Arc::clone(&made);
    let mut workers = workers(&[Collector::Disks, Collector::Interfaces], move |collector| {
        if collector == Collector::Interfaces {
            return finds("other");
        }
        let mut made = counts.lock().unwrap();
        *made += 1;
        if *made == 1 { fake(|_| panic!("on purpose")) } else { finds("anew") }
    });
    let devices = workers.read(LONG).await;
    let said: Vec<_> =
        devices.skipped.iter().map(|it| (it.collector.as_str(), it.reason)).collect();
    assert!(said.contains(&("disks", SkipReason::Unreadable)), "{said:?}");
    assert_eq!(names(&workers.read(LONG).await), ["anew", "other"]);
}

#[tokio::test]
async fn a_reading_that_nobody_waits_for_leaves_nothing_behind() {
    let gate = Gate::default();
    let hangs = gate.clone();
    let wanted = [Collector::Disks, Collector::Interfaces, Collector::MdArrays];
    let mut workers = workers(&wanted, move |collector| {
        let hangs = hangs.clone();
        match collector {
            Collector::Disks => finds("first"),
            Collector::Interfaces => fake(move |_| hangs.pass()),
            _ => finds("third"),
        }
    });
    let board = Arc::clone(&workers.board);
    let found_something = async {
        while board.state().found.devices.cgroups.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        _ = workers.read(LONG) => panic!("it hangs"),
        () = found_something => {}
    }
    // Neither what it found nor what it had not begun is part of the next one.
    loop {
        let devices = workers.read(SHORT).await;
        let names = names(&devices);
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        if names == ["first", "third"] {
            break;
        }
    }
    gate.open();
    while hung(&workers.read(LONG).await) > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(workers.board.state().waiting.len(), 0);
}
