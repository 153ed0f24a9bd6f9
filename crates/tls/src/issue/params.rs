//! What stands in certificates.

use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    SanType, SerialNumber,
};
use rowcall_core::id::UnixMicros;
use time::OffsetDateTime;

use super::{IssueError, Purpose, failed};

/// A new certificate is valid from this long before now, for machines whose clock is slow.
pub(super) const BACKDATED: Duration = Duration::from_secs(300);

const SERIAL_BYTES: usize = 16;

/// Longest common name that X.509 allows.
const MAX_COMMON_NAME_BYTES: usize = 64;

impl Purpose {
    pub(super) fn usage(self) -> ExtendedKeyUsagePurpose {
        match self {
            Self::Servers => ExtendedKeyUsagePurpose::ServerAuth,
            Self::Clients => ExtendedKeyUsagePurpose::ClientAuth,
        }
    }
}

/// Random serial number, dates up to `until` at most, and nothing else.
pub(super) fn parameters(
    now: UnixMicros,
    lifetime: Duration,
    until: UnixMicros,
) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.not_before = date(now) - BACKDATED;
    params.not_after = (date(now) + Duration::from_secs(lifetime.as_secs())).min(date(until));
    params.serial_number = Some(SerialNumber::from_slice(&random_serial()?));
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

/// A positive number of always the same length.
fn random_serial() -> Result<[u8; SERIAL_BYTES], IssueError> {
    let mut serial = [0; SERIAL_BYTES];
    getrandom::fill(&mut serial).map_err(IssueError::Random)?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

/// Makes it a certificate of an end, for one purpose.
pub(super) fn for_an_end(params: &mut CertificateParams, purpose: Purpose) {
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose.usage()];
    params.use_authority_key_identifier_extension = true;
}

/// To the second, and no earlier than 1970 or later than 9999.
pub(super) fn date(time: UnixMicros) -> OffsetDateTime {
    const YEAR_9999: u64 = 253_370_764_800;
    let seconds = u64::try_from(time.0.div_euclid(1_000_000)).unwrap_or(0).min(YEAR_9999);
    rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
}

/// For people who look at a certificate; no check reads it.
pub(super) fn name(subject: &mut DistinguishedName, text: &str) {
    let end = text.floor_char_boundary(MAX_COMMON_NAME_BYTES);
    subject.push(DnType::CommonName, text.get(..end).unwrap_or_default());
}

pub(super) fn uri(text: String, action: &'static str) -> Result<SanType, IssueError> {
    Ia5String::try_from(text).map(SanType::URI).map_err(failed(action))
}
