//! Which hosts a report is about.

use std::collections::BTreeMap;

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

#[tokio::test]
async fn other_reports_leave_out_what_is_not_selected() {
    let world = World::new().await;
    for name in ["in", "out"] {
        let host = world.host(name).await;
        world.samples(host, at(12, 0, 0), 60, 5).await;
        world.set(host, at(12, 0, 0), at(12, 5, 0), "cpu_idle = 140").await;
    }
    let scope = Scope { name_glob: "in".into(), ..between(at(12, 0, 0), at(12, 5, 0)) };
    let frame = world.frame(&scope).await;
    assert_eq!(frame.hosts, 1);
    assert_eq!(world.store.balance(&scope, &frame).await.unwrap()[0].hosts, 1);
    let integrity = world.store.integrity(&scope, &frame).await.unwrap();
    assert_eq!(integrity.total, 1);
    assert_eq!(integrity.findings[0].host_name, "in");
}
