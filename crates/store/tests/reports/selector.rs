//! Which hosts a report is about.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;
use rowcall_store::reports::Scope;

use crate::world::{World, at, between};

async fn selected(world: &World, name_glob: &str, labels: &[(&str, &str)]) -> Vec<String> {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let scope = Scope {
        name_glob: name_glob.to_owned(),
        labels: labels.collect::<BTreeMap<_, _>>(),
        ..between(at(12, 0, 0), at(12, 5, 0))
    };
    world.roll(&scope).await.into_keys().collect()
}

#[tokio::test]
async fn a_pattern_means_what_it_says_whatever_like_makes_of_it() {
    let world = World::new().await;
    for name in ["a_b-1", "axb-1", "axb-12", "ab", "n1.rack"] {
        world.host(name).await;
    }
    for (glob, names) in [
        ("", vec!["a_b-1", "ab", "axb-1", "axb-12", "n1.rack"]),
        ("*", vec!["a_b-1", "ab", "axb-1", "axb-12", "n1.rack"]),
        ("a_b*", vec!["a_b-1"]),
        ("a?b-1", vec!["a_b-1", "axb-1"]),
        ("a*b*", vec!["a_b-1", "ab", "axb-1", "axb-12"]),
        ("a%", vec![]),
        ("%", vec![]),
        ("ab\\", vec![]),
        ("\\ab", vec![]),
        ("AB", vec!["ab"]),
        ("n1.rack", vec!["n1.rack"]),
        ("n1?rack", vec!["n1.rack"]),
        ("a", vec![]),
        ("'; DROP TABLE host_info; --", vec![]),
    ] {
        assert_eq!(selected(&world, glob, &[]).await, names, "{glob}");
    }
}

#[tokio::test]
async fn all_labels_must_match_exactly() {
    let world = World::new().await;
    for (name, labels) in [
        ("a", &[("env", "prod"), ("rack", "r1")][..]),
        ("b", &[("env", "prod"), ("rack", "r2")]),
        ("c", &[("env", "prod%")]),
        ("d", &[]),
    ] {
        let host = world.host(name).await;
        for (key, value) in labels {
            world.run("INSERT INTO host_label VALUES ($1, $2, $3)", &[&host, key, value]).await;
        }
    }
    assert_eq!(selected(&world, "", &[("env", "prod")]).await, ["a", "b"]);
    assert_eq!(selected(&world, "", &[("env", "prod"), ("rack", "r2")]).await, ["b"]);
    assert_eq!(selected(&world, "a*", &[("env", "prod")]).await, ["a"]);
    assert_eq!(selected(&world, "", &[("env", "prod%")]).await, ["c"]);
    assert_eq!(selected(&world, "", &[("env", "Prod")]).await, Vec::<String>::new());
    assert_eq!(selected(&world, "", &[("env", "pr\"od'")]).await, Vec::<String>::new());
    assert_eq!(selected(&world, "", &[("zone", "")]).await, Vec::<String>::new());
}

/// Two hosts with everything that a report can tell of: samples, a gap, a new spool, refused
/// records kept and counted, values that cannot be, a clock that is wrong.
async fn world_in_disorder() -> World {
    let world = World::new().await;
    for name in ["in", "out"] {
        let host = world.host(name).await;
        world.run("INSERT INTO host_label VALUES ($1, 'group', $2)", &[&host, &name]).await;
        world.samples(host, at(12, 0, 0), 60, 5).await;
        world.samples(host, at(12, 30, 0), 60, 5).await;
        world.set(host, at(12, 0, 0), at(12, 5, 0), "cpu_idle = 140, delay_s = -9").await;
        for (state, sequence) in [("dropped", 100_i64), ("missed", 200)] {
            let gap = "INSERT INTO rowcall.gap VALUES ($1, $1, $2, $2, 1, $3, 'age',
                '2026-11-03 12:06:00+00', '2026-11-03 12:07:00+00', '2026-11-03 12:40:00+00')";
            world.run(gap, &[&host, &sequence, &state]).await;
        }
        let rest = "WITH q AS (INSERT INTO rowcall.quarantine VALUES
                ($1, $1, 300, '1970-01-01 00:00:00+00', '2026-11-03 12:20:00+00', 'too old')),
            d AS (INSERT INTO rowcall.quarantine_day VALUES ('2026-11-03', $1, 1, 1,
                '2026-11-03 12:20:00+00', '2026-11-03 12:20:00+00'))
            INSERT INTO rowcall.epoch (host_id, epoch, opened_at)
            VALUES ($1, 1, '2026-11-03 01:00:00+00'), ($1, 2, '2026-11-03 12:10:00+00')";
        world.run(rest, &[&host]).await;
    }
    world
}

#[tokio::test]
async fn every_report_leaves_out_what_is_not_selected() {
    let world = world_in_disorder().await;
    let range = || between(at(12, 0, 0), at(13, 0, 0));
    let by_name = Scope { name_glob: "in".into(), ..range() };
    let by_label = Scope { labels: [("group".into(), "in".into())].into(), ..range() };
    let nobody = Scope { labels: [("group".into(), "no".into())].into(), ..range() };
    for (scope, hosts) in [(range(), 2), (by_name, 1), (by_label, 1), (nobody, 0)] {
        let frame = world.frame(&scope).await;
        assert_eq!(frame.hosts, hosts);
        let expected = ["in", "out"][..usize::try_from(hosts).unwrap()].to_vec();

        let rows = world.store.hardware(&scope, &frame).await.unwrap();
        let rows: Vec<_> = rows.try_collect().await.unwrap();
        let names: Vec<_> = rows.iter().map(|row| row.host_name.as_str()).collect();
        assert_eq!(names, expected, "hardware");

        let rows = world.store.memory(&scope, &frame).await.unwrap();
        let rows: Vec<_> = rows.try_collect().await.unwrap();
        let mut names: Vec<_> = rows.iter().map(|row| row.host_name.as_str()).collect();
        names.dedup();
        assert_eq!(names, expected, "memory");

        let roll = world.roll(&scope).await;
        assert_eq!(roll.keys().map(String::as_str).collect::<Vec<_>>(), expected, "roll");

        let balance = world.store.balance(&scope, &frame).await.unwrap();
        assert_eq!(balance.len(), if hosts == 0 { 0 } else { 2 });
        assert!(balance.iter().all(|window| u64::from(window.hosts) == hosts), "balance");

        // Each of the seven kinds; of refused records both the kept and the counted.
        let integrity = world.store.integrity(&scope, &frame).await.unwrap();
        assert_eq!(integrity.total, 8 * hosts);
        let mut findings: Vec<_> =
            integrity.findings.iter().map(|row| (row.kind, row.host_name.as_str())).collect();
        findings.sort_by_key(|(kind, name)| (format!("{kind:?}"), *name));
        findings.dedup();
        let kinds = ["ClockSkew", "Dropped", "EpochChanged", "Impossible", "Missed", "Quarantined"];
        let found: Vec<_> =
            findings.iter().map(|(kind, name)| (format!("{kind:?}"), *name)).collect();
        for kind in kinds.into_iter().chain(["UnexplainedGap"]) {
            let of_kind = found.iter().filter(|found| found.0 == kind).map(|found| found.1);
            assert_eq!(of_kind.collect::<Vec<_>>(), expected, "integrity, {kind}");
        }
    }
}
