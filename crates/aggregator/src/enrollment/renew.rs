//! A certificate for the next one.

use std::time::Duration;

use rowcall_core::id::HostName;
use rowcall_core::proto::v1 as pb;
use rowcall_store::access::{Presented, Renewal, Why};
use rowcall_tls::certificate::PeerCertificate;
use rowcall_tls::identity::{Identity, Role};
use rowcall_tls::renewal::{ProofError, RenewalProof, verify_renewal};
use rowcall_tls::trust::TrustError;
use tonic::Status;
use tracing::info;

use super::{Shared, key_of, unavailable};
use crate::connections::Visit;

/// Whose certificate is to be renewed, by what it says.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) host: HostName,
    identity: Identity,
    presented: Presented,
}

impl Known {
    fn new(identity: Identity, certificate: &PeerCertificate) -> Result<Self, Status> {
        if identity.role != Role::Agent {
            return Err(Status::permission_denied(format!(
                "certificate of {identity} has role {}, only those of agents are renewed here; \
                 have it issued again with rowcall pki issue",
                identity.role
            )));
        }
        Ok(Self {
            host: identity.name.clone(),
            identity,
            presented: Presented {
                fingerprint: certificate.fingerprint,
                serial: certificate.serial.clone(),
                not_before: certificate.not_before,
                not_after: certificate.not_after,
            },
        })
    }
}

impl Shared {
    /// By the certificate of the connection.
    pub(super) fn known(&self, visit: &Visit, request: &pb::RenewRequest) -> Result<Known, Status> {
        if !request.certificate_der.is_empty() || !request.signature.is_empty() {
            return Err(Status::invalid_argument(
                "on this port the connection's own certificate is the proof; leave certificate_der \
                 and signature empty",
            ));
        }
        let identity = visit.peer.require(&[Role::Agent])?.clone();
        let none = || Status::unauthenticated("this connection has no certificate");
        Known::new(identity, visit.peer.certificate.as_ref().ok_or_else(none)?)
    }

    /// By a proof of the certificate's key.
    pub(super) fn proven(
        &self,
        visit: &Visit,
        request: &pb::RenewRequest,
    ) -> Result<Known, Status> {
        self.issuing()?;
        self.ask_source(visit.peer.address.ip())?;
        if request.certificate_der.is_empty() || request.signature.is_empty() {
            return Err(Status::unauthenticated(
                "on this port a renewal needs the certificate and a proof of its key: \
                 certificate_der and signature",
            ));
        }
        let proof = RenewalProof {
            certificate_der: &request.certificate_der,
            csr_der: &request.csr_der,
            signature: &request.signature,
        };
        let trust = self.certificates.trust();
        let proven = verify_renewal(&trust, &proof, self.clock.wall()).map_err(|error| {
            let why = error.to_string();
            match error {
                ProofError::Trust(TrustError::Revoked) => Status::permission_denied(why),
                _ => Status::unauthenticated(why),
            }
        })?;
        let identity = proven
            .identity
            .within(&self.certificates.trust_domain())
            .map_err(|error| Status::unauthenticated(error.to_string()))?;
        Known::new(identity, &proven.certificate)
    }

    /// One more renewal with this certificate, good or not.
    fn ask_certificate(&self, known: &Known) -> Result<(), Status> {
        let asked = self.renewals.ask(known.presented.fingerprint, self.clock.monotonic());
        asked.map_err(|wait| often(&known.host, wait))
    }

    /// One more certificate for this host.
    fn ask_host(&self, host: &HostName) -> Result<(), Status> {
        let asked = self.hosts.ask(host.clone(), self.clock.monotonic());
        asked.map_err(|wait| often(host, wait))
    }

    pub(super) async fn renew(
        &self,
        visit: &Visit,
        known: Known,
        csr_der: &[u8],
    ) -> Result<pb::RenewResponse, Status> {
        let issuing = self.issuing()?;
        self.ask_certificate(&known)?;
        let key = key_of(csr_der)?;
        let actor = self.actor(known.identity.to_string(), visit);
        let renewal =
            Renewal { host: known.host, presented: known.presented, key_sha256: key.sha256() };
        let now = self.clock.wall();
        let (store, _turn) = self.turn().await?;
        let mut too_often = None;
        let renewed = store.renew(&actor, &renewal, |name| {
            // Only who is let in takes something from the host's.
            if let Err(status) = self.ask_host(name) {
                return Err(too_often.insert(status).message().to_owned());
            }
            issuing.issuer.issue(name, &key, now)
        });
        let renewed = renewed.await;
        if let Some(status) = too_often {
            return Err(status);
        }
        let certificate =
            renewed.map_err(|error| unavailable(&error))?.map_err(|refusal| match refusal.why {
                Why::KeyInUse => Status::invalid_argument(refusal.to_string()),
                _ => Status::permission_denied(refusal.to_string()),
            })?;
        info!(
            host = %renewal.host, peer = %visit.peer.address, serial = certificate.serial,
            "certificate renewed"
        );
        Ok(pb::RenewResponse { bundle: Some(self.bundle(&issuing, certificate)) })
    }
}

fn often(host: &HostName, wait: Duration) -> Status {
    let seconds = wait.as_secs() + 1;
    Status::resource_exhausted(format!("{host} renews too often; come back in {seconds} s"))
}
