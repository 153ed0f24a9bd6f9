use super::*;

fn renewal(key: u8, name: &str, shown: &Presented) -> Renewal {
    Renewal { host: host(name), presented: shown.clone(), key_sha256: [key; 32] }
}

impl Bench {
    async fn renew(&self, renewal: &Renewal) -> Result<IssuedCertificate, Why> {
        let renewed = self.store.renew(&actor(), renewal, issued).await.unwrap();
        renewed.map_err(|refusal| refusal.why)
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_given_again_and_the_one_before_stays_good() {
    let bench = Bench::with_token(&token(1)).await;
    let first = presented(&bench.enroll(&enrolment(1, 1, "a")).await.unwrap().certificate);
    let asked = renewal(2, "a", &first);
    let second = bench.renew(&asked).await.unwrap();
    let before = bench.everything().await;
    assert_eq!(bench.renew(&asked).await.unwrap(), second);
    assert_eq!(bench.everything().await, before, "a lost reply costs nothing");
    bench.access("a", &first).await.unwrap();
    bench.access("a", &presented(&second)).await.unwrap();
    let detail = format!("serial {}, after {}", second.serial, first.serial);
    assert_eq!(bench.recorded("host.renew", "a").await, [("ok".to_owned(), detail)]);
    assert_eq!(
        bench.number("SELECT count(*) FROM rowcall.certificate WHERE origin = 'renewed'").await,
        1
    );
}

#[tokio::test]
async fn a_key_that_has_a_certificate_otherwise_is_not_renewed_with() {
    let bench = Bench::with_token(&NewToken { uses: 2, ..token(1) }).await;
    let first = presented(&bench.enroll(&enrolment(1, 1, "a")).await.unwrap().certificate);
    bench.enroll(&enrolment(1, 2, "b")).await.unwrap();
    // Its own, another host's, and one whose certificate is over.
    assert_eq!(bench.renew(&renewal(1, "a", &first)).await, Err(Why::KeyInUse));
    assert_eq!(bench.renew(&renewal(2, "a", &first)).await, Err(Why::KeyInUse));
    let second = bench.renew(&renewal(3, "a", &first)).await.unwrap();
    let over = "UPDATE rowcall.certificate SET not_after = now() WHERE fingerprint = $1";
    bench.sql.execute(over, &[&second.fingerprint.as_slice()]).await.unwrap();
    assert_eq!(bench.renew(&renewal(3, "a", &first)).await, Err(Why::KeyInUse));
}

#[tokio::test]
async fn what_may_not_open_a_stream_is_not_renewed() {
    let bench = Bench::with_token(&token(1)).await;
    bench.store.create_token(&actor(), &NewToken { may_replace: true, ..token(2) }).await.unwrap();
    let first = presented(&bench.enroll(&enrolment(1, 1, "a")).await.unwrap().certificate);
    bench.store.revoke_host(&actor(), &host("a"), "stolen").await.unwrap().unwrap();
    let asked = renewal(3, "a", &first);
    for _ in 0..2 {
        assert_eq!(bench.renew(&asked).await, Err(Why::HostRevoked));
    }
    let refused = bench.recorded("host.renew", "a").await;
    assert_eq!(refused.len(), 1);
    assert!(
        refused[0].0.starts_with("refused: this host's access is revoked (stolen);"),
        "{refused:?}"
    );
    bench.store.restore_host(&actor(), &host("a")).await.unwrap().unwrap();
    bench.enroll(&enrolment(2, 2, "a")).await.unwrap();
    assert_eq!(bench.renew(&asked).await, Err(Why::CertificateReplaced));
    assert_eq!(
        bench.number("SELECT count(*) FROM rowcall.certificate WHERE origin = 'renewed'").await,
        0
    );
}

#[tokio::test]
async fn a_host_that_a_restored_backup_forgot_is_renewed() {
    let bench = Bench::new().await;
    let shown = certificate(&host("a"));
    let renewed = bench.renew(&renewal(1, "a", &shown)).await.unwrap();
    bench.access("a", &presented(&renewed)).await.unwrap();
    assert!(bench.store.host(&host("a")).await.unwrap().unwrap().joined_at.is_some());
}
