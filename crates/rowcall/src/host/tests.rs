//! The commands against a server made for the test, and what hosts look like.

use std::collections::HashMap;

use clap::Parser as _;
use rowcall_proto::v1;

use super::fake::{Fake, client};
use super::{all, any, certs, change, history, run, view};
use crate::cli::{Cli, Command, HostArgs};
use crate::client::ClientError;
use crate::text::Screen;
use crate::text::tests::{plain, screen};

pub(super) fn at(text: &str) -> Option<prost_types::Timestamp> {
    let at: jiff::Timestamp = text.parse().unwrap();
    Some(prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() })
}

fn now() -> jiff::Timestamp {
    "2026-11-22T16:00:00Z".parse().unwrap()
}

fn certificate(expires: &str) -> v1::Certificate {
    v1::Certificate {
        serial: "4a5b6c7d8e9f0011223344556677889".to_owned(),
        fingerprint: "00".repeat(32),
        not_before: at("2026-11-01T08:00:00Z"),
        expires_at: at(expires),
        origin: "renewed".to_owned(),
        last_seen_at: at("2026-11-22T15:00:00Z"),
        revoked_at: None,
    }
}

fn host(name: &str) -> v1::Host {
    v1::Host {
        id: 7,
        host_name: name.to_owned(),
        host_info: Some(v1::HostInfo {
            cpu_number: Some(56),
            cpu_architecture: Some("x86_64".to_owned()),
            cpu_model: Some("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz".to_owned()),
            cpu_mhz: Some(3300.0),
            l2_cache_kib: Some(256),
            total_mem_kib: Some(264_000_000),
            os: Some("Debian GNU/Linux 12 (bookworm)".to_owned()),
            kernel: Some("6.1.0-18-amd64".to_owned()),
            kernel_host_name: None,
            booted_unix_us: Some(1_795_000_000_000_000),
            boot_id: Some("3bd22b5c-0000-4000-8000-000000000002".to_owned()),
            virtualization: Some("none".to_owned()),
            board: Some("Dell Inc. PowerEdge R730".to_owned()),
            cpu_sockets: Some(2),
            cpu_cores: Some(28),
            disks: Some(v1::DiskList {
                disks: vec![
                    v1::DiskFacts {
                        name: "nvme0n1".to_owned(),
                        model: Some("SAMSUNG MZVL2512".to_owned()),
                        size_kib: Some(500_107_608),
                        rotational: Some(false),
                    },
                    v1::DiskFacts { name: "sda".to_owned(), ..v1::DiskFacts::default() },
                ],
            }),
            interfaces: Some(v1::InterfaceList {
                interfaces: vec![v1::InterfaceFacts {
                    name: "eno1".to_owned(),
                    mac: Some("52:54:00:12:34:56".to_owned()),
                    driver: Some("igb\x1b".to_owned()),
                }],
            }),
            ..v1::HostInfo::default()
        }),
        labels: HashMap::from([("rack", "a1"), ("env", "prod")].map(|(k, v)| (k.into(), v.into()))),
        joined_at: at("2026-11-01T08:00:00Z"),
        retired_at: None,
        last_sample_at: at("2026-11-22T15:59:57Z"),
        agent_version: "0.1.0".to_owned(),
        ..v1::Host::default()
    }
}

fn newcomer() -> v1::Host {
    v1::Host { id: 8, host_name: "node2".to_owned(), ..v1::Host::default() }
}

fn retired() -> v1::Host {
    let labels: HashMap<String, String> =
        (0..30).map(|number| (format!("key{number:02}"), "value".to_owned())).collect();
    v1::Host { labels, retired_at: at("2026-11-20T08:00:00Z"), ..host("old\x1b[31m") }
}

/// What node1 was for a while.
fn changed(
    from: &str,
    to: Option<&str>,
    change: impl FnOnce(&mut v1::HostInfo),
) -> v1::HostHistory {
    let mut host_info = host("node1").host_info.unwrap();
    change(&mut host_info);
    v1::HostHistory { valid_from: at(from), valid_to: to.and_then(at), host_info: Some(host_info) }
}

fn fleet() -> Fake {
    let hosts = vec![host("node1"), newcomer(), host("node3"), host("node4"), retired()];
    let history = vec![
        changed("2026-11-20T14:00:00Z", None, |info| {
            info.kernel = Some("6.1.0-21-amd64".to_owned())
        }),
        changed("2026-11-10T08:00:00Z", Some("2026-11-20T14:00:00Z"), |_| ()),
        v1::HostHistory {
            valid_from: None,
            ..changed("2026-11-01T08:00:00Z", Some("2026-11-10T08:00:00Z"), |info| {
                info.total_mem_kib = Some(132_000_000);
                info.disks.as_mut().unwrap().disks.truncate(1);
            })
        },
    ];
    let boots = vec![
        v1::Boot {
            booted_at: at("2026-11-18T11:06:40Z"),
            seen_at: at("2026-11-18T11:07:02Z"),
            boot_id: "3bd22b5c-0000-4000-8000-000000000002".to_owned(),
        },
        v1::Boot {
            booted_at: None,
            seen_at: at("2026-11-01T08:00:00Z"),
            boot_id: "\x1bbd22b5c-0000-4000-8000-000000000001".to_owned(),
        },
    ];
    Fake { hosts, history, boots, endless: false, viewer: false, issues: true }
}

fn args(line: &[&str]) -> Result<HostArgs, clap::Error> {
    match Cli::try_parse_from(["rowcall", "host"].iter().chain(line))?.command {
        Command::Host(args) => Ok(*args),
        other => panic!("not about hosts: {other:?}"),
    }
}

async fn said(fake: Fake, line: &[&str]) -> anyhow::Result<String> {
    run(&args(line).unwrap(), &client(fake).await).await
}

#[test]
fn a_list_is_a_table_with_the_labels_that_fit() {
    let hosts = [host("node1.example.org"), newcomer(), retired()];
    let wide = Screen { width: 100, ..screen() };
    let text = plain(&view::list(&hosts, false, &wide));
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    insta::assert_snapshot!(text);
    let text = plain(&view::list(&hosts[..2], false, &wide));
    assert!(!text.contains("RETIRED"), "{text}");
}

#[test]
fn an_empty_list_says_why() {
    let text = plain(&view::list(&[], true, &screen()));
    assert_eq!(text, "  No host matches --select and --name.\n");
    let text = plain(&view::list(&[], false, &screen()));
    assert!(text.contains("none has joined yet") && text.contains("--retired"), "{text}");
}

#[test]
fn a_host_is_shown_with_all_its_facts_in_the_zone_asked_for() {
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    let text = [host("node1"), newcomer(), retired()]
        .iter()
        .map(|host| plain(&view::show(host, now(), &Screen { zone: zone.clone(), ..screen() })))
        .collect::<Vec<_>>()
        .join("\n");
    assert!(!text.contains('\x1b'), "{text}");
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn the_history_of_a_host_says_from_what_to_what_the_newest_first() {
    let answer = super::answer(&client(fleet()).await, "node1", true).await.unwrap();
    let mut text = String::new();
    history::write(&mut text, &answer, &screen());
    let text = plain(&text);
    assert!(!text.contains('\x1b'), "{text}");
    insta::assert_snapshot!(text);
    let mut nothing = String::new();
    history::write(&mut nothing, &v1::GetHostResponse::default(), &screen());
    assert!(nothing.contains("it has not told what it is"), "{nothing}");
}

#[tokio::test]
async fn a_host_that_never_changed_says_so_in_one_line() {
    let mut fake = fleet();
    fake.history = vec![v1::HostHistory { valid_from: None, ..fake.history.remove(1) }];
    let answer = super::answer(&client(fake).await, "node1", true).await.unwrap();
    let mut text = String::new();
    history::write(&mut text, &answer, &screen());
    let text = plain(&text);
    let said = "the newest first\n  Nothing has changed since 2026-11-01T08:00:00Z.\n\nBOOTS";
    assert!(text.contains(said), "{text}");
}

#[tokio::test]
async fn boots_fit_the_line_and_their_ids_are_cut_for_it() {
    let answer = super::answer(&client(fleet()).await, "node1", true).await.unwrap();
    let boots = |width: usize| {
        let mut text = String::new();
        history::write(&mut text, &answer, &Screen { width, ..screen() });
        plain(&text).split_once("BOOTS").unwrap().1.to_owned()
    };
    let text = boots(80);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("  3bd22b5c-0000-4000-8000-00000000..\n"), "{text}");
    assert!(boots(82).contains("  3bd22b5c-0000-4000-8000-000000000002\n"), "{text}");
}

#[test]
fn no_fact_of_a_host_is_cut_however_narrow_the_screen_is() {
    let narrow = Screen { width: 60, ..screen() };
    let mut host = host("node1");
    host.labels.insert("owner".to_owned(), "x".repeat(200));
    let mut seen = certificate("2026-12-22T03:11:23Z");
    seen.last_seen_at = at("2026-11-22T15:58:57Z");
    host.certificates.push(seen);
    let text = plain(&view::show(&host, now(), &narrow));
    assert!(text.contains("seen 1 min 3 s ago\n") && !text.contains(".."), "{text}");
}

#[tokio::test]
async fn all_pages_are_fetched_and_retired_hosts_only_when_asked_for() {
    let names = async |line: &[&str]| -> Vec<String> {
        let text = said(fleet(), line).await.unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let hosts = value["hosts"].as_array().unwrap();
        hosts.iter().map(|host| host["host_name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&["list", "--json"]).await, ["node1", "node2", "node3", "node4"]);
    assert_eq!(names(&["list", "--json", "--retired"]).await.len(), 5);
    assert_eq!(names(&["list", "--json", "--name", "node3"]).await, ["node3"]);
}

#[tokio::test]
async fn pages_without_end_are_an_error() {
    let client = client(Fake { endless: true, ..fleet() }).await;
    let error = all(&client, v1::HostSelector::default(), false).await.unwrap_err();
    assert!(error.to_string().contains("without end"), "{error}");
}

#[tokio::test]
async fn whether_any_host_matches_can_be_asked() {
    let client = client(fleet()).await;
    let named = |name: &str| v1::HostSelector { name_glob: name.to_owned(), ..Default::default() };
    assert_eq!(any(&client, named("node4")).await, Some(true));
    assert_eq!(any(&client, named("node5")).await, Some(false));
}

#[tokio::test]
async fn json_has_the_contracts_names() {
    let text = said(fleet(), &["show", "NODE1", "--json"]).await.unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["host"]["host_name"], "node1");
    assert_eq!(value["host"]["labels"]["rack"], "a1");
    assert_eq!(value["host"]["host_info"]["total_mem_kib"], 264_000_000);
    assert_eq!(value["host"]["host_info"]["booted_at"], "2026-11-18T11:06:40Z");
    assert!(value["host"]["retired_at"].is_null());
    assert_eq!(value["host"]["host_info"]["disks"][0]["size_kib"], 500_107_608);
    assert!(value.get("history").is_none() && value.get("boots").is_none());
    let text = said(fleet(), &["show", "node1", "--json", "--history"]).await.unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["history"].as_array().unwrap().len(), 3);
    assert_eq!(value["history"][1]["valid_to"], "2026-11-20T14:00:00Z");
    assert!(value["history"][2]["valid_from"].is_null());
    assert_eq!(value["history"][2]["host_info"]["total_mem_kib"], 132_000_000);
    assert_eq!(value["boots"][0]["booted_at"], "2026-11-18T11:06:40Z");
    let text = said(fleet(), &["show", "node2", "--json"]).await.unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(value["host"]["host_info"]["cpu_number"].is_null());
    assert!(value["host"]["agent_version"].is_null());
}

#[tokio::test]
async fn labels_are_set_and_removed_and_what_is_there_now_is_said() {
    let text = said(fleet(), &["label", "node1", "room=b 2", "rack-"]).await.unwrap();
    assert_eq!(text, "node1: env=prod, room=b 2\n");
    let text = said(fleet(), &["label", "node1", "env-", "rack-"]).await.unwrap();
    assert_eq!(text, "node1: no labels\n");
    let error = said(fleet(), &["label", "node1", "rack=a", "rack-"]).await.unwrap_err();
    assert_eq!(error.to_string(), "label rack is named twice");
    assert!(args(&["label", "node1"]).is_err());
    assert!(args(&["label", "node 1", "a=b"]).is_err());
}

#[tokio::test]
async fn a_retired_host_is_out_until_it_is_restored() {
    let text = said(fleet(), &["retire", "node1", "--yes"]).await.unwrap();
    assert_eq!(
        text,
        "node1 is out of the roll since 2026-11-22T16:00:00Z, and its certificates are refused; \
         its rows stay.\n`rowcall host restore node1` takes it back.\n"
    );
    let name = "gone.example.org";
    let gone = v1::Host { retired_at: at("2026-11-20T08:00:00Z"), ..host(name) };
    let fake = || Fake { hosts: vec![gone.clone()], ..fleet() };
    let text = said(fake(), &["retire", name, "--yes"]).await.unwrap();
    assert_eq!(text, format!("{name} is retired already, since 2026-11-20T08:00:00Z.\n"));
    for line in [&["restore", name][..], &["restore", name, "--yes"]] {
        let text = said(fake(), line).await.unwrap();
        assert_eq!(
            text,
            format!(
                "{name} is in the roll, and its certificates are good again, but those that an \
                 enrolment replaced.\nIts agent comes back by itself within its refused_wait (5 \
                 min, unless its settings say otherwise), or at once when it is restarted.\n"
            )
        );
    }
    let text = said(fleet(), &["restore", "node1"]).await.unwrap();
    assert_eq!(text, "node1 is neither revoked nor retired.\n");
}

#[tokio::test]
async fn a_revoked_host_is_said_with_the_reason_and_the_way_back() {
    let text =
        said(fleet(), &["revoke", "node1", "--reason", "disk stolen", "--yes"]).await.unwrap();
    let begin = "Certificates of node1 are refused since 2026-11-22T16:00:00Z (disk stolen); ";
    assert!(text.starts_with(begin) && text.contains("--replace"), "{text}");
    let fake = Fake { issues: false, ..fleet() };
    let text = said(fake, &["revoke", "node1", "--yes"]).await.unwrap();
    assert!(text.contains("This aggregator issues none") && !text.contains("token"), "{text}");
    let gone = v1::Host {
        revoked_at: at("2026-11-20T08:00:00Z"),
        revoked_reason: "stolen\x1b[2J".to_owned(),
        ..host("node1")
    };
    let fake = Fake { hosts: vec![gone], ..fleet() };
    let text = said(fake, &["revoke", "node1", "--yes"]).await.unwrap();
    assert_eq!(text, "node1 is revoked already, since 2026-11-20T08:00:00Z (stolen?[2J).\n");
}

#[tokio::test]
async fn a_renamed_host_stays_the_same_and_a_taken_name_is_refused() {
    let text = said(fleet(), &["rename", "node1", "node9"]).await.unwrap();
    assert!(text.starts_with("node1 is node9 from now on: the same host"), "{text}");
    let text = said(fleet(), &["rename", "node1", "NODE1"]).await.unwrap();
    assert_eq!(text, "node1 has this name already.\n");
    let error = said(fleet(), &["rename", "node1", "node3"]).await.unwrap_err().to_string();
    assert!(error.contains("ALREADY_EXISTS: node3 is taken"), "{error}");
    assert!(args(&["rename", "node1"]).is_err() && args(&["rename", "node1", "a b"]).is_err());
}

#[test]
fn certificates_are_listed_by_what_ends_first() {
    let with = |name: &str, certificates: &[&str]| v1::Host {
        certificates: certificates.iter().map(|expires| certificate(expires)).collect(),
        ..host(name)
    };
    let lost = with("lost", &["2026-11-22T15:00:00Z"]);
    let hosts = [
        with("node3", &["2026-12-22T16:00:00Z", "2026-11-24T16:00:00Z"]),
        with("node1", &["2026-12-22T16:00:00Z"]),
        v1::Host { revoked_at: at("2026-11-20T08:00:00Z"), ..lost },
        newcomer(),
        v1::Host { retired_at: at("2026-11-20T08:00:00Z"), ..with("old", &[]) },
    ];
    let wide = Screen { width: 120, ..screen() };
    insta::assert_snapshot!(plain(&certs::list(&hosts, false, now(), &wide)));
}

#[test]
fn a_host_shows_its_certificates_former_names_and_why_it_is_refused() {
    let host = v1::Host {
        certificates: vec![certificate("2026-12-01T16:00:00Z")],
        former_names: vec!["node7".to_owned(), "node8".to_owned()],
        revoked_at: at("2026-11-20T08:00:00Z"),
        revoked_reason: "stolen".to_owned(),
        ephemeral_s: 3_600,
        ..host("node1")
    };
    let text = plain(&view::show(&host, now(), &screen()));
    for line in [
        "  revoked           since 2026-11-20T08:00:00Z: stolen\n",
        "  ephemeral         retires itself after 1 h of silence\n",
        "  former names      node7\n                    node8\n",
        "  certificates      revoked; renewed, until 2026-12-01T16:00:00Z (in 9 d), seen 1 h ago\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    let restored = v1::Host { revoked_at: None, ..host.clone() };
    let text = plain(&view::show(&restored, now(), &screen()));
    assert!(text.contains("  certificates      good; renewed, until"), "{text}");
    let listed = plain(&view::list(&[host], false, &Screen { width: 100, ..screen() }));
    assert!(listed.contains("REVOKED") && listed.contains("2026-11-20  env=prod"), "{listed}");
}

#[test]
fn a_connected_host_is_warned_about() {
    let status = v1::StatusResponse {
        now: at("2026-11-22T16:00:00Z"),
        connected: vec![v1::ConnectedHost {
            host_name: "node1".to_owned(),
            last_sample_at: at("2026-11-22T15:59:57Z"),
            peer_address: "10.0.0.1:40000".to_owned(),
            ..v1::ConnectedHost::default()
        }],
        ..v1::StatusResponse::default()
    };
    assert_eq!(
        plain(&change::warning("node1", Some(&status))),
        "warning: node1 is connected now, from 10.0.0.1:40000, last sample 3 s ago\n\
         \x20 Its stream is cut within seconds, and what its agent has not sent yet waits on it.\n"
    );
    assert_eq!(change::warning("node2", Some(&status)), "");
    assert_eq!(change::warning("node1", None), "");
}

#[tokio::test]
async fn a_viewer_is_told_which_certificate_changes_need() {
    for line in [
        &["label", "node1", "a=b"][..],
        &["retire", "node1", "--yes"],
        &["revoke", "node1", "--yes"],
        &["rename", "node1", "node9"],
    ] {
        let error = said(Fake { viewer: true, ..fleet() }, line).await.unwrap_err();
        let error = error.downcast_ref::<ClientError>().unwrap();
        assert_eq!(error.exit_code(), 4);
        let words = error.to_string();
        assert!(
            words.contains("PERMISSION_DENIED: certificate of spiffe://x/viewer/ann"),
            "{words}"
        );
        assert!(
            words.ends_with("give a certificate of role operator with --cert and --key"),
            "{words}"
        );
    }
}

#[tokio::test]
async fn a_port_without_reports_is_told_from_an_old_version() {
    let client = client(fleet()).await;
    let error = client.explain(&tonic::Status::unimplemented("")).to_string();
    let said = "answers UNIMPLEMENTED; if nodes enrol at this port (7444), reports are at another";
    assert!(error.contains(said), "{error}");
}

#[tokio::test]
async fn an_unknown_host_is_named() {
    let error = said(fleet(), &["show", "node9"]).await.unwrap_err();
    let error = error.downcast_ref::<ClientError>().unwrap();
    assert_eq!(error.exit_code(), 1);
    let words = error.to_string();
    assert!(words.contains("NOT_FOUND: there is no host node9"), "{words}");
}
