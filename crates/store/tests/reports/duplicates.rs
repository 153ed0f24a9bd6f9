//! Two agents that claim one host.

use rowcall_store::reports::IntegrityKind::DuplicateIdentity;
use rowcall_store::reports::IntegrityRow;

use crate::world::{World, at, between};

/// Process 2 was refused while process 1 had the stream: so often, from and to seconds after noon.
async fn refused(world: &World, host: i32, attempts: i64, span: (i64, i64), resolved: bool) {
    world
        .run(
            "INSERT INTO rowcall.conflict (host_id, newcomer_run, first_at, last_at, attempts, holder_run,
                                           holder_peer, holder_machine_id, newcomer_peer, resolved_at)
             SELECT $1, 2, f, t, $2, 1, '192.0.2.1:1', 'm-1', '192.0.2.2:2', CASE WHEN $5 THEN t END
               FROM (SELECT to_timestamp($3::bigint / 1e6) AS f, to_timestamp($4::bigint / 1e6) AS t) s",
            &[&host, &attempts, &at(12, 0, span.0).0, &at(12, 0, span.1).0, &resolved],
        )
        .await;
}

async fn found(world: &World) -> Vec<IntegrityRow> {
    let scope = between(at(12, 0, 0), at(13, 0, 0));
    let frame = world.frame(&scope).await;
    world.store.integrity(&scope, &frame).await.unwrap().findings
}

#[tokio::test]
async fn two_that_claim_one_host_for_two_minutes_are_both_named() {
    let world = World::new().await;
    let host = world.host("a").await;
    refused(&world, host, 5, (60, 180), true).await;
    let row = IntegrityRow {
        host_name: "a".into(),
        kind: DuplicateIdentity,
        samples: 0,
        from: at(12, 1, 0),
        to: at(12, 3, 0),
        detail: "two agents claim this host: process 1 on machine m-1 from 192.0.2.1:1 holds its \
                 stream, process 2 on machine ? from 192.0.2.2:2 was refused until the first was gone"
            .into(),
    };
    assert_eq!(found(&world).await, [row]);
}

#[tokio::test]
async fn what_goes_on_is_named_after_two_minutes_and_a_single_refusal_never() {
    let world = World::new().await;
    for (name, attempts, span, resolved, told) in [
        // Shorter than two minutes, and over.
        ("a", 3, (60, 179), true, false),
        // It goes on: the newcomer tries every minute, and the third try is to come.
        ("b", 2, (60, 120), false, true),
        // It came once, and never again.
        ("c", 1, (60, 60), false, false),
        // Before the range, after it, across its begin.
        ("d", 9, (-900, -1), false, false),
        ("e", 9, (3_600, 4_000), false, false),
        ("f", 9, (-900, 1), true, true),
    ] {
        let host = world.host(name).await;
        refused(&world, host, attempts, span, resolved).await;
        let names = found(&world).await.into_iter().filter(|row| row.host_name == name);
        assert_eq!(names.count() == 1, told, "{name}");
    }
}
