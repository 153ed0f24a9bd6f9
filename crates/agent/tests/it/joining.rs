//! A node on its way in: the service that enrols by itself, and `check`.

use std::fs;

use rowcall_testkit::poll::wait_for;
use rowcall_testkit::process::Process;

use super::LONG;
use super::enroll::{ran, secret};
use super::enrolling::{Answer, Machine, Server};

#[tokio::test]
async fn the_service_enrols_by_itself_reads_the_token_anew_and_says_meanwhile_why_not() {
    let server = Server::start(Answer::Issue).await;
    let machine = Machine::with_token("");
    let metrics = super::free_port().await;
    let mut command = machine.command("run");
    command.env("ROWCALL_ENROLL_SERVER", format!("127.0.0.1:{}", server.port));
    command.env("ROWCALL_TOKEN_FILE", machine.path("token"));
    command.env("ROWCALL_METRICS_LISTEN", format!("127.0.0.1:{metrics}"));
    command.args(["--refused-wait", "1s", "--backoff-min", "10ms", "--backoff-max", "20ms"]);
    let socket = machine.path("notify");
    let manager = tokio::net::UnixDatagram::bind(&socket).unwrap();
    command.env("NOTIFY_SOCKET", &socket);
    let running = Process::start("agent", &mut command).unwrap();
    running.line("not enrolled yet: token file ").await;
    let mut status = String::new();
    while !status.starts_with("STATUS=not enrolled yet: token file ") {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes).await.unwrap();
        status = String::from_utf8_lossy(&bytes[..length]).into_owned();
    }
    let noted = async || {
        let (code, said, _) = ran(machine.command("status")).await;
        assert_eq!(code, Some(3), "{said}");
        (said.contains("not enrolled  since 20") && said.contains("token is empty")).then_some(said)
    };
    let said = wait_for("the note", LONG, noted).await;
    assert!(said.contains("agent         waits to be enrolled, or does not run\n"), "{said}");
    fs::write(machine.path("token"), server.token().reveal()).unwrap();
    running.line("agent starts").await;
    assert!(!running.output().contains(&secret(&server.token())));
    // It goes on as whoever was enrolled.
    let host = &server.asked()[0].host_name;
    let well = async || {
        let (_, said, _) = ran(machine.command("status")).await;
        (!said.contains("not enrolled")).then_some(said)
    };
    let said = wait_for("the note's end", LONG, well).await;
    assert!(said.contains(&format!("host          {host}\n")), "{said}");
    assert!(said.contains("identity      enrolled at https://127.0.0.1:"), "{said}");
    assert_eq!(running.stop().await, Some(0));
}

#[tokio::test]
async fn a_node_without_identity_or_token_says_how_to_get_one() {
    let machine = Machine::with_token("");
    let (code, _, said) = ran(machine.command("run")).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no identity yet") && said.contains("rowcall-agent enroll"), "{said}");
}

/// Verdicts and steps.
fn steps(said: &str) -> Vec<(String, String)> {
    let words = said.lines().map(|line| {
        let mut words = line.split_whitespace().map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    });
    words.collect()
}

fn is(steps: &[(String, String)], verdict: &str, step: &str) -> bool {
    steps.iter().any(|(said, what)| said == verdict && what == step)
}

#[tokio::test]
async fn check_walks_to_where_it_ends_and_goes_on_with_the_rest() {
    let server = Server::start(Answer::Issue).await;
    let machine = Machine::with_token(&server.token().reveal());
    let check = |extra: &[&str]| {
        let mut command = machine.command("check");
        command.args(extra);
        command
    };
    // Nothing there yet.
    let (code, said, _) = ran(check(&[])).await;
    assert_eq!(code, Some(1));
    assert!(is(&steps(&said), "FAIL", "identity") && is(&steps(&said), "ok", "spool"), "{said}");
    // With a token: as far as that leads, without spending it.
    let place = format!("localhost:{}", server.port);
    let path = machine.path("token").display().to_string();
    let token = ["--enroll-server", place.as_str(), "--token-file", path.as_str()];
    let (code, said, _) = ran(check(&token)).await;
    assert_eq!(code, Some(0), "{said}");
    let expected =
        [("warn", "identity"), ("ok", "token"), ("ok", "name"), ("ok", "tcp"), ("ok", "tls")];
    for (verdict, step) in expected.into_iter().chain([("ok", "clock"), ("ok", "answers")]) {
        assert!(is(&steps(&said), verdict, step), "{verdict} {step} is missing in\n{said}");
    }
    assert!(said.contains("as the aggregator's, to the second"), "{said}");
    assert!(server.asked().is_empty() && !said.contains(&secret(&server.token())));
    // Enrolled: to where the streams go, which is nowhere.
    assert_eq!(ran(machine.enroll(server.port)).await.0, Some(0));
    let (code, said, _) = ran(check(&["--aggregator", "127.0.0.1:1"])).await;
    assert_eq!(code, Some(1));
    for (verdict, step) in
        [("ok", "identity"), ("ok", "certificate"), ("ok", "key"), ("FAIL", "tcp"), ("ok", "spool")]
    {
        assert!(is(&steps(&said), verdict, step), "{verdict} {step} is missing in\n{said}");
    }
    let (_, said, _) = ran(check(&["--aggregator", "127.0.0.1:1", "--json"])).await;
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!(json["steps"][0]["verdict"], "ok");
    // To one that is no Rowcall aggregator: enrolment alone is there.
    let (code, said, _) = ran(check(&["--aggregator", &place])).await;
    assert_eq!(code, Some(1));
    assert!(is(&steps(&said), "ok", "tls") && is(&steps(&said), "FAIL", "accepted"), "{said}");
    // To one of another fleet.
    let other = Server::start(Answer::Issue).await;
    let (code, said, _) = ran(check(&["--aggregator", &format!("localhost:{}", other.port)])).await;
    assert_eq!(code, Some(1));
    let there = format!("this node was enrolled at https://127.0.0.1:{}", server.port);
    assert!(is(&steps(&said), "FAIL", "tls"), "{said}");
    assert!(said.contains(&there) && said.contains("rowcall-agent enroll --again"), "{said}");
    // A copied spool.
    super::spool::with_one_record(&machine.path("state/spool"), "other");
    let (code, said, _) = ran(check(&["--aggregator", &place])).await;
    assert_eq!(code, Some(1));
    assert!(is(&steps(&said), "FAIL", "spool") && said.contains("other"), "{said}");
}

#[tokio::test]
async fn an_agent_that_goes_on_under_its_former_name_is_told_wherever_one_looks() {
    let server = Server::aggregator(Answer::Issue).await;
    server.says(Some(Ok("node1")));
    let machine = Machine::with_token(&server.token().reveal());
    let spool = super::spool::opened(&machine.path("state/spool"), "old");
    let (code, said, log) = ran(machine.enroll(server.port)).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(said.ends_with("next: systemctl restart rowcall-agent\n"), "{said}");
    let (code, said, _) = ran(machine.command("status")).await;
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("runs as old, pid ") && said.contains("host          node1\n"), "{said}");
    let check = async || {
        let mut command = machine.command("check");
        command.arg("--aggregator").arg(format!("localhost:{}", server.port));
        ran(command).await
    };
    let (code, said, _) = check().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(is(&steps(&said), "FAIL", "spool") && said.contains("runs as old, and"), "{said}");
    // Under the same name all is well, and nothing has to be started.
    assert!(spool.close(LONG));
    fs::remove_dir_all(machine.path("state/spool")).unwrap();
    assert!(check().await.1.contains("spool, is made when the agent starts\n"));
    let spool = super::spool::opened(&machine.path("state/spool"), "node1");
    assert_eq!(check().await.0, Some(0));
    let mut command = machine.enroll(server.port);
    command.arg("--again");
    let (_, said, _) = ran(command).await;
    assert!(said.contains("next: the agent that runs takes it at its next connection"), "{said}");
    assert!(spool.close(LONG));
}

#[tokio::test]
async fn a_damaged_identity_is_enrolled_again_and_not_mended() {
    let server = Server::start(Answer::Issue).await;
    let machine = Machine::with_token(&server.token().reveal());
    for (file, text, what) in [
        ("agent.pem", Some("junk"), "no PEM block"),
        ("agent.key", Some("-----BEGIN PRIVATE KEY-----\nMIG"), "agent.key"),
        ("ca.pem", None, "cannot read CA file"),
    ] {
        let mut command = machine.enroll(server.port);
        command.arg("--again");
        let (code, _, log) = ran(command).await;
        assert_eq!(code, Some(0), "{log}");
        let path = machine.path("state/identity/current").join(file);
        match text {
            Some(text) => fs::write(path, text).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        for (command, ends) in [("run", 2), ("check", 1)] {
            let (code, said, log) = ran(machine.command(command)).await;
            let said = said + &log;
            assert_eq!(code, Some(ends), "{said}");
            for part in [what, "is damaged", "rowcall-agent enroll --again --name HOST"] {
                assert!(said.contains(part), "{part:?} is missing in: {said}");
            }
            assert!(!said.contains("openssl") && !said.contains("write it again"), "{said}");
        }
    }
}

#[tokio::test]
async fn check_asks_whether_the_host_is_let_in_and_fails_where_it_is_not() {
    use tonic::Code;
    let server = Server::aggregator(Answer::Issue).await;
    let machine = Machine::with_token(&server.token().reveal());
    assert_eq!(ran(machine.enroll(server.port)).await.0, Some(0));
    let check = async || {
        let mut command = machine.command("check");
        command.arg("--aggregator").arg(format!("localhost:{}", server.port));
        let (code, said, _) = ran(command).await;
        let line = said.lines().find(|line| line.contains(" accepted ")).unwrap_or_default();
        (code, line.to_owned(), said)
    };
    for (answer, code, verdict, part) in [
        (Ok("node1"), 0, "ok", "it lets this host in"),
        (Ok("node9"), 0, "ok", "it lets this host in under its new name, node9"),
        (
            Err((Code::PermissionDenied, "this host's access is revoked; an operator ...")),
            1,
            "FAIL",
            "it refuses this host: this host's access is revoked; an operator ...",
        ),
        (Err((Code::Unauthenticated, "no name")), 1, "FAIL", "it refuses this host: no name"),
        (Err((Code::Unavailable, "no database")), 0, "warn", "cannot say now"),
        (Err((Code::ResourceExhausted, "too often")), 0, "warn", "host in: too often"),
        (Err((Code::Internal, "a bug")), 1, "FAIL", "a bug"),
    ] {
        server.says(Some(answer));
        let (ended, line, said) = check().await;
        assert_eq!(ended, Some(code), "{said}");
        assert!(line.starts_with(verdict) && line.contains(part), "{part} is missing in\n{said}");
        assert!(is(&steps(&said), "ok", "clock"), "its answer tells the time\n{said}");
    }
    // An aggregator of before there was such a call.
    server.says(None);
    let (ended, line, said) = check().await;
    assert_eq!(ended, Some(0), "{said}");
    assert!(line.starts_with("warn") && line.contains("not asked whether"), "{said}");
}
