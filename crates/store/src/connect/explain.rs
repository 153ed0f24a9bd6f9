//! Why an attempt to connect failed, in words for people.

use std::error::Error as _;
use std::io;
use std::path::Path;

use rustls::{AlertDescription, CertificateError};
use tokio_postgres::Config;
use tokio_postgres::config::SslNegotiation;
use tokio_postgres::error::SqlState;

use super::tls::Tls;
use crate::error::{Error, Kind, Target, text};
use crate::sqlstate::verdict;

/// The driver's text where a server has no TLS; it gives no other sign.
const NO_TLS: &str = "server does not support TLS";
/// The driver's text where `target_session_attrs` is not met.
const NO_WRITES: &str = "does not allow writes";

/// What was attempted.
pub(super) struct Attempt<'a> {
    pub(super) target: &'a Target,
    pub(super) host: &'a str,
    pub(super) tls: &'a Tls,
    pub(super) over_tls: bool,
    pub(super) socket: bool,
    /// Looked into for a password.
    pub(super) passfile: Option<&'a Path>,
    pub(super) config: &'a Config,
}

impl Attempt<'_> {
    /// The driver's error, explained.
    pub(super) fn explain(&self, error: tokio_postgres::Error) -> Error {
        let (kind, message) = if let Some(db) = error.as_db_error() {
            (verdict(db).kind, self.servers_word(db.code(), &text(&error)))
        } else if let Some(tls) = tls_error(&error) {
            let certificate = matches!(tls, rustls::Error::InvalidCertificate(_));
            let (kind, message) = self.tls_word(tls);
            return Error::connecting(kind, message, error).tls_failure(!certificate);
        } else {
            let (kind, message) = self.drivers_word(&error);
            let broken = self.over_tls && io_error(&error).is_some();
            return Error::connecting(kind, message, error).tls_failure(broken);
        };
        Error::connecting(kind, message, error)
    }

    /// What the server said.
    fn servers_word(&self, code: &SqlState, cause: &str) -> String {
        let Target { database, user, .. } = self.target;
        let target = self.target;
        match code.code() {
            "28P01" => format!(
                "{target} does not let user {user} in ({cause}); check user and password in {}, \
                 and pg_hba.conf on the server",
                self.password_source()
            ),
            "28000" => format!(
                "{target} does not let user {user} in ({cause}); check user and password in {}, \
                 and pg_hba.conf on the server{}",
                self.password_source(),
                self.pg_hba_advice()
            ),
            "3D000" => format!(
                "{target} has no database {database}; create it as a superuser: CREATE DATABASE \
                 \"{database}\" ENCODING 'UTF8' TEMPLATE template0"
            ),
            "42501" => format!(
                "{target}: user {user} has no right to connect ({cause}); as the database's \
                 owner: GRANT CONNECT ON DATABASE \"{database}\" TO \"{user}\""
            ),
            "53300" => format!(
                "{target} has no connection left ({cause}); raise its max_connections or lower \
                 the pools"
            ),
            _ => format!("{target} refuses the connection: {cause}"),
        }
    }

    /// The server's own words may be in any language; what we did says what may be missing.
    fn pg_hba_advice(&self) -> &'static str {
        if self.socket {
            ""
        } else if !self.over_tls {
            "; where it wants TLS, set sslmode=require or stronger in the URL"
        } else if self.tls.client.is_none() {
            "; where it wants a client certificate, set sslcert and sslkey in the URL"
        } else {
            "; the common name of sslcert must be the user's name, or be mapped to it in \
             pg_ident.conf"
        }
    }

    fn password_source(&self) -> String {
        self.passfile
            .map_or_else(|| "the URL".into(), |path| format!("passfile {}", path.display()))
    }

    /// What rustls found, on either side.
    fn tls_word(&self, error: &rustls::Error) -> (Kind, String) {
        let (target, roots) = (self.target, self.tls.roots_text());
        let refused = |why: String| format!("the certificate of {target} is refused: {why}");
        match error {
            rustls::Error::InvalidCertificate(bad) => match bad {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => (
                    Kind::Config,
                    refused(format!(
                        "it is not signed by an authority in {roots}; give the certificate of the \
                         one that signed it, and let the server send what stands between"
                    )),
                ),
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => {
                    let names = match bad {
                        CertificateError::NotValidForNameContext { presented, .. }
                            if !presented.is_empty() =>
                        {
                            format!("for {}", names(presented))
                        }
                        _ => "for other names".into(),
                    };
                    let host = self.host;
                    (
                        Kind::Config,
                        refused(format!(
                            "it is {names}, not for {host}; use one of its names in the URL (with \
                             hostaddr=ADDRESS where the name does not resolve), or get one for \
                             {host}"
                        )),
                    )
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
                    Kind::Config,
                    refused(format!("it has expired; renew it on the server ({error})")),
                ),
                // A clock that is not set yet at boot: waiting cures it.
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
                    Kind::Transient,
                    refused(format!("it is not valid yet; check this machine's clock ({error})")),
                ),
                CertificateError::InvalidPurpose
                | CertificateError::InvalidPurposeContext { .. } => (
                    Kind::Config,
                    refused(format!("it is not made for a server ({error}); get one that is")),
                ),
                _ => (Kind::Config, refused(error.to_string())),
            },
            rustls::Error::AlertReceived(alert) => (Kind::Config, self.alert(*alert)),
            rustls::Error::InvalidMessage(_) => (
                Kind::Config,
                format!(
                    "{target} does not answer in TLS; check host and port, and sslnegotiation=\
                     direct, which PostgreSQL knows from 17 on"
                ),
            ),
            error => (Kind::Config, format!("no TLS with {target}: {error}")),
        }
    }

    fn alert(&self, alert: AlertDescription) -> String {
        let target = self.target;
        match (alert, &self.tls.client) {
            (AlertDescription::CertificateRequired, None) => {
                format!("{target} wants a client certificate; set sslcert and sslkey in the URL")
            }
            (
                AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateRequired
                | AlertDescription::AccessDenied
                | AlertDescription::DecryptError,
                Some(files),
            ) => format!(
                "{target} refuses the client certificate sslcert {} ({alert:?}); it must be in \
                 date and signed by an authority in the server's ssl_ca_file; the server's log \
                 says more",
                files.certificate.display()
            ),
            (alert, _) => format!(
                "no TLS with {target}: it says {alert:?}; it must speak TLS 1.2 or 1.3 \
                 (ssl_min_protocol_version, ssl_ciphers); its log says more"
            ),
        }
    }

    /// Neither the server's word nor TLS's.
    fn drivers_word(&self, error: &tokio_postgres::Error) -> (Kind, String) {
        let target = self.target;
        let cause = text(error);
        if cause.contains(NO_TLS) {
            let message = format!(
                "{target} has no TLS, and sslmode={} wants it; turn ssl on at the server, or set \
                 sslmode=disable if nobody can listen on the network between",
                self.tls.mode.word()
            );
            return (Kind::Config, message);
        }
        if cause.contains(NO_WRITES) {
            let message = format!(
                "{target} only reads, and target_session_attrs=read-write wants a server that \
                 writes; it is the default where the URL has several hosts"
            );
            return (Kind::ReadOnly, message);
        }
        match io_error(error) {
            Some(found) if found.kind() == io::ErrorKind::InvalidInput && self.over_tls => {
                let message =
                    format!("{} is no host name that a certificate can be for", self.host);
                return (Kind::Config, message);
            }
            Some(_) if self.over_tls => {
                let direct = if self.config.get_ssl_negotiation() == SslNegotiation::Direct {
                    "; sslnegotiation=direct needs PostgreSQL 17 or newer"
                } else {
                    ""
                };
                let message = format!(
                    "{target} broke off during the TLS handshake or login ({cause}); its log says \
                     why{direct}"
                );
                return (Kind::Transient, message);
            }
            None if !error.is_closed() && is_login(error) => {
                return (Kind::Config, self.login_word(&cause));
            }
            _ => {}
        }
        let message = format!(
            "cannot reach {target}: {cause}; check that PostgreSQL runs there, host and port"
        );
        (Kind::Transient, message)
    }

    fn login_word(&self, cause: &str) -> String {
        let target = self.target;
        if !cause.contains("password missing") {
            return format!(
                "{target} cannot agree with us on a way to log in ({cause}); known are \
                 scram-sha-256, md5 and password, client certificates, and peer on a socket"
            );
        }
        match self.passfile {
            None => format!(
                "{target} asks for a password that the URL does not have; set passfile=FILE, or \
                 put it into the URL in the settings file"
            ),
            Some(path) => format!(
                "{target} asks for a password, and passfile {} has no line that fits \
                 {}:{}:{}:{} (host:port:database:user)",
                path.display(),
                self.host,
                self.config.get_ports().first().copied().unwrap_or(5432),
                target.database,
                target.user
            ),
        }
    }
}

fn io_error(error: &tokio_postgres::Error) -> Option<&io::Error> {
    error.source()?.downcast_ref()
}

fn tls_error(error: &tokio_postgres::Error) -> Option<&rustls::Error> {
    io_error(error)?.get_ref()?.downcast_ref()
}

/// The driver has no name for it, but two texts.
fn is_login(error: &tokio_postgres::Error) -> bool {
    let text = error.to_string();
    text.contains("authentication") || text.contains("invalid configuration")
}

/// A certificate's names as people write them; rustls gives them as `DnsName("db1")` and the like.
fn names(presented: &[String]) -> String {
    let plain = |name: &String| {
        let inner = name.strip_prefix("DnsName(").or_else(|| name.strip_prefix("IpAddress("));
        let inner = inner.and_then(|name| name.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    presented.iter().map(plain).collect::<Vec<_>>().join(", ")
}
