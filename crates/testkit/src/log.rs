//! What a test's own thread logs.
//!
//! One subscriber for the whole test binary, set before anything is logged. One for each test
//! would not do: whether a line of code logs at all is kept for the process when it is reached
//! first, and a thread without a subscriber that gets there first says no for all.

use std::cell::RefCell;
use std::io;
use std::marker::PhantomData;
use std::sync::Once;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

thread_local! {
    static LINES: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

struct Kept {
    max: Level,
    bytes: Vec<u8>,
}

/// Sets the subscriber. Every test that runs code which another one listens to calls this before.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(Level::INFO)
            .with_writer(ThisThread)
            .finish();
        // Somebody else's would mean that logs are read elsewhere: the test that listens fails.
        drop(tracing::subscriber::set_global_default(subscriber));
    });
}

/// Everything that this thread logs while it lives.
#[derive(Debug)]
pub struct Log {
    /// It stays on its thread.
    thread: PhantomData<*const ()>,
}

impl Log {
    /// Listens from now on to what is at least as severe as `max`; INFO is the least that can be
    /// heard.
    #[must_use]
    pub fn start(max: Level) -> Self {
        install();
        LINES.set(Some(Kept { max, bytes: Vec::new() }));
        Self { thread: PhantomData }
    }

    /// The lines that came since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        let bytes = LINES.with_borrow_mut(|lines| {
            lines.as_mut().map(|kept| std::mem::take(&mut kept.bytes)).unwrap_or_default()
        });
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        LINES.set(None);
    }
}

struct ThisThread;

struct Writer {
    level: Level,
}

impl<'a> MakeWriter<'a> for ThisThread {
    type Writer = Writer;

    fn make_writer(&'a self) -> Writer {
        Writer { level: Level::ERROR }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Writer {
        Writer { level: *meta.level() }
    }
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| {
            if let Some(kept) = lines.as_mut().filter(|kept| self.level <= kept.max) {
                kept.bytes.extend_from_slice(bytes);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speak() {
        tracing::warn!("heard");
    }

    #[test]
    fn a_thread_hears_itself_whoever_spoke_first() {
        install();
        let speaking = || (0..100).for_each(|_| speak());
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(speaking)));
            let log = Log::start(Level::WARN);
            speak();
            tracing::info!("not asked for");
            let lines = log.take();
            assert!(lines.len() == 1 && lines[0].contains("heard"), "{lines:?}");
            assert!(log.take().is_empty());
        });
    }
}
