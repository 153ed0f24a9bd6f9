//! Certificates of an aggregator for tests.

use rowcall_core::id::UnixMicros;
use rowcall_core::token::Pin;

use crate::admin::Credentials;

/// An aggregator that issues nothing.
#[derive(Debug)]
pub(super) struct NoCredentials;

impl Credentials for NoCredentials {
    fn pin(&self) -> Option<Pin> {
        None
    }

    fn server_authorities_sha256(&self) -> Option<[u8; 32]> {
        None
    }

    fn error(&self) -> Option<String> {
        None
    }

    fn expires_at(&self) -> UnixMicros {
        UnixMicros(0)
    }

    fn client_ca_expires_at(&self) -> Option<UnixMicros> {
        None
    }
}
