//! The next certificate of a host that has one.

use deadpool_postgres::Object;
use rowcall_core::id::{HostName, UnixMicros};

use super::enroll::{Issuer, insert, stored};
use super::{AccessRefusal, Actor, Entry, IssuedCertificate, Presented, Why, record};
use crate::Store;
use crate::error::Error;
use crate::session::{CONFLICT_TRIES, join_roll, lock_host};
use crate::time::Time;

/// A host that asks for its next certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The name in the certificate that it has.
    pub host: HostName,
    /// That certificate; expired or not is the caller's to judge.
    pub presented: Presented,
    /// SHA-256 of the new public key, DER.
    pub key_sha256: [u8; 32],
}

impl Store {
    /// Keeps the next certificate of a host, which `issue` makes for the name in the present one.
    /// Asked again with the same key it gives the same certificate. The present one stays good.
    ///
    /// # Errors
    /// [`crate::Kind::Config`] with the words of `issue` when it fails; else as the database says.
    /// Nothing is changed then.
    pub async fn renew(
        &self,
        actor: &Actor,
        renewal: &Renewal,
        issue: impl FnOnce(&HostName) -> Result<IssuedCertificate, String> + Send,
    ) -> Result<Result<IssuedCertificate, AccessRefusal>, Error> {
        let mut issuer = Issuer::new(issue);
        let mut tries = 0;
        loop {
            let mut connection = self.ingest.get().await?;
            let work = renew(&mut connection, actor, renewal, &mut issuer);
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

async fn renew<F>(
    connection: &mut Object,
    actor: &Actor,
    renewal: &Renewal,
    issuer: &mut Issuer<F>,
) -> Result<Result<IssuedCertificate, AccessRefusal>, Error>
where
    F: FnOnce(&HostName) -> Result<IssuedCertificate, String>,
{
    let transaction = connection.transaction().await?;
    let (name, shown) = (&renewal.host, &renewal.presented);
    // A database that was restored may have forgotten the host; its certificate is good.
    let host = lock_host(&transaction, name).await?;
    let statement = transaction.prepare_cached(super::REFUSED).await?;
    let (names, prints) = ([name.as_str()], [shown.fingerprint.as_slice()]);
    let begins = [Time(shown.not_before)];
    let found = transaction
        .query_opt(&statement, &[&names.as_slice(), &prints.as_slice(), &begins.as_slice()])
        .await?;
    let mut refusal = found.as_ref().map(AccessRefusal::from_row).transpose()?.flatten();
    let mut again = None;
    if refusal.is_none()
        && let Some(stored) = stored(&transaction, &renewal.key_sha256, name).await?
    {
        let another = stored.certificate.fingerprint != shown.fingerprint;
        refusal = stored.refusal;
        if refusal.is_none() && !(another && stored.same_host && !stored.over) {
            refusal = Some(key_in_use(stored.certificate.not_before));
        }
        again = Some(stored.certificate);
    }
    if refusal.is_none() && again.is_none() {
        join_roll(&transaction, host.id).await?;
        let certificate = issuer.issue(name)?;
        let origin = ("renewed", None);
        if insert(&transaction, host.id, &renewal.key_sha256, &certificate, origin).await? {
            let detail = format!("serial {}, after {}", certificate.serial, shown.serial);
            let entry =
                Entry { action: "host.renew", target: &host.name, result: "ok", detail: &detail };
            record(&transaction, actor, &entry).await?;
            transaction.commit().await?;
            return Ok(Ok(certificate));
        }
        // Another host was faster with the same key.
        refusal = Some(key_in_use(certificate.not_before));
    }
    transaction.rollback().await?;
    match (refusal, again) {
        (Some(refusal), _) => {
            let result = format!("refused: {refusal}");
            let detail = format!("with serial {}", shown.serial);
            let entry = Entry {
                action: "host.renew",
                target: &host.name,
                result: &result,
                detail: &detail,
            };
            record(&*connection, actor, &entry).await?;
            Ok(Err(refusal))
        }
        (None, Some(certificate)) => Ok(Ok(certificate)),
        (None, None) => Err(Error::new(crate::Kind::Internal, "a renewal came to no end")),
    }
}

fn key_in_use(since: UnixMicros) -> AccessRefusal {
    AccessRefusal { why: Why::KeyInUse, since, reason: String::new() }
}
