//! What `up` says while it works. When the reader of a pipe has gone (`| head`), nothing more is
//! said, and [`Steps::reader_gone`] tells; other trouble with the output is no reason to stop.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use rowcall_core::clock::SharedClock;

use crate::text::{self, FAINT, HEADING};

/// Width of a step's name.
const NAME: usize = 12;

/// Whether a step's name stands at the end of the terminal's text, waiting for its result.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenLine(Arc<AtomicBool>);

impl OpenLine {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// It is finished or broken; was there one?
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    /// Standard error for log lines, each on a line of its own.
    pub(super) fn log_writer(&self) -> LogWriter {
        LogWriter(self.clone())
    }
}

/// See [`OpenLine::log_writer`].
#[derive(Debug)]
pub(super) struct LogWriter(OpenLine);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut out = io::stderr().lock();
        if self.0.take() {
            out.write_all(b"\n")?;
        }
        out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// Prints steps, each with the time it took.
#[derive(Debug)]
pub(super) struct Steps {
    clock: SharedClock,
    line: OpenLine,
    step: &'static str,
    begun: Duration,
    stopping: bool,
    gone: AtomicBool,
}

impl Steps {
    /// Nothing is printed yet.
    pub(super) fn new(clock: SharedClock, line: OpenLine) -> Self {
        Self {
            clock,
            line,
            step: "",
            begun: Duration::ZERO,
            stopping: false,
            gone: AtomicBool::new(false),
        }
    }

    /// Prints text as it is.
    pub(super) fn say(&self, text: &str) {
        let break_line = if self.line.take() { "\n" } else { "" };
        self.write(&format!("{break_line}{text}"));
    }

    /// Whether standard output was a pipe whose reader has gone.
    pub(super) fn reader_gone(&self) -> bool {
        if !self.gone.load(Ordering::Relaxed) && hung_up(&io::stdout()) {
            self.gone.store(true, Ordering::Relaxed);
        }
        self.gone.load(Ordering::Relaxed)
    }

    fn write(&self, text: &str) {
        let mut out = anstream::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        if written.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            self.gone.store(true, Ordering::Relaxed);
        }
    }

    /// Says where it all happens.
    pub(super) fn title(&self, dir: &Path) {
        let dir = text::clean(&dir.to_string_lossy());
        self.say(&format!("{} in {dir}\n", text::paint(HEADING, "rowcall up")));
    }

    /// A step begins. [`Steps::done`] finishes its line.
    pub(super) fn begin(&mut self, step: &'static str) {
        self.begun = self.clock.monotonic();
        self.step = step;
        self.say(&name(step));
        self.line.set();
    }

    /// The step that began last is done.
    pub(super) fn done(&self, what: &str) {
        let took = self.clock.monotonic().saturating_sub(self.begun).as_secs_f64();
        let took = text::paint(FAINT, &format!("({took:.1} s)"));
        // A log line may have come between.
        let name = if self.line.take() { String::new() } else { name(self.step) };
        self.write(&format!("{name}{what} {took}\n"));
    }

    /// Says once that the end has begun, and how to hurry.
    pub(super) fn stopping(&mut self) {
        if !std::mem::replace(&mut self.stopping, true) {
            let hint = text::paint(FAINT, "(Ctrl-C again: at once)");
            self.say(&format!("\n{} {hint}\n", text::paint(HEADING, "stopping")));
        }
    }
}

impl Drop for Steps {
    /// The error that comes next stands on a line of its own.
    fn drop(&mut self) {
        self.say("");
    }
}

fn name(step: &str) -> String {
    format!("  {step:<NAME$} ")
}

/// A pipe without a reader is in error; a file or a terminal never is.
fn hung_up(output: &impl std::os::fd::AsFd) -> bool {
    let mut asked = [PollFd::new(output, PollFlags::empty())];
    let at_once = Timespec::default();
    poll(&mut asked, Some(&at_once)).is_ok()
        && asked.iter().any(|asked| asked.revents().contains(PollFlags::ERR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_hangs_up_with_its_reader_and_a_file_never() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(!hung_up(&writer));
        drop(reader);
        assert!(hung_up(&writer));
        assert!(!hung_up(&tempfile::tempfile().unwrap()));
    }
}
