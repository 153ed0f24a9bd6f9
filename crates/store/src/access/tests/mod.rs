//! Who may speak, tried on a real server.

mod audit;
mod changes;
mod enrolment;
mod ephemeral;
mod events;
mod names;
mod renewal;
mod tokens;

use std::collections::BTreeMap;
use std::time::Duration;

use rowcall_core::clock::SystemClock;
use rowcall_core::id::{HostName, UnixMicros};
use rowcall_core::token::TokenId;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::testing::{Bench, MINUTE, actor, certificate, hello};

/// What most tokens are: one use, an hour.
fn token(number: u8) -> NewToken {
    NewToken {
        id: TokenId::new([number; 8]),
        secret_sha256: [number; 32],
        host_glob: None,
        labels: BTreeMap::new(),
        uses: 1,
        ttl: Duration::from_secs(3_600),
        ephemeral: None,
        may_replace: false,
    }
}

fn host(name: &str) -> HostName {
    HostName::parse(name).unwrap()
}

/// With token and key of these numbers.
fn enrolment(token: u8, key: u8, name: &str) -> Enrolment {
    Enrolment {
        token: TokenId::new([token; 8]),
        secret_sha256: [token; 32],
        key_sha256: [key; 32],
        host: host(name),
        machine_id: "m-1".into(),
    }
}

/// What an authority makes, another one each time.
fn issued(name: &HostName) -> Result<IssuedCertificate, String> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static SERIAL: AtomicU64 = AtomicU64::new(1);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let der = format!("{name} {serial}").into_bytes();
    let now = SystemClock::shared().wall();
    Ok(IssuedCertificate {
        fingerprint: Sha256::digest(&der).into(),
        der,
        serial: format!("{serial:02x}"),
        not_before: now.plus_micros(-300_000_000),
        not_after: now.plus_micros(30 * 86_400_000_000),
    })
}

fn presented(certificate: &IssuedCertificate) -> Presented {
    Presented {
        fingerprint: certificate.fingerprint,
        serial: certificate.serial.clone(),
        not_before: certificate.not_before,
        not_after: certificate.not_after,
    }
}

impl Bench {
    async fn with_token(token: &NewToken) -> Self {
        let bench = Self::new().await;
        bench.store.create_token(&actor(), token).await.unwrap();
        bench
    }

    async fn enroll(&self, enrolment: &Enrolment) -> Result<Enrolled, EnrollRefusal> {
        self.store.enroll(&actor(), enrolment, issued).await.unwrap()
    }

    /// Whether a host gets a session with a certificate; why not.
    async fn access(&self, name: &str, shown: &Presented) -> Result<(), Why> {
        match self.store.asked(&hello(name, 1), MINUTE, shown, 1).await.unwrap() {
            Ok(_) => Ok(()),
            Err(crate::SessionRefusal::Access(refusal)) => Err(refusal.why),
            Err(other) => panic!("{other}"),
        }
    }

    /// `result` and `detail` of what was recorded of an action, oldest first.
    async fn recorded(&self, action: &str, target: &str) -> Vec<(String, String)> {
        let sql = "SELECT result, detail FROM rowcall.audit WHERE action = $1 AND target = $2 ORDER BY id";
        let rows = self.sql.query(sql, &[&action, &target]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}
