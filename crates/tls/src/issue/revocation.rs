//! Revocation lists.

use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use rowcall_core::id::UnixMicros;

use super::authority::Authority;
use super::params::date;
use super::{IssueError, failed};

/// Longest serial number that X.509 allows, in bytes.
const MAX_SERIAL_BYTES: usize = 20;

impl Authority {
    /// A revocation list, PEM, of certificates of this authority by their serial numbers
    /// (hexadecimal). It has to be replaced before `lifetime` has passed.
    ///
    /// # Errors
    /// [`IssueError`] when a serial number is none, or the authority may not.
    pub fn revocation_list(
        &self,
        serials: &[&str],
        now: UnixMicros,
        lifetime: Duration,
    ) -> Result<String, IssueError> {
        let action = "sign a revocation list";
        self.must_be_able(now)?;
        let revoked_certs = serials
            .iter()
            .map(|text| {
                let serial = serial(text).ok_or_else(|| IssueError::Serial((*text).to_owned()))?;
                Ok(RevokedCertParams {
                    serial_number: SerialNumber::from_slice(&serial),
                    revocation_time: date(now),
                    reason_code: None,
                    invalidity_date: None,
                })
            })
            .collect::<Result<_, IssueError>>()?;
        // Numbers must grow from one list to the next.
        let number = u64::try_from(now.0).unwrap_or(0).to_be_bytes();
        let list = CertificateRevocationListParams {
            this_update: date(now),
            next_update: date(now) + Duration::from_secs(lifetime.as_secs()),
            crl_number: SerialNumber::from_slice(&number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).and_then(|list| list.pem()).map_err(failed(action))
    }
}

/// The bytes of a serial number in hexadecimal, with or without colons.
fn serial(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?;
    (1..=MAX_SERIAL_BYTES + 1).contains(&bytes.len()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_read_as_people_have_them() {
        assert_eq!(serial("4f0a"), Some(vec![0x4f, 0x0a]));
        assert_eq!(serial("4F:0A"), Some(vec![0x4f, 0x0a]));
        for bad in ["", "4", "xy", "0x4f", &"4f".repeat(22)] {
            assert_eq!(serial(bad), None, "{bad:?}");
        }
    }
}
