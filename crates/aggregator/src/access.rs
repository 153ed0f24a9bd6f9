//! Who may call what: the only door to all services.
//!
//! A call whose path is not in the table below needs a valid identity of any role, and then finds
//! no service. The certificate decides; nothing in a message can.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use http::{Request, Response};
use rowcall_tls::accept::PeerInfo;
use rowcall_tls::identity::Role;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower_service::Service;
use tracing::info;

const READERS: &[Role] = &[Role::Viewer, Role::Operator];

/// First match wins.
const TABLE: [(&str, &[Role]); 5] = [
    ("/rowcall.v1.TelemetryService/", &[Role::Agent]),
    ("/rowcall.v1.SummaryService/", READERS),
    ("/rowcall.v1.AdminService/Status", READERS),
    ("/rowcall.v1.AdminService/ListHosts", READERS),
    ("/rowcall.v1.AdminService/GetHost", READERS),
];

/// What comes after the table for AdminService: what changes something.
const ADMIN: &str = "/rowcall.v1.AdminService/";

fn roles(path: &str) -> &'static [Role] {
    let known = TABLE.iter().find(|(service, _)| {
        if service.ends_with('/') { path.starts_with(service) } else { path == *service }
    });
    match known {
        Some((_, roles)) => roles,
        None if path.starts_with(ADMIN) => &[Role::Operator],
        None => &Role::ALL,
    }
}

/// All services behind the check of roles.
#[derive(Clone, Debug)]
pub(crate) struct Guarded {
    routes: Routes,
    refused: Arc<AtomicU64>,
}

impl Guarded {
    /// `refused` counts the calls that were not let through.
    pub(crate) fn new(routes: Routes, refused: Arc<AtomicU64>) -> Self {
        Self { routes: routes.prepare(), refused }
    }

    fn check(request: &Request<Body>) -> Result<(), Status> {
        let peer = request
            .extensions()
            .get::<Arc<PeerInfo>>()
            .ok_or_else(|| Status::internal("the server knows nothing about this connection"))?;
        let path = request.uri().path();
        peer.require(roles(path)).map(drop).inspect_err(|status| {
            info!(
                peer = %peer.address, path, code = ?status.code(), reason = status.message(),
                "call refused"
            );
        })
    }
}

impl Service<Request<Body>> for Guarded {
    type Response = Response<Body>;
    type Error = <Routes as Service<Request<Body>>>::Error;
    type Future = std::pin::Pin<
        Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send + 'static>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<Body>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match Self::check(&request) {
            Ok(()) => Box::pin(self.routes.call(request)),
            Err(status) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Box::pin(async move { Ok(status.into_http()) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_its_roles() {
        for (path, expected) in [
            ("/rowcall.v1.TelemetryService/Stream", &[Role::Agent][..]),
            ("/rowcall.v1.SummaryService/Summary", READERS),
            ("/rowcall.v1.SummaryService/StreamSummary", READERS),
            ("/rowcall.v1.AdminService/Status", READERS),
            ("/rowcall.v1.AdminService/ListHosts", READERS),
            ("/rowcall.v1.AdminService/GetHost", READERS),
            ("/rowcall.v1.AdminService/LabelHost", &[Role::Operator]),
            ("/rowcall.v1.AdminService/RetireHost", &[Role::Operator]),
            ("/rowcall.v1.AdminService/StatusOfSomethingNew", &[Role::Operator]),
            ("/grpc.health.v1.Health/Check", &Role::ALL),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &Role::ALL),
            ("/anything", &Role::ALL),
        ] {
            assert_eq!(roles(path), expected, "{path}");
        }
    }

    #[test]
    fn every_call_of_the_contract_that_agents_may_not_make_excludes_them() {
        for path in ["/rowcall.v1.SummaryService/New", "/rowcall.v1.AdminService/New"] {
            assert!(!roles(path).contains(&Role::Agent), "{path}");
        }
    }
}
