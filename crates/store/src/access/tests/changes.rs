use super::*;

#[tokio::test]
async fn a_revoked_host_is_refused_with_any_certificate_and_stays_in_the_roll() {
    let bench = Bench::new().await;
    let (a, shown) = (host("a"), certificate(&host("a")));
    bench.access("a", &shown).await.unwrap();
    let before = bench.now().await;
    let revoked =
        bench.store.revoke_host(&actor(), &a, " left in\na taxi ").await.unwrap().unwrap();
    assert!(revoked.revoked_at >= Some(before));
    assert_eq!((revoked.revoked_reason.as_str(), revoked.retired_at), ("left ina taxi", None));
    for shown in [shown.clone(), Presented { fingerprint: [1; 32], ..shown.clone() }] {
        assert_eq!(bench.access("a", &shown).await, Err(Why::HostRevoked));
    }
    let again = bench.store.revoke_host(&actor(), &a, "other").await.unwrap().unwrap();
    assert_eq!(again, revoked, "revoking twice changes nothing");
    let retired = bench.store.retire_host(&actor(), &a).await.unwrap().unwrap();
    assert_eq!(
        (retired.revoked_at, &retired.revoked_reason),
        (revoked.revoked_at, &revoked.revoked_reason)
    );
    assert!(retired.retired_at.is_some());
    let back = bench.store.restore_host(&actor(), &a).await.unwrap().unwrap();
    assert_eq!((back.revoked_at, back.revoked_reason.as_str(), back.retired_at), (None, "", None));
    bench.access("a", &shown).await.unwrap();
    bench.store.restore_host(&actor(), &a).await.unwrap().unwrap();
    bench.access("a", &shown).await.unwrap();
}

#[tokio::test]
async fn a_retired_host_is_refused_and_may_be_revoked_too() {
    let bench = Bench::new().await;
    let (a, shown) = (host("a"), certificate(&host("a")));
    bench.access("a", &shown).await.unwrap();
    let retired = bench.store.retire_host(&actor(), &a).await.unwrap().unwrap();
    assert_eq!(bench.access("a", &shown).await, Err(Why::HostRetired));
    let revoked = bench.store.revoke_host(&actor(), &a, "stolen").await.unwrap().unwrap();
    assert_eq!(bench.access("a", &shown).await, Err(Why::HostRevoked));
    assert_eq!((revoked.revoked_at, revoked.retired_at), (retired.revoked_at, retired.retired_at));
    assert_eq!(revoked.revoked_reason, "stolen");
}

#[tokio::test]
async fn a_refused_hello_writes_nothing() {
    let bench = Bench::new().await;
    let shown = certificate(&host("a"));
    bench.access("a", &shown).await.unwrap();
    bench.store.revoke_host(&actor(), &host("a"), "").await.unwrap().unwrap();
    let before = bench.everything().await;
    // Also where it would change the host's facts and its epoch, with a certificate never seen.
    let mut told = hello("a", 9);
    told.facts = crate::testing::facts();
    let other = Presented { fingerprint: [1; 32], ..shown };
    let refusal = bench.store.asked(&told, MINUTE, &other, 1).await.unwrap().unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "this host's access is revoked; an operator lets it in again with `rowcall host restore`"
    );
    assert_eq!(bench.everything().await, before);
}

#[tokio::test]
async fn a_certificate_that_is_revoked_by_hand_is_refused_alone() {
    let bench = Bench::new().await;
    let shown = certificate(&host("a"));
    let other = Presented { fingerprint: [1; 32], ..shown.clone() };
    bench.access("a", &shown).await.unwrap();
    bench.access("a", &other).await.unwrap();
    let revoke = "UPDATE rowcall.certificate SET revoked_at = now() WHERE fingerprint <> $1";
    bench.sql.execute(revoke, &[&[1_u8; 32].as_slice()]).await.unwrap();
    assert_eq!(bench.access("a", &shown).await, Err(Why::CertificateRevoked));
    bench.access("a", &other).await.unwrap();
}

#[tokio::test]
async fn of_all_live_identities_those_refused_are_told_by_their_place() {
    let bench = Bench::new().await;
    let mut live = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let shown = certificate(&host(name));
        bench.access(name, &shown).await.unwrap();
        live.push((host(name), shown));
    }
    // Nobody knows it; a restored backup must not lock a fleet out.
    live.push((host("unknown"), certificate(&host("unknown"))));
    let other = Presented { fingerprint: [1; 32], ..live[1].1.clone() };
    bench.access("b", &other).await.unwrap();
    live.push((host("b"), other));
    assert_eq!(bench.store.refused_among(&live).await.unwrap(), []);
    assert_eq!(bench.store.refused_among(&[]).await.unwrap(), []);

    bench.store.revoke_host(&actor(), &host("a"), "stolen").await.unwrap().unwrap();
    bench.store.retire_host(&actor(), &host("d")).await.unwrap().unwrap();
    let revoke = "UPDATE rowcall.certificate SET revoked_at = now() WHERE fingerprint = $1";
    bench.sql.execute(revoke, &[&[1_u8; 32].as_slice()]).await.unwrap();
    let refused = bench.store.refused_among(&live).await.unwrap();
    let told: Vec<_> =
        refused.iter().map(|(place, refusal)| (*place, refusal.why, &*refusal.reason)).collect();
    let expected = [
        (0, Why::HostRevoked, "stolen"),
        (3, Why::HostRetired, ""),
        (5, Why::CertificateRevoked, ""),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn each_change_of_a_host_is_recorded_with_who_did_it_also_where_there_is_none() {
    let bench = Bench::new().await;
    bench.host("a").await;
    let (store, anna) = (&bench.store, &actor());
    for (name, result) in [("a", "ok"), ("b", "refused: there is no such host")] {
        let (name, known) = (host(name), name == "a");
        let set = [("rack".to_owned(), "r1".to_owned())].into();
        let labelled = store.label_host(anna, &name, &set, &["x".to_owned()]).await.unwrap();
        assert_eq!(labelled.is_some(), known);
        assert_eq!(store.revoke_host(anna, &name, "stolen").await.unwrap().is_some(), known);
        assert_eq!(store.retire_host(anna, &name).await.unwrap().is_some(), known);
        assert_eq!(store.restore_host(anna, &name).await.unwrap().is_some(), known);
        let sql = "SELECT action, result, detail, identity, peer, aggregator FROM rowcall.audit
            WHERE target = $1 ORDER BY id";
        let rows = bench.sql.query(sql, &[&name.as_str()]).await.unwrap();
        let actions = [
            ("host.label", r#"set {"rack": "r1"}, removed ["x"]"#),
            ("host.revoke", "stolen"),
            ("host.retire", ""),
            ("host.restore", ""),
        ];
        assert_eq!(rows.len(), actions.len());
        for (row, (action, detail)) in rows.iter().zip(actions) {
            let text = |column: usize| row.get::<_, String>(column);
            assert_eq!((text(0), text(1), text(2)), (action.into(), result.into(), detail.into()));
            let who = (anna.identity.clone(), anna.peer.clone(), anna.aggregator.clone());
            assert_eq!((text(3), text(4), text(5)), who);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_changed_is_not_recorded_as_done() {
    let bench = Bench::new().await;
    bench.host("a").await;
    let many = (0..65).map(|n| (format!("k{n}"), String::new())).collect();
    bench.store.label_host(&actor(), &host("a"), &many, &[]).await.unwrap_err();
    assert_eq!(bench.number("SELECT count(*) FROM rowcall.audit").await, 0);
}
