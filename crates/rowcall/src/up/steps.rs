//! What `up` says while it works. Output that nobody takes is no reason to stop.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use rowcall_core::clock::SharedClock;

use crate::text::{self, FAINT, HEADING};

/// Width of a step's name.
const NAME: usize = 12;

/// Prints steps, each with the time it took.
#[derive(Debug)]
pub(super) struct Steps {
    clock: SharedClock,
    begun: Duration,
    open: bool,
    stopping: bool,
}

impl Steps {
    /// Nothing is printed yet.
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, begun: Duration::ZERO, open: false, stopping: false }
    }

    /// Prints text as it is.
    pub(super) fn say(&mut self, text: &str) {
        let mut out = anstream::stdout().lock();
        if std::mem::take(&mut self.open) {
            drop(out.write_all(b"\n"));
        }
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }

    /// Says where it all happens.
    pub(super) fn title(&mut self, dir: &Path) {
        let dir = text::clean(&dir.to_string_lossy());
        self.say(&format!("{} in {dir}\n", text::paint(HEADING, "rowcall up")));
    }

    /// A step begins. Its line is finished by [`Steps::done`].
    pub(super) fn begin(&mut self, name: &str) {
        self.begun = self.clock.monotonic();
        self.say(&format!("  {name:<NAME$} "));
        self.open = true;
    }

    /// The step that began last is done.
    pub(super) fn done(&mut self, what: &str) {
        let took = self.clock.monotonic().saturating_sub(self.begun).as_secs_f64();
        self.open = false;
        self.say(&format!("{what} {}\n", text::paint(FAINT, &format!("({took:.1} s)"))));
    }

    /// Says once that the end has begun, and how to hurry.
    pub(super) fn stopping(&mut self) {
        if !std::mem::replace(&mut self.stopping, true) {
            let hint = text::paint(FAINT, "(Ctrl-C again: at once)");
            self.say(&format!("\n{} {hint}\n", text::paint(HEADING, "stopping")));
        }
    }
}
