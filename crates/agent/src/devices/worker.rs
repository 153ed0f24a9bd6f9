//! Threads that read, and what becomes of one that hangs.
//!
//! A reading is a queue of tasks: the collectors, and what they ask to be asked one by one. One
//! thread works through it. When it gets nowhere for a while, another one goes on with the rest;
//! the first may still answer until the reading's deadline. What did not answer by then has hung:
//! it is left behind with its thread and what it keeps, is named in each reading, and is not asked
//! again until it came back. When nothing is left to do one thread rests until the next reading,
//! which costs less than to start one each time; others end.
//!
//! Threads are few, and single things that hang may be many. So those that answered when they were
//! last asked are asked first, and the more threads hang the fewer are asked at all, the good ones
//! last of all given up: what answers is read while others hang. See [`State::turn`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rowcall_core::devices::{Devices, SkipReason};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::Sources;
use super::found::{Found, Source};
use crate::collect::Collector;

/// Stack of a thread, in bytes. Only what is touched is resident.
const STACK_BYTES: usize = 512 * 1024;

/// Most threads at a time, those that hang among them. What then is left is not asked, and named.
const MAX_THREADS: usize = 8;

/// While so many of them hang with single things of collectors, another one asks only local things
/// that answered when they were last asked: there is a thread left for everything else.
const MAX_THREADS_FOR_ITEMS: usize = MAX_THREADS - 1;

/// While so many hang, only things that answered when they were last asked are asked at all. The
/// threads above that are for good things that begin to hang later on, one now and then.
const MAX_THREADS_FOR_ANY: usize = 5;

/// So many that began to hang in one reading are more than one now and then: those that have not
/// been asked yet probably hang as well, however good they were.
const MANY_AT_ONCE: usize = 2;

/// Why a thing was not asked.
const OTHERS_HANG: &str = "not asked, others hang";
const NOT_IN_TIME: &str = "not asked in time";

/// How long a thread may get nowhere until another one goes on with the rest: this part of the
/// reading's deadline, and this long at most.
const PATIENCE: u32 = 8;
const MAX_PATIENCE: Duration = Duration::from_millis(250);

/// What is read: all of a collector, or one of its things.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    collector: Collector,
    item: Option<String>,
}

/// Which of the tasks that may be begun is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// All of a collector, and what answered when it was last asked.
    First,
    /// What is new, or hung and came back.
    Second,
    /// Another thing of its server hangs.
    Last,
}

#[derive(Debug)]
struct Task {
    key: Key,
    source: Box<dyn Source>,
}

/// A task in a thread's hands.
#[derive(Debug)]
struct Running {
    key: Key,
    server: Option<String>,
    round: u64,
    worker: u64,
}

#[derive(Debug, Default)]
struct State {
    /// The reading under way, or the last one.
    round: u64,
    /// Whether anybody still waits for it.
    open: bool,
    waiting: VecDeque<Task>,
    running: Vec<Running>,
    /// Single things that answered when they were last asked, however late, and of which there is
    /// no reason to think otherwise.
    good: BTreeSet<Key>,
    /// Single things that the last reading did not ask because others hang.
    passed_over: BTreeSet<Key>,
    /// Collectors that nobody works with.
    home: BTreeMap<Collector, Box<dyn Source>>,
    found: Found,
    /// Tasks done, in all: tells whether there is progress.
    done: u64,
    threads: usize,
    last_worker: u64,
    /// The thread that waits for something to do.
    resting: Option<u64>,
    /// Nobody will ask any more.
    closed: bool,
}

#[derive(Debug, Default)]
struct Board {
    state: Mutex<State>,
    /// The resting thread is wanted, or may end.
    wanted: Condvar,
    /// A thread found nothing more to do.
    finished: Notify,
}

/// Reads everything, again and again.
pub(super) struct Workers {
    wanted: Vec<Collector>,
    sources: Sources,
    board: Arc<Board>,
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Workers {
    /// Reads what is wanted, in that order; `sources` makes what reads it.
    pub(super) fn new(wanted: Vec<Collector>, sources: Sources) -> Self {
        Self { wanted, sources, board: Arc::default() }
    }

    /// Reads once. Returns at the deadline at the latest, with what has answered.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "one reading at a time")]
    pub(super) async fn read(&mut self, deadline: Duration) -> Devices {
        let until = Instant::now() + deadline;
        let patience = (deadline / PATIENCE).min(MAX_PATIENCE);
        self.begin();
        self.board.help();
        let (mut done, mut since) = (0, Instant::now());
        while self.board.is_going_on() {
            // Why it woke is asked below.
            let _in_time =
                timeout_at(until.min(since + patience), self.board.finished.notified()).await;
            let now = Instant::now();
            if now >= until {
                break;
            }
            let progress = self.board.state().done;
            if progress != done {
                (done, since) = (progress, now);
            } else if now >= since + patience {
                self.board.help();
                since = now;
            }
        }
        self.board.end()
    }

    /// Queues what is to be read.
    fn begin(&self) {
        let mut state = self.board.state();
        // Of a reading that nobody waited for to its end.
        state.abandon();
        state.judge_passed_over();
        state.round += 1;
        state.open = true;
        state.found = Found::default();
        for &collector in &self.wanted {
            let key = Key { collector, item: None };
            let source = state.home.remove(&collector);
            if state.is_running(&key) {
                state.found.skip(collector, None, SkipReason::Hung, 1);
            } else if let Some(source) = source.or_else(|| (self.sources)(collector)) {
                state.waiting.push_back(Task { key, source });
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.board.state().closed = true;
        self.board.wanted.notify_all();
    }
}

impl State {
    fn is_running(&self, key: &Key) -> bool {
        self.running.iter().any(|it| it.key == *key)
    }

    fn is_finished(&self) -> bool {
        self.waiting.is_empty() && self.running.iter().all(|it| it.round != self.round)
    }

    /// Where in the queue the task stands that is to be begun, if any may.
    fn next(&self) -> Option<usize> {
        let mut best: Option<(Turn, usize)> = None;
        for (at, task) in self.waiting.iter().enumerate() {
            match self.turn(task) {
                Some(Turn::First) => return Some(at),
                Some(turn) if best.is_none_or(|(other, _)| turn < other) => best = Some((turn, at)),
                _ => {}
            }
        }
        best.map(|(_, at)| at)
    }

    /// When a task may be begun. A single thing may hang: it is left alone where so many do already
    /// that nobody would be left for what is better than it.
    fn turn(&self, task: &Task) -> Option<Turn> {
        let items = || self.running.iter().filter(|it| it.key.item.is_some());
        let hang = items().count();
        if task.key.item.is_none() {
            return Some(Turn::First);
        }
        let server = task.source.server();
        let is_servers_turn = server.is_none() || items().all(|it| it.server.as_deref() != server);
        let turn = match (is_servers_turn, self.good.contains(&task.key)) {
            (true, true) => Turn::First,
            (true, false) => Turn::Second,
            (false, _) => Turn::Last,
        };
        let may = hang < MAX_THREADS_FOR_ANY
            || (turn == Turn::First
                && self.hang_since_this_reading() < MANY_AT_ONCE
                && (hang < MAX_THREADS_FOR_ITEMS || server.is_none()));
        may.then_some(turn)
    }

    fn hang_since_this_reading(&self) -> usize {
        let is_new = |it: &&Running| it.round == self.round && it.key.item.is_some();
        self.running.iter().filter(is_new).count()
    }

    /// Where many began to hang at once and still do, what was not asked for that is no longer good.
    fn judge_passed_over(&mut self) {
        let passed_over = std::mem::take(&mut self.passed_over);
        if self.hang_since_this_reading() >= MANY_AT_ONCE {
            self.good.retain(|key| !passed_over.contains(key));
        }
    }

    /// Takes back what nobody began, and tells what it is.
    fn abandon(&mut self) -> Vec<Key> {
        let mut keys = Vec::new();
        for Task { key, source } in std::mem::take(&mut self.waiting) {
            if key.item.is_none() {
                self.home.insert(key.collector, source);
            }
            keys.push(key);
        }
        keys
    }

    /// Takes what a task found, and queues what it asks for.
    fn take(&mut self, collector: Collector, found: Found) {
        self.found.add(found.devices);
        if !found.further.is_empty() {
            // What is gone is forgotten.
            let listed: BTreeSet<_> = found.further.iter().map(|(item, _)| Some(item)).collect();
            self.good
                .retain(|key| key.collector != collector || listed.contains(&key.item.as_ref()));
        }
        for (item, source) in found.further {
            let key = Key { collector, item: Some(item) };
            if self.is_running(&key) {
                self.found.skip(collector, key.item.as_deref(), SkipReason::Hung, 1);
            } else {
                self.waiting.push_back(Task { key, source });
            }
        }
    }
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the reading under way is not finished, and anybody is there to finish it.
    fn is_going_on(&self) -> bool {
        let state = self.state();
        let stuck = state.running.iter().filter(|it| it.round != state.round).count();
        let resting = usize::from(state.resting.is_some());
        !state.is_finished() && state.threads > stuck + resting
    }

    /// Sets one more thread to work where there is something to do: the one that rests, or a new
    /// one where one may be started.
    fn help(self: &Arc<Self>) {
        let worker = {
            let mut state = self.state();
            if state.next().is_none() {
                return;
            }
            if state.resting.take().is_some() {
                self.wanted.notify_all();
                return;
            }
            if state.threads >= MAX_THREADS {
                return;
            }
            state.threads += 1;
            state.last_worker += 1;
            state.last_worker
        };
        let board = Arc::clone(self);
        let started = thread::Builder::new()
            .name("rowcall-devices".into())
            .stack_size(STACK_BYTES)
            .spawn(move || Worker { board: &board, id: worker }.work());
        if let Err(error) = started {
            self.state().threads -= 1;
            tracing::debug!(%error, "no thread to read devices");
        }
    }

    /// Ends a reading: names what is still out, and gives what came.
    fn end(&self) -> Devices {
        let mut state = self.state();
        state.open = false;
        let out = state.running.iter().filter(|it| it.round == state.round);
        let hung: Vec<_> = out.map(|it| it.key.clone()).collect();
        for key in hung {
            state.good.remove(&key);
            state.found.skip(key.collector, key.item.as_deref(), SkipReason::Hung, 1);
        }
        let passed_over = state.waiting.iter().filter(|task| state.turn(task).is_none());
        state.passed_over = passed_over.map(|task| task.key.clone()).collect();
        for key in state.abandon() {
            let why = if state.passed_over.contains(&key) { OTHERS_HANG } else { NOT_IN_TIME };
            match &key.item {
                Some(item) => state.found.unread(key.collector, item, why),
                None => state.found.skip(key.collector, None, SkipReason::Hung, 1),
            }
        }
        std::mem::take(&mut state.found).devices
    }
}

/// A thread's own view.
struct Worker<'a> {
    board: &'a Board,
    id: u64,
}

impl Worker<'_> {
    fn work(self) {
        loop {
            while let Some((Task { key, mut source }, round)) = self.begin_task() {
                let mut found = Found::default();
                source.read(&mut found);
                self.end_task(key, round, source, found);
            }
            if !self.rest() {
                return;
            }
        }
    }

    /// Waits until there is something to do again. False when it is not needed: another one rests
    /// already, or nobody will ask any more.
    fn rest(&self) -> bool {
        let mut state = self.board.state();
        if state.resting.is_some() {
            return false;
        }
        state.resting = Some(self.id);
        self.board.finished.notify_one();
        while state.resting == Some(self.id) && !state.closed {
            state = self.board.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.closed
    }

    fn begin_task(&self) -> Option<(Task, u64)> {
        let mut state = self.board.state();
        let next = state.next()?;
        let task = state.waiting.remove(next)?;
        let round = state.round;
        let server = task.source.server().map(str::to_owned);
        state.running.push(Running { key: task.key.clone(), server, round, worker: self.id });
        Some((task, round))
    }

    fn end_task(&self, key: Key, round: u64, source: Box<dyn Source>, found: Found) {
        let mut state = self.board.state();
        state.running.retain(|it| it.worker != self.id);
        state.done += 1;
        if round == state.round && state.open {
            state.take(key.collector, found);
        }
        if key.item.is_none() {
            state.home.insert(key.collector, source);
        } else {
            state.good.insert(key);
        }
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        let mut state = self.board.state();
        state.threads -= 1;
        // Only a bug leaves a task in the hands of a thread that ends; its collector is made anew.
        if let Some(at) = state.running.iter().position(|it| it.worker == self.id) {
            let Running { key, round, .. } = state.running.swap_remove(at);
            if round == state.round {
                state.found.unreadable(key.collector, key.item.as_deref());
            }
        }
        self.board.finished.notify_one();
    }
}

#[cfg(test)]
mod tests;
