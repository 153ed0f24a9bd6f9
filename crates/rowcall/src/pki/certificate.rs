//! What is read off a certificate: whose, which, from when until when.

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rowcall_core::id::UnixMicros;
use rowcall_tls::certificate::PeerCertificate;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::text;

/// A certificate.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    /// Its bytes.
    pub(crate) der: CertificateDer<'static>,
    /// In lower-case hexadecimal digits.
    pub(crate) serial: String,
    /// The first instant that it is good.
    pub(crate) not_before: UnixMicros,
    /// The last one.
    pub(crate) not_after: UnixMicros,
}

impl Certificate {
    /// The first one of a PEM text; `name` is for messages.
    pub(crate) fn read(pem: &str, name: &str) -> anyhow::Result<Self> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| anyhow!("{name} is damaged, or no certificate in PEM: {error}"))?;
        let read = PeerCertificate::from_chain(std::slice::from_ref(&der));
        let read = read.with_context(|| format!("{name} is damaged"))?;
        let PeerCertificate { serial, not_before, not_after, .. } = read;
        Ok(Self { der, serial, not_before, not_after })
    }

    /// Whether less than a third of its life is left, or it is not good yet.
    pub(crate) fn is_due(&self, now: UnixMicros) -> bool {
        let life = self.not_after.0.saturating_sub(self.not_before.0);
        now < self.not_before || self.not_after.0.saturating_sub(now.0) < life / 3
    }
}

/// An instant as people read it.
pub(crate) fn shown(at: UnixMicros) -> String {
    let at = Timestamp::from_microsecond(at.0).unwrap_or(Timestamp::MAX);
    text::timestamp(at, &TimeZone::UTC)
}

/// Its day.
pub(crate) fn day(at: UnixMicros) -> String {
    shown(at).chars().take(10).collect()
}
