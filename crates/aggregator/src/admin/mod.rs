//! AdminService: who is connected, from memory; the fleet's hosts and join tokens, from the database.

mod changes;
mod hosts;
mod operator;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prost::Message as _;
use rowcall_core::clock::SharedClock;
use rowcall_core::id::UnixMicros;
use rowcall_core::proto::v1 as pb;
use rowcall_core::proto::v1::admin_service_server::AdminService;
use rowcall_core::token::Pin;
use tonic::{Request, Response, Status};

use crate::audit::Audit;
use crate::database::Database;
use crate::registry::Registry;
use crate::revocation::Revocation;
use crate::telemetry::writer::Counters;

/// Largest answer, in bytes: what gRPC clients take by default.
const MAX_STATUS_BYTES: usize = 4 * 1024 * 1024;

/// What is asked of this aggregator's own certificates.
pub(crate) trait Credentials: std::fmt::Debug + Send + Sync {
    /// The authority that nodes must find in our chain. None: no certificates are issued here.
    fn pin(&self) -> Option<Pin>;
    /// What nodes that hold our certificates must trust, by one hash. None: as above.
    fn server_authorities_sha256(&self) -> Option<[u8; 32]>;
    /// What is wrong with certificate, key, authorities or lists; those of before are in use.
    fn error(&self) -> Option<String>;
    /// When our certificate ends.
    fn expires_at(&self) -> UnixMicros;
    /// When the first authority of client certificates ends.
    fn client_ca_expires_at(&self) -> Option<UnixMicros>;
}

/// The service.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) database: Arc<Database>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: SharedClock,
    pub(crate) started_at: UnixMicros,
    pub(crate) audit: Arc<Audit>,
    pub(crate) revocation: Arc<Revocation>,
    pub(crate) credentials: Arc<dyn Credentials>,
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let hosts = request.into_inner().hosts.unwrap_or_default();
        if !hosts.labels.is_empty() {
            return Err(Status::invalid_argument(
                "hosts.labels: Status answers from memory and knows no labels; select by name_glob",
            ));
        }
        let glob = hosts.name_glob.to_ascii_lowercase();
        let shown = self
            .registry
            .status(|name| glob.is_empty() || matches(glob.as_bytes(), name.as_bytes()));
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let response = pb::StatusResponse {
            aggregator_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: Some(crate::timestamp(self.started_at)),
            now: Some(crate::timestamp(self.clock.wall())),
            last_commit_at: self.counters.last_commit().map(crate::timestamp),
            committed_samples: count(&self.counters.samples),
            duplicate_samples: count(&self.counters.duplicates),
            quarantined_samples: count(&self.counters.quarantined),
            database_error: self
                .database
                .error()
                .or_else(|| self.revocation.error())
                .unwrap_or_default(),
            connected: shown.connected,
            disconnected_hosts: u32::try_from(shown.gone_in_all).unwrap_or(u32::MAX),
            gone: shown.gone,
            certificate_error: self.credentials.error().unwrap_or_default(),
            certificate_expires_at: Some(crate::timestamp(self.credentials.expires_at())),
            client_ca_expires_at: self.credentials.client_ca_expires_at().map(crate::timestamp),
            issues_certificates: self.credentials.pin().is_some(),
        };
        if response.encoded_len() > MAX_STATUS_BYTES {
            return Err(Status::resource_exhausted(format!(
                "{} connected hosts make an answer of more than {MAX_STATUS_BYTES} bytes; select \
                 some by hosts.name_glob",
                response.connected.len()
            )));
        }
        Ok(Response::new(response))
    }

    async fn list_hosts(
        &self,
        request: Request<pb::ListHostsRequest>,
    ) -> Result<Response<pb::ListHostsResponse>, Status> {
        self.list(request.into_inner()).await.map(Response::new)
    }

    async fn get_host(
        &self,
        request: Request<pb::GetHostRequest>,
    ) -> Result<Response<pb::GetHostResponse>, Status> {
        self.get(&request.into_inner()).await.map(Response::new)
    }

    async fn label_host(
        &self,
        request: Request<pb::LabelHostRequest>,
    ) -> Result<Response<pb::LabelHostResponse>, Status> {
        let operator = self.operator(&request)?;
        let host = Some(self.label(&operator, request.into_inner()).await?);
        Ok(Response::new(pb::LabelHostResponse { host }))
    }

    async fn retire_host(
        &self,
        request: Request<pb::RetireHostRequest>,
    ) -> Result<Response<pb::RetireHostResponse>, Status> {
        let operator = self.operator(&request)?;
        let host = Some(self.retire(&operator, &request.into_inner()).await?);
        Ok(Response::new(pb::RetireHostResponse { host }))
    }

    async fn revoke_host(
        &self,
        request: Request<pb::RevokeHostRequest>,
    ) -> Result<Response<pb::RevokeHostResponse>, Status> {
        let operator = self.operator(&request)?;
        let host = Some(self.revoke(&operator, &request.into_inner()).await?);
        Ok(Response::new(pb::RevokeHostResponse { host }))
    }

    async fn restore_host(
        &self,
        request: Request<pb::RestoreHostRequest>,
    ) -> Result<Response<pb::RestoreHostResponse>, Status> {
        let operator = self.operator(&request)?;
        let host = Some(self.restore(&operator, &request.into_inner()).await?);
        Ok(Response::new(pb::RestoreHostResponse { host }))
    }

    async fn rename_host(
        &self,
        request: Request<pb::RenameHostRequest>,
    ) -> Result<Response<pb::RenameHostResponse>, Status> {
        let operator = self.operator(&request)?;
        let host = Some(self.rename(&operator, &request.into_inner()).await?);
        Ok(Response::new(pb::RenameHostResponse { host }))
    }

    async fn create_token(
        &self,
        request: Request<pb::CreateTokenRequest>,
    ) -> Result<Response<pb::CreateTokenResponse>, Status> {
        let operator = self.operator(&request)?;
        self.create(&operator, request.into_inner()).await.map(Response::new)
    }

    async fn list_tokens(
        &self,
        request: Request<pb::ListTokensRequest>,
    ) -> Result<Response<pb::ListTokensResponse>, Status> {
        self.tokens(&request.into_inner()).await.map(Response::new)
    }

    async fn revoke_token(
        &self,
        request: Request<pb::RevokeTokenRequest>,
    ) -> Result<Response<pb::RevokeTokenResponse>, Status> {
        let operator = self.operator(&request)?;
        let token = Some(self.revoke_token_of(&operator, &request.into_inner()).await?);
        Ok(Response::new(pb::RevokeTokenResponse { token }))
    }
}

/// Whether a name fits a pattern: `*` stands for any characters, `?` for one. Time is bounded by
/// the product of both lengths.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on when what follows the last star does not fit.
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "node1", true),
            ("node?", "node1", true),
            ("node?", "node12", false),
            ("node*1", "node-a-1", true),
            ("*.example.org", "n1.example.org", true),
            ("*.example.org", "n1.example.com", false),
            ("node", "node1", false),
            ("a*b*c", "aXbYbZc", true),
            ("**", "x", true),
            ("?", "", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_full_of_stars_takes_no_time() {
        let (pattern, name) = ("*a".repeat(500), "a".repeat(253) + "b");
        assert!(!matches(pattern.as_bytes(), name.as_bytes()));
    }
}
