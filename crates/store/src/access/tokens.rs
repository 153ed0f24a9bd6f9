//! Join tokens: made, listed, ended. Of a secret only its hash comes here.

use std::collections::BTreeMap;
use std::time::Duration;

use postgres_types::ToSql;
use rowcall_core::id::UnixMicros;
use rowcall_core::token::TokenId;
use tokio_postgres::Row;

use super::{Actor, Entry, query, record};
use crate::Store;
use crate::error::{Error, Kind};
use crate::hosts::{MAX_HOST_LABELS, check_labels};
use crate::reports::check_selector;
use crate::time::Time;

query!(INSERT, "token_insert");
query!(LIST, "token_list");
query!(ONE, "token_one");
query!(REVOKE, "token_revoke");

/// All of them.
#[cfg(test)]
pub(super) const QUERIES: &[&str] = &[INSERT, LIST, ONE, REVOKE];

/// Most identities of one token.
pub const MAX_TOKEN_USES: u32 = 100_000;
/// The shortest life of a token.
pub const MIN_TOKEN_TTL: Duration = Duration::from_secs(60);
/// The longest life of a token.
pub const MAX_TOKEN_TTL: Duration = Duration::from_secs(366 * 86_400);
/// The shortest silence after which a host may retire itself.
pub const MIN_EPHEMERAL: Duration = Duration::from_secs(60);
/// The longest silence after which a host may retire itself.
pub const MAX_EPHEMERAL: Duration = Duration::from_secs(366 * 86_400);

/// A token to be made.
#[derive(Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Its number; random.
    pub id: TokenId,
    /// SHA-256 of its secret.
    pub secret_sha256: [u8; 32],
    /// Which names it may enrol, `*` for any characters, `?` for one. None: any.
    pub host_glob: Option<String>,
    /// What its hosts are labelled with.
    pub labels: BTreeMap<String, String>,
    /// How many identities it makes, 1 to [`MAX_TOKEN_USES`].
    pub uses: u32,
    /// How long it is good, [`MIN_TOKEN_TTL`] to [`MAX_TOKEN_TTL`].
    pub ttl: Duration,
    /// Its hosts retire themselves after being silent for so long, [`MIN_EPHEMERAL`] to
    /// [`MAX_EPHEMERAL`]. None: they stay.
    pub ephemeral: Option<Duration>,
    /// It may enrol a name that exists.
    pub may_replace: bool,
}

impl std::fmt::Debug for NewToken {
    /// Without the hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewToken")
            .field("id", &self.id)
            .field("host_glob", &self.host_glob)
            .field("labels", &self.labels)
            .field("uses", &self.uses)
            .field("ttl", &self.ttl)
            .field("ephemeral", &self.ephemeral)
            .field("may_replace", &self.may_replace)
            .finish_non_exhaustive()
    }
}

/// What is known of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its number.
    pub id: TokenId,
    /// Which names it may enrol. None: any.
    pub host_glob: Option<String>,
    /// What its hosts are labelled with.
    pub labels: BTreeMap<String, String>,
    /// How many identities it makes.
    pub uses: u32,
    /// How many it made.
    pub used: u32,
    /// When it was made.
    pub created_at: UnixMicros,
    /// The identity that made it.
    pub created_by: String,
    /// Until when it is good.
    pub expires_at: UnixMicros,
    /// Since when it is ended. None: it is not.
    pub revoked_at: Option<UnixMicros>,
    /// Its hosts retire themselves after being silent for so long. None: they stay.
    pub ephemeral: Option<Duration>,
    /// It may enrol a name that exists.
    pub may_replace: bool,
}

impl Store {
    /// Makes a token; it as it is then.
    ///
    /// # Errors
    /// [`Kind::Data`] with words for people: a bound is passed, a label is none, the id is taken.
    /// Else as the database says.
    pub async fn create_token(&self, actor: &Actor, token: &NewToken) -> Result<TokenInfo, Error> {
        token.check()?;
        let id = token.id.to_string();
        let glob = token.host_glob.as_deref().filter(|glob| !glob.is_empty());
        let keys: Vec<_> = token.labels.keys().collect();
        let values: Vec<_> = token.labels.values().collect();
        let uses = i32::try_from(token.uses).unwrap_or(i32::MAX);
        let ttl_s = token.ttl.as_secs_f64();
        let ephemeral_s = token.ephemeral.map(seconds);
        let secret = token.secret_sha256.as_slice();
        let parameters: [&(dyn ToSql + Sync); 10] = [
            &id,
            &secret,
            &glob,
            &keys,
            &values,
            &uses,
            &ttl_s,
            &actor.identity,
            &ephemeral_s,
            &token.may_replace,
        ];
        let mut connection = self.ingest.get().await?;
        let work = async {
            let transaction = connection.transaction().await?;
            if transaction.query_opt(INSERT, &parameters).await?.is_none() {
                return Err(refuse("the token's id is taken; make another one"));
            }
            let info = TokenInfo::from_row(&transaction.query_one(ONE, &[&id]).await?)?;
            let detail = info.describe();
            let entry =
                Entry { action: "token.create", target: &id, result: "ok", detail: &detail };
            record(&transaction, actor, &entry).await?;
            transaction.commit().await?;
            Ok(info)
        };
        let result = self.ingest.wait(work).await;
        self.ingest.settle(connection, &result);
        result
    }

    /// Tokens that can be used, the newest first, at most 10,000. With `include_spent` also those
    /// that could be within the last 30 days.
    ///
    /// # Errors
    /// As the database says.
    pub async fn list_tokens(&self, include_spent: bool) -> Result<Vec<TokenInfo>, Error> {
        let connection = self.reports.get().await?;
        let work = async {
            let rows = connection.query(LIST, &[&include_spent]).await?;
            rows.iter().map(TokenInfo::from_row).collect()
        };
        let result = self.reports.wait(work).await;
        self.reports.settle(connection, &result);
        result
    }

    /// Ends a token; it as it is then. None: there is none of this number. What it enrolled stays,
    /// and ending it twice changes nothing.
    ///
    /// # Errors
    /// As the database says.
    pub async fn revoke_token(
        &self,
        actor: &Actor,
        id: TokenId,
    ) -> Result<Option<TokenInfo>, Error> {
        let id = id.to_string();
        let mut connection = self.ingest.get().await?;
        let work = async {
            let transaction = connection.transaction().await?;
            let found = transaction.query_opt(REVOKE, &[&id]).await?;
            let info = match found {
                Some(_) => Some(TokenInfo::from_row(&transaction.query_one(ONE, &[&id]).await?)?),
                None => None,
            };
            let result = if info.is_some() { "ok" } else { "refused: there is no such token" };
            let entry = Entry { action: "token.revoke", target: &id, result, detail: "" };
            record(&transaction, actor, &entry).await?;
            transaction.commit().await?;
            Ok(info)
        };
        let result = self.ingest.wait(work).await;
        self.ingest.settle(connection, &result);
        result
    }
}

impl NewToken {
    fn check(&self) -> Result<(), Error> {
        check_selector(&BTreeMap::new(), self.host_glob.as_deref().unwrap_or_default())?;
        check_labels(&self.labels, &[])?;
        if self.labels.len() > MAX_HOST_LABELS {
            return Err(refuse(format!(
                "the token has {} labels, at most {MAX_HOST_LABELS} are possible",
                self.labels.len()
            )));
        }
        if !(1..=MAX_TOKEN_USES).contains(&self.uses) {
            return Err(refuse(format!(
                "{} uses are not possible, 1 to {MAX_TOKEN_USES} are",
                self.uses
            )));
        }
        check_span("a token's life", self.ttl, MIN_TOKEN_TTL, MAX_TOKEN_TTL)?;
        match self.ephemeral {
            Some(silence) => check_span(
                "the silence after which a host retires itself",
                silence,
                MIN_EPHEMERAL,
                MAX_EPHEMERAL,
            ),
            None => Ok(()),
        }
    }
}

impl TokenInfo {
    fn from_row(row: &Row) -> Result<Self, Error> {
        let id: &str = row.try_get("id")?;
        let id = id.parse().map_err(|error| {
            Error::new(Kind::Internal, format!("rowcall.token holds {id:?}: {error}"))
        })?;
        let (keys, values): (Vec<String>, Vec<String>) =
            (row.try_get("keys")?, row.try_get("values")?);
        let (Time(created_at), Time(expires_at)) =
            (row.try_get("created_at")?, row.try_get("expires_at")?);
        let revoked_at: Option<Time> = row.try_get("revoked_at")?;
        let number = |column| -> Result<u32, Error> {
            Ok(u32::try_from(row.try_get::<_, i32>(column)?).unwrap_or_default())
        };
        Ok(Self {
            id,
            host_glob: row.try_get("host_glob")?,
            labels: keys.into_iter().zip(values).collect(),
            uses: number("uses")?,
            used: number("used")?,
            created_at,
            created_by: row.try_get("created_by")?,
            expires_at,
            revoked_at: revoked_at.map(|Time(time)| time),
            ephemeral: span(row.try_get("ephemeral_s")?),
            may_replace: row.try_get("may_replace")?,
        })
    }

    /// For the record.
    fn describe(&self) -> String {
        let glob = self.host_glob.as_deref().unwrap_or("*");
        let life = self.expires_at.since(self.created_at) / 1_000_000;
        let mut words = format!("for {glob}, {} uses, good for {life} s", self.uses);
        if let Some(silence) = self.ephemeral {
            words.push_str(&format!(", ephemeral after {} s", silence.as_secs()));
        }
        if self.may_replace {
            words.push_str(", may replace");
        }
        if !self.labels.is_empty() {
            words.push_str(&format!(", labels {:?}", self.labels));
        }
        words
    }
}

/// From a column of whole seconds.
pub(crate) fn span(seconds: Option<i64>) -> Option<Duration> {
    seconds.map(|seconds| Duration::from_secs(seconds.unsigned_abs()))
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

fn check_span(what: &str, given: Duration, least: Duration, most: Duration) -> Result<(), Error> {
    if (least..=most).contains(&given) {
        return Ok(());
    }
    Err(refuse(format!(
        "{what} cannot be {} s, {} s to {} days are possible",
        given.as_secs(),
        least.as_secs(),
        most.as_secs() / 86_400
    )))
}

fn refuse(why: impl Into<String>) -> Error {
    Error::new(Kind::Data, why)
}
