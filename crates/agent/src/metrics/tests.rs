use std::time::Duration;

use rowcall_core::clock::{Clock as _, TestClock};
use rowcall_core::record::{Body, Sample};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::identity::Note;
use crate::testing::{START, queue};

/// What a request to the page is answered with.
async fn asked(address: std::net::SocketAddr, request: &str) -> String {
    let look = async || {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    };
    rowcall_testkit::poll::wait_for("the page", Duration::from_secs(60), look).await
}

#[tokio::test]
async fn what_is_counted_and_held_can_be_read() {
    let clock = Arc::new(TestClock::at(START));
    let (queue, _folder) = queue(Arc::<TestClock>::clone(&clock), 8 << 20);
    let health = Arc::new(Health::default());
    let notes = Notes::in_folder(None);
    let metrics = Metrics::new(Sources {
        queue: Arc::clone(&queue),
        health: Arc::clone(&health),
        expiry: Arc::new(Expiry::at(START.plus_micros(5_500_000))),
        notes: notes.clone(),
        host: "node1".into(),
        is_enrolled: true,
    });
    notes.change(|told| told.refused = Some(Note { at: START, text: "revoked".into() }));
    health.renewed(true);
    health.renewed(false);
    for _ in 0..3 {
        clock.advance(Duration::from_secs(60));
        queue.spool.append(clock.wall(), clock.since_boot(), Body::Sample(Sample::default()));
        health.sampled();
    }
    health.missed(7);
    let hung = ("filesystems".to_owned(), rowcall_core::devices::SkipReason::Hung);
    health.skips([(hung, 2)].into());
    health.leaves_out_devices();
    health.leaves_out_devices();
    health.streaming();
    health.streaming();
    health.link_is(LinkState::Connected("https://db1:7443".into()));
    // A free port, which somebody else may take before us: then it is tried again.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let page = tokio::spawn(async move { match serve(address, metrics).await {} });
    let answer = asked(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    for line in [
        "rowcall_agent_spool_records 3",
        "rowcall_agent_spool_oldest_unsent_age_seconds 120.0",
        "rowcall_agent_spool_dropped_records_total 0",
        "rowcall_agent_spool_damaged_records_total 0",
        "rowcall_agent_spool_write_failures_total 0",
        "rowcall_agent_samples_total 3",
        "rowcall_agent_missed_ticks_total 7",
        "rowcall_agent_reconnects_total 1",
        "rowcall_agent_refills_total 0",
        "rowcall_agent_connected 1",
        "rowcall_agent_skipped{collector=\"filesystems\",reason=\"hung\"} 2",
        "rowcall_agent_devices_left_out_total 2",
        "rowcall_agent_leaves_devices_out 1",
        "rowcall_agent_certificate_renewals_total 1",
        "rowcall_agent_certificate_renewal_failures_total 1",
        "rowcall_agent_certificate_renewal_failing 0",
        "rowcall_agent_refused 1",
        "rowcall_agent_identity_info{host=\"node1\",source=\"enrolled\"} 1",
        "rowcall_agent_certificate_expiry_timestamp_seconds 1800000005.5",
    ] {
        assert!(
            answer.lines().any(|found| found.trim_end() == line),
            "{line} is missing in\n{answer}"
        );
    }
    assert!(answer.contains("rowcall_agent_spool_bytes "), "{answer}");
    assert!(!answer.contains("last_acknowledgement_timestamp_seconds 0"), "{answer}");
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405 "),
    ] {
        let answer = asked(address, request).await;
        assert!(answer.starts_with(status), "{answer}");
    }
    page.abort();
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_taken_is_tried_again() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let (queue, _folder) = queue(Arc::new(TestClock::at(START)), 8 << 20);
    let metrics = Metrics::new(Sources {
        queue,
        health: Arc::default(),
        expiry: Arc::new(Expiry::at(START)),
        notes: Notes::in_folder(None),
        host: "node1".into(),
        is_enrolled: false,
    });
    let page = tokio::spawn(async move { match serve(address, metrics).await {} });
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    drop(taken);
    let answer = asked(address, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    page.abort();
}
