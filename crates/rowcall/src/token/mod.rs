//! `rowcall token`: makes, lists and revokes join tokens, through AdminService.

mod json;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::io::Write as _;

use jiff::{Timestamp, tz::TimeZone};
use rowcall_proto::v1;

use crate::cli::{TokenArgs, TokenCommand, TokenCreateArgs, TokenListArgs, TokenRevokeArgs};
use crate::client::{Client, ClientError, Need};
use crate::summary::instant;
use crate::text::{self, Screen};

/// Does what was asked for, and gives back what to print on standard output.
pub(crate) async fn run(args: &TokenArgs, client: &Client) -> anyhow::Result<String> {
    match &args.command {
        TokenCommand::Create(args) => create(args, client).await,
        TokenCommand::List(args) => list(args, client).await,
        TokenCommand::Revoke(args) => revoke(args, client).await,
    }
}

/// Standard output gets the token alone, so that it can be piped; standard error what it is for.
async fn create(args: &TokenCreateArgs, client: &Client) -> anyhow::Result<String> {
    let answer = client.admin().create_token(request(args)?).await;
    let answer = answer.map_err(|status| client.explain_for(&status, Need::Change))?.into_inner();
    if !args.quiet {
        let info = answer.info.unwrap_or_default();
        let words = view::created(&info, client.enroll_server(), Timestamp::now());
        // Whoever closed it wants the token alone.
        drop(write!(anstream::stderr(), "{words}"));
    }
    Ok(format!("{}\n", answer.token))
}

/// The options as a request.
fn request(args: &TokenCreateArgs) -> Result<v1::CreateTokenRequest, ClientError> {
    let mut labels = BTreeMap::new();
    for (key, value) in &args.label {
        if labels.insert(key.clone(), value.clone()).is_some_and(|before| before != *value) {
            return Err(ClientError::Usage(format!("label {key} cannot have two values")));
        }
    }
    Ok(v1::CreateTokenRequest {
        host_glob: args.host.clone().unwrap_or_default(),
        labels: labels.into_iter().collect(),
        uses: args.uses,
        ttl_s: args.ttl.as_secs(),
        ephemeral_s: args.ephemeral.map_or(0, |span| span.as_secs()),
        replace: args.replace,
    })
}

async fn list(args: &TokenListArgs, client: &Client) -> anyhow::Result<String> {
    let request = v1::ListTokensRequest { include_spent: args.all };
    let answer = client.admin().list_tokens(request).await;
    let tokens = answer.map_err(|status| client.explain_for(&status, Need::Change))?;
    let tokens = tokens.into_inner().tokens;
    if args.json {
        return json::list(&tokens, Timestamp::now());
    }
    let screen = Screen::detect(args.tz.clone(), &|name| std::env::var(name).ok());
    Ok(view::list(&tokens, args.all, Timestamp::now(), &screen))
}

async fn revoke(args: &TokenRevokeArgs, client: &Client) -> anyhow::Result<String> {
    let request = v1::RevokeTokenRequest { id: args.id.to_string() };
    let answer = client.admin().revoke_token(request).await;
    let answer = answer.map_err(|status| client.explain_for(&status, Need::Change))?;
    let token = answer.into_inner().token.unwrap_or_default();
    let since = instant(token.revoked_at.as_ref())
        .map_or_else(|| "now".to_owned(), |at| text::timestamp(at, &TimeZone::UTC));
    let enrolled = match token.used {
        0 => "it has enrolled none".to_owned(),
        used => format!("the {} that it enrolled stay", text::plural(used.into(), "host")),
    };
    Ok(format!("Token {} is revoked since {since}; {enrolled}.\n", args.id))
}

/// Why a token can't be used any more, or that it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    InForce,
    UsedUp,
    Expired,
    Revoked,
}

impl State {
    fn of(token: &v1::Token, now: Timestamp) -> Self {
        if token.revoked_at.is_some() {
            Self::Revoked
        } else if token.used >= token.uses {
            Self::UsedUp
        } else if instant(token.expires_at.as_ref()).is_some_and(|at| at <= now) {
            Self::Expired
        } else {
            Self::InForce
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::InForce => "in force",
            Self::UsedUp => "used up",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}
