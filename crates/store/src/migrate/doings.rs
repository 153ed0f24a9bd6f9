//! What a service does with its rights, one part of the store after the other.

use rowcall_core::record::Body;

use crate::Store;
use crate::testing::{Bench, actor, certificate, hello, record, sample};

/// Vitals, and two readings of a device, between which it was last seen yesterday.
pub(super) async fn tells_of_devices(bench: &Bench, store: &Store) {
    use rowcall_core::devices::{Devices, Disk, Metric};

    let session = store.opened(&hello("b", 1), crate::testing::MINUTE).await.unwrap();
    let now = bench.now().await;
    let mut with_vitals = sample(&session, 1, now);
    if let Body::Sample(sample) = &mut with_vitals.record.body {
        sample.vitals = Some(Box::default());
    }
    assert_eq!(store.ingest(&[with_vitals]).await.unwrap().samples, 1);
    for n in 2..4_u64 {
        let disks = vec![Disk { name: "vda".into(), ..Disk::default() }];
        let metrics = vec![Metric { name: "m".into(), ..Metric::default() }];
        let devices = Devices { disks, metrics, ..Devices::default() };
        let body = Body::Devices(Box::new(devices));
        let records = [record(&session, n, now.plus_micros(n.cast_signed()), body)];
        let committed = store.ingest(&records).await.unwrap();
        assert_eq!((committed.device_rows, committed.metric_rows), (1, 1));
        bench.sql.batch_execute("UPDATE host_device SET seen_on = seen_on - 1").await.unwrap();
    }
    // So that the rest of the test sees one host.
    store.retire_host(&actor(), &hello("b", 1).host_name).await.unwrap().unwrap();
}

/// All that has to do with access.
pub(super) async fn changes_access(store: &Store, session: &crate::OpenedSession) {
    use crate::access::{Enrolment, IssuedCertificate, NewToken, Renewal};
    use rowcall_core::token::TokenId;

    let (anna, name) = (&actor(), &hello("a", 1).host_name);
    let token = NewToken {
        id: TokenId::new([1; 8]),
        secret_sha256: [1; 32],
        host_glob: None,
        labels: [("zone".to_owned(), "z".to_owned())].into(),
        uses: 2,
        ttl: crate::testing::MINUTE,
        ephemeral: Some(crate::testing::MINUTE),
        may_replace: true,
    };
    store.create_token(anna, &token).await.unwrap();
    assert_eq!(store.list_tokens(true).await.unwrap().len(), 1);
    let shown = certificate(name);
    let issue = |byte: u8| {
        let (not_before, not_after) = (shown.not_before, shown.not_after);
        let (der, serial, fingerprint) = (vec![byte], "01".to_owned(), [byte; 32]);
        move |_: &_| Ok(IssuedCertificate { der, fingerprint, serial, not_before, not_after })
    };
    let mut asked = Enrolment {
        token: token.id,
        secret_sha256: token.secret_sha256,
        key_sha256: [1; 32],
        host: name.clone(),
        machine_id: String::new(),
    };
    assert!(store.enroll(anna, &asked, issue(1)).await.unwrap().unwrap().replaced);
    assert!(store.enroll(anna, &asked, issue(2)).await.unwrap().unwrap().again);
    asked.secret_sha256 = [2; 32];
    store.enroll(anna, &asked, issue(2)).await.unwrap().unwrap_err();
    let presented = crate::access::Presented { fingerprint: [1; 32], ..shown.clone() };
    let renewal = Renewal { host: name.clone(), presented, key_sha256: [3; 32] };
    store.renew(anna, &renewal, issue(3)).await.unwrap().unwrap();

    let other = &rowcall_core::id::HostName::parse("other").unwrap();
    for (old, new) in [(name, other), (other, name)] {
        let renamed = store.rename_host(anna, old, new).await.unwrap();
        assert!(matches!(renamed, crate::hosts::Renamed::Done(_)), "{renamed:?}");
    }
    let mut events = store.listen_access().await.unwrap();
    store.revoke_host(anna, name, "").await.unwrap().unwrap();
    assert_eq!(events.next().await.unwrap(), session.host_id);
    store.renew(anna, &renewal, issue(4)).await.unwrap().unwrap_err();
    assert_eq!(store.refused_among(&[(name.clone(), shown)]).await.unwrap().len(), 1);
    store.restore_host(anna, name).await.unwrap().unwrap();
    store.revoke_token(anna, token.id).await.unwrap().unwrap();
    store.retire_ephemeral().await.unwrap();
    store.audit(anna, "host.revoke", "a", "refused: viewers only read", "").await.unwrap();

    let run = hello("a", 1).run;
    let party = crate::Party { run, peer: String::new(), machine_id: None };
    for _ in 0..2 {
        store.conflict(name, &party, &party).await.unwrap();
    }
    assert_eq!(store.sessions_lost(std::slice::from_ref(&session.lease)).await.unwrap(), []);
    store.close_sessions(std::slice::from_ref(&session.lease)).await.unwrap();
}
