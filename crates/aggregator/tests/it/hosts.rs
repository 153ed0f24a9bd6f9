//! The fleet's hosts through AdminService.

use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;
use rowcall_testkit::log::Log;
use tonic::{Code, Status};
use tracing::Level;

use crate::revocation::{restore, turned_away};
use crate::rig::{Rig, count};

/// An aggregator that has met these hosts.
async fn met(database: &Database, names: &[&str]) -> Rig {
    let rig = Rig::start(database).await;
    for name in names {
        let (mut agent, _) = rig.connected(name, 1).await;
        agent.samples(1..=1).await;
        agent.acknowledged(1).await;
    }
    rig
}

async fn list(rig: &Rig, request: pb::ListHostsRequest) -> pb::ListHostsResponse {
    rig.admin("viewer").await.list_hosts(request).await.unwrap().into_inner()
}

fn names(answer: &pb::ListHostsResponse) -> Vec<&str> {
    answer.hosts.iter().map(|host| host.host_name.as_str()).collect()
}

async fn label(
    rig: &Rig,
    name: &str,
    set: &[(&str, &str)],
    remove: &[&str],
) -> Result<pb::Host, Status> {
    let request = pb::LabelHostRequest {
        host_name: name.into(),
        set: set.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        remove: remove.iter().map(|key| (*key).into()).collect(),
    };
    let answer = rig.admin("operator").await.label_host(request).await?;
    Ok(answer.into_inner().host.unwrap())
}

async fn retire(rig: &Rig, name: &str) -> Result<pb::Host, Status> {
    let request = pb::RetireHostRequest { host_name: name.into() };
    Ok(rig.admin("operator").await.retire_host(request).await?.into_inner().host.unwrap())
}

#[tokio::test]
async fn hosts_come_by_name_in_pages_that_fit_together() {
    let database = Database::create().await.unwrap();
    let rig = met(&database, &["c", "a", "b"]).await;
    let all = list(&rig, pb::ListHostsRequest::default()).await;
    assert_eq!((names(&all), all.next_page_token.as_str()), (vec!["a", "b", "c"], ""));
    let page = |page_token: &str| pb::ListHostsRequest {
        page_size: 2,
        page_token: page_token.into(),
        ..Default::default()
    };
    let first = list(&rig, page("")).await;
    assert_eq!(names(&first), ["a", "b"]);
    let last = list(&rig, page(&first.next_page_token)).await;
    assert_eq!((names(&last), last.next_page_token.as_str()), (vec!["c"], ""));
    let exact = list(&rig, pb::ListHostsRequest { page_size: 3, ..Default::default() }).await;
    assert_eq!(exact.next_page_token, "", "a full page is the last if nothing follows");
}

#[tokio::test]
async fn a_host_is_shown_with_all_its_facts() {
    let database = Database::create().await.unwrap();
    let rig = met(&database, &["node1"]).await;
    let mut viewer = rig.admin("viewer").await;
    let get = |name: &str| pb::GetHostRequest { host_name: name.into(), ..Default::default() };
    let host = viewer.get_host(get("NODE1")).await.unwrap().into_inner().host.unwrap();
    assert_eq!((host.host_name.as_str(), host.agent_version.as_str()), ("node1", "0.1.0"));
    assert_eq!(host.host_info.as_ref().unwrap().cpu_number, Some(4));
    assert!(host.joined_at.is_some() && host.last_sample_at.is_some());
    assert!(host.retired_at.is_none() && host.labels.is_empty());
    let status = viewer.get_host(get("nobody")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.message(), "there is no host nobody; `rowcall host list` shows all");
    let status = viewer.get_host(get("no body")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("host_name: "), "{status}");
}

#[tokio::test]
async fn labels_are_set_removed_and_select_hosts() {
    let database = Database::create().await.unwrap();
    let rig = met(&database, &["a", "b"]).await;
    let host = label(&rig, "a", &[("rack", "1"), ("site", "x")], &[]).await.unwrap();
    assert_eq!(host.labels.len(), 2);
    let host = label(&rig, "a", &[("rack", "2")], &["site", "never-there"]).await.unwrap();
    assert_eq!(host.labels, [("rack".to_owned(), "2".to_owned())].into());
    let selected = |labels: &[(&str, &str)], name_glob: &str| pb::ListHostsRequest {
        hosts: Some(pb::HostSelector {
            labels: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            name_glob: name_glob.into(),
        }),
        ..Default::default()
    };
    assert_eq!(names(&list(&rig, selected(&[("rack", "2")], "")).await), ["a"]);
    assert!(names(&list(&rig, selected(&[("rack", "1")], "")).await).is_empty());
    assert_eq!(names(&list(&rig, selected(&[], "?")).await), ["a", "b"]);
    assert_eq!(names(&list(&rig, selected(&[], "b*")).await), ["b"]);
}

#[tokio::test]
async fn a_retired_host_is_listed_only_on_request_and_stays_retired_as_of_the_first_time() {
    let database = Database::create().await.unwrap();
    let rig = met(&database, &["a", "b"]).await;
    let first = retire(&rig, "a").await.unwrap().retired_at.unwrap();
    assert_eq!(retire(&rig, "a").await.unwrap().retired_at, Some(first));
    assert_eq!(names(&list(&rig, pb::ListHostsRequest::default()).await), ["b"]);
    let all = pb::ListHostsRequest { include_retired: true, ..Default::default() };
    assert_eq!(names(&list(&rig, all).await), ["a", "b"]);
    assert_eq!(turned_away(&rig, "a", 2).await.code(), Code::PermissionDenied);
    assert_eq!(names(&list(&rig, pb::ListHostsRequest::default()).await), ["b"]);
    let host = restore(&rig, "a").await.unwrap();
    assert!(host.retired_at.is_none());
    let _back = rig.connected("a", 2).await;
    assert_eq!(names(&list(&rig, pb::ListHostsRequest::default()).await), ["a", "b"]);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_words() {
    let database = Database::create().await.unwrap();
    let rig = met(&database, &["a"]).await;
    let mut viewer = rig.admin("viewer").await;
    for (request, words) in [
        (pb::ListHostsRequest { page_size: 10_001, ..Default::default() }, "at most 10000"),
        (pb::ListHostsRequest { page_token: "a b".into(), ..Default::default() }, "page_token: "),
        (
            pb::ListHostsRequest {
                hosts: Some(pb::HostSelector {
                    name_glob: "*".repeat(10_000),
                    ..Default::default()
                }),
                ..Default::default()
            },
            "",
        ),
    ] {
        let status = viewer.list_hosts(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(words), "{status}");
    }
    for (set, remove, words) in [
        (vec![], vec![], "nothing to set"),
        (vec![("Rack", "1")], vec![], "Rack"),
        (vec![("rack", "1\n2")], vec![], "rack"),
        (vec![("rack", "1")], vec!["rack"], "rack"),
    ] {
        let status = label(&rig, "a", &set, &remove).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(words), "{status}");
    }
    assert_eq!(label(&rig, "b", &[("k", "v")], &[]).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(retire(&rig, "b").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(retire(&rig, "").await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_viewer_reads_and_changes_nothing_and_an_agent_does_neither() {
    let database = Database::create().await.unwrap();
    let rig = met(&database, &["a"]).await;
    let mut viewer = rig.admin("viewer").await;
    let request = pb::LabelHostRequest {
        host_name: "a".into(),
        set: [("k".to_owned(), "v".to_owned())].into(),
        ..Default::default()
    };
    let status = viewer.label_host(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().ends_with("this call is for role operator"), "{status}");
    let retire = pb::RetireHostRequest { host_name: "a".into() };
    assert_eq!(viewer.retire_host(retire).await.unwrap_err().code(), Code::PermissionDenied);
    let mut agent = rig.admin("agent").await;
    let status = agent.list_hosts(pb::ListHostsRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let untouched = list(&rig, pb::ListHostsRequest::default()).await;
    assert!(untouched.hosts[0].labels.is_empty() && untouched.hosts[0].retired_at.is_none());
}

#[tokio::test]
async fn every_change_is_logged_with_the_operator_the_host_and_the_result() {
    let log = Log::start(Level::INFO);
    let database = Database::create().await.unwrap();
    let rig = met(&database, &["node1"]).await;
    label(&rig, "node1", &[("rack", "7")], &["old"]).await.unwrap();
    retire(&rig, "node1").await.unwrap();
    retire(&rig, "nobody").await.unwrap_err();
    let lines = log.take();
    for (what, more) in [
        ("label host: set {\"rack\": \"7\"}, remove [\"old\"]", "on=\"node1\""),
        ("retire host ", "on=\"node1\""),
        ("retire host: refused", "on=\"nobody\""),
    ] {
        let line = lines.iter().find(|line| line.contains(what) && line.contains(more));
        let line = line.unwrap_or_else(|| panic!("{what} is missing in {lines:?}"));
        assert!(line.contains("operator=\"spiffe://d/operator/alice\""), "{line}");
        assert!(line.contains("peer=\"127.0.0.1:"), "{line}");
    }
}

async fn rename(rig: &Rig, old: &str, new: &str) -> Result<pb::Host, Status> {
    let request = pb::RenameHostRequest { host_name: old.into(), new_name: new.into() };
    Ok(rig.admin("operator").await.rename_host(request).await?.into_inner().host.unwrap())
}

#[tokio::test]
async fn a_renamed_host_keeps_its_rows_and_its_former_name_speaks_for_it() {
    let database = Database::create().await.unwrap();
    let rig = met(&database, &["old", "other"]).await;
    let before = list(&rig, pb::ListHostsRequest::default()).await.hosts[0].id;
    let host = rename(&rig, "old", "New").await.unwrap();
    assert_eq!((host.id, host.host_name.as_str()), (before, "new"));
    assert_eq!(host.former_names, ["old"]);
    let all = list(&rig, pb::ListHostsRequest::default()).await;
    assert_eq!(names(&all), ["new", "other"]);
    // Its certificate still has the former name, and its next samples join those before.
    let (mut agent, welcome) = rig.connected("old", 1).await;
    assert_eq!((welcome.host_id, welcome.mark.unwrap().through_sequence), (before, 1));
    agent.samples(1..=3).await;
    agent.acknowledged(3).await;
    let rows = "SELECT count(*) FROM host_usage u JOIN host_info i ON i.id = u.host_id \
                WHERE i.hostname = 'new'";
    assert!(count(&database, rows).await >= 3);
    assert_eq!(rig.status().await.connected[0].host_name, "new", "not as it is certified");
    for (old, new, code, words) in [
        ("new", "other", Code::AlreadyExists, "other"),
        ("other", "old", Code::AlreadyExists, "formerly"),
        ("nobody", "somebody", Code::NotFound, "no host nobody"),
        ("new", "a b", Code::InvalidArgument, "new_name: "),
        ("a b", "new", Code::InvalidArgument, "host_name: "),
    ] {
        let status = rename(&rig, old, new).await.unwrap_err();
        assert_eq!(status.code(), code, "{old} to {new}: {status}");
        assert!(status.message().contains(words), "{status}");
    }
    assert_eq!(rename(&rig, "new", "old").await.unwrap().host_name, "old", "its own it may have");
}

#[tokio::test]
async fn certificates_come_with_a_list_on_request_and_with_one_host_always() {
    let database = Database::create().await.unwrap();
    let rig = met(&database, &["a"]).await;
    let listed = list(&rig, pb::ListHostsRequest::default()).await;
    assert!(listed.hosts[0].certificates.is_empty());
    let request = pb::ListHostsRequest { include_certificates: true, ..Default::default() };
    let listed = list(&rig, request).await.hosts.remove(0).certificates;
    assert_eq!(listed.len(), 1);
    let certificate = &listed[0];
    assert_eq!((certificate.origin.as_str(), certificate.fingerprint.len()), ("seen", 64));
    assert!(!certificate.serial.is_empty() && certificate.last_seen_at.is_some());
    let (begins, ends) = (certificate.not_before.unwrap(), certificate.expires_at.unwrap());
    assert!(begins.seconds < ends.seconds);
    let mut viewer = rig.admin("viewer").await;
    let one = viewer
        .get_host(pb::GetHostRequest { host_name: "a".into(), ..Default::default() })
        .await
        .unwrap();
    assert_eq!(one.into_inner().host.unwrap().certificates, listed);
}
