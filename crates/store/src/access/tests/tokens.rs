use super::*;
use crate::Kind;

#[tokio::test]
async fn a_token_is_told_as_it_was_made_and_its_secret_is_a_hash() {
    let bench = Bench::new().await;
    let wanted = NewToken {
        host_glob: Some("web-*".into()),
        labels: [("rack".to_owned(), "r1".to_owned()), ("zone".to_owned(), "b".to_owned())].into(),
        uses: 50,
        ttl: Duration::from_secs(86_400),
        ephemeral: Some(Duration::from_secs(3_600)),
        may_replace: true,
        ..token(7)
    };
    let before = bench.now().await;
    let made = bench.store.create_token(&actor(), &wanted).await.unwrap();
    assert_eq!((made.id, made.uses, made.used), (wanted.id, 50, 0));
    assert_eq!((&made.host_glob, &made.labels), (&wanted.host_glob, &wanted.labels));
    assert_eq!((made.ephemeral, made.may_replace), (wanted.ephemeral, true));
    assert_eq!((made.created_by.as_str(), made.revoked_at), ("operator/anna", None));
    assert!(made.created_at >= before);
    assert_eq!(made.expires_at.since(made.created_at), 86_400_000_000);
    assert_eq!(bench.store.list_tokens(false).await.unwrap(), [made]);
    let detail = "for web-*, 50 uses, good for 86400 s, ephemeral after 3600 s, may replace, \
                  labels {\"rack\": \"r1\", \"zone\": \"b\"}";
    let recorded = bench.recorded("token.create", "0707070707070707").await;
    assert_eq!(recorded, [("ok".to_owned(), detail.to_owned())]);
    // Neither what is shown nor what is recorded has any of the secret.
    assert!(!format!("{wanted:?} {:?}", enrolment(7, 1, "a")).contains("7, 7"));
}

#[tokio::test]
async fn a_token_beyond_the_bounds_is_refused_in_words() {
    let bench = Bench::with_token(&token(1)).await;
    let labels = |count: usize| (0..count).map(|n| (format!("k{n}"), String::new())).collect();
    let seconds = Duration::from_secs;
    for (bad, words) in [
        (token(1), "id is taken"),
        (NewToken { uses: 0, ..token(2) }, "0 uses are not possible, 1 to 100000 are"),
        (NewToken { uses: 100_001, ..token(2) }, "100001 uses"),
        (NewToken { ttl: seconds(59), ..token(2) }, "life cannot be 59 s, 60 s to 366 days"),
        (NewToken { ttl: seconds(366 * 86_400 + 1), ..token(2) }, "life cannot be"),
        (NewToken { ephemeral: Some(seconds(1)), ..token(2) }, "silence after which"),
        (NewToken { labels: labels(65), ..token(2) }, "has 65 labels"),
        (NewToken { labels: [("Rack".into(), "".into())].into(), ..token(2) }, "contains 'R'"),
        (NewToken { host_glob: Some("*".repeat(2_000)), ..token(2) }, "longer than"),
        (NewToken { host_glob: Some("a\0".into()), ..token(2) }, "zero byte"),
    ] {
        let error = bench.store.create_token(&actor(), &bad).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Data, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(bench.number("SELECT count(*) FROM rowcall.token").await, 1);
    let most = NewToken { uses: 100_000, ttl: MAX_TOKEN_TTL, labels: labels(64), ..token(3) };
    bench.store.create_token(&actor(), &most).await.unwrap();
}

#[tokio::test]
async fn spent_tokens_are_told_only_where_asked_for_and_for_30_days() {
    let bench = Bench::new().await;
    for number in 1..=5 {
        bench.store.create_token(&actor(), &token(number)).await.unwrap();
    }
    bench.enroll(&enrolment(2, 2, "a")).await.unwrap();
    bench.store.revoke_token(&actor(), TokenId::new([3; 8])).await.unwrap().unwrap();
    let past = "UPDATE rowcall.token SET created_at = now() - interval '1 day' * ('x' || left(id, 2))::bit(8)::int;
        UPDATE rowcall.token SET expires_at = now() - interval '29 days' WHERE id = '0404040404040404';
        UPDATE rowcall.token SET expires_at = now() - interval '31 days' WHERE id = '0505050505050505'";
    bench.sql.batch_execute(past).await.unwrap();
    let listed = async |spent| -> Vec<String> {
        let tokens = bench.store.list_tokens(spent).await.unwrap();
        tokens.iter().map(|token| token.id.to_string().get(..2).unwrap().to_owned()).collect()
    };
    assert_eq!(listed(false).await, ["01"]);
    assert_eq!(listed(true).await, ["01", "02", "03", "04"]);
    let long_over =
        "UPDATE rowcall.token SET last_used_at = now() - interval '31 days' WHERE id LIKE '02%';
        UPDATE rowcall.token SET revoked_at = now() - interval '31 days' WHERE id LIKE '03%'";
    bench.sql.batch_execute(long_over).await.unwrap();
    assert_eq!(listed(true).await, ["01", "04"]);
}

#[tokio::test]
async fn ending_a_token_twice_changes_nothing_and_one_that_is_not_there_is_recorded() {
    let bench = Bench::with_token(&token(1)).await;
    let id = TokenId::new([1; 8]);
    let first = bench.store.revoke_token(&actor(), id).await.unwrap().unwrap();
    assert!(first.revoked_at.is_some());
    assert_eq!(bench.store.revoke_token(&actor(), id).await.unwrap(), Some(first));
    let refusal = bench.enroll(&enrolment(1, 1, "a")).await.unwrap_err();
    assert_eq!(refusal, EnrollRefusal::Revoked);

    let other = TokenId::new([9; 8]);
    assert_eq!(bench.store.revoke_token(&actor(), other).await.unwrap(), None);
    let recorded = bench.recorded("token.revoke", &other.to_string()).await;
    assert_eq!(recorded, [("refused: there is no such token".to_owned(), String::new())]);
}
