//! One GET. TLS 1.3 with the system's authorities (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others).

use std::sync::Arc;

use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::DeadManUrl;

/// Most of an answer's head that is kept; its body isn't read.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// What is sent has no body.
type NoBody = Empty<&'static [u8]>;

/// Calls the URL. Without a time limit of its own.
///
/// # Errors
/// Why it was not reached or did not answer with success, without the URL.
pub(super) async fn get(url: &DeadManUrl) -> Result<(), String> {
    let port = url.port.unwrap_or(if url.https { 443 } else { 80 });
    let stream = TcpStream::connect((url.name(), port))
        .await
        .map_err(|error| format!("cannot connect: {error}"))?;
    let status = if url.https {
        let name = ServerName::try_from(url.name().to_owned())
            .map_err(|_| "its host is no name that a certificate could have".to_owned())?;
        let connector = TlsConnector::from(Arc::new(tls().await?));
        let stream =
            connector.connect(name, stream).await.map_err(|error| format!("TLS fails: {error}"))?;
        exchange(url, stream).await?
    } else {
        exchange(url, stream).await?
    };
    if status.is_success() {
        Ok(())
    } else if status.is_redirection() {
        Err(format!("it answers {status}: redirections are not followed, give the last URL"))
    } else {
        Err(format!("it answers {status}"))
    }
}

async fn exchange(
    url: &DeadManUrl,
    stream: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<StatusCode, String> {
    let failed = |error: hyper::Error| format!("HTTP fails: {error}");
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let request: Request<NoBody> = Request::get(&url.path)
        .header(header::HOST, url.authority())
        .header(header::USER_AGENT, concat!("rowcall-aggregator/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|_| "the URL makes no request".to_owned())?;
    let response = sender.send_request(request);
    tokio::pin!(connection, response);
    tokio::select! {
        biased;
        response = &mut response => return Ok(response.map_err(failed)?.status()),
        // It ends with an answer that is there already, or with why there is none.
        ended = &mut connection => ended.map_err(failed)?,
    }
    Ok(response.await.map_err(failed)?.status())
}

/// Read anew for each call, so that a system whose authorities were renewed needs no restart.
async fn tls() -> Result<ClientConfig, String> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs)
        .await
        .map_err(|_| "cannot read the system's authorities".to_owned())?;
    let mut roots = RootCertStore::empty();
    let (known, _unreadable) = roots.add_parsable_certificates(loaded.certs);
    if known == 0 {
        let why = loaded.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        return Err(format!(
            "the system has no authorities{why}: install ca-certificates, or name a file of them \
             in SSL_CERT_FILE"
        ));
    }
    let config = ClientConfig::builder_with_provider(rowcall_tls::config::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| format!("TLS cannot be configured: {error}"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
