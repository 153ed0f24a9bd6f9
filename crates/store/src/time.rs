//! Instants as `timestamptz` columns.

use std::error::Error;

use postgres_types::private::BytesMut;
use postgres_types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use rowcall_core::id::UnixMicros;

/// 2000-01-01, PostgreSQL's zero, in microseconds of Unix time.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;
/// 0001-01-01 00:00:00 UTC.
const MIN: i64 = -62_135_596_800_000_000;
/// 9999-12-31 23:59:59.999999 UTC.
const MAX: i64 = 253_402_300_799_999_999;

/// An instant that goes to and comes from a `timestamptz`, held within the years 1 to 9999 both
/// ways, so that any text of it can be read by any program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) UnixMicros);

impl ToSql for Time {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let micros = self.0.0.clamp(MIN, MAX) - POSTGRES_EPOCH;
        out.extend_from_slice(&micros.to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Time {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        // The infinities are the ends of the range, and are held within it too.
        let micros = i64::from_be_bytes(raw.try_into()?);
        Ok(Self(UnixMicros(micros.saturating_add(POSTGRES_EPOCH).clamp(MIN, MAX))))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}
