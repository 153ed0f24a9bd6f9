use futures_util::future::join_all;
use rowcall_core::convert::Hello;
use rowcall_core::record::{DiskFacts, HostFacts, InterfaceFacts};

use super::*;
use crate::testing::{Bench, actor, certificate, facts, hello, sample};

fn name(text: &str) -> HostName {
    HostName::parse(text).unwrap()
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

async fn listed(bench: &Bench, filter: &Filter) -> Vec<String> {
    let hosts = bench.store.list_hosts(filter, None, 1_000).await.unwrap();
    hosts.iter().map(|host| host.name.to_string()).collect()
}

#[tokio::test]
async fn a_host_is_told_with_all_that_is_known_of_it() {
    let bench = Bench::new().await;
    let before = bench.now().await;
    let session = bench
        .open(&Hello { agent_version: Some("0.2.0".into()), facts: facts(), ..hello("node1", 1) })
        .await;
    let time = bench.now().await;
    bench.store.ingest(&[sample(&session, 1, time)]).await.unwrap();
    bench.store.label_host(&actor(), &name("node1"), &labels([("rack", "r1")]), &[]).await.unwrap();
    let host = bench.store.host(&name("NODE1")).await.unwrap().unwrap();
    let shown = certificate(&name("node1"));
    let (facts_changed_at, joined_at) = (host.facts_changed_at, host.joined_at);
    assert!(facts_changed_at >= before && joined_at >= Some(before));
    let expected = Host {
        id: session.host_id,
        name: name("node1"),
        facts: facts(),
        facts_changed_at,
        labels: labels([("rack", "r1")]),
        joined_at,
        retired_at: None,
        last_sample_at: Some(time),
        agent_version: Some("0.2.0".into()),
        certificates: vec![HostCertificate {
            fingerprint: shown.fingerprint.to_vec(),
            serial: shown.serial,
            not_before: shown.not_before,
            not_after: shown.not_after,
            origin: "seen".into(),
            last_seen_at: host.certificates[0].last_seen_at,
        }],
        revoked_at: None,
        revoked_reason: String::new(),
        ephemeral: None,
        former_names: Vec::new(),
    };
    assert!(host.certificates[0].last_seen_at >= Some(before));
    assert_eq!(host, expected);
    let mut filter = Filter { certificates: true, ..Filter::default() };
    assert_eq!(bench.store.list_hosts(&filter, None, 9).await.unwrap(), [host]);
    filter.certificates = false;
    let without = Host { certificates: Vec::new(), ..expected };
    assert_eq!(bench.store.list_hosts(&filter, None, 9).await.unwrap(), [without]);
    assert_eq!(bench.store.host(&name("node2")).await.unwrap(), None);
}

#[tokio::test]
async fn a_host_that_only_a_person_wrote_down_is_told_too() {
    let bench = Bench::new().await;
    bench.sql.batch_execute("INSERT INTO host_info (hostname) VALUES ('bare')").await.unwrap();
    let host = bench.store.host(&name("bare")).await.unwrap().unwrap();
    assert_eq!((host.joined_at, host.last_sample_at, host.agent_version), (None, None, None));
    assert_eq!(host.facts, HostFacts::default());
}

#[tokio::test]
async fn hosts_are_listed_by_name_page_by_page() {
    let bench = Bench::new().await;
    for text in ["b", "a.1", "a-1", "a_1", "a1"] {
        bench.host(text).await;
    }
    let order = ["a-1", "a.1", "a1", "a_1", "b"];
    assert_eq!(listed(&bench, &Filter::default()).await, order);
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = bench.store.list_hosts(&Filter::default(), after.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        pages.extend(page.into_iter().map(|host| host.name.to_string()));
    }
    assert_eq!(pages, order);
    assert_eq!(bench.store.list_hosts(&Filter::default(), None, 0).await.unwrap(), []);
    let all = bench.store.list_hosts(&Filter::default(), None, u32::MAX).await.unwrap();
    assert_eq!(all.len(), 5);
}

#[tokio::test]
async fn hosts_are_selected_as_reports_select_them() {
    let bench = Bench::new().await;
    for (text, rack) in [("a_b-1", "r1"), ("axb-1", "r1"), ("axb-12", "r2"), ("n1.rack", "r%")] {
        bench.host(text).await;
        let set = labels([("rack", rack), ("env", "prod")]);
        bench.store.label_host(&actor(), &name(text), &set, &[]).await.unwrap();
    }
    for (glob, wanted, expected) in [
        ("a_b*", labels([]), vec!["a_b-1"]),
        ("A?B-1", labels([]), vec!["a_b-1", "axb-1"]),
        ("a%", labels([]), vec![]),
        ("\\", labels([]), vec![]),
        ("", labels([("rack", "r1")]), vec!["a_b-1", "axb-1"]),
        ("ax*", labels([("rack", "r1"), ("env", "prod")]), vec!["axb-1"]),
        ("", labels([("rack", "r%")]), vec!["n1.rack"]),
        ("", labels([("zone", "")]), vec![]),
    ] {
        let filter = Filter { labels: wanted, name_glob: glob.into(), ..Filter::default() };
        assert_eq!(listed(&bench, &filter).await, expected, "{filter:?}");
    }
    for (filter, words) in [
        (Filter { name_glob: "a".repeat(1_013), ..Filter::default() }, "longer than 1012 bytes"),
        (Filter { name_glob: "a\0".into(), ..Filter::default() }, "contains a zero byte"),
        (Filter { labels: labels([("a", "\0")]), ..Filter::default() }, "contains a zero byte"),
    ] {
        let error = bench.store.list_hosts(&filter, None, 9).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn the_selection_is_the_reports_word_for_word() {
    let report = include_str!("../../../../sql/queries/reports/hardware.sql");
    let selection = |file: &'static str| {
        let start = file.find("     WHERE (b.name_glob = ''").unwrap();
        let end = file.find("l.value = wanted.value)))").unwrap();
        file.get(start..end).unwrap()
    };
    assert_eq!(selection(LIST), selection(report));
}

#[tokio::test]
async fn labels_are_set_changed_and_removed() {
    let bench = Bench::new().await;
    bench.host("a").await;
    bench.host("b").await;
    let a = name("a");
    let set =
        labels([("rack", "r1"), ("k8s.io/zone_1", ""), ("note", "Größe \"9\"; '; DROP TABLE")]);
    let host = bench.store.label_host(&actor(), &a, &set, &[]).await.unwrap().unwrap();
    assert_eq!(host.labels, set);
    let remove = ["note".to_owned(), "never-there".to_owned()];
    let host =
        bench.store.label_host(&actor(), &a, &labels([("rack", "r2")]), &remove).await.unwrap();
    assert_eq!(host.unwrap().labels, labels([("rack", "r2"), ("k8s.io/zone_1", "")]));
    assert_eq!(bench.store.host(&name("b")).await.unwrap().unwrap().labels, labels([]));
    assert_eq!(bench.store.label_host(&actor(), &name("c"), &set, &[]).await.unwrap(), None);
    assert_eq!(bench.number("SELECT count(*) FROM host_label").await, 2);
}

#[tokio::test]
async fn a_wrong_label_is_refused_in_words_and_nothing_is_changed() {
    let bench = Bench::new().await;
    bench.host("a").await;
    let long = "k".repeat(64);
    let wide = "é".repeat(128);
    for (set, remove, words) in [
        (labels([("Rack", "r1")]), vec![], "key \"Rack\" contains 'R', only a-z"),
        (labels([("", "r1")]), vec![], "key is empty"),
        (labels([(&long, "r1")]), vec![], "key has 64 bytes, at most 63"),
        (labels([("ok", "1"), ("a b", "r1")]), vec![], "contains ' '"),
        (labels([("a\0", "r1")]), vec![], "contains '\\0'"),
        (labels([("rack", &wide)]), vec![], "has 256 bytes, at most 255"),
        (labels([("rack", "a\0b")]), vec![], "control characters"),
        (labels([("rack", "a\u{1b}[31m")]), vec![], "control characters"),
        (labels([("rack", "a\u{202e}b")]), vec![], "marks of direction"),
        (labels([("rack", " a")]), vec![], "spaces at its ends"),
        (labels([("rack", "r1")]), vec!["rack"], "\"rack\" is to be set and removed"),
        (labels([]), vec!["Rack"], "contains 'R'"),
    ] {
        let remove: Vec<String> = remove.into_iter().map(str::to_owned).collect();
        let error = bench.store.label_host(&actor(), &name("a"), &set, &remove).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Data, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(bench.number("SELECT count(*) FROM host_label").await, 0);
}

#[tokio::test]
async fn a_host_has_at_most_64_labels_however_many_set_them_at_once() {
    let bench = Bench::new().await;
    bench.host("a").await;
    let many = |from: usize, to: usize| -> BTreeMap<String, String> {
        (from..to).map(|n| (format!("k{n}"), "v".to_owned())).collect()
    };
    let a = name("a");
    let sets: Vec<_> = (0..8).map(|n| many(n * 20, n * 20 + 20)).collect();
    let anna = actor();
    let results =
        join_all(sets.iter().map(|set| bench.store.label_host(&anna, &a, set, &[]))).await;
    let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 5);
    for error in errors {
        assert_eq!(error.kind(), Kind::Data);
        assert!(error.to_string().contains("host a would have 80 labels, at most 64"), "{error}");
    }
    let host = bench.store.host(&a).await.unwrap().unwrap();
    assert_eq!(host.labels.len(), 60);
    // Replaced ones make room.
    let remove: Vec<String> = host.labels.into_keys().collect();
    let host =
        bench.store.label_host(&actor(), &a, &many(1_000, 1_064), &remove).await.unwrap().unwrap();
    assert_eq!(host.labels.len(), 64);
}

#[tokio::test]
async fn a_retired_host_keeps_its_first_time_and_is_back_when_it_is_restored() {
    let bench = Bench::new().await;
    bench.host("a").await;
    bench.host("b").await;
    let before = bench.now().await;
    let first =
        bench.store.retire_host(&actor(), &name("a")).await.unwrap().unwrap().retired_at.unwrap();
    assert!(first >= before);
    let again = bench.store.retire_host(&actor(), &name("a")).await.unwrap().unwrap();
    assert_eq!(again.retired_at, Some(first));
    assert_eq!(bench.store.retire_host(&actor(), &name("c")).await.unwrap(), None);

    assert_eq!(listed(&bench, &Filter::default()).await, ["b"]);
    let all = Filter { include_retired: true, ..Filter::default() };
    assert_eq!(listed(&bench, &all).await, ["a", "b"]);
    assert_eq!(bench.store.host(&name("a")).await.unwrap().unwrap().retired_at, Some(first));

    let back = bench.store.restore_host(&actor(), &name("a")).await.unwrap().unwrap();
    assert_eq!((back.retired_at, back.revoked_at), (None, None));
    assert!(back.joined_at.unwrap() >= first, "windows before are not judged");
    assert_eq!(listed(&bench, &Filter::default()).await, ["a", "b"]);
}

#[tokio::test]
async fn each_fact_that_a_handshake_tells_is_known_and_was_known() {
    let bench = Bench::new().await;
    let first = HostFacts {
        memory_mhz: Some(3_200.5),
        cpu_sockets: Some(2),
        cpu_cores: Some(4),
        virtualization: Some("kvm".into()),
        board: Some("board".into()),
        firmware: Some("firmware".into()),
        disks: Some(vec![DiskFacts {
            name: "vda".into(),
            model: Some("model".into()),
            size_kib: Some(1 << 20),
            rotational: Some(true),
        }]),
        interfaces: Some(vec![InterfaceFacts {
            name: "eth0".into(),
            mac: Some("52:54:00:12:34:56".into()),
            driver: Some("virtio_net".into()),
        }]),
        ..facts()
    };
    bench.open(&Hello { facts: first.clone(), ..hello("node1", 1) }).await;
    assert_eq!(bench.store.host(&name("node1")).await.unwrap().unwrap().facts, first);
    let old = "UPDATE host_info_history SET first_told_at = now() - interval '9 days', last_told_at = now() - interval '9 days';
        UPDATE host_info SET \"timestamp\" = now() - interval '9 days'";
    bench.sql.batch_execute(old).await.unwrap();
    let second = HostFacts { cpu_cores: Some(8), ..first.clone() };
    bench.open(&Hello { facts: second.clone(), ..hello("node1", 1) }).await;
    let (history, _) = bench.store.history(&name("node1")).await.unwrap();
    let facts: Vec<_> = history.iter().map(|row| row.facts.clone()).collect();
    let but_boot = |facts| HostFacts { booted: None, ..facts };
    assert_eq!(facts, [but_boot(second), but_boot(first)]);
    assert_eq!((history[0].to, history[1].from), (None, None));
    assert!(history[0].from.is_some() && history[0].from == history[1].to);
}

#[tokio::test]
async fn a_long_history_is_told_whole_and_one_with_long_lists_up_to_4_mb() {
    let bench = Bench::new().await;
    bench.host("node1").await;
    // The older ten with a list of about 1 MB each.
    let rows = "INSERT INTO host_info_history (host_id, valid_from, valid_to, first_told_at, last_told_at, cpu_number, disks)
        SELECT 1, t.time, t.time + interval '1 s', t.time, t.time, n,
               CASE WHEN n <= 10 THEN jsonb_build_array(jsonb_build_object('name', repeat('x', 999000))) END
          FROM generate_series(1, 30) AS n CROSS JOIN LATERAL (SELECT to_timestamp(n) AS time) AS t";
    bench.sql.batch_execute(rows).await.unwrap();
    let (history, _) = bench.store.history(&name("node1")).await.unwrap();
    let told: Vec<_> = history.iter().filter_map(|row| row.facts.cpu_number).collect();
    assert_eq!(told, (7..=30).rev().collect::<Vec<_>>());
}
