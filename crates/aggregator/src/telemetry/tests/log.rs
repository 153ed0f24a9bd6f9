//! What a stream writes to the log.

use rowcall_core::proto::v1 as pb;
use rowcall_testkit::log::Log;
use tracing::Level;

use super::{says, shared};
use crate::refusals::Reason;

#[tokio::test(start_paused = true)]
async fn a_thousand_refusals_are_one_line_and_a_name_cannot_forge_another() {
    let log = Log::start(Level::INFO);
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
    let lines = log.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let text = &lines[0];
    assert!(text.contains("stream refused") && text.contains("reason=\"bad_hello\""), "{text}");
    let harmful = |c: char| c.is_control() || c == '\u{202e}';
    assert!(!text.contains(harmful) && !text.contains("all is well"), "{text}");
}
