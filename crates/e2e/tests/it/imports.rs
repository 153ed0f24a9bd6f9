//! Imports run one way: proto <- core <- {tls, postgres, store, spool} <- {agent, aggregator} <- rowcall
//! <- {e2e, bench, fuzz}, with testkit for those two and for tests. cargo knows the edges; this holds
//! them to the design.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::repository;

/// How far up a crate stands. It may depend on crates that stand lower, never beside it.
const RANKS: [(&str, u8); 13] = [
    ("rowcall-proto", 0),
    ("rowcall-core", 1),
    ("rowcall-tls", 2),
    ("rowcall-postgres", 2),
    ("rowcall-store", 2),
    ("rowcall-spool", 2),
    (TESTKIT, 3),
    ("rowcall-agent", 3),
    ("rowcall-aggregator", 3),
    ("rowcall", 4),
    (E2E, 5),
    (BENCH, 5),
    ("rowcall-fuzz", 5),
];
const TESTKIT: &str = "rowcall-testkit";
/// No part of what is released: it is tests, and the chaos that `make chaos` runs.
const E2E: &str = "rowcall-e2e";
/// Nor is this: it stages what it measures as tests do.
const BENCH: &str = "rowcall-bench";

/// What must not be linked into a program, however indirectly.
const NEVER_LINKED: [(&str, &[&str]); 2] = [
    (
        "rowcall-agent",
        &["tokio-postgres", "deadpool-postgres", "rowcall-store", "rowcall-postgres"],
    ),
    ("rowcall-aggregator", &["sysinfo", "procfs", "rowcall-agent"]),
];

/// What a crate must not name itself, outside its tests.
const NEVER_NAMED: [(&str, &[&str]); 5] = [
    ("rowcall-proto", &["tokio", "tokio-postgres", "sysinfo", "rustls"]),
    ("rowcall-core", &["tokio", "tonic", "tokio-postgres", "sysinfo", "rustls"]),
    ("rowcall-store", &["prost", "prost-types", "tonic", "rowcall-proto"]),
    ("rowcall-aggregator", &["tokio-postgres", "deadpool-postgres", "sysinfo", "procfs"]),
    ("rowcall", &["tokio-postgres", "deadpool-postgres", "sysinfo", "rowcall-store"]),
];

#[test]
fn imports_run_one_way() {
    assert_eq!(violations(&edges()), Vec::<String>::new());
}

#[test]
fn the_agent_links_no_postgresql_client_and_the_aggregator_no_sysinfo() {
    for (package, banned) in NEVER_LINKED {
        let linked = linked_into(package);
        assert!(linked.contains("tokio"), "the tree of {package} was not read: {linked:?}");
        let found: Vec<_> = banned.iter().filter(|name| linked.contains(**name)).collect();
        assert!(found.is_empty(), "{package} links {found:?}");
    }
}

#[test]
fn the_store_sees_no_message_of_the_wire() {
    for (path, text) in repository::files_under("crates/store/src", "rs") {
        for word in ["rowcall_proto", "rowcall_core::proto", "prost::", "tonic::"] {
            assert!(!text.contains(word), "{path} uses {word}");
        }
    }
}

#[test]
fn an_edge_against_the_direction_is_seen() {
    let edge = |from: &str, to: &str, kind| Edge { from: from.into(), to: to.into(), kind };
    for (bad, part) in [
        (edge("rowcall-core", "rowcall-tls", Kind::Normal), "stands no lower"),
        (edge("rowcall-tls", "rowcall-store", Kind::Normal), "stands no lower"),
        (edge("rowcall-agent", "rowcall-aggregator", Kind::Dev), "stands no lower"),
        (edge("rowcall", TESTKIT, Kind::Normal), "for tests only"),
        (edge("rowcall-core", "tokio-postgres", Kind::Normal), "must not name"),
        (edge("rowcall-new", "rowcall-core", Kind::Normal), "no rank"),
    ] {
        let found = violations(std::slice::from_ref(&bad));
        assert!(found.len() == 1 && found[0].contains(part), "{bad:?}: {found:?}");
    }
    let good = [
        edge("rowcall-store", TESTKIT, Kind::Dev),
        edge("rowcall-store", "tokio-postgres", Kind::Normal),
        edge("rowcall-agent", "rowcall-core", Kind::Normal),
        edge(BENCH, TESTKIT, Kind::Normal),
        edge(E2E, TESTKIT, Kind::Normal),
    ];
    assert_eq!(violations(&good), Vec::<String>::new());
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    Dev,
}

#[derive(Debug)]
struct Edge {
    from: String,
    to: String,
    kind: Kind,
}

fn violations(edges: &[Edge]) -> Vec<String> {
    let ranks = BTreeMap::from(RANKS);
    edges
        .iter()
        .filter_map(|Edge { from, to, kind }| {
            let Some(rank) = ranks.get(from.as_str()) else {
                return Some(format!("{from} has no rank here"));
            };
            let named = NEVER_NAMED.iter().any(|(package, banned)| {
                package == from && banned.contains(&to.as_str()) && *kind == Kind::Normal
            });
            if named {
                return Some(format!("{from} must not name {to}"));
            }
            if from == to && *kind == Kind::Dev {
                // A package's tests may switch on its own features.
                return None;
            }
            let lower = ranks.get(to.as_str())?;
            if to == TESTKIT {
                // It may use what stands beside it, so its tests may use it back.
                let released = *kind == Kind::Normal && ![BENCH, E2E].contains(&from.as_str());
                return released.then(|| format!("{from}: {to} is for tests only"));
            }
            (lower >= rank).then(|| format!("{from} depends on {to}, which stands no lower"))
        })
        .collect()
}

/// All direct dependencies of the workspace's packages.
fn edges() -> Vec<Edge> {
    let metadata = cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).expect("cargo prints JSON");
    let mut edges = Vec::new();
    for package in array(&metadata["packages"]) {
        for dependency in array(&package["dependencies"]) {
            edges.push(Edge {
                from: text(&package["name"]),
                to: text(&dependency["name"]),
                kind: if dependency["kind"] == "dev" { Kind::Dev } else { Kind::Normal },
            });
        }
    }
    let packages: BTreeSet<_> = edges.iter().map(|edge| edge.from.as_str()).collect();
    assert!(packages.contains("rowcall"), "cargo metadata names {packages:?}");
    edges
}

/// Names of all packages that a program of `package` is made of.
fn linked_into(package: &str) -> BTreeSet<String> {
    let tree = cargo(&[
        "tree",
        "--locked",
        "--package",
        package,
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    tree.lines().filter_map(|line| line.split_whitespace().next()).map(String::from).collect()
}

fn cargo(arguments: &[&str]) -> String {
    // The cargo that runs this test, not whichever is first in PATH.
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .args(arguments)
        .current_dir(repository::root())
        .output()
        .expect("cargo can be started");
    assert!(
        output.status.success(),
        "cargo {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("an array in cargo's metadata")
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text in cargo's metadata").to_owned()
}
