use super::*;
use crate::hosts::Renamed;
use crate::testing::sample;

async fn renamed(bench: &Bench, old: &str, new: &str) -> Option<String> {
    match bench.store.rename_host(&actor(), &host(old), &host(new)).await.unwrap() {
        Renamed::Done(found) => Some(found.name.to_string()),
        Renamed::NoHost => None,
        Renamed::Taken { by } => Some(format!("taken by {by}")),
    }
}

#[tokio::test]
async fn a_renamed_host_is_the_same_and_goes_on_under_both_names() {
    let bench = Bench::with_token(&NewToken { may_replace: true, ..token(1) }).await;
    let before = bench.host("old").await;
    assert_eq!(renamed(&bench, "old", "new").await.as_deref(), Some("new"));
    let written = bench.everything().await;
    let under_old = bench.host("old").await;
    assert_eq!(under_old.name.as_str(), "new");
    let names = [host("x"), host("new"), host("old")];
    assert_eq!(bench.store.renamed_among(&names).await.unwrap(), [(2, host("new"))]);
    assert_eq!((under_old.host_id, under_old.epoch_id), (before.host_id, before.epoch_id));
    assert!(!under_old.host_is_new && under_old.started.is_none());
    assert_eq!(bench.everything().await, written, "it came back as it was");
    let time = bench.now().await;
    assert_eq!(bench.store.ingest(&[sample(&under_old, 1, time)]).await.unwrap().samples, 1);
    let under_new = bench.host("new").await;
    assert_eq!((under_new.host_id, under_new.name.as_str()), (before.host_id, "new"));
    assert_eq!(under_new.mark.map(|mark| mark.through.as_i64()), Some(1));
    assert_eq!(bench.number("SELECT count(*) FROM host_info").await, 1);
    for name in ["old", "new"] {
        let found = bench.store.host(&host(name)).await.unwrap().unwrap();
        assert_eq!((found.id, found.name.as_str()), (before.host_id, "new"));
        assert_eq!(found.former_names, ["old"]);
    }
    // Whatever is done under either name is done to it.
    bench.store.revoke_host(&actor(), &host("old"), "").await.unwrap().unwrap();
    for name in ["old", "new"] {
        assert_eq!(bench.access(name, &certificate(&host(name))).await, Err(Why::HostRevoked));
        let live = [(host(name), certificate(&host(name)))];
        assert_eq!(bench.store.refused_among(&live).await.unwrap().len(), 1);
    }
    assert_eq!(bench.recorded("host.revoke", "new").await.len(), 1, "by its present name");
    let enrolled = bench.enroll(&enrolment(1, 1, "old")).await.unwrap();
    assert_eq!((enrolled.host_id, enrolled.replaced), (before.host_id, true));
    bench.access("old", &presented(&enrolled.certificate)).await.unwrap();
}

#[tokio::test]
async fn a_name_that_another_host_has_or_had_is_taken() {
    let bench = Bench::with_token(&token(1)).await;
    for name in ["a", "b"] {
        bench.host(name).await;
    }
    assert_eq!(renamed(&bench, "a", "b").await.as_deref(), Some("taken by b"));
    assert_eq!(renamed(&bench, "b", "c").await.as_deref(), Some("c"));
    assert_eq!(renamed(&bench, "a", "b").await.as_deref(), Some("taken by c"));
    assert_eq!(renamed(&bench, "x", "y").await, None);
    let taken = bench.enroll(&enrolment(1, 1, "b")).await.unwrap_err();
    assert_eq!(taken, EnrollRefusal::NameTaken { name: "c".into() });
    let told: Vec<String> =
        bench.recorded("host.rename", "a").await.into_iter().map(|(result, _)| result).collect();
    assert_eq!(
        told,
        ["refused: b is or was a name of host b", "refused: b is or was a name of host c"]
    );
    assert_eq!(bench.recorded("host.rename", "b").await, [("ok".into(), "to c".into())]);
    let missing = ("refused: there is no such host".into(), "to y".into());
    assert_eq!(bench.recorded("host.rename", "x").await, [missing]);
}

#[tokio::test]
async fn a_host_may_have_a_former_name_again() {
    let bench = Bench::new().await;
    bench.host("a").await;
    for (old, new, former) in [
        ("a", "b", vec!["a"]),
        ("b", "c", vec!["a", "b"]),
        ("c", "c", vec!["a", "b"]),
        // Under a former name, to a former name.
        ("b", "a", vec!["b", "c"]),
        ("a", "b", vec!["a", "c"]),
    ] {
        assert_eq!(renamed(&bench, old, new).await.as_deref(), Some(new));
        assert_eq!(bench.store.host(&host("a")).await.unwrap().unwrap().former_names, former);
    }
    assert_eq!(bench.number("SELECT count(*) FROM rowcall.host_alias").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_open_sessions_while_names_change_never_double() {
    let bench = Bench::new().await;
    bench.host("a").await;
    let opens = async {
        for _ in 0..40 {
            for name in ["a", "b"] {
                bench.store.opened(&hello(name, 1), MINUTE).await.unwrap();
            }
        }
    };
    let renames = async {
        // The first one of the two, so that b is never free.
        renamed(&bench, "a", "b").await.unwrap();
        for (old, new) in [("b", "a"), ("a", "b")].iter().cycle().take(40) {
            renamed(&bench, old, new).await.unwrap();
        }
    };
    tokio::join!(renames, opens);
    let both =
        "SELECT count(*) FROM host_info AS h JOIN rowcall.host_alias AS a ON a.name = h.hostname";
    assert_eq!(bench.number(both).await, 0, "no name means two hosts");
}
