//! Hosts that get another name while they are connected.

use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;

use crate::rig::{PATIENCE, Rig, status_until};

async fn rename(rig: &Rig, old: &str, new: &str) {
    let request = pb::RenameHostRequest { host_name: old.into(), new_name: new.into() };
    rig.admin("operator").await.rename_host(request).await.unwrap();
}

fn names(status: &pb::StatusResponse) -> Vec<&str> {
    status.connected.iter().map(|host| host.host_name.as_str()).collect()
}

async fn shown_as(rig: &Rig, name: &str) {
    let only = |status: &pb::StatusResponse| names(status) == [name] && status.gone.is_empty();
    status_until(rig, "the name to be shown", only).await;
    rig.metrics_until("the name to be in the metrics, alone", |text| {
        let hosts = text.matches("rowcall_host_last_seen_timestamp_seconds{host=").count();
        let host = format!("rowcall_host_last_seen_timestamp_seconds{{host=\"{name}\"}}");
        hosts == 1 && text.contains(&host) && text.contains("rowcall_hosts{state=\"gone\"} 0\n")
    })
    .await;
}

#[tokio::test]
async fn a_connected_host_is_shown_by_its_new_name_without_coming_again() {
    let database = Database::create().await.unwrap();
    let (rig, other) = (Rig::start(&database).await, Rig::start(&database).await);
    let (mut agent, _) = rig.connected("old", 1).await;
    let mut feed = rig.handle.samples();
    for (sequence, before, name) in [(1, "old", "new"), (2, "new", "old"), (3, "old", "third")] {
        rename(&other, before, name).await;
        shown_as(&rig, name).await;
        agent.samples(sequence..=sequence).await;
        agent.acknowledged(sequence).await;
        let sample = tokio::time::timeout(PATIENCE, feed.recv()).await.unwrap().unwrap();
        assert_eq!(sample.host_name.as_str(), name);
    }
    // Once gone, and by whatever certificate it comes again, it is the same host.
    drop(agent);
    let gone =
        |status: &pb::StatusResponse| status.gone.len() == 1 && status.gone[0].host_name == "third";
    status_until(&rig, "the host to be gone under its name", gone).await;
    for (run, certified) in [(2, "old"), (2, "third"), (2, "new")] {
        let (agent, _) = rig.connected(certified, run).await;
        shown_as(&rig, "third").await;
        drop(agent);
    }
}
