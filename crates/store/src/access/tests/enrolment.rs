use futures_util::future::join_all;

use super::*;
use crate::{Kind, Settings, Store};

#[tokio::test]
async fn a_token_makes_a_host_with_its_labels_which_is_in_the_roll_at_once() {
    let wanted = NewToken {
        labels: [("rack".to_owned(), "r1".to_owned())].into(),
        ephemeral: Some(MINUTE),
        ..token(1)
    };
    let bench = Bench::with_token(&wanted).await;
    let enrolled = bench.enroll(&enrolment(1, 1, "node1")).await.unwrap();
    assert!(!enrolled.replaced && !enrolled.again);
    let found = bench.store.host(&host("node1")).await.unwrap().unwrap();
    assert_eq!((found.id, &found.labels), (enrolled.host_id, &wanted.labels));
    assert_eq!((found.ephemeral, found.retired_at), (Some(MINUTE), None));
    assert!(found.joined_at.is_some());
    assert_eq!(found.certificates.len(), 1);
    let (kept, given) = (&found.certificates[0], &enrolled.certificate);
    assert_eq!(
        (kept.fingerprint.as_slice(), &kept.serial),
        (&given.fingerprint[..], &given.serial)
    );
    assert_eq!((kept.origin.as_str(), kept.last_seen_at), ("enrolled", None));
    let used = &bench.store.list_tokens(true).await.unwrap()[0];
    assert_eq!(used.used, 1);
    let detail =
        format!("a new host, token 0101010101010101, serial {}, machine m-1", given.serial);
    assert_eq!(bench.recorded("host.enroll", "node1").await, [("ok".to_owned(), detail)]);
    // Its Hello finds it so, and is seen.
    bench.access("node1", &presented(given)).await.unwrap();
    let seen = "SELECT count(*) FROM rowcall.certificate WHERE origin = 'enrolled' AND last_seen_at IS NOT NULL";
    assert_eq!(bench.number(seen).await, 1);
    assert_eq!(bench.number("SELECT count(*) FROM host_info").await, 1);
}

#[tokio::test]
async fn an_unknown_id_and_a_wrong_secret_look_the_same_and_fill_no_record() {
    let bench = Bench::with_token(&token(1)).await;
    let wrong = Enrolment { secret_sha256: [2; 32], ..enrolment(1, 1, "a") };
    for bad in [wrong, enrolment(2, 1, "a")] {
        assert_eq!(bench.enroll(&bad).await.unwrap_err(), EnrollRefusal::UnknownToken);
    }
    assert_eq!(bench.number("SELECT count(*) FROM rowcall.audit").await, 1, "the token's making");
    assert_eq!(bench.number("SELECT count(*) FROM host_info").await, 0);
    assert_eq!(bench.number("SELECT used::bigint FROM rowcall.token").await, 0);
}

#[tokio::test]
async fn each_refusal_says_why_changes_nothing_and_is_recorded_once() {
    let globbed = NewToken { host_glob: Some("Web_?-*".into()), uses: 9, ..token(3) };
    let bench = Bench::with_token(&globbed).await;
    for number in [1, 2, 4] {
        bench.store.create_token(&actor(), &token(number)).await.unwrap();
    }
    let past = "UPDATE rowcall.token SET expires_at = now() WHERE id LIKE '02%'";
    bench.sql.batch_execute(past).await.unwrap();
    bench.enroll(&enrolment(1, 1, "a")).await.unwrap();
    let only = EnrollRefusal::WrongHost { glob: "Web_?-*".into() };
    let before = bench.number("SELECT count(*) FROM rowcall.audit").await;
    for (bad, refusal) in [
        (enrolment(1, 2, "b"), EnrollRefusal::UsedUp { uses: 1 }),
        (enrolment(2, 2, "b"), EnrollRefusal::Expired),
        (enrolment(3, 2, "web_1"), only.clone()),
        (enrolment(3, 2, "webx1-a"), only.clone()),
        (enrolment(4, 2, "a"), EnrollRefusal::NameTaken { name: "a".into() }),
        // Its key has a certificate: of another token, under another name.
        (enrolment(4, 1, "a"), EnrollRefusal::KeyInUse),
        (enrolment(1, 1, "b"), EnrollRefusal::KeyInUse),
    ] {
        for _ in 0..2 {
            assert_eq!(bench.enroll(&bad).await.unwrap_err(), refusal);
        }
        let target = bad.token.to_string();
        let recorded = bench.recorded("host.enroll", &target).await;
        let (result, detail) = recorded.last().unwrap();
        assert_eq!(*result, format!("refused: {refusal}"));
        assert!(detail.starts_with("host ") && detail.ends_with(", machine m-1"), "{detail}");
    }
    let rows = bench.number("SELECT count(*) FROM rowcall.audit").await - before;
    assert_eq!(rows, 6, "a refusal that repeats within the hour is recorded once");
    assert_eq!(bench.number("SELECT count(*) FROM host_info").await, 1);
    assert_eq!(bench.number("SELECT sum(used)::bigint FROM rowcall.token").await, 1);
    bench.enroll(&enrolment(3, 2, "web_1-a.b")).await.unwrap();
}

#[tokio::test]
async fn the_same_key_and_token_give_the_same_certificate_whatever_became_of_the_token() {
    let bench = Bench::with_token(&token(1)).await;
    let asked = enrolment(1, 1, "a");
    let first = bench.enroll(&asked).await.unwrap();
    for change in [
        "SELECT",
        "UPDATE rowcall.token SET expires_at = now() - interval '1 day'",
        "UPDATE rowcall.token SET revoked_at = now() - interval '1 day'",
    ] {
        bench.sql.batch_execute(change).await.unwrap();
        let before = bench.everything().await;
        let again = bench.enroll(&asked).await.unwrap();
        assert!(again.again && !again.replaced);
        assert_eq!((again.host_id, &again.certificate), (first.host_id, &first.certificate));
        assert_eq!(bench.everything().await, before, "{change}");
    }
    // But not what is refused.
    bench.store.revoke_host(&actor(), &host("a"), "stolen").await.unwrap().unwrap();
    let EnrollRefusal::Refused(refusal) = bench.enroll(&asked).await.unwrap_err() else { panic!() };
    assert_eq!((refusal.why, refusal.reason.as_str()), (Why::HostRevoked, "stolen"));
    bench.store.restore_host(&actor(), &host("a")).await.unwrap().unwrap();
    assert!(bench.enroll(&asked).await.unwrap().again);
    let over = "UPDATE rowcall.certificate SET not_after = now()";
    bench.sql.batch_execute(over).await.unwrap();
    assert_eq!(bench.enroll(&asked).await.unwrap_err(), EnrollRefusal::KeyInUse);
}

#[tokio::test]
async fn an_enrolment_that_replaces_keeps_the_host_and_refuses_what_it_had() {
    let replacing = NewToken {
        uses: 2,
        may_replace: true,
        labels: [("rack".to_owned(), "r2".to_owned())].into(),
        ..token(2)
    };
    let bench = Bench::with_token(&NewToken { ephemeral: Some(MINUTE), ..token(1) }).await;
    bench.store.create_token(&actor(), &replacing).await.unwrap();
    let first = bench.enroll(&enrolment(1, 1, "a")).await.unwrap();
    let labels = [("rack".to_owned(), "r1".to_owned()), ("own".to_owned(), "x".to_owned())].into();
    bench.store.label_host(&actor(), &host("a"), &labels, &[]).await.unwrap().unwrap();
    let (old, unknown) = (presented(&first.certificate), certificate(&host("a")));
    bench.access("a", &old).await.unwrap();
    bench.store.retire_host(&actor(), &host("a")).await.unwrap().unwrap();

    let second = bench.enroll(&enrolment(2, 2, "a")).await.unwrap();
    assert!(second.replaced && !second.again);
    assert_eq!(second.host_id, first.host_id);
    assert_eq!(bench.access("a", &old).await, Err(Why::CertificateReplaced));
    // One that was never seen here, and began before.
    assert_eq!(bench.access("a", &unknown).await, Err(Why::CertificateReplaced));
    bench.access("a", &presented(&second.certificate)).await.unwrap();
    let later = Presented { not_before: bench.now().await, fingerprint: [9; 32], ..unknown };
    bench.access("a", &later).await.unwrap();

    let found = bench.store.host(&host("a")).await.unwrap().unwrap();
    assert_eq!((found.retired_at, found.revoked_at, found.ephemeral), (None, None, None));
    assert_eq!(found.labels["rack"], "r2");
    assert_eq!(found.labels["own"], "x");
    assert_eq!(found.certificates.len(), 2, "the two that are good");
    // What was replaced stays so, also where access ended and began since.
    bench.store.revoke_host(&actor(), &host("a"), "").await.unwrap().unwrap();
    bench.store.restore_host(&actor(), &host("a")).await.unwrap().unwrap();
    assert_eq!(bench.access("a", &old).await, Err(Why::CertificateReplaced));
    // Another one takes the place of the second; the first key does not come back.
    let third = bench.enroll(&enrolment(2, 3, "a")).await.unwrap();
    assert!(third.replaced);
    let again = bench.enroll(&enrolment(1, 1, "a")).await.unwrap_err();
    assert!(
        matches!(again, EnrollRefusal::Refused(refusal) if refusal.why == Why::CertificateReplaced)
    );
}

#[tokio::test]
async fn an_authority_that_fails_leaves_nothing() {
    let bench = Bench::with_token(&token(1)).await;
    let before = bench.everything().await;
    let fails = |_: &HostName| Err("the key is not there".to_owned());
    let error = bench.store.enroll(&actor(), &enrolment(1, 1, "a"), fails).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert_eq!(error.to_string(), "issue a certificate: the key is not there");
    assert_eq!(bench.everything().await, before);
    bench.enroll(&enrolment(1, 1, "a")).await.unwrap();
}

/// How a hundred nodes fare that all ask at once, through some connections.
async fn at_once(
    bench: &Bench,
    connections: usize,
    asked: &[Enrolment],
) -> Vec<Result<Enrolled, EnrollRefusal>> {
    let settings =
        Settings { ingest_connections: connections, ..Settings::new(bench.database.url()) };
    let store = Store::connect(&settings).await.unwrap();
    let tasks = asked.iter().cloned().map(|enrolment| {
        let store = store.clone();
        tokio::spawn(async move { store.enroll(&actor(), &enrolment, issued).await })
    });
    join_all(tasks).await.into_iter().map(|task| task.unwrap().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_with_a_token_of_one_use_make_one_identity() {
    for connections in [100, 4] {
        let bench = Bench::with_token(&token(1)).await;
        let asked: Vec<_> = (0..100).map(|n| enrolment(1, n, &format!("node{n}"))).collect();
        let results = at_once(&bench, connections, &asked).await;
        let made = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(made, 1);
        let refusal = Err(EnrollRefusal::UsedUp { uses: 1 });
        assert_eq!(results.iter().filter(|result| **result == refusal).count(), 99);
        assert_eq!(bench.number("SELECT count(*) FROM rowcall.certificate").await, 1);
        assert_eq!(bench.number("SELECT count(*) FROM host_info").await, 1);
        assert_eq!(bench.number("SELECT used::bigint FROM rowcall.token").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_retries_of_one_node_at_once_get_one_certificate() {
    let bench = Bench::with_token(&NewToken { uses: 100, ..token(1) }).await;
    let asked = vec![enrolment(1, 1, "a"); 100];
    let results = at_once(&bench, 50, &asked).await;
    let first = results.iter().flatten().find(|enrolled| !enrolled.again).unwrap();
    let same = results.iter().flatten().filter(|e| e.certificate == first.certificate);
    assert_eq!(same.count(), 100);
    assert_eq!(results.iter().flatten().filter(|enrolled| enrolled.again).count(), 99);
    assert_eq!(bench.number("SELECT used::bigint FROM rowcall.token").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_at_once_for_one_name_or_with_one_key_gets_one_identity() {
    let bench = Bench::new().await;
    for number in 0..50 {
        let token = NewToken { may_replace: number % 2 == 1, ..token(number) };
        bench.store.create_token(&actor(), &token).await.unwrap();
    }
    // Fifty tokens and one key.
    let asked: Vec<_> = (0..50).map(|n| enrolment(n, 1, &format!("node{}", n % 5))).collect();
    let results = at_once(&bench, 50, &asked).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(bench.number("SELECT count(*) FROM rowcall.certificate").await, 1);
    // Fifty tokens and keys, and one name: it is made once, and replaced by those that may.
    let spent = "UPDATE rowcall.token SET used = 0";
    bench.sql.batch_execute(spent).await.unwrap();
    let asked: Vec<_> = (0..50).map(|n| enrolment(n, 100 + n, "other")).collect();
    let results = at_once(&bench, 50, &asked).await;
    let made = results.iter().flatten().filter(|enrolled| !enrolled.replaced).count();
    let replaced = results.iter().flatten().filter(|enrolled| enrolled.replaced).count();
    assert_eq!(made, 1);
    assert!((24..=25).contains(&replaced), "{replaced}");
    let good =
        "SELECT count(*) FROM rowcall.certificate AS c JOIN host_info AS h ON h.id = c.host_id
        WHERE h.hostname = 'other' AND c.revoked_at IS NULL";
    assert_eq!(bench.number(good).await, 1);
}
