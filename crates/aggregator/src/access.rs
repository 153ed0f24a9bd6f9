//! Who may call what: the only door to all services.
//!
//! A call whose path is not in the table below needs a valid identity of any role, and then finds
//! no service. The certificate decides; nothing in a message can.

mod target;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use rowcall_tls::identity::Role;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower_service::Service;
use tracing::info;

use crate::audit::Audit;
use crate::connections::{Call, Visit};
use crate::refusals::{Reason, Refusals};
use target::target_of;

const OPERATORS: &[Role] = &[Role::Operator];
const READERS: &[Role] = &[Role::Viewer, Role::Operator];

/// First match wins.
const TABLE: [(&str, &[Role]); 7] = [
    ("/rowcall.v1.TelemetryService/", &[Role::Agent]),
    (RENEW, &[Role::Agent]),
    (CHECK, &[Role::Agent]),
    ("/rowcall.v1.SummaryService/", READERS),
    ("/rowcall.v1.AdminService/Status", READERS),
    ("/rowcall.v1.AdminService/ListHosts", READERS),
    ("/rowcall.v1.AdminService/GetHost", READERS),
];

/// What comes after the table for AdminService: what changes something.
const ADMIN: &str = "/rowcall.v1.AdminService/";

/// The calls that change something, and what `rowcall.audit` calls that.
const CHANGES: [(&str, &str); 8] = [
    ("/rowcall.v1.AdminService/LabelHost", "host.label"),
    ("/rowcall.v1.AdminService/RetireHost", "host.retire"),
    ("/rowcall.v1.AdminService/RevokeHost", "host.revoke"),
    ("/rowcall.v1.AdminService/RestoreHost", "host.restore"),
    ("/rowcall.v1.AdminService/RenameHost", "host.rename"),
    ("/rowcall.v1.AdminService/CreateToken", "token.create"),
    ("/rowcall.v1.AdminService/RevokeToken", "token.revoke"),
    (RENEW, "host.renew"),
];

/// What nodes without a certificate call, on a port of its own; here only those that have one.
const ENROLLMENT: &str = "/rowcall.v1.EnrollmentService/";
const RENEW: &str = "/rowcall.v1.EnrollmentService/Renew";
const CHECK: &str = "/rowcall.v1.EnrollmentService/Check";

fn roles(path: &str) -> &'static [Role] {
    let known = TABLE.iter().find(|(service, _)| {
        if service.ends_with('/') { path.starts_with(service) } else { path == *service }
    });
    match known {
        Some((_, roles)) => roles,
        None if path.starts_with(ADMIN) => OPERATORS,
        None => &Role::ALL,
    }
}

/// All services behind the check of roles.
#[derive(Clone, Debug)]
pub(crate) struct Guarded {
    routes: Routes,
    refusals: Arc<Refusals>,
    audit: Arc<Audit>,
}

impl Guarded {
    /// `refusals` counts the calls that were not let through; `audit` records those that would
    /// have changed something.
    pub(crate) fn new(routes: Routes, refusals: Arc<Refusals>, audit: Arc<Audit>) -> Self {
        Self { routes: routes.prepare(), refusals, audit }
    }

    /// Why a call is not let through, if it isn't; and if it would have changed something, what.
    fn check(&self, visit: &Visit, path: &str) -> Result<(), (Status, Option<&'static str>)> {
        // Counted where it came in.
        visit.check().map_err(|status| (status, None))?;
        if path.starts_with(ENROLLMENT) && path != RENEW && path != CHECK {
            let status = Status::unimplemented(
                "of EnrollmentService only Renew and Check are served here; enrol on the enrolment \
                 port, 7444 unless told otherwise",
            );
            return Err((status, None));
        }
        visit.peer.require(roles(path)).map(drop).map_err(|status| {
            let reason = match status.code() {
                Code::Unauthenticated => Reason::Unauthenticated,
                _ => Reason::Role,
            };
            if let Some(held_back) = self.refusals.count(reason) {
                info!(
                    peer = %visit.peer.address, path, reason = status.message(), held_back,
                    "call refused"
                );
            }
            let change = CHANGES.iter().find(|(change, _)| *change == path);
            (status, change.map(|(_, action)| *action))
        })
    }
}

impl Service<Request<Body>> for Guarded {
    type Response = Response<Body>;
    type Error = <Routes as Service<Request<Body>>>::Error;
    type Future =
        Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send + 'static>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<Body>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some(visit) = request.extensions().get::<Arc<Visit>>().cloned() else {
            let status = Status::internal("the server knows nothing about this connection");
            return Box::pin(async move { Ok(status.into_http()) });
        };
        let call = visit.call();
        match self.check(&visit, request.uri().path()) {
            Ok(()) => {
                // What services ask for the identity.
                request.extensions_mut().insert(Arc::clone(&visit.peer));
                let answer = self.routes.call(request);
                Box::pin(async move {
                    let answer = answer.await?;
                    Ok(answer.map(|body| Body::new(Lasting { body, _call: call })))
                })
            }
            Err((status, action)) => {
                let audit = Arc::clone(&self.audit);
                Box::pin(async move {
                    let _call = call;
                    if let Some(action) = action {
                        let target = target_of(action, request.into_body()).await;
                        audit.refused(&visit.peer, action, &target, status.message());
                    }
                    Ok(status.into_http())
                })
            }
        }
    }
}

/// The body of an answer; until it ends, its connection isn't idle.
struct Lasting {
    body: Body,
    _call: Call,
}

impl http_body::Body for Lasting {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
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
            ("/rowcall.v1.AdminService/RevokeHost", &[Role::Operator]),
            ("/rowcall.v1.AdminService/RestoreHost", &[Role::Operator]),
            ("/rowcall.v1.AdminService/RenameHost", &[Role::Operator]),
            ("/rowcall.v1.AdminService/CreateToken", &[Role::Operator]),
            ("/rowcall.v1.AdminService/ListTokens", &[Role::Operator]),
            ("/rowcall.v1.AdminService/RevokeToken", &[Role::Operator]),
            ("/rowcall.v1.EnrollmentService/Renew", &[Role::Agent]),
            ("/rowcall.v1.EnrollmentService/Check", &[Role::Agent]),
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
