//! `enroll` as a process: what it says, ends with and leaves behind.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use rowcall_core::proto::v1 as pb;
use rowcall_core::token::{Pin, Token};
use rowcall_testkit::pki::now;
use rowcall_testkit::poll::wait_for;
use rowcall_testkit::process::Process;
use rowcall_tls::issue::{Authority, Purpose};
use tonic::Code;

use super::enrolling::{Answer, Machine, Server, token};
use super::{LONG, output, slammed_port};

/// Runs it to its end beside the server.
pub(crate) async fn ran(mut command: Command) -> (Option<i32>, String, String) {
    tokio::task::spawn_blocking(move || output(&mut command)).await.unwrap()
}

/// The secret and all that could give it away.
pub(crate) fn secret(token: &Token) -> String {
    token.reveal().split('.').nth(2).unwrap().to_owned()
}

fn key_of(request: &pb::EnrollRequest) -> [u8; 32] {
    rowcall_tls::csr::CsrKey::read(&request.csr_der).unwrap().sha256()
}

#[tokio::test]
async fn a_token_becomes_an_identity_and_asking_again_uses_none() {
    let server = Server::start(Answer::Issue).await;
    let machine = Machine::with_token(&server.token().reveal());
    let mut command = machine.enroll(server.port);
    command.args(["--log-level", "trace"]);
    let (code, said, log) = ran(command).await;
    assert_eq!(code, Some(0), "{log}");
    let port = server.port;
    for part in [
        format!("enrolled as node1 at https://127.0.0.1:{port}\n"),
        "  certificate  until 2".into(),
        format!("  authority    {}\n", server.pki.pin().unwrap()),
        "  streams to   https://127.0.0.1:7443\n".into(),
        "next: systemctl enable --now rowcall-agent\n".into(),
    ] {
        assert!(said.contains(&part), "{part:?} is missing in:\n{said}");
    }
    assert!(!log.contains(&secret(&server.token())), "the token is in the log");
    let asked = server.asked();
    assert_eq!((asked.len(), asked[0].host_name.as_str()), (1, "node1"));
    // Without any token.
    fs::remove_file(machine.path("token")).unwrap();
    let (code, said, _) = ran(machine.enroll(server.port)).await;
    assert_eq!(
        (code, said.starts_with("already enrolled as node1 at ")),
        (Some(0), true),
        "{said}"
    );
    assert_eq!(server.asked().len(), 1);
    // What is there serves an agent.
    let mut check = machine.command("run");
    check.arg("--check-config");
    let (_, said, _) = ran(check).await;
    assert!(said.contains("this agent is node1"), "{said}");
}

#[tokio::test]
async fn another_name_or_authority_is_refused_until_it_is_meant() {
    let (first, second) = (Server::start(Answer::Issue).await, Server::start(Answer::Issue).await);
    let machine = Machine::with_token(&first.token().reveal());
    assert_eq!(ran(machine.enroll(first.port)).await.0, Some(0));
    let before = fs::read_link(machine.path("state/identity/current")).unwrap();
    let renamed = || {
        let mut command = machine.command("enroll");
        command.arg("--server").arg(format!("127.0.0.1:{}", first.port));
        command.arg("--token-file").arg(machine.path("token")).args(["--name", "node2"]);
        command
    };
    let (code, _, said) = ran(renamed()).await;
    assert_eq!(code, Some(2));
    assert!(said.contains("enrolled as node1, not node2; nothing was changed"), "{said}");
    assert!(said.contains("add --again"), "{said}");
    fs::write(machine.path("token"), second.token().reveal()).unwrap();
    let (code, _, said) = ran(machine.enroll(second.port)).await;
    assert_eq!(code, Some(2));
    assert!(said.contains("under another authority; nothing was changed"), "{said}");
    assert_eq!(fs::read_link(machine.path("state/identity/current")).unwrap(), before);
    let mut command = machine.enroll(second.port);
    command.arg("--again");
    let (code, said, log) = ran(command).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(said.contains(&second.pki.pin().unwrap().to_string()), "{said}");
    assert_ne!(fs::read_link(machine.path("state/identity/current")).unwrap(), before);
}

#[tokio::test]
async fn who_gives_no_name_means_the_one_that_the_node_has() {
    let server = Server::start(Answer::Issue).await;
    let machine = Machine::with_token(&server.token().reveal());
    assert_eq!(ran(machine.enroll(server.port)).await.0, Some(0));
    let nameless = |more: &[&str]| {
        let mut command = machine.command("enroll");
        command.arg("--server").arg(format!("127.0.0.1:{}", server.port));
        command.arg("--token-file").arg(machine.path("token")).args(more);
        command
    };
    let (code, said, log) = ran(nameless(&[])).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(said.starts_with("already enrolled as node1 "), "{said}");
    let (code, said, log) = ran(nameless(&["--again"])).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(said.starts_with("enrolled as node1 "), "{said}");
    assert!(server.asked().iter().all(|request| request.host_name == "node1"));
    // What cannot be read names nobody, and this machine's name may be another host's.
    fs::write(machine.path("state/identity/current/identity.toml"), "junk").unwrap();
    let (code, _, said) = ran(nameless(&["--again"])).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("enroll --again --name HOST"), "{said}");
    assert_eq!(server.asked().len(), 2);
    assert_eq!(ran(nameless(&["--again", "--name", "node1"])).await.0, Some(0));
}

#[tokio::test]
async fn a_server_without_the_authority_of_the_token_hears_nothing() {
    let server = Server::start(Answer::Issue).await;
    let machine = Machine::with_token(&token(Pin::new([7; 32])).reveal());
    let (code, _, said) = ran(machine.enroll(server.port)).await;
    assert_eq!(code, Some(4), "{said}");
    let pins = [Pin::new([7; 32]), server.pki.pin().unwrap()].map(|pin| pin.to_string());
    for part in [pins[0].as_str(), &pins[1], "nothing of ours was sent"] {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
    assert!(server.asked().is_empty());
    assert!(!said.contains(&secret(&token(Pin::new([7; 32])))));
}

#[tokio::test]
async fn each_refusal_has_its_exit_code_and_says_what_to_do() {
    let server = Server::start(Answer::Hang).await;
    let machine = Machine::with_token(&server.token().reveal());
    let token = "this token is used up (3 of 3 uses); make another one with `rowcall token create`";
    let taken = "there is a host node1 already; if this machine takes its place, use a token made \
                 with --replace, else choose another name";
    for (code, status, why, said) in [
        (3, Code::Unauthenticated, token, format!("the token is refused: {token}\n")),
        (
            6,
            Code::PermissionDenied,
            "not for you; ask",
            "the name is refused: not for you; ask; another one is given with --name\n".into(),
        ),
        (
            6,
            Code::AlreadyExists,
            taken,
            format!("the name is refused: {taken}; another one is given with --name\n"),
        ),
        (2, Code::InvalidArgument, "why", "the request is refused: why; get another token".into()),
        (
            1,
            Code::FailedPrecondition,
            "it does not issue; ask another",
            "not enrolled: it does not issue; ask another; --server names one\n".into(),
        ),
        (
            1,
            Code::ResourceExhausted,
            "too many; come back in 9 s",
            "not enrolled yet: too many; come back in 9 s\n".into(),
        ),
        (1, Code::Unavailable, "why", "not enrolled: why; try again\n".into()),
        (1, Code::Unimplemented, "why", "there is no enrolment there (why); check --server".into()),
    ] {
        server.answers(Answer::Refuse(status, why));
        let (ended, _, text) = ran(machine.enroll(server.port)).await;
        assert_eq!(ended, Some(code), "{text}");
        assert!(text.contains(&said), "{said:?} is missing in: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    let keys: std::collections::BTreeSet<_> = server.asked().iter().map(key_of).collect();
    assert_eq!(keys.len(), 1, "one key, however often it is tried");
    server.answers(Answer::Issue);
    assert_eq!(ran(machine.enroll(server.port)).await.0, Some(0));
    assert!(keys.contains(&key_of(server.asked().last().unwrap())));
}

#[tokio::test]
async fn dates_of_the_server_tell_a_wrong_clock_and_its_names_another_server() {
    let day = Duration::from_secs(86_400);
    let us = 86_400_000_000;
    let expired = Server::with(Answer::Issue, |pki| {
        let past = now().plus_micros(-3 * us);
        pki.root = Authority::create_root("test.example".parse().unwrap(), past).unwrap();
        pki.servers = pki.root.create_issuing(Purpose::Servers, past).unwrap();
        pki.server(past, day).unwrap()
    });
    let early =
        Server::with(Answer::Issue, |pki| pki.server(now().plus_micros(3 * us), day).unwrap());
    let other = Server::with(Answer::Issue, |pki| {
        pki.servers.issue_server(&["db1.example"], &[], now(), day).unwrap()
    });
    for (server, code, parts) in [
        (expired.await, 5, ["it expired at 20", "set this machine's clock"]),
        (early.await, 5, ["it is valid only from 20", "set this machine's clock"]),
        (other.await, 2, ["but for db1.example", "--server-name"]),
    ] {
        let machine = Machine::with_token(&server.token().reveal());
        let (ended, _, said) = ran(machine.enroll(server.port)).await;
        assert_eq!(ended, Some(code), "{said}");
        for part in parts {
            assert!(said.contains(part), "{part:?} is missing in: {said}");
        }
        assert!(server.asked().is_empty());
        if code == 2 {
            let mut command = machine.enroll(server.port);
            command.args(["--server-name", "db1.example"]);
            assert_eq!(ran(command).await.0, Some(0));
            let kept = fs::read_to_string(machine.path("state/identity/current/identity.toml"));
            assert!(kept.unwrap().contains("server_name = \"db1.example\""), "for the streams too");
        }
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_not_kept() {
    let server = Server::start(Answer::IssueAs("node9")).await;
    let other = Server::start(Answer::Issue).await;
    let machine = Machine::with_token(&server.token().reveal());
    let (code, _, said) = ran(machine.enroll(server.port)).await;
    assert_ne!(code, Some(0));
    assert!(said.contains("is not kept: it is for agent node9, not for agent node1"), "{said}");
    server.answers(Answer::IssueUnder(other.pki.root.certificate_der().to_vec()));
    let (code, _, said) = ran(machine.enroll(server.port)).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("does not hold the authority sha256:"), "{said}");
    assert!(!machine.path("state/identity/current").exists());
}

#[tokio::test]
async fn what_is_no_token_and_where_nobody_answers() {
    let port = slammed_port().await;
    for (text, said) in [
        ("", "the token is empty"),
        ("rc1.", "id is cut off or damaged"),
        ("hello", "this is no join token"),
    ] {
        let (code, _, error) = ran(Machine::with_token(text).enroll(port)).await;
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains(said) && error.contains("token file "), "{error}");
    }
    let good = token(Pin::new([7; 32])).reveal();
    let machine = Machine::with_token(&good);
    let (code, _, said) = ran(machine.enroll(port)).await;
    assert_eq!(code, Some(1), "{said}");
    let (code, _, said) = ran(machine.enroll(1)).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("127.0.0.1:1 refuses connections; check that"), "{said}");
    let mut command = machine.command("enroll");
    command.args(["--server", "no.such.host.invalid", "--name", "node1", "--token-file"]);
    command.arg(machine.path("token"));
    let (code, _, said) = ran(command).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("\"no.such.host.invalid\" cannot be resolved"), "{said}");
    for (missing, said) in [
        (vec!["--server", "a"], "say where the token is"),
        (vec!["--token-file", "a"], "token_file is set, but not enroll_server"),
        (vec!["--server", "a", "--token-file", "a", "--name", "a b"], "contains ' '"),
        (vec!["--token", "rc1.x"], "unexpected argument"),
    ] {
        let mut command = machine.command("enroll");
        command.args(missing);
        let (code, _, error) = ran(command).await;
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains(said), "{error}");
    }
}

#[tokio::test]
async fn the_token_may_come_from_standard_input() {
    let server = Server::start(Answer::Issue).await;
    let machine = Machine::with_token("");
    let enroll = |text: String| {
        let mut command = machine.command("enroll");
        command.arg("--server").arg(format!("127.0.0.1:{}", server.port));
        command.args(["--name", "node1", "--token-file", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        })
    };
    let (code, said) = enroll(String::new()).await.unwrap();
    assert_eq!(code, Some(2));
    assert!(said.contains("standard input: the token is empty"), "{said}");
    let (code, said) = enroll(server.token().reveal() + "\n").await.unwrap();
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_told_before_anything_is_sent() {
    let server = Server::start(Answer::Issue).await;
    let machine = Machine::with_token(&server.token().reveal());
    fs::write(machine.path("state"), "a file").unwrap();
    let (code, _, said) = ran(machine.enroll(server.port)).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("identity") && said.contains("identity_dir"), "{said}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn killed_at_any_moment_it_goes_on_with_the_same_key_and_makes_one_identity() {
    let server = Server::start(Answer::Hang).await;
    let machine = Machine::with_token(&server.token().reveal());
    // With the request sent and no answer.
    for asked in 1..=3 {
        let process = Process::start("enroll", &mut machine.enroll(server.port)).unwrap();
        let look = async || (server.asked().len() == asked).then_some(());
        wait_for(format!("request {asked}"), LONG, look).await;
        let (code, _, said) = ran(machine.enroll(server.port)).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("another process works in "), "{said}");
        process.kill().await;
        assert!(!machine.path("state/identity/current").exists());
    }
    // And while the answer is being kept, or anywhere else.
    server.answers(Answer::Issue);
    for after in 0..40 {
        let mut command = machine.enroll(server.port);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(after)).await;
        // It may have ended.
        child.kill().ok();
        child.wait().unwrap();
    }
    let (code, _, said) = ran(machine.enroll(server.port)).await;
    assert_eq!(code, Some(0), "{said}");
    let keys: std::collections::BTreeSet<_> = server.asked().iter().map(key_of).collect();
    assert_eq!(keys.len(), 1);
    let mut names: Vec<_> = fs::read_dir(machine.path("state/identity"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "enroll.key" && name != "current.new")
        .collect();
    names.sort();
    assert!(names.contains(&"current".to_owned()), "{names:?}");
}

#[tokio::test]
async fn a_spool_of_the_former_name_is_named_and_kept() {
    let server = Server::start(Answer::Issue).await;
    let machine = Machine::with_token(&server.token().reveal());
    super::spool::with_one_record(&machine.path("state/spool"), "old-name");
    let (code, said, log) = ran(machine.enroll(server.port)).await;
    assert_eq!(code, Some(0), "{log}");
    let dir = machine.path("state/spool").display().to_string();
    for part in [
        format!("WARNING: {dir} holds records of old-name, 1 of them not acknowledged"),
        format!("Nothing was removed. To start with an empty one: mv {dir} {dir}.old-name"),
    ] {
        assert!(said.contains(&part), "{part:?} is missing in:\n{said}");
    }
    assert_eq!(rowcall_spool::inspect(&machine.path("state/spool")).unwrap().owner, "old-name");
}

#[test]
fn the_help_names_every_exit_code() {
    let (code, said, _) = output(super::agent().args(["enroll", "--help"]));
    assert_eq!(code, Some(0));
    for part in ["0  enrolled", "3  the token", "4  the server", "5  by this", "6  the name"] {
        assert!(said.contains(part), "{part:?} is missing in:\n{said}");
    }
    assert!(said.contains("--again") && !said.contains("--spool-dir"), "{said}");
}
