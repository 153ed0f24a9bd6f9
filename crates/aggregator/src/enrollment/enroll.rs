//! A token for a certificate.

use rowcall_core::convert::clean_text;
use rowcall_core::id::HostName;
use rowcall_core::proto::v1 as pb;
use rowcall_core::token::Token;
use rowcall_store::access::{EnrollRefusal, Enrolment};
use sha2::{Digest as _, Sha256};
use tonic::Status;
use tracing::info;

use super::{MAX_MACHINE_ID_BYTES, Shared, key_of, unavailable};
use crate::connections::Visit;

impl Shared {
    pub(super) async fn enroll(
        &self,
        visit: &Visit,
        request: pb::EnrollRequest,
    ) -> Result<pb::EnrollResponse, Status> {
        let issuing = self.issuing()?;
        self.ask_source(visit.peer.address.ip())?;
        let token = Token::parse(&request.token)
            .map_err(|error| Status::unauthenticated(error.to_string()))?;
        let host = HostName::parse_new(&request.host_name)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let key = key_of(&request.csr_der)?;
        let machine_id = clean_text(&request.machine_id).unwrap_or_default();
        if machine_id.len() > MAX_MACHINE_ID_BYTES {
            return Err(Status::invalid_argument(format!(
                "the machine id has more than {MAX_MACHINE_ID_BYTES} bytes, so it is none"
            )));
        }
        let enrolment = Enrolment {
            token: token.id,
            secret_sha256: Sha256::digest(token.secret.as_bytes()).into(),
            key_sha256: key.sha256(),
            host,
            machine_id,
        };
        let actor = self.actor(format!("token:{}", token.id), visit);
        let now = self.clock.wall();
        let (store, _turn) = self.turn().await?;
        let enrolled = store
            .enroll(&actor, &enrolment, |name| issuing.issuer.issue(name, &key, now))
            .await
            .map_err(|error| unavailable(&error))?
            .map_err(|refusal| refused(&refusal))?;
        let host = &enrolment.host;
        let certificate = enrolled.certificate;
        info!(
            %host, host_id = ?enrolled.host_id, token = %token.id, peer = %visit.peer.address,
            serial = certificate.serial, replaced = enrolled.replaced, again = enrolled.again,
            "enrolled"
        );
        Ok(pb::EnrollResponse { bundle: Some(self.bundle(&issuing, certificate)) })
    }
}

fn refused(refusal: &EnrollRefusal) -> Status {
    let why = refusal.to_string();
    match refusal {
        EnrollRefusal::UnknownToken
        | EnrollRefusal::Expired
        | EnrollRefusal::UsedUp { .. }
        | EnrollRefusal::Revoked => Status::unauthenticated(why),
        EnrollRefusal::WrongHost { .. } | EnrollRefusal::Refused(_) => {
            Status::permission_denied(why)
        }
        EnrollRefusal::NameTaken { .. } => Status::already_exists(why),
        EnrollRefusal::KeyInUse => Status::invalid_argument(why),
    }
}
