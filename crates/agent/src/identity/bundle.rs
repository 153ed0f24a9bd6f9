//! What an aggregator answers to a request for a certificate.

use rowcall_core::id::UnixMicros;
use rowcall_core::proto::v1 as pb;
use rowcall_tls::certificate::{PeerCertificate, to_pem};
use rustls::pki_types::CertificateDer;

use crate::config::Endpoint;

/// No chain and no set of authorities is longer.
const MOST_CERTIFICATES: usize = 16;

/// A certificate and what to trust with it, checked as far as it can be before it is on disk.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    pub(crate) certificate_pem: String,
    pub(crate) authorities_pem: String,
    /// The same authorities.
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    pub(crate) not_before: UnixMicros,
    pub(crate) not_after: UnixMicros,
    /// From when on to ask for the next one; within its life.
    pub(crate) renew_after: UnixMicros,
    /// Where streams go; empty where the server says: to itself.
    pub(crate) aggregators: Vec<Endpoint>,
    /// The port of its streams.
    pub(crate) telemetry_port: u16,
    /// The server's clock.
    pub(crate) now: UnixMicros,
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the aggregator's answer makes no sense: {0}; its version or settings are wrong")]
pub(crate) struct InvalidBundle(String);

impl Bundle {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`InvalidBundle`] says what is wrong with it.
    pub(crate) fn read(bundle: Option<pb::CertificateBundle>) -> Result<Self, InvalidBundle> {
        let wrong = |why: &str| InvalidBundle(why.to_owned());
        let bundle = bundle.ok_or_else(|| wrong("it is empty"))?;
        let chain = certificates(bundle.certificate_chain_der, "certificate")?;
        let authorities = certificates(bundle.server_authorities_der, "authority")?;
        let leaf = PeerCertificate::from_chain(&chain)
            .map_err(|error| InvalidBundle(format!("its certificate: {error}")))?;
        let third = leaf.not_after.since(leaf.not_before) / 3;
        let told = bundle.renew_after.and_then(micros);
        let within = |at: &UnixMicros| *at > leaf.not_before && *at < leaf.not_after;
        let aggregators = bundle.aggregators.iter().map(|text| Endpoint::parse(text));
        Ok(Self {
            certificate_pem: to_pem(&chain),
            authorities_pem: to_pem(&authorities),
            authorities,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            renew_after: told.filter(within).unwrap_or_else(|| leaf.not_before.plus_micros(third)),
            aggregators: aggregators.collect::<Result<_, _>>().map_err(InvalidBundle)?,
            telemetry_port: match u16::try_from(bundle.telemetry_port) {
                Ok(0) => crate::config::DEFAULT_PORT,
                Ok(port) => port,
                Err(_) => return Err(wrong("its telemetry_port is no port")),
            },
            now: bundle.now.and_then(micros).ok_or_else(|| wrong("it tells no time"))?,
        })
    }

    /// From when on to ask for the next one, by a random number from 0 to 1: a fleet that was
    /// enrolled in one minute does not come back in one.
    pub(crate) fn renew_at(&self, random: f64) -> UnixMicros {
        let life = u64::try_from(self.not_after.since(self.not_before)).unwrap_or(0);
        let tenth = std::time::Duration::from_micros(life / 10);
        let later = rowcall_core::backoff::jitter(tenth, random);
        let at = self.renew_after.plus_micros(i64::try_from(later.as_micros()).unwrap_or(0));
        // Never at once again, whatever the server says.
        at.max(self.now.plus_micros(i64::try_from(life / 10).unwrap_or(0)))
    }
}

fn certificates(
    ders: Vec<Vec<u8>>,
    what: &str,
) -> Result<Vec<CertificateDer<'static>>, InvalidBundle> {
    if ders.is_empty() || ders.len() > MOST_CERTIFICATES {
        return Err(InvalidBundle(format!("it has {} of what should be a {what}", ders.len())));
    }
    Ok(ders.into_iter().map(CertificateDer::from).collect())
}

fn micros(time: prost_types::Timestamp) -> Option<UnixMicros> {
    let micros = time.seconds.checked_mul(1_000_000)?;
    Some(UnixMicros(micros.checked_add(i64::from(time.nanos) / 1000)?))
}
