use std::path::PathBuf;

use proptest::prelude::*;
use rowcall_core::devices::Devices;

use super::*;
use crate::collect::Collect;
use crate::devices::linux::tests::{Tree, read_with, skipped};

fn folder(files: &[(&str, &str)]) -> Tree {
    let tree = Tree::new().with_dir("metrics");
    for (name, text) in files {
        tree.add(&format!("metrics/{name}"), text);
    }
    tree
}

fn read_all(tree: &Tree, max_metrics: usize) -> Devices {
    let metrics_dir = Some(tree.path("metrics"));
    read_with(tree, Collector::Metrics, Collect { metrics_dir, max_metrics, ..Collect::default() })
}

fn told(devices: &Devices) -> Vec<String> {
    let one = |it: &Metric| {
        let labels: Vec<_> =
            it.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{}{{{}}} {}", it.name, labels.join(","), it.value)
    };
    devices.metrics.iter().map(one).collect()
}

#[test]
fn values_with_their_labels_are_taken_in_order_of_files() {
    let tree = folder(&[
        (
            "b.prom",
            "# HELP backup_age_seconds How old.\n# TYPE backup_age_seconds gauge\nbackup_age_seconds{host=\"a\",disk=\"sda\"} 12.5\n\n# anything\n\tup 1 \n",
        ),
        (
            "a.prom",
            "x:y_total { b = \"q\\\"\\\\ \\n r\" , a=\"ü\", } 1e3\nh_bucket{le=\"+Inf\"} +7\n",
        ),
        ("a.prom.tmp", "no 1\n"),
        ("empty.prom", ""),
    ]);
    let devices = read_all(&tree, 500);
    assert_eq!(
        told(&devices),
        [
            "x:y_total{a=ü,b=q\"\\  r} 1000",
            "h_bucket{le=+Inf} 7",
            "backup_age_seconds{disk=sda,host=a} 12.5",
            "up{} 1",
        ]
    );
    assert!(devices.skipped.is_empty());
}

#[test]
fn a_file_with_a_mistake_or_a_timestamp_is_named_and_gives_nothing() {
    for (bad, what) in [
        ("up 1 1700000000000\n", "2: timestamps are not supported"),
        ("up 1", "2: the last line has no end"),
        ("up\n", "2: no value"),
        ("up one\n", "2: no number"),
        ("up 1 x\n", "2: something after the value"),
        ("up 1\r\n", "2: no number"),
        ("1up 1\n", "2: no name of a metric"),
        ("up{ 1\n", "2: no end of the labels"),
        ("up{a} 1\n", "2: no end of the labels"),
        ("up{a=b} 1\n", "2: a value without quotes"),
        ("up{a=\"b} 1\n", "2: no end of a value"),
        ("up{a=\"b\" c=\"d\"} 1\n", "2: no comma between labels"),
        ("up{a=\"b\",a=\"c\"} 1\n", "2: a label stands twice"),
        ("up{a=\"\\t\"} 1\n", "2: an escape that there is not"),
        ("up{__name__=\"x\"} 1\n", "2: no name of a label"),
        ("up{,} 1\n", "2: no end of the labels"),
        ("{\"quoted.name\"} 1\n", "2: no name of a metric"),
        ("# TYPE up thing\n", "2: no type of a metric"),
        ("# TYPE up\n", "2: no type of a metric"),
        ("\n\n# HELP 1\n", "4: no name of a metric"),
    ] {
        let tree = folder(&[("bad.prom", &format!("fine 1\n{bad}")), ("good.prom", "good 1\n")]);
        let devices = read_all(&tree, 500);
        assert_eq!(told(&devices), ["good{} 1"], "{bad:?}");
        let said = format!("metrics bad.prom line {what} unreadable 1");
        assert_eq!(skipped(&devices), [said], "{bad:?}");
    }
}

#[test]
fn what_is_no_number_and_what_was_told_already_is_counted() {
    let tree = folder(&[
        ("a.prom", "a NaN\nb +Inf\nc -Inf\nd 1\nd 2\nd{x=\"\"} 3\nd{x=\"1\"} 4\n"),
        ("b.prom", "d{x=\"1\"} 5\ne 6\n"),
    ]);
    let devices = read_all(&tree, 500);
    assert_eq!(told(&devices), ["d{} 1", "d{x=1} 4", "e{} 6"]);
    assert_eq!(
        skipped(&devices),
        [
            "metrics a.prom: values NaN or infinite left out unreadable 3",
            "metrics a.prom: values told before left out unreadable 2",
            "metrics b.prom: values told before left out unreadable 1",
        ]
    );
}

#[test]
fn number_and_size_are_bounded() {
    let many: String = (0..50).map(|n| format!("m{n} 1\n")).collect();
    let devices = read_all(&folder(&[("a.prom", &many)]), 10);
    assert_eq!(devices.metrics.len(), 10);
    assert_eq!(skipped(&devices), ["metrics limit 40"]);

    let long = "x".repeat(257);
    let labels: String = (0..33).map(|n| format!("l{n}=\"1\",")).collect();
    let wide: String = (0..5).map(|n| format!("l{n}=\"{}\",", "y".repeat(250))).collect();
    let text = format!("a{{l=\"{long}\"}} 1\nb{{{labels}}} 1\nc{{{wide}}} 1\nd 1\n");
    let devices = read_all(&folder(&[("a.prom", &text)]), 500);
    assert_eq!(told(&devices), ["d{} 1"]);
    assert_eq!(skipped(&devices), ["metrics a.prom: values with long labels left out limit 3"]);

    let largest = format!("#{}\nup 1\n", "x".repeat(1024 * 1024 - 7));
    assert_eq!(told(&read_all(&folder(&[("a.prom", &largest)]), 500)), ["up{} 1"]);

    let huge = "up 1\n".repeat(300_000);
    let devices = read_all(&folder(&[("huge.prom", &huge), ("z.prom", "z 1\n")]), 500);
    assert_eq!(told(&devices), ["z{} 1"]);
    assert_eq!(skipped(&devices), ["metrics huge.prom: larger than 1 MiB limit 1"]);

    let files: Vec<_> = (0..300).map(|n| (format!("f{n:03}.prom"), format!("f{n} 1\n"))).collect();
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let devices = read_all(&folder(&files), 500);
    assert_eq!(devices.metrics.len(), 256);
    assert_eq!(skipped(&devices), ["metrics limit 44"]);
}

/// A read that waited for a writer would end this test by its time limit.
#[test]
fn only_regular_files_of_text_are_read() {
    let tree = folder(&[("ok.prom", "ok 1\n"), ("target", "linked 1\n")]);
    tree.add_dir("metrics/folder.prom");
    tree.add_link("metrics/link.prom", "target");
    tree.add_fifo("metrics/pipe.prom");
    tree.add_bytes("metrics/binary.prom", b"up{a=\"\xff\"} 1\n");
    let devices = read_all(&tree, 500);
    assert_eq!(told(&devices), ["ok{} 1"]);
    assert_eq!(
        skipped(&devices),
        [
            "metrics binary.prom: no UTF-8 text unreadable 1",
            "metrics folder.prom: no regular file unreadable 1",
            "metrics link.prom: no regular file unreadable 1",
            "metrics pipe.prom: no regular file unreadable 1",
        ]
    );
}

#[test]
fn a_long_name_of_a_file_leaves_room_for_what_is_wrong_with_it() {
    let name = format!("{}.prom", "\u{fc}".repeat(125));
    let devices = read_all(&folder(&[(&name, "up\n")]), 500);
    let said = devices.skipped[0].item.clone().unwrap();
    assert!(said.len() <= MAX_NAME_BYTES && said.ends_with(" line 1: no value"), "{said}");
}

#[test]
fn a_folder_that_is_not_there_is_named_and_none_is_fine() {
    let tree = Tree::new();
    let metrics_dir = Some(PathBuf::from("/nonexistent/metrics"));
    let collect = Collect { metrics_dir, ..Collect::default() };
    let devices = read_with(&tree, Collector::Metrics, collect);
    assert_eq!(skipped(&devices), ["metrics /nonexistent/metrics unreadable 1"]);
    let devices = read_with(&tree, Collector::Metrics, Collect::default());
    assert_eq!(devices, Devices::default());
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused(text in "(?s).{0,200}", line in "[a-z]{0,3}\\{?[a-z=\",\\\\{} 0-9]{0,30}\n") {
        for text in [&text, &line] {
            for metric in text::parse(text).unwrap_or_default() {
                prop_assert!(rowcall_core::convert::devices::is_metric_name(&metric.name));
            }
        }
    }
}
