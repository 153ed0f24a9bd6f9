//! What is lost: records from the spool, and the aggregator itself.

use rowcall_core::record::{Gap, GapCause, GapState};

use super::*;

#[tokio::test]
async fn a_gap_at_the_mark_stands_for_what_was_due_since_the_mark() {
    let mut peer = Peer::start().await;
    let (link, folder) = link(peer.config()).await;
    let spool = link.queue.spool.clone();
    fill(&link.queue, 1..=2);
    let missed = Gap {
        through: Sequence::FIRST,
        ticks: 50,
        state: GapState::Missed,
        cause: GapCause::Off,
        from: at(2),
        to: at(3),
    };
    spool.append(at(3), SystemClock.since_boot(), Body::Gap(missed));
    fill(&link.queue, 4..=6);
    let flush = async || {
        let spool = spool.clone();
        assert!(tokio::task::spawn_blocking(move || spool.flush(LONG)).await.unwrap());
    };
    flush().await;
    std::fs::remove_dir_all(folder.path().join("spool")).unwrap();
    fill(&link.queue, 7..=7);
    flush().await;
    let agent = Agent::running(link, folder);
    let (mut call, _) = peer.call().await;
    // Which of the lost ones stood for fifty ticks only the aggregator knows.
    let mark = pb::Mark { through_sequence: 3, time_unix_us: at(3).0, due_ticks: 52 };
    call.send(Response::Welcome(pb::Welcome { mark: Some(mark), ..welcome(None) })).await;
    let batch = call.batch().await;
    assert_eq!(sequences(&batch), [4, 7]);
    let Some(pb::record::Body::Gap(gap)) = &batch.records[0].body else { panic!("no gap") };
    assert_eq!((gap.through_sequence, gap.ticks, batch.records[0].due_ticks), (6, 3, 55));
    agent.stopped().await;
}

#[tokio::test]
async fn a_server_that_goes_away_while_it_is_dialled_is_told_in_plain_words() {
    let peer = Peer::start().await;
    let wire = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = peer.config();
    config.aggregators[0].port = wire.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut agent, _) = wire.accept().await.unwrap();
        tokio::io::AsyncReadExt::read(&mut agent, &mut [0; 4096]).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut agent).await.unwrap();
        std::future::pending::<()>().await;
    });
    let dialer = Dialer::load(&config, SystemClock::shared()).unwrap();
    let reason = dialer.connect(&config.aggregators[0]).await.unwrap_err().reason;
    assert!(reason.starts_with("the server closed the connection "), "{reason}");
    assert!(reason.contains(" without a reason; it may be overloaded or stopping"), "{reason}");
    // Neither the library's words nor its address.
    assert!(!reason.contains("close_notify") && !reason.contains("http"), "{reason}");
}

#[tokio::test]
async fn an_aggregator_that_was_killed_is_told_in_plain_words() {
    let mut peer = Peer::start().await;
    let lines = Lines::of_this_thread();
    let wire = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = (peer.endpoint.host.clone(), peer.endpoint.port);
    let mut config = peer.config();
    config.aggregators[0].port = wire.local_addr().unwrap().port();
    let cut = CancellationToken::new();
    let is_cut = cut.clone();
    tokio::spawn(async move {
        let (mut agent, _) = wire.accept().await.unwrap();
        let mut server = tokio::net::TcpStream::connect(target).await.unwrap();
        let copied = tokio::io::copy_bidirectional(&mut agent, &mut server);
        is_cut.run_until_cancelled(copied).await;
    });
    let agent = Agent::start(config, 1).await;
    let (mut call, hello) = peer.welcomed(None).await;
    call.batch().await;
    call.ack(&hello, 1).await;
    agent.unacknowledged(0).await;
    cut.cancel();
    let look = async || lines.text().contains("the connection was lost").then_some(());
    rowcall_testkit::poll::wait_for("the end of the connection", LONG, look).await;
    let text = lines.text();
    assert!(text.contains("the connection was lost: the other side closed it"), "{text}");
    assert!(!text.contains("close_notify"), "{text}");
    agent.stopped().await;
}
