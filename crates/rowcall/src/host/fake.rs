//! A server that answers about hosts, for tests.

use rowcall_proto::v1;
use rowcall_proto::v1::admin_service_server::{AdminService, AdminServiceServer};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

use super::tests::at;
use crate::client::Client;

/// A fleet of `hosts` in pages of two. A viewer's connection may only read.
pub(super) struct Fake {
    pub(super) hosts: Vec<v1::Host>,
    /// Of each of them.
    pub(super) history: Vec<v1::HostHistory>,
    pub(super) boots: Vec<v1::Boot>,
    pub(super) endless: bool,
    pub(super) viewer: bool,
    pub(super) issues: bool,
}

impl Fake {
    fn may_change(&self) -> Result<(), Status> {
        let words = "certificate of spiffe://x/viewer/ann has role viewer, this call is for role \
                     operator";
        if self.viewer { Err(Status::permission_denied(words)) } else { Ok(()) }
    }

    fn find(&self, name: &str) -> Result<v1::Host, Status> {
        let found = self.hosts.iter().find(|host| host.host_name == name);
        found.cloned().ok_or_else(|| Status::not_found(format!("there is no host {name}")))
    }
}

#[tonic::async_trait]
impl AdminService for Fake {
    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let name = request.into_inner().hosts.unwrap().name_glob;
        let connected = vec![v1::ConnectedHost {
            host_name: name,
            peer_address: "10.0.0.1:40000".to_owned(),
            ..v1::ConnectedHost::default()
        }];
        let issues_certificates = self.issues;
        Ok(Response::new(v1::StatusResponse {
            connected,
            issues_certificates,
            ..v1::StatusResponse::default()
        }))
    }

    async fn list_hosts(
        &self,
        request: Request<v1::ListHostsRequest>,
    ) -> Result<Response<v1::ListHostsResponse>, Status> {
        let request = request.into_inner();
        let glob = request.hosts.unwrap_or_default().name_glob;
        let matching = |host: &&v1::Host| {
            (request.include_retired || host.retired_at.is_none())
                && (glob.is_empty() || host.host_name == glob)
        };
        let from: usize = request.page_token.parse().unwrap_or(0);
        let hosts: Vec<v1::Host> = self.hosts.iter().filter(matching).skip(from).cloned().collect();
        let more = self.endless || hosts.len() > 2;
        let to = if self.endless { 0 } else { from + 2 };
        Ok(Response::new(v1::ListHostsResponse {
            hosts: hosts.into_iter().take(2).collect(),
            next_page_token: if more { to.to_string() } else { String::new() },
        }))
    }

    async fn get_host(
        &self,
        request: Request<v1::GetHostRequest>,
    ) -> Result<Response<v1::GetHostResponse>, Status> {
        let request = request.into_inner();
        let host = Some(self.find(&request.host_name)?);
        if !request.include_history {
            return Ok(Response::new(v1::GetHostResponse { host, ..Default::default() }));
        }
        let (history, boots) = (self.history.clone(), self.boots.clone());
        Ok(Response::new(v1::GetHostResponse { host, history, boots }))
    }

    async fn revoke_host(
        &self,
        request: Request<v1::RevokeHostRequest>,
    ) -> Result<Response<v1::RevokeHostResponse>, Status> {
        self.may_change()?;
        let request = request.into_inner();
        let mut host = self.find(&request.host_name)?;
        host.revoked_at = at("2026-11-22T16:00:00Z");
        host.revoked_reason = request.reason;
        Ok(Response::new(v1::RevokeHostResponse { host: Some(host) }))
    }

    async fn restore_host(
        &self,
        request: Request<v1::RestoreHostRequest>,
    ) -> Result<Response<v1::RestoreHostResponse>, Status> {
        self.may_change()?;
        let host = self.find(&request.into_inner().host_name)?;
        Ok(Response::new(v1::RestoreHostResponse { host: Some(host) }))
    }

    async fn rename_host(
        &self,
        request: Request<v1::RenameHostRequest>,
    ) -> Result<Response<v1::RenameHostResponse>, Status> {
        self.may_change()?;
        let request = request.into_inner();
        if self.find(&request.new_name).is_ok() {
            return Err(Status::already_exists(format!("{} is taken", request.new_name)));
        }
        let host = v1::Host { host_name: request.new_name, ..self.find(&request.host_name)? };
        Ok(Response::new(v1::RenameHostResponse { host: Some(host) }))
    }

    async fn create_token(
        &self,
        _request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_tokens(
        &self,
        _request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn revoke_token(
        &self,
        _request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn label_host(
        &self,
        request: Request<v1::LabelHostRequest>,
    ) -> Result<Response<v1::LabelHostResponse>, Status> {
        self.may_change()?;
        let request = request.into_inner();
        let mut host = self.find(&request.host_name)?;
        host.labels.extend(request.set);
        host.labels.retain(|key, _| !request.remove.contains(key));
        Ok(Response::new(v1::LabelHostResponse { host: Some(host) }))
    }

    async fn retire_host(
        &self,
        request: Request<v1::RetireHostRequest>,
    ) -> Result<Response<v1::RetireHostResponse>, Status> {
        self.may_change()?;
        let mut host = self.find(&request.into_inner().host_name)?;
        host.retired_at = at("2026-11-22T16:00:00Z");
        Ok(Response::new(v1::RetireHostResponse { host: Some(host) }))
    }
}

/// A client of such a server, for as long as the runtime runs.
pub(super) async fn client(fake: Fake) -> Client {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let server = Server::builder().add_service(AdminServiceServer::new(fake));
    tokio::spawn(server.serve_with_incoming(incoming));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    Client::over(endpoint.connect().await.unwrap())
}
