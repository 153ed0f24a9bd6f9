//! What a stream writes to the log.

use std::sync::{Arc, Mutex};

use rowcall_core::proto::v1 as pb;

use super::{says, shared};
use crate::refusals::Reason;

/// What is logged while the value lives, on this thread.
struct Log {
    lines: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Log {
    fn start() -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&lines);
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || Line(Arc::clone(&writer)))
            .finish();
        Self { lines, _guard: tracing::subscriber::set_default(subscriber) }
    }

    fn text(&self) -> String {
        String::from_utf8(self.lines.lock().unwrap().clone()).unwrap()
    }
}

struct Line(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_refusals_are_one_line_and_a_name_cannot_forge_another() {
    let log = Log::start();
    let (shared, _work) = shared();
    let forged = "n\n2026-01-01T00:00:00Z INFO rowcall: all is well\u{1b}[31m\u{202e}";
    let hello = pb::Hello {
        protocol_min: 1,
        protocol_max: 1,
        host_name: forged.into(),
        agent_version: forged.into(),
        run_id: 1,
        spool_epoch: 1,
        oldest_sequence: 1,
        next_sequence: 1,
        ..Default::default()
    };
    for _ in 0..1_000 {
        let status = says(&shared, hello.clone()).await;
        assert!(status.message().contains("host name contains '\\n'"), "{status}");
    }
    assert_eq!(shared.refusals.of(Reason::BadHello), 1_000);
    let text = log.text();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("stream refused") && text.contains("reason=\"bad_hello\""), "{text}");
    let harmful = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!text.contains(harmful) && !text.contains("all is well"), "{text}");
}
