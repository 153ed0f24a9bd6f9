//! What an enrolled node gets.

use rowcall_core::id::UnixMicros;
use rowcall_core::proto::v1 as pb;
use rowcall_store::access::IssuedCertificate;

use super::Shared;
use crate::certificates::Issuing;
use crate::timestamp;

/// A node asks for its next certificate when this part of the life of the present one is over.
const RENEW_AFTER_PART: i64 = 3;

impl Shared {
    /// A certificate and what to trust with it.
    pub(super) fn bundle(
        &self,
        issuing: &Issuing,
        certificate: IssuedCertificate,
    ) -> pb::CertificateBundle {
        let server_authorities = issuing.server_authorities.iter();
        pb::CertificateBundle {
            expires_at: Some(timestamp(certificate.not_after)),
            renew_after: Some(timestamp(renew_after(
                certificate.not_before,
                certificate.not_after,
            ))),
            certificate_chain_der: issuing.issuer.chain(certificate.der),
            server_authorities_der: server_authorities.map(|der| der.to_vec()).collect(),
            aggregators: self.advertise.clone(),
            telemetry_port: u32::from(self.telemetry_port),
            now: Some(timestamp(self.clock.wall())),
        }
    }
}

fn renew_after(not_before: UnixMicros, not_after: UnixMicros) -> UnixMicros {
    UnixMicros(not_before.0 + not_after.0.saturating_sub(not_before.0) / RENEW_AFTER_PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_certificate_is_asked_for_after_a_third_of_the_life() {
        const DAY: i64 = 86_400_000_000;
        assert_eq!(renew_after(UnixMicros(9 * DAY), UnixMicros(39 * DAY)), UnixMicros(19 * DAY));
    }
}
