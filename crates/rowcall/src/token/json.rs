//! Tokens as JSON, in the same manner as the reports.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::Timestamp;
use rowcall_proto::v1;
use serde::Serialize;

use super::State;
use crate::summary::json_time;

#[derive(Serialize)]
struct Tokens<'a> {
    tokens: Vec<Token<'a>>,
}

#[derive(Serialize)]
struct Token<'a> {
    id: &'a str,
    state: String,
    host_glob: Option<&'a str>,
    labels: BTreeMap<&'a str, &'a str>,
    uses: u32,
    used: u32,
    created_at: Option<String>,
    created_by: &'a str,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    ephemeral_s: Option<u64>,
    replace: bool,
}

/// One JSON document on one line: `{"tokens": [...]}`.
pub(super) fn list(tokens: &[v1::Token], now: Timestamp) -> anyhow::Result<String> {
    let tokens = tokens.iter().map(|token| Token {
        id: &token.id,
        state: State::of(token, now).words().replace(' ', "_"),
        host_glob: Some(token.host_glob.as_str()).filter(|glob| !glob.is_empty()),
        labels: token.labels.iter().map(|(key, value)| (&**key, &**value)).collect(),
        uses: token.uses,
        used: token.used,
        created_at: json_time(token.created_at.as_ref()),
        created_by: &token.created_by,
        expires_at: json_time(token.expires_at.as_ref()),
        revoked_at: json_time(token.revoked_at.as_ref()),
        ephemeral_s: Some(token.ephemeral_s).filter(|seconds| *seconds > 0),
        replace: token.replace,
    });
    let document = Tokens { tokens: tokens.collect() };
    let mut text = serde_json::to_string(&document).context("write JSON")?;
    text.push('\n');
    Ok(text)
}
