use super::*;
use crate::hosts::Filter;

#[tokio::test]
async fn the_record_is_only_added_to_even_by_its_owner() {
    let bench = Bench::with_token(&token(1)).await;
    for sql in [
        "UPDATE rowcall.audit SET result = 'ok'",
        "DELETE FROM rowcall.audit",
        "DELETE FROM rowcall.audit WHERE false",
        "TRUNCATE rowcall.audit",
        "SET session_replication_role = replica; DELETE FROM rowcall.audit",
    ] {
        let error = bench.sql.batch_execute(sql).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "42501", "{sql}");
        assert!(error.message().contains("rowcall.audit is only added to"), "{error}");
    }
    assert_eq!(bench.number("SELECT count(*) FROM rowcall.audit").await, 1);
}

#[tokio::test]
async fn what_was_refused_before_it_came_here_is_recorded_clean_and_once_an_hour() {
    let bench = Bench::new().await;
    let told = async |who: &str, why: &str| {
        let actor = Actor { identity: who.into(), ..actor() };
        let detail = format!("\u{1b}[2J\0{}", "x".repeat(5_000));
        bench.store.audit(&actor, "host.revoke", "a\nb", why, &detail).await.unwrap();
    };
    for (who, why) in [("viewer/v", "1"), ("viewer/v", "1"), ("viewer/w", "1"), ("viewer/v", "2")] {
        told(who, &format!("refused: {why}")).await;
    }
    for _ in 0..2 {
        told("viewer/v", "ok").await;
    }
    assert_eq!(bench.number("SELECT count(*) FROM rowcall.audit").await, 5);
    let row = bench
        .sql
        .query_one("SELECT DISTINCT target, detail FROM rowcall.audit", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), "ab");
    let detail: String = row.get(1);
    assert!(detail.starts_with("[2Jxxx") && detail.len() == 1_024, "{detail}");
}

#[tokio::test]
async fn a_refusal_is_recorded_again_after_an_hour() {
    let bench = Bench::new().await;
    let old = "INSERT INTO rowcall.audit (at, identity, peer, aggregator, action, target, result, detail)
        VALUES (now() - interval '61 minutes', 'operator/anna', '', '', 'host.retire', 'a', 'refused: there is no such host', '')";
    bench.sql.batch_execute(old).await.unwrap();
    for _ in 0..2 {
        bench.store.retire_host(&actor(), &host("a")).await.unwrap();
    }
    assert_eq!(bench.number("SELECT count(*) FROM rowcall.audit").await, 2);
}

#[tokio::test]
async fn only_the_certificates_that_are_good_are_told_of_a_host() {
    let bench = Bench::new().await;
    let shown = certificate(&host("a"));
    for (byte, begin) in [(1, 10), (2, 30), (3, 20), (4, 40)] {
        let shown = Presented {
            fingerprint: [byte; 32],
            not_before: UnixMicros(shown.not_before.0 + begin),
            ..shown.clone()
        };
        bench.access("a", &shown).await.unwrap();
    }
    let spoil =
        "UPDATE rowcall.certificate SET not_after = now() WHERE get_byte(fingerprint, 0) = 2;
        UPDATE rowcall.certificate SET revoked_at = now() WHERE get_byte(fingerprint, 0) = 4";
    bench.sql.batch_execute(spoil).await.unwrap();
    let filter = Filter { certificates: true, ..Filter::default() };
    let listed = bench.store.list_hosts(&filter, None, 9).await.unwrap();
    let told: Vec<u8> = listed[0].certificates.iter().map(|c| c.fingerprint[0]).collect();
    assert_eq!(told, [3, 1], "the newest first");
}
