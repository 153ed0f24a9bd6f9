//! Everything is measured once in small, with real programs; what is printed must be whole and
//! plausible. How fast anything is, is not looked at.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Every figure, and what it must be in any run.
const FIGURES: [(&str, f64, f64); 87] = [
    ("ingest.day.streamed", 1.0, 1e8),
    ("ingest.day.direct", 1.0, 1e8),
    ("ingest.day.ratio", 1e-4, 1e4),
    ("ingest.day.cpu", 0.0, 1e6),
    ("ingest.hour.streamed", 1.0, 1e8),
    ("ingest.hour.direct", 1.0, 1e8),
    ("ingest.hour.ratio", 1e-4, 1e4),
    ("ingest.hour.cpu", 0.0, 1e6),
    ("ingest.single.streamed", 1.0, 1e8),
    ("ingest.single.direct", 1.0, 1e8),
    ("ingest.single.ratio", 1e-4, 1e4),
    ("ingest.single.cpu", 0.0, 1e6),
    ("latency.p50", 0.01, 1e5),
    ("latency.p99", 0.01, 1e5),
    ("latency.max", 0.01, 1e5),
    ("latency.cpu", 0.0, 1e6),
    ("memory.stream", 1.0, 1e5),
    ("memory.idle", 1.0, 1e4),
    ("replay.rows", 1.0, 1e8),
    ("replay.time", 1e-3, 1e5),
    ("replay.cpu", 0.0, 1e6),
    ("replay.resident", 1.0, 1e5),
    ("replay.live.p50", 0.01, 1e5),
    ("replay.live.p99", 0.01, 1e5),
    ("node.classic.cpu", 1e-3, 1e4),
    ("node.classic.resident", 1.0, 1e4),
    ("node.default.cpu", 1e-3, 1e4),
    ("node.default.resident", 1.0, 1e4),
    ("node.full.cpu", 1e-3, 1e4),
    ("node.full.resident", 1.0, 1e4),
    ("node.default-without-processes.cpu", 1e-3, 1e4),
    ("node.default-without-processes.resident", 1.0, 1e4),
    ("node.classic.1.cpu", 1e-3, 1e4),
    ("node.default.1.cpu", 1e-3, 1e4),
    ("node.full.1.cpu", 1e-3, 1e4),
    ("node.classic.300.cpu", 1e-3, 1e4),
    ("node.default.300.cpu", 1e-3, 1e4),
    ("node.full.300.cpu", 1e-3, 1e4),
    ("node.default-without-processes.300.cpu", 1e-3, 1e4),
    ("spool.bytes", 10.0, 1e6),
    ("spool.start.empty", 0.1, 1e6),
    ("spool.start.full", 0.1, 1e6),
    ("spool.replay", 1.0, 1e8),
    ("spool.resident", 1.0, 1e4),
    ("spool.anonymous", 0.1, 1e4),
    // A row's own columns take 80 bytes, and its key 12.
    ("storage.heap", 80.0, 1e4),
    ("storage.index", 12.0, 1e4),
    ("storage.wal", 92.0, 1e5),
    ("storage.wal_short", 92.0, 1e5),
    ("storage.wal_small", 92.0, 1e5),
    ("storage.classic.rows", 1440.0, 1440.0),
    ("storage.classic.bytes", 1e5, 1e7),
    ("storage.classic.names", 0.0, 0.0),
    ("storage.classic.wire", 50.0, 1e3),
    ("storage.default.rows", 3168.0, 3168.0),
    ("storage.default.bytes", 2e5, 1e8),
    ("storage.default.names", 1e3, 1e6),
    ("storage.default.wire", 200.0, 2e3),
    ("storage.full.rows", 4320.0, 4320.0),
    ("storage.full.bytes", 3e5, 1e8),
    ("storage.full.names", 1e3, 1e6),
    ("storage.full.wire", 500.0, 1e4),
    ("summary.1h.all", 0.1, 1e6),
    ("summary.1h.hardware", 0.1, 1e6),
    ("summary.1h.memory", 0.1, 1e6),
    ("summary.1h.roll", 0.1, 1e6),
    ("summary.1h.balance", 0.1, 1e6),
    ("summary.1h.integrity", 0.1, 1e6),
    ("summary.2h.all", 0.1, 1e6),
    ("summary.2h.hardware", 0.1, 1e6),
    ("summary.2h.memory", 0.1, 1e6),
    ("summary.2h.roll", 0.1, 1e6),
    ("summary.2h.balance", 0.1, 1e6),
    ("summary.2h.integrity", 0.1, 1e6),
    ("handshakes.cpu", 1.0, 1e6),
    ("handshakes.per_core", 1.0, 1e6),
    ("handshakes.rate", 1.0, 1e6),
    ("return.p50", 1e-3, 600.0),
    ("return.p100", 1e-3, 600.0),
    ("return.start", 1e-3, 600.0),
    ("return.tries", 1.0, 100.0),
    ("return.tries.most", 1.0, 100.0),
    ("return.tries.close", 1.0, 100.0),
    ("return.overflows", 0.0, 1e6),
    ("return.cpu", 0.0, 1e6),
    ("revoke.p50", 0.1, 1e6),
    ("revoke.p100", 0.1, 1e6),
];

const MACHINE: [&str; 8] =
    ["command", "date", "machine", "disk", "kernel", "PostgreSQL", "rustc", "commit"];

fn bench(arguments: &[&str]) -> std::process::Output {
    // The tests' Python, which has h2, comes first, as under make.
    let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools/venv/bin");
    let path = format!("{tools}:{}", std::env::var("PATH").unwrap_or_default());
    Command::new(env!("CARGO_BIN_EXE_rowcall-bench"))
        .args(arguments)
        .env("PATH", path)
        .output()
        .expect("rowcall-bench can be started")
}

fn figure<'a>(figures: &'a [Value], id: &str) -> &'a Value {
    figures.iter().find(|figure| figure["id"] == id).unwrap_or_else(|| panic!("no {id}"))
}

#[test]
fn a_small_run_gives_every_figure() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.json");
    let file = file.to_str().unwrap();
    let output = bench(&["--quick", "--json", file]);
    let (table, told) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");

    let report: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    for name in MACHINE {
        let value = report["machine"][name].as_str().unwrap_or_else(|| panic!("no {name}"));
        assert!(!value.is_empty(), "{name}");
        assert!(table.contains(&format!("- {name}: {value}\n")), "{name} in {table}");
    }
    let figures = report["figures"].as_array().unwrap();
    // Only where this machine has node_exporter.
    let (beside, figures): (Vec<_>, Vec<_>) = figures
        .iter()
        .cloned()
        .partition(|figure| figure["id"].as_str().unwrap().starts_with("node.exporter."));
    assert!(beside.is_empty() || beside.len() == 5, "{table}");
    for share in &beside {
        assert!((1e-3..=1e3).contains(&share["value"].as_f64().unwrap()), "{share}");
    }
    assert_eq!(figures.len(), FIGURES.len(), "{table}");
    for (id, least, most) in FIGURES {
        let figure = figure(&figures, id);
        let value = figure["value"].as_f64().unwrap_or_else(|| panic!("{id} is no number"));
        assert!((least..=most).contains(&value), "{id} is {value}");
        if let (Some(low), Some(high)) = (figure["low"].as_f64(), figure["high"].as_f64()) {
            assert!(low <= value && value <= high, "{figure}");
        }
        assert!(table.contains(figure["what"].as_str().unwrap()), "{id} in {table}");
    }
    let aimed = figures.iter().filter(|figure| !figure["aim"].is_null()).count();
    assert_eq!(aimed, 16, "{table}");
    let lines = table.lines().filter(|line| line.starts_with('|')).count();
    let tables = report["tables"].as_array().unwrap();
    let rows =
        tables.iter().map(|table| table["rows"].as_array().unwrap().len() + 2).sum::<usize>();
    assert_eq!(lines, figures.len() + beside.len() + 2 + rows, "{table}");
    // The agents, node_exporter both ways, and the script, each with three numbers of processes; and
    // the agent that reads none of them, with two.
    let node = tables.iter().find(|table| table["name"] == "node").expect("a table of the node");
    let exporters = if beside.is_empty() { 0 } else { 2 };
    assert_eq!(node["rows"].as_array().unwrap().len(), 3 * (3 + exporters + 1) + 2, "{node}");
    for row in node["rows"].as_array().unwrap() {
        let (what, values) = (row[0].as_str().unwrap(), row[8].as_str().unwrap());
        let least = if what.contains("classic") || what.contains("bash") { 5 } else { 50 };
        assert!(values.parse::<u32>().unwrap() >= least, "{row}");
    }
}

#[test]
fn attackers_attack_and_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.json");
    let file = file.to_str().unwrap();
    let attacks = ["--attacks", "rapid-reset,long-prefix,no-hello", "--attack-seconds", "2"];
    let output = bench(&[&["--quick", "--only", "attacks", "--json", file], &attacks[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let figures = report["figures"].as_array().unwrap();
    assert_eq!(figures.len(), 2 + 3 * 3);
    let rows = report["tables"][0]["rows"].as_array().unwrap();
    let table = rows.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(rows.len(), 1 + 3, "{table:?}");
    for (row, rate) in rows.iter().zip([0.0, 100.0, 1.0, 1.0]).skip(1) {
        let sent: f64 = row[1].as_str().unwrap().parse().unwrap();
        assert!(sent >= rate, "{row}");
    }
    // ENHANCE_YOUR_CALM.
    assert!(rows[1][2].as_str().unwrap().contains("GOAWAY 11"), "{table:?}");
}

#[test]
fn a_part_that_is_not_there_is_refused() {
    let output = bench(&["--only", "colour"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("possible values: ingest"));
}

#[test]
fn missing_programs_are_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let output = bench(&["--programs", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    let program = Path::new("rowcall-aggregator");
    assert!(said.contains(folder.path().join(program).to_str().unwrap()), "{said}");
    assert!(said.contains("run `make bench`"), "{said}");
}
