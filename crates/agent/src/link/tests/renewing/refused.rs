//! What a refusal leads to: a wait that a new identity ends, and no loop of renewals.

use super::*;

#[tokio::test]
async fn a_node_that_is_enrolled_anew_does_not_wait_until_the_pause_is_over() {
    let mut site = Site::start().await;
    let Enrolled { agent, notes } = site.agent(None).await;
    let (call, _) = site.call().await;
    call.outbox.send(Err(Status::permission_denied("revoked"))).await.unwrap();
    let look = async || notes.told().refused;
    rowcall_testkit::poll::wait_for("the refusal", LONG, look).await;
    // It would come back in one to five minutes.
    let before = site.held();
    site.enrol(now());
    let (mut call, hello) = site.welcomed(0, b"", None).await;
    still_streams(&mut call, &hello, &agent, 1).await;
    assert_ne!(site.held(), before);
    assert_eq!(notes.told().refused, None);
    agent.stopped().await;
}

#[tokio::test]
async fn a_renewal_that_gives_no_better_certificate_is_not_asked_for_again_and_again() {
    let site = Site::start().await;
    site.enrol(now().plus_micros(DAY_US));
    site.answers(1, Renewal::IssueEarly);
    let before = site.held();
    let Enrolled { agent, notes } = site.agent(None).await;
    let look = async || notes.told().refused.map(|note| note.text);
    let told = rowcall_testkit::poll::wait_for("the refusal", LONG, look).await;
    for part in ["certificate_expired", "it was renewed just now", "compare the clocks"] {
        assert!(told.contains(part), "{part:?} is missing in {told}");
    }
    assert_ne!(site.held(), before);
    assert_eq!(site.asked(1).len(), 1);
    agent.stopped().await;
}
