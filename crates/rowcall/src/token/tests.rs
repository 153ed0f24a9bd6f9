//! What is asked for, and how the answers look.

use std::collections::HashMap;

use clap::Parser as _;

use super::*;
use crate::cli::{Cli, Command};
use crate::text::tests::{plain, screen};

fn at(text: &str) -> Option<prost_types::Timestamp> {
    let at: Timestamp = text.parse().unwrap();
    Some(prost_types::Timestamp { seconds: at.as_second(), nanos: 0 })
}

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn token() -> v1::Token {
    v1::Token {
        id: "00112233445566aa".to_owned(),
        uses: 1,
        created_at: at("2026-11-23T11:30:00Z"),
        created_by: "spiffe://rowcall/operator/admin".to_owned(),
        expires_at: at("2026-11-23T12:30:00Z"),
        ..v1::Token::default()
    }
}

fn large() -> v1::Token {
    v1::Token {
        id: "ffeeddccbbaa9988".to_owned(),
        host_glob: "node*\x1b[31m".to_owned(),
        labels: HashMap::from([("rack", "a1"), ("env", "prod")].map(|(k, v)| (k.into(), v.into()))),
        uses: 1_000,
        used: 999,
        ephemeral_s: 3_600,
        replace: true,
        ..token()
    }
}

fn create(line: &[&str]) -> Result<TokenCreateArgs, clap::Error> {
    let line = ["rowcall", "token", "create"].iter().chain(line);
    match Cli::try_parse_from(line)?.command {
        Command::Token(args) => match args.command {
            TokenCommand::Create(args) => Ok(args),
            other => panic!("not create: {other:?}"),
        },
        other => panic!("not about tokens: {other:?}"),
    }
}

#[test]
fn options_become_the_request() {
    let least = request(&create(&[]).unwrap()).unwrap();
    assert_eq!((least.uses, least.ttl_s, least.ephemeral_s, least.replace), (1, 3_600, 0, false));
    assert!(least.host_glob.is_empty() && least.labels.is_empty());
    let line =
        "--host Node* --label rack=a1 --label env= --uses 20 --ttl 1d --ephemeral 10m --replace";
    let all = request(&create(&line.split(' ').collect::<Vec<_>>()).unwrap()).unwrap();
    assert_eq!(all.host_glob, "node*");
    assert_eq!((&*all.labels["rack"], &*all.labels["env"]), ("a1", ""));
    assert_eq!((all.uses, all.ttl_s, all.ephemeral_s, all.replace), (20, 86_400, 600, true));
    for wrong in [
        &["--uses", "0"][..],
        &["--uses", "100001"],
        &["--ttl", "59s"],
        &["--ttl", "367d"],
        &["--ephemeral", "1s"],
        &["--host", "a b"],
        &["--label", "rack"],
        &["--label", "rack-"],
    ] {
        assert!(create(wrong).is_err(), "{wrong:?}");
    }
    let twice = create(&["--label", "a=1", "--label", "a=2"]).unwrap();
    assert_eq!(request(&twice).unwrap_err().to_string(), "label a cannot have two values");
}

#[test]
fn a_new_token_says_what_it_is_for_until_when_and_how_to_join() {
    assert_eq!(
        plain(&view::created(&large(), "db.example.org:7444", now())),
        "\
token ffeeddccbbaa9988
  joins   1,000 hosts named node*?[31m, also one that exists
  until   2026-11-23T12:30:00Z (in 30 min)
  labels  env=prod, rack=a1
  leaves  each host retires itself after 1 h of silence
  on the node, with the token on standard input
    rowcall-agent enroll --server db.example.org:7444 --token-file -
"
    );
    let least = plain(&view::created(&token(), "h:1", now()));
    assert!(
        least.contains("joins   one host of any name\n") && !least.contains("labels"),
        "{least}"
    );
}

#[test]
fn a_list_shows_why_a_token_can_be_used_no_more() {
    let used = v1::Token { used: 1, ..token() };
    let expired = v1::Token { expires_at: at("2026-11-23T12:00:00Z"), ..token() };
    let revoked = v1::Token { revoked_at: at("2026-11-23T11:40:00Z"), ..used.clone() };
    let all = [token(), large(), used, expired, revoked];
    let wide = Screen { width: 130, ..screen() };
    insta::assert_snapshot!(plain(&view::list(&all, true, now(), &wide)));
    let value: serde_json::Value = serde_json::from_str(&json::list(&all, now()).unwrap()).unwrap();
    let states: Vec<&str> =
        value["tokens"].as_array().unwrap().iter().map(|t| t["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["in_force", "in_force", "used_up", "expired", "revoked"]);
    assert_eq!(value["tokens"][1]["labels"]["env"], "prod");
    assert!(value["tokens"][0]["ephemeral_s"].is_null());
}

#[test]
fn no_token_says_what_to_do() {
    let none = plain(&view::list(&[], false, now(), &screen()));
    assert!(none.contains("--all") && none.contains("token create"), "{none}");
    assert_eq!(plain(&view::list(&[], true, now(), &screen())), "  No token.\n");
}
