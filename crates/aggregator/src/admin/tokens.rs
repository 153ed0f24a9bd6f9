//! Join tokens: made here, kept as a hash.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use rowcall_core::id::HostName;
use rowcall_core::proto::v1 as pb;
use rowcall_core::token::{Pin, Token, TokenId, TokenSecret};
use rowcall_store::access::{NewToken, TokenInfo};
use sha2::{Digest as _, Sha256};
use tonic::Status;

use super::Admin;
use super::operator::{Change, Operator, Refusal};

/// What a request that says nothing means.
const DEFAULT_USES: u32 = 1;
const DEFAULT_TTL_S: u64 = 3_600;

const USES: RangeInclusive<u32> = 1..=100_000;
/// 60 s to 366 days, for how long a token is good and for how long its hosts may be silent.
const SECONDS: RangeInclusive<u64> = 60..=366 * 86_400;

/// Longest pattern of a host's name, in bytes: as long as a name.
const MAX_GLOB_BYTES: usize = 253;

impl Admin {
    pub(super) async fn create(
        &self,
        operator: &Operator,
        request: pb::CreateTokenRequest,
    ) -> Result<pb::CreateTokenResponse, Status> {
        let change = Change::of_token("token.create", "create token", "");
        let made = async {
            let pin = self.credentials.pin().ok_or_else(|| {
                Status::failed_precondition(
                    "this aggregator does not issue certificates, so it makes no tokens; ask one \
                     that does",
                )
            })?;
            let (token, new) = token(pin, request)?;
            let store = self.database.store()?;
            let _turn = self.database.aside().await;
            let made = store.create_token(&operator.actor, &new).await;
            let made = made.map_err(|error| Refusal::of(&error))?;
            Ok(pb::CreateTokenResponse { token: token.reveal(), info: Some(info(made)) })
        };
        self.changed(operator, change, made.await)
    }

    pub(super) async fn tokens(
        &self,
        request: &pb::ListTokensRequest,
    ) -> Result<pb::ListTokensResponse, Status> {
        let found = self.database.store()?.list_tokens(request.include_spent).await;
        let found = found.map_err(|error| crate::telemetry::refusal::database(&error))?;
        Ok(pb::ListTokensResponse { tokens: found.into_iter().map(info).collect() })
    }

    pub(super) async fn revoke_token_of(
        &self,
        operator: &Operator,
        request: &pb::RevokeTokenRequest,
    ) -> Result<pb::Token, Status> {
        let change = Change::of_token("token.revoke", "revoke token", &request.id);
        let revoked = async {
            let id: TokenId = request
                .id
                .parse()
                .map_err(|error| Status::invalid_argument(format!("id: {error}")))?;
            let store = self.database.store()?;
            let _turn = self.database.aside().await;
            let revoked = store.revoke_token(&operator.actor, id).await;
            revoked.map_err(|error| Refusal::of(&error))?.map(info).ok_or_else(|| {
                Refusal::Recorded(Status::not_found(format!(
                    "there is no token {id}; `rowcall token list` shows all"
                )))
            })
        };
        self.changed(operator, change, revoked.await)
    }
}

/// A new token, and what the database keeps of it.
fn token(pin: Pin, request: pb::CreateTokenRequest) -> Result<(Token, NewToken), Status> {
    let uses = or(request.uses, DEFAULT_USES);
    if !USES.contains(&uses) {
        return Err(invalid(format!("uses: {uses}, from {} to {}", USES.start(), USES.end())));
    }
    let ttl = seconds("ttl_s", or(request.ttl_s, DEFAULT_TTL_S))?;
    let ephemeral = match request.ephemeral_s {
        0 => None,
        given => Some(seconds("ephemeral_s", given)?),
    };
    let host_glob = glob(&request.host_glob)?;
    let labels: BTreeMap<_, _> = request.labels.into_iter().collect();
    let (mut id, mut secret) = ([0; 8], [0; 32]);
    getrandom::fill(&mut id).and_then(|()| getrandom::fill(&mut secret)).map_err(|error| {
        Status::internal(format!("the system gives no random numbers ({error}): try again"))
    })?;
    let (id, secret) = (TokenId::new(id), TokenSecret::new(secret));
    let new = NewToken {
        id,
        secret_sha256: Sha256::digest(secret.as_bytes()).into(),
        host_glob,
        labels,
        uses,
        ttl,
        ephemeral,
        may_replace: request.replace,
    };
    Ok((Token { id, secret, pin }, new))
}

fn or<T: Default + PartialEq>(given: T, default: T) -> T {
    if given == T::default() { default } else { given }
}

fn seconds(field: &str, given: u64) -> Result<Duration, Status> {
    if SECONDS.contains(&given) {
        return Ok(Duration::from_secs(given));
    }
    Err(invalid(format!("{field}: {given} s, from 60 s to 366 days (31622400 s)")))
}

/// The pattern in lower case, as names are. None: any name.
fn glob(text: &str) -> Result<Option<String>, Status> {
    let pattern = text.to_ascii_lowercase();
    if pattern.is_empty() {
        return Ok(None);
    }
    if pattern.len() > MAX_GLOB_BYTES {
        return Err(invalid(format!(
            "host_glob: {} bytes, at most {MAX_GLOB_BYTES} as in a name",
            pattern.len()
        )));
    }
    // A name with something in place of the stars: what else is in it must be fit for names.
    let filled = pattern.replace(['*', '?'], "x");
    match HostName::parse(&filled) {
        Ok(_) => Ok(Some(pattern)),
        Err(_) => Err(invalid(format!(
            "host_glob: {pattern:?} fits no host name: only a-z, 0-9, '.', '_', '-', and the \
             patterns * and ? are possible"
        ))),
    }
}

fn invalid(text: String) -> Status {
    Status::invalid_argument(text)
}

fn info(token: TokenInfo) -> pb::Token {
    pb::Token {
        id: token.id.to_string(),
        host_glob: token.host_glob.unwrap_or_default(),
        labels: token.labels.into_iter().collect(),
        uses: token.uses,
        used: token.used,
        created_at: Some(crate::timestamp(token.created_at)),
        created_by: token.created_by,
        expires_at: Some(crate::timestamp(token.expires_at)),
        revoked_at: token.revoked_at.map(crate::timestamp),
        ephemeral_s: token.ephemeral.map_or(0, |silence| silence.as_secs()),
        replace: token.may_replace,
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    const PIN: Pin = Pin::new([7; 32]);

    fn request() -> pb::CreateTokenRequest {
        pb::CreateTokenRequest::default()
    }

    #[test]
    fn a_request_that_says_nothing_makes_a_token_for_one_host_and_an_hour() {
        let (token, new) = token(PIN, request()).unwrap();
        assert_eq!((new.uses, new.ttl.as_secs(), new.ephemeral), (1, 3_600, None));
        assert_eq!((new.host_glob, new.may_replace, new.id), (None, false, token.id));
        let read = Token::parse(&token.reveal()).unwrap();
        assert_eq!(read.pin, PIN);
        let hash: [u8; 32] = Sha256::digest(read.secret.as_bytes()).into();
        assert_eq!(hash, new.secret_sha256, "what is kept is the hash of what is given");
    }

    #[test]
    fn two_tokens_have_nothing_in_common() {
        let ((one, _), (other, _)) =
            (token(PIN, request()).unwrap(), token(PIN, request()).unwrap());
        assert!(one.id != other.id && one.secret != other.secret);
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_the_bounds() {
        for (request, words) in [
            (pb::CreateTokenRequest { uses: 100_001, ..request() }, "uses: 100001, from 1 to"),
            (pb::CreateTokenRequest { ttl_s: 59, ..request() }, "ttl_s: 59 s, from 60 s to 366"),
            (pb::CreateTokenRequest { ttl_s: 31_622_401, ..request() }, "366 days"),
            (pb::CreateTokenRequest { ephemeral_s: 1, ..request() }, "ephemeral_s: 1 s"),
            (pb::CreateTokenRequest { host_glob: "a b".into(), ..request() }, "fits no host name"),
            (pb::CreateTokenRequest { host_glob: "*".repeat(254), ..request() }, "254 bytes"),
        ] {
            let status = token(PIN, request).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().contains(words), "{status}");
        }
        let whole = pb::CreateTokenRequest {
            host_glob: "Node-?.*".into(),
            uses: 100_000,
            ttl_s: 31_622_400,
            ephemeral_s: 60,
            replace: true,
            ..request()
        };
        let (_, new) = token(PIN, whole).unwrap();
        assert_eq!(new.host_glob.as_deref(), Some("node-?.*"));
        assert_eq!((new.ephemeral, new.may_replace), (Some(Duration::from_secs(60)), true));
    }
}
