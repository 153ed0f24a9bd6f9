//! Why a server could not be reached, in words that say what to do.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rowcall_core::id::UnixMicros;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, OtherError};

use super::pinned::PinError;
use crate::load::Rfc3339;

/// Where in the making of a connection something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Looking up the name.
    Name,
    /// The TCP connection.
    Tcp,
    /// The TLS handshake.
    Handshake,
    /// Waiting for the server's first bytes after the handshake.
    FirstBytes,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "while its name was looked up",
            Self::Tcp => "while the TCP connection was opened",
            Self::Handshake => "during the TLS handshake",
            Self::FirstBytes => "after the TLS handshake",
        })
    }
}

/// Why we do not believe the server's certificate, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerFault {
    /// It is not of the authority pinned.
    #[error("{0}")]
    Pin(PinError),
    /// By our clock it has expired or is not valid yet: that clock may be wrong.
    #[error("{0}")]
    Clock(String),
    /// It is for other names than the one dialled.
    #[error("{0}")]
    Name(String),
    /// It is of an authority that we do not know, or of one made anew.
    #[error("{0}")]
    Authority(String),
    /// Something else is wrong with it.
    #[error("{0}")]
    Other(String),
}

/// What stopped a connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is none.
    #[error("{0:?} names no server; give https://HOST:PORT")]
    BadAddress(String),
    /// The name has no address.
    #[error("the name {host:?} cannot be resolved: {error}; check its spelling and DNS")]
    NameNotFound {
        /// The name.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// Nothing listens there.
    #[error("{address} refuses connections; check that the aggregator runs and the port is right")]
    Refused {
        /// The last address tried.
        address: SocketAddr,
    },
    /// No way there.
    #[error("{address} cannot be reached: {error}; check the network and firewalls")]
    Unreachable {
        /// The last address tried.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// It took too long.
    #[error("no answer from the server within {after:?}, {step}; check firewalls, or its load")]
    Deadline {
        /// How far it came.
        step: Step,
        /// The time allowed for all of it.
        after: Duration,
    },
    /// We do not believe the server's certificate.
    #[error("the server's certificate is not accepted: {0}")]
    ServerCertificate(ServerFault),
    /// The server does not believe our certificate.
    #[error("the server refuses our certificate (TLS alert {}): {}", alert_name(*.0), advice(*.0))]
    CertificateRefused(AlertDescription),
    /// The server ended the handshake for another reason than our certificate.
    #[error("the server ended the connection with TLS alert {}", alert_name(*.0))]
    Alert(AlertDescription),
    /// The other side does not speak TLS.
    #[error("the server does not speak TLS there; check the port")]
    NotTls,
    /// The other side does not speak HTTP/2 over TLS.
    #[error("the server does not speak HTTP/2 over TLS there; check the port")]
    NotHttp2,
    /// The server closed the connection and gave no reason.
    #[error(
        "the server closed the connection {step} without a reason ({error}); it may be \
         overloaded or stopping, its log may say more"
    )]
    Closed {
        /// How far it came.
        step: Step,
        /// What the system said.
        error: io::Error,
    },
    /// TLS failed in another way.
    #[error("TLS failed {step}: {error}")]
    Tls {
        /// How far it came.
        step: Step,
        /// What rustls said.
        error: Error,
    },
}

impl ConnectError {
    /// Whether the server refused our certificate. Trying again soon won't help: wait minutes,
    /// not seconds.
    #[must_use]
    pub fn is_certificate_refused(&self) -> bool {
        matches!(self, Self::CertificateRefused(_))
    }

    /// The connect error among an error's causes, for example of `tonic::transport::Error`.
    #[must_use]
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    pub(super) fn of_tls(error: io::Error, step: Step) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            None => Self::Closed { step, error },
            Some(Error::InvalidCertificate(reason)) => Self::ServerCertificate(explain(reason)),
            Some(Error::AlertReceived(alert)) if concerns_certificate(*alert) => {
                Self::CertificateRefused(*alert)
            }
            Some(Error::AlertReceived(alert)) => Self::Alert(*alert),
            Some(Error::InvalidMessage(_)) => Self::NotTls,
            Some(other) => Self::Tls { step, error: other.clone() },
        }
    }
}

fn concerns_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::NoCertificate
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
            | A::DecryptError
            | A::CertificateRequired
    )
}

/// The alert's name as RFC 8446 writes it.
fn alert_name(alert: AlertDescription) -> String {
    use AlertDescription as A;
    match alert {
        A::HandshakeFailure => "handshake_failure",
        A::NoCertificate => "no_certificate",
        A::BadCertificate => "bad_certificate",
        A::UnsupportedCertificate => "unsupported_certificate",
        A::CertificateRevoked => "certificate_revoked",
        A::CertificateExpired => "certificate_expired",
        A::CertificateUnknown => "certificate_unknown",
        A::UnknownCA => "unknown_ca",
        A::AccessDenied => "access_denied",
        A::DecodeError => "decode_error",
        A::DecryptError => "decrypt_error",
        A::ProtocolVersion => "protocol_version",
        A::InsufficientSecurity => "insufficient_security",
        A::InternalError => "internal_error",
        A::UnrecognisedName => "unrecognized_name",
        A::CertificateRequired => "certificate_required",
        A::NoApplicationProtocol => "no_application_protocol",
        other => return format!("{other:?}"),
    }
    .to_owned()
}

fn advice(alert: AlertDescription) -> &'static str {
    use AlertDescription as A;
    match alert {
        A::CertificateRequired | A::NoCertificate => {
            "it asks for a client certificate and got none; give a certificate and its key"
        }
        A::UnknownCA => {
            "it does not know the authority that issued it; use a certificate of the authority in \
             the server's CA file, or add ours to that file; or that authority's revocation list is \
             out of date there"
        }
        A::CertificateExpired => {
            "it has expired or is not valid yet by the server's clock; renew it, or set the clocks"
        }
        A::CertificateRevoked => "it has been revoked; have another one issued",
        A::UnsupportedCertificate => {
            "it is not for TLS clients; issue one with the extended key usage clientAuth"
        }
        A::DecryptError => {
            "it was not signed by the authority that the server knows under its issuer's name, \
             perhaps that authority was made anew; issue it again"
        }
        A::BadCertificate => "it is malformed; issue it again",
        _ => "it breaks a rule, perhaps it is a CA certificate itself; the server's log says which",
    }
}

fn explain(error: &CertificateError) -> ServerFault {
    use CertificateError as E;
    match error {
        E::UnknownIssuer => ServerFault::Authority(
            "its issuer is not among the authorities in our CA file; give the CA certificate of \
             the authority that issued it"
                .to_owned(),
        ),
        E::BadSignature => ServerFault::Authority(
            "it was not signed by the authority that our CA file has under its issuer's name, \
             perhaps that authority was made anew; fetch the CA certificate again"
                .to_owned(),
        ),
        E::ExpiredContext { not_after, time } => ServerFault::Clock(format!(
            "it expired at {}, it is now {}; renew it, or set this machine's clock",
            instant(*not_after),
            instant(*time)
        )),
        E::NotValidYetContext { not_before, time } => ServerFault::Clock(format!(
            "it is valid only from {}, it is now {}; set this machine's clock if it is slow",
            instant(*not_before),
            instant(*time)
        )),
        E::NotValidForNameContext { expected, presented } => ServerFault::Name(format!(
            "it is not for {:?} but for {}; dial one of these names, or issue one for this name",
            expected.to_str(),
            names(presented)
        )),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => ServerFault::Other(
            "it is not for TLS servers; issue one with the extended key usage serverAuth"
                .to_owned(),
        ),
        E::Other(OtherError(inner)) => match inner.downcast_ref::<PinError>() {
            Some(error) => ServerFault::Pin(error.clone()),
            None => ServerFault::Other(error.to_string()),
        },
        other => ServerFault::Other(other.to_string()),
    }
}

/// A certificate's names as people write them. The verifier gives them as `DnsName("db1")`,
/// `IpAddress(10.0.0.1)` and the like.
fn names(presented: &[String]) -> String {
    let plain = |name: &String| {
        let inner = name
            .strip_prefix("DnsName(")
            .or_else(|| name.strip_prefix("IpAddress("))
            .and_then(|name| name.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    match presented {
        [] => "no name at all".to_owned(),
        names => names.iter().map(plain).collect::<Vec<_>>().join(", "),
    }
}

fn instant(time: UnixTime) -> Rfc3339 {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Rfc3339(UnixMicros(seconds.saturating_mul(1_000_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_people_write_them() {
        let presented = ["DnsName(\"db1\")", "IpAddress(10.0.0.1)", "UniformResourceIdentifier(x)"];
        let shown = names(&presented.map(str::to_owned));
        assert_eq!(shown, "db1, 10.0.0.1, UniformResourceIdentifier(x)");
        assert_eq!(names(&[]), "no name at all");
    }
}
