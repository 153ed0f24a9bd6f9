//! Revocation lists (CRLs) of the authorities whose clients are believed.
//!
//! What is loaded counts: each list is of one of the authorities and signed by it. A list that is
//! ignored would be worse than none.

use std::path::Path;
use std::sync::Arc;

use rowcall_core::id::UnixMicros;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::WebPkiClientVerifier;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Version};

use super::authorities::Authorities;
use super::dates::Rfc3339;
use super::error::LoadError;
use super::pem;
use crate::config;
use crate::x509;

/// The lists of one file, the newest of an authority before its older ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Revocations {
    pub(crate) lists: Arc<[RevocationList]>,
}

/// Whether the verifier takes it.
fn usable(
    der: &CertificateRevocationListDer<'static>,
    roots: &Arc<RootCertStore>,
) -> Result<(), String> {
    WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), config::provider())
        .with_crls([der.clone()])
        .build()
        .map(drop)
        .map_err(|error| {
            format!(
                "it has something that is not supported ({error}): lists must be whole (no delta, \
                 no reasons, no other issuer's certificates)"
            )
        })
}

/// One list.
#[derive(Clone, Debug)]
pub(crate) struct RevocationList {
    pub(crate) der: CertificateRevocationListDer<'static>,
    /// The issuing authority's name, DER.
    pub(crate) issuer: Box<[u8]>,
    /// Its public key, DER.
    key: Box<[u8]>,
    this_update: UnixMicros,
    /// From when on it is too old to be believed.
    pub(crate) next_update: UnixMicros,
}

impl Revocations {
    /// Reads and checks a file of lists. Blocks: a small file.
    pub(super) fn load(path: &Path, authorities: &Authorities) -> Result<Self, LoadError> {
        let mut lists = Vec::new();
        for (index, der) in pem::revocation_lists(path)?.into_iter().enumerate() {
            lists.push(read(der, authorities).map_err(|detail| LoadError::Revocations {
                path: path.to_owned(),
                number: index + 1,
                detail,
            })?);
        }
        // The verifier takes the first that fits.
        lists.sort_by_key(|list| std::cmp::Reverse(list.this_update));
        Ok(Self { lists: lists.into() })
    }

    /// The lists of the authority with this name.
    pub(crate) fn of<'a>(&'a self, issuer: &'a [u8]) -> impl Iterator<Item = &'a RevocationList> {
        self.lists.iter().filter(move |list| &*list.issuer == issuer)
    }

    /// Why these are not to follow those in force, if there is a reason.
    pub(super) fn go_back(
        &self,
        in_force: &Self,
        believed: &[CertificateDer<'static>],
        now: UnixMicros,
    ) -> Option<String> {
        believed.iter().filter_map(|der| x509::read(der).ok()).find_map(|authority| {
            let (name, key) = (authority.subject().as_raw(), authority.public_key().raw);
            let old = in_force.of(name).find(|list| &*list.key == key)?;
            let of = format!("of {:?}", authority.subject().to_string());
            let stays = "the list in force stays; put the newest one in its place, or start the \
                         program anew if this is meant";
            let Some(new) = self.of(name).find(|list| &*list.key == key) else {
                return Some(format!("there is no revocation list {of} any more: {stays}"));
            };
            if new.this_update < old.this_update {
                return Some(format!(
                    "the revocation list {of} is of {}, older than that in force, of {}: {stays}",
                    Rfc3339(new.this_update),
                    Rfc3339(old.this_update)
                ));
            }
            let is_worse = now >= new.next_update && now < old.next_update;
            is_worse.then(|| {
                format!(
                    "the revocation list {of} is out of date since {}, that in force is good \
                     until {}: {stays}",
                    Rfc3339(new.next_update),
                    Rfc3339(old.next_update)
                )
            })
        })
    }
}

fn read(
    der: CertificateRevocationListDer<'static>,
    authorities: &Authorities,
) -> Result<RevocationList, String> {
    let (rest, list) = CertificateRevocationList::from_der(&der)
        .map_err(|error| format!("{}; write it again", x509::explain_nom(error, "X.509 CRL")))?;
    if !rest.is_empty() {
        return Err("more bytes follow it; write it again".to_owned());
    }
    let issuer = list.issuer();
    let mut issuers = Vec::new();
    for der in authorities.certificates() {
        let authority = x509::read(der)?;
        if authority.subject().as_raw() == issuer.as_raw() {
            issuers.push(authority);
        }
    }
    let Some((first, others)) = issuers.split_first() else {
        return Err(format!(
            "its issuer is {:?}, none of the authorities in the CA file; add the certificate of \
             that authority there, or take the list out",
            issuer.to_string()
        ));
    };
    // A list is found by its issuer's name alone: with two keys under it, certificates of one
    // authority would be looked up in the list of the other.
    if others.iter().any(|other| other.public_key().raw != first.public_key().raw) {
        return Err(format!(
            "the CA file holds two authorities with the name of its issuer, {:?}, and different \
             keys; give them different names, or take one of them out",
            issuer.to_string()
        ));
    }
    let usage = first.key_usage().map_err(|error| x509::explain(&error))?;
    if usage.is_some_and(|usage| !usage.value.crl_sign()) {
        return Err(format!(
            "its issuer {:?} may not sign revocation lists (no key usage cRLSign)",
            issuer.to_string()
        ));
    }
    if list.verify_signature(first.public_key()).is_err() {
        return Err(format!(
            "it was not signed by {:?} of the CA file, perhaps that authority was made anew; \
             fetch it again",
            issuer.to_string()
        ));
    }
    let Some(next_update) = list.next_update() else {
        return Err("it does not say when the next one comes (nextUpdate); have it issued with \
                    that time"
            .to_owned());
    };
    if list.version() != Some(X509Version::V2) {
        return Err("it is of version 1, 2 is needed: have it issued with a CRL number and the \
                    authority's key identifier (openssl: crlnumber and crl_extensions)"
            .to_owned());
    }
    usable(&der, authorities.roots())?;
    let (this_update, next_update) = (x509::micros(list.last_update()), x509::micros(next_update));
    let (issuer, key) = (issuer.as_raw().into(), first.public_key().raw.into());
    Ok(RevocationList { der, issuer, key, this_update, next_update })
}

impl RevocationList {
    /// What is said of one that is too old.
    pub(crate) fn too_old(&self, now: UnixMicros) -> String {
        format!(
            "the revocation list of its authority should have been replaced by {}, it is now {}; \
             put a new one in its place",
            Rfc3339(self.next_update),
            Rfc3339(now)
        )
    }
}
