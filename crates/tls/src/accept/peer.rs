//! Who is on the other side of a connection, and what that allows.

use std::net::SocketAddr;
use std::sync::Arc;

use tonic::{Request, Status};

use crate::certificate::PeerCertificate;
use crate::identity::{Identity, IdentityError, Role};

/// The peer of one connection.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Where it connects from; behind a balancer, as that says.
    pub address: SocketAddr,
    /// Whom its certificate names: of our authority and valid at the time of the handshake, but
    /// an error where its URI SAN breaks a rule.
    pub identity: Result<Identity, IdentityError>,
    /// Its certificate; none where none is asked for, on the enrolment listener.
    pub certificate: Option<PeerCertificate>,
}

impl PeerInfo {
    /// The peer that sent a request.
    ///
    /// # Errors
    /// INTERNAL when the server's connections are not an `Acceptor`'s.
    pub fn of<T>(request: &Request<T>) -> Result<&Arc<Self>, Status> {
        request
            .extensions()
            .get::<Arc<Self>>()
            .ok_or_else(|| Status::internal("the server knows nothing about this connection"))
    }

    /// The peer's identity, if it has one of these roles.
    ///
    /// # Errors
    /// UNAUTHENTICATED when its certificate names nobody, PERMISSION_DENIED when it has another
    /// role; both with the reason in words.
    pub fn require(&self, roles: &[Role]) -> Result<&Identity, Status> {
        let identity =
            self.identity.as_ref().map_err(|error| Status::unauthenticated(error.to_string()))?;
        if roles.contains(&identity.role) {
            return Ok(identity);
        }
        let allowed: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        Err(Status::permission_denied(format!(
            "certificate of {identity} has role {}, this call is for role {}",
            identity.role,
            allowed.join(" or ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn peer(uri: &str) -> PeerInfo {
        let identity = Identity::from_uri(uri);
        PeerInfo { address: ([192, 0, 2, 1], 1).into(), identity, certificate: None }
    }

    #[test]
    fn a_role_asked_for_gets_its_identity() {
        let peer = peer("spiffe://d/viewer/alice");
        let identity = peer.require(&[Role::Viewer, Role::Operator]).unwrap();
        assert_eq!(identity.name.as_str(), "alice");
    }

    #[test]
    fn another_role_is_denied_with_both_named() {
        let peer = peer("spiffe://d/agent/n");
        let denied = peer.require(&[Role::Viewer, Role::Operator]).unwrap_err();
        assert_eq!(denied.code(), Code::PermissionDenied);
        assert_eq!(
            denied.message(),
            "certificate of spiffe://d/agent/n has role agent, this call is for role viewer or \
             operator"
        );
    }

    #[test]
    fn no_identity_is_unauthenticated_with_the_rule_broken() {
        let denied = peer("https://d").require(&Role::ALL).unwrap_err();
        assert_eq!(denied.code(), Code::Unauthenticated);
        assert!(denied.message().contains("\"https://d\" is not of the form spiffe://"));
    }

    #[test]
    fn a_request_from_elsewhere_has_no_peer() {
        assert_eq!(PeerInfo::of(&Request::new(())).unwrap_err().code(), Code::Internal);
    }
}
