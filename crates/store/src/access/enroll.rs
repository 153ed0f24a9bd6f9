//! Trading a token for a certificate: one transaction, and one identity for each key.
//!
//! The token's row is locked first, so enrolments with one token come one after the other, and the
//! last use of it makes one identity, however many ask at once.

use std::fmt;

use deadpool_postgres::{Object, Transaction};
use rowcall_core::id::{HostId, HostName, UnixMicros};
use rowcall_core::token::TokenId;
use tokio_postgres::Row;

use super::{AccessRefusal, Actor, Entry, notify, query, record};
use crate::Store;
use crate::error::{Error, Kind};
use crate::session::{CONFLICT_TRIES, execute, join_roll, lock_host};
use crate::time::Time;

query!(TOKEN_LOCK, "token_lock");
query!(TOKEN_USE, "token_use");
query!(BY_KEY, "certificate_by_key");
query!(INSERT, "certificate_insert");
query!(REPLACE, "replace");
/// Takes a host back into the roll.
pub(crate) const BACK: &str = include_str!("../../../../sql/queries/access/back.sql");

/// All of them.
#[cfg(test)]
pub(super) const QUERIES: &[&str] = &[TOKEN_LOCK, TOKEN_USE, BY_KEY, INSERT, REPLACE, BACK];

/// A node that asks for a certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// Its token's number.
    pub token: TokenId,
    /// SHA-256 of its token's secret.
    pub secret_sha256: [u8; 32],
    /// SHA-256 of its public key, DER.
    pub key_sha256: [u8; 32],
    /// The name that it wants.
    pub host: HostName,
    /// What it says of its machine, for the record; may be empty.
    pub machine_id: String,
}

impl fmt::Debug for Enrolment {
    /// Without the hash of the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrolment")
            .field("token", &self.token)
            .field("host", &self.host)
            .field("machine_id", &self.machine_id)
            .finish_non_exhaustive()
    }
}

/// A certificate that was issued here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// It itself, without its authority, DER.
    pub der: Vec<u8>,
    /// SHA-256 of that.
    pub fingerprint: [u8; 32],
    /// Its number, as openssl shows it.
    pub serial: String,
    /// From when on it is valid.
    pub not_before: UnixMicros,
    /// Until when.
    pub not_after: UnixMicros,
}

/// What became of an enrolment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// The host that the name means.
    pub host_id: HostId,
    /// Its certificate.
    pub certificate: IssuedCertificate,
    /// The name existed: its certificates before are revoked.
    pub replaced: bool,
    /// It was given before; nothing changed.
    pub again: bool,
}

/// Why a node gets no certificate. Displayed in words for who set it up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnrollRefusal {
    /// There is no such token, or its secret is another one: which of the two, nobody is told.
    #[error("this token is not known here; make one with `rowcall token create`")]
    UnknownToken,
    /// It is too late.
    #[error("this token has expired; make another one with `rowcall token create`")]
    Expired,
    /// It made as many identities as it may.
    #[error(
        "this token is used up ({uses} of {uses} uses); make another one with `rowcall token create`"
    )]
    UsedUp {
        /// How many that are.
        uses: u32,
    },
    /// Somebody ended it.
    #[error("this token is revoked; make another one with `rowcall token create`")]
    Revoked,
    /// It is for other names.
    #[error(
        "this token is for hosts named {glob:?} only; one for this name is made with `rowcall token \
         create --host NAME`"
    )]
    WrongHost {
        /// The pattern of those names.
        glob: String,
    },
    /// There is a host of this name, and the token may not replace it.
    #[error(
        "there is a host {name} already; if this machine takes its place, use a token made with \
         --replace, else choose another name"
    )]
    NameTaken {
        /// What that host is called now.
        name: String,
    },
    /// The key has a certificate of another token, of another name, or one that is over.
    #[error("this key has a certificate already; make a new key and ask again")]
    KeyInUse,
    /// The certificate that the key has is refused.
    #[error("{0}")]
    Refused(AccessRefusal),
}

/// A certificate for this key that there is already.
pub(super) struct Stored {
    pub(super) host_id: i32,
    pub(super) same_host: bool,
    pub(super) over: bool,
    pub(super) token: Option<String>,
    pub(super) refusal: Option<AccessRefusal>,
    pub(super) certificate: IssuedCertificate,
}

impl Store {
    /// Trades a token for a certificate, which `issue` makes for the name. The use of the token,
    /// the certificate and the host are one transaction; a new host is in the roll from then on.
    ///
    /// Asked again with the same key, token and name it gives the same certificate, also when the
    /// token is used up, expired or ended meanwhile.
    ///
    /// All but an unknown token is recorded; refusals for the token, under its id.
    ///
    /// # Errors
    /// [`Kind::Config`] with the words of `issue` when it fails; else as the database says. Nothing
    /// is changed then.
    pub async fn enroll(
        &self,
        actor: &Actor,
        enrolment: &Enrolment,
        issue: impl FnOnce(&HostName) -> Result<IssuedCertificate, String> + Send,
    ) -> Result<Result<Enrolled, EnrollRefusal>, Error> {
        let mut issuer = Issuer::new(issue);
        let mut tries = 0;
        loop {
            let mut connection = self.ingest.get().await?;
            let work = enroll(&mut connection, actor, enrolment, &mut issuer);
            let result = self.ingest.wait(work).await;
            self.ingest.settle(connection, &result);
            tries += 1;
            match result {
                Err(error) if error.is_conflict() && tries < CONFLICT_TRIES => {}
                other => return other,
            }
        }
    }
}

async fn enroll<F>(
    connection: &mut Object,
    actor: &Actor,
    enrolment: &Enrolment,
    issuer: &mut Issuer<F>,
) -> Result<Result<Enrolled, EnrollRefusal>, Error>
where
    F: FnOnce(&HostName) -> Result<IssuedCertificate, String>,
{
    let transaction = connection.transaction().await?;
    match change(&transaction, actor, enrolment, issuer).await? {
        Ok(enrolled) => {
            transaction.commit().await?;
            Ok(Ok(enrolled))
        }
        Err(refusal) => {
            transaction.rollback().await?;
            // Who has no token could fill the record, which is kept for ever.
            if refusal != EnrollRefusal::UnknownToken {
                let target = enrolment.token.to_string();
                let result = format!("refused: {refusal}");
                let detail = format!("host {}{}", enrolment.host, machine(enrolment));
                let entry = Entry {
                    action: "host.enroll",
                    target: &target,
                    result: &result,
                    detail: &detail,
                };
                record(&*connection, actor, &entry).await?;
            }
            Ok(Err(refusal))
        }
    }
}

async fn change<F>(
    transaction: &Transaction<'_>,
    actor: &Actor,
    enrolment: &Enrolment,
    issuer: &mut Issuer<F>,
) -> Result<Result<Enrolled, EnrollRefusal>, Error>
where
    F: FnOnce(&HostName) -> Result<IssuedCertificate, String>,
{
    let (id, name) = (enrolment.token.to_string(), &enrolment.host);
    let statement = transaction.prepare_cached(TOKEN_LOCK).await?;
    let secret = enrolment.secret_sha256.as_slice();
    let Some(token) = transaction.query_opt(&statement, &[&id, &secret, &name.as_str()]).await?
    else {
        return Ok(Err(EnrollRefusal::UnknownToken));
    };
    // What was committed while we waited for the token shows from here on.
    if let Some(stored) = stored(transaction, &enrolment.key_sha256, name).await? {
        return Ok(again(stored, &id));
    }
    if let Some(refusal) = token_refusal(&token)? {
        return Ok(Err(refusal));
    }
    let host = lock_host(transaction, name).await?;
    if !host.is_new && !token.try_get::<_, bool>("may_replace")? {
        return Ok(Err(EnrollRefusal::NameTaken { name: host.name }));
    }
    join_roll(transaction, host.id).await?;
    if !host.is_new {
        execute(transaction, REPLACE, &[&host.id]).await?;
        execute(transaction, BACK, &[&host.id]).await?;
        notify(transaction, host.id).await?;
    }
    let certificate = issuer.issue(name)?;
    let origin = ("enrolled", Some(id.as_str()));
    if !insert(transaction, host.id, &enrolment.key_sha256, &certificate, origin).await? {
        return Ok(Err(EnrollRefusal::KeyInUse));
    }
    execute(transaction, TOKEN_USE, &[&id, &host.id]).await?;
    let how = if host.is_new { "a new host" } else { "in the place of the one before" };
    let detail = format!("{how}, token {id}, serial {}{}", certificate.serial, machine(enrolment));
    let entry = Entry { action: "host.enroll", target: &host.name, result: "ok", detail: &detail };
    record(transaction, actor, &entry).await?;
    let host_id = HostId(host.id);
    Ok(Ok(Enrolled { host_id, certificate, replaced: !host.is_new, again: false }))
}

/// The certificate that the key has, if it may have it again.
fn again(stored: Stored, token: &str) -> Result<Enrolled, EnrollRefusal> {
    if !stored.same_host || stored.over || stored.token.as_deref() != Some(token) {
        return Err(EnrollRefusal::KeyInUse);
    }
    match stored.refusal {
        Some(refusal) => Err(EnrollRefusal::Refused(refusal)),
        None => Ok(Enrolled {
            host_id: HostId(stored.host_id),
            certificate: stored.certificate,
            replaced: false,
            again: true,
        }),
    }
}

fn token_refusal(token: &Row) -> Result<Option<EnrollRefusal>, Error> {
    let (uses, used): (i32, i32) = (token.try_get("uses")?, token.try_get("used")?);
    Ok(if token.try_get("revoked")? {
        Some(EnrollRefusal::Revoked)
    } else if token.try_get("expired")? {
        Some(EnrollRefusal::Expired)
    } else if used >= uses {
        Some(EnrollRefusal::UsedUp { uses: uses.unsigned_abs() })
    } else if !token.try_get::<_, bool>("fits")? {
        let glob: Option<String> = token.try_get("host_glob")?;
        Some(EnrollRefusal::WrongHost { glob: glob.unwrap_or_default() })
    } else {
        None
    })
}

/// What was issued for a key.
pub(super) async fn stored(
    transaction: &Transaction<'_>,
    key_sha256: &[u8; 32],
    name: &HostName,
) -> Result<Option<Stored>, Error> {
    let statement = transaction.prepare_cached(BY_KEY).await?;
    let key = key_sha256.as_slice();
    let Some(row) = transaction.query_opt(&statement, &[&key, &name.as_str()]).await? else {
        return Ok(None);
    };
    let fingerprint: &[u8] = row.try_get("fingerprint")?;
    let fingerprint = fingerprint.try_into().map_err(|_| {
        Error::new(Kind::Internal, "rowcall.certificate holds a fingerprint that is none")
    })?;
    let (Time(not_before), Time(not_after)) =
        (row.try_get("not_before")?, row.try_get("not_after")?);
    Ok(Some(Stored {
        host_id: row.try_get("host_id")?,
        same_host: row.try_get("same_host")?,
        over: row.try_get("over")?,
        token: row.try_get("token_id")?,
        refusal: AccessRefusal::from_row(&row)?,
        certificate: IssuedCertificate {
            der: row.try_get("certificate_der")?,
            fingerprint,
            serial: row.try_get("serial")?,
            not_before,
            not_after,
        },
    }))
}

/// Keeps a certificate that was issued; `origin` is its kind and its token. False: the key has one.
pub(super) async fn insert(
    transaction: &Transaction<'_>,
    host_id: i32,
    key_sha256: &[u8; 32],
    certificate: &IssuedCertificate,
    (origin, token): (&str, Option<&str>),
) -> Result<bool, Error> {
    let statement = transaction.prepare_cached(INSERT).await?;
    let inserted = transaction
        .query_opt(
            &statement,
            &[
                &certificate.fingerprint.as_slice(),
                &host_id,
                &certificate.serial,
                &key_sha256.as_slice(),
                &Time(certificate.not_before),
                &Time(certificate.not_after),
                &origin,
                &token,
                &certificate.der,
            ],
        )
        .await?;
    Ok(inserted.is_some())
}

/// Who issues. What was issued once is used again where the transaction has to be.
pub(super) struct Issuer<F> {
    issue: Option<F>,
    issued: Option<IssuedCertificate>,
}

impl<F: FnOnce(&HostName) -> Result<IssuedCertificate, String>> Issuer<F> {
    pub(super) fn new(issue: F) -> Self {
        Self { issue: Some(issue), issued: None }
    }

    pub(super) fn issue(&mut self, name: &HostName) -> Result<IssuedCertificate, Error> {
        if let Some(issue) = self.issue.take() {
            let issued = issue(name)
                .map_err(|why| Error::new(Kind::Config, format!("issue a certificate: {why}")))?;
            self.issued = Some(issued);
        }
        // Only after a failure, which ended it all.
        let none = || Error::new(Kind::Internal, "no certificate was issued");
        self.issued.clone().ok_or_else(none)
    }
}

fn machine(enrolment: &Enrolment) -> String {
    match enrolment.machine_id.as_str() {
        "" => String::new(),
        id => format!(", machine {id}"),
    }
}
