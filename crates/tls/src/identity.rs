//! Who a certificate says its holder is.
//!
//! The identity is the certificate's one URI SAN, `spiffe://<trust domain>/<role>/<name>`.
//! Subject, DNS names and everything else in the certificate are ignored. Whether the certificate
//! may be believed at all (chain, dates, purpose) is decided before, in the handshake.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rowcall_core::id::{HostName, InvalidHostName};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::GeneralName;

use crate::x509;

const SCHEME: &str = "spiffe://";

/// Text from a certificate is repeated in errors up to this many characters.
const SHOWN_CHARS: usize = 200;

/// What the holder of a client certificate may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Writes the rows of the host that it names, and nothing else.
    Agent,
    /// Reads reports.
    Viewer,
    /// Reads reports and manages hosts.
    Operator,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Agent, Self::Viewer, Self::Operator];

    /// The role as it stands in the URI.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text is none of the [roles](Role).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("role is {0:?}, expected agent, viewer or operator")]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole(shown(text)))
    }
}

/// The name under which one authority's certificates stand, for example `example.org`:
/// `[a-z0-9._-]`, 1 to 255 bytes, lower case only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

/// A text is no trust domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("trust domain {0:?} is not 1 to 255 characters of a-z, 0-9, '.', '_' and '-'")]
pub struct InvalidTrustDomain(pub String);

impl TrustDomain {
    /// Checks a trust domain. Capital letters are refused, not folded.
    ///
    /// # Errors
    /// [`InvalidTrustDomain`] repeats it.
    pub fn parse(text: &str) -> Result<Self, InvalidTrustDomain> {
        let fits = (1..=255).contains(&text.len())
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
        if fits { Ok(Self(text.into())) } else { Err(InvalidTrustDomain(shown(text))) }
    }

    /// The trust domain as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URI that stands in the certificate of this domain's own authority.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("{SCHEME}{self}")
    }

    /// Reads the trust domain of an authority from its certificate's one URI SAN,
    /// `spiffe://<trust domain>`.
    ///
    /// # Errors
    /// [`IdentityError`] says which rule it breaks.
    pub fn from_authority(der: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let uri = one_uri(der)?;
        uri.strip_prefix(SCHEME)
            .and_then(|domain| Self::parse(domain).ok())
            .ok_or_else(|| IdentityError::AuthorityForm(shown(&uri)))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidTrustDomain;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Role and name of a certificate's holder. Displayed as its URI.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Whose certificates these are.
    pub trust_domain: TrustDomain,
    /// What the holder may do.
    pub role: Role,
    /// The host's name for an agent, else a name that people chose.
    pub name: HostName,
}

/// Why a certificate gives no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The chain is empty.
    #[error("the connection carries no certificate")]
    NoCertificate,
    /// It is not X.509, or its SAN extension is broken.
    #[error("certificate cannot be read: {0}")]
    Unreadable(String),
    /// It has no URI among its alternative names.
    #[error("certificate has no URI SAN; expected spiffe://<trust domain>/<role>/<name>")]
    NoUriSan,
    /// It has several URIs among its alternative names.
    #[error(
        "certificate has {0} URI SANs; expected exactly one, \
         spiffe://<trust domain>/<role>/<name>"
    )]
    SeveralUriSans(usize),
    /// The URI has another form.
    #[error("URI SAN {0:?} is not of the form spiffe://<trust domain>/<role>/<name>")]
    Form(String),
    /// The URI of an authority has another form.
    #[error("URI SAN {0:?} is not of an authority's form spiffe://<trust domain>")]
    AuthorityForm(String),
    /// The role is none of ours.
    #[error("URI SAN {uri:?}: {error}")]
    Role {
        /// The certificate's URI.
        uri: String,
        /// What is wrong with the role.
        error: UnknownRole,
    },
    /// The name is none that a host can have.
    #[error("URI SAN {uri:?}: {error}")]
    Name {
        /// The certificate's URI.
        uri: String,
        /// What is wrong with the name.
        error: InvalidHostName,
    },
    /// The certificate belongs to another trust domain.
    #[error("certificate of {identity} is of trust domain {}, expected {expected}", identity.trust_domain)]
    OtherTrustDomain {
        /// Whom the certificate names.
        identity: Box<Identity>,
        /// The trust domain asked for.
        expected: TrustDomain,
    },
}

impl Identity {
    /// Reads the identity of the first certificate of a chain, the holder's own.
    ///
    /// # Errors
    /// [`IdentityError`] says which rule it breaks.
    pub fn from_chain(chain: &[CertificateDer<'_>]) -> Result<Self, IdentityError> {
        Self::from_der(chain.first().ok_or(IdentityError::NoCertificate)?)
    }

    /// Reads the identity of one certificate.
    ///
    /// # Errors
    /// [`IdentityError`] says which rule it breaks.
    pub fn from_der(der: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        Self::from_uri(&one_uri(der)?)
    }

    /// Reads an identity as it is written in a certificate.
    ///
    /// # Errors
    /// [`IdentityError`] says which rule it breaks.
    pub fn from_uri(uri: &str) -> Result<Self, IdentityError> {
        let form = || IdentityError::Form(shown(uri));
        let mut parts = uri.strip_prefix(SCHEME).ok_or_else(form)?.split('/');
        let (Some(domain), Some(role), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(form());
        };
        // "." and ".." are path steps, not names, wherever such a URI is resolved.
        if matches!(name, "." | "..") {
            return Err(form());
        }
        Ok(Self {
            trust_domain: TrustDomain::parse(domain).map_err(|_| form())?,
            role: role.parse().map_err(|error| IdentityError::Role { uri: shown(uri), error })?,
            name: HostName::parse(name)
                .map_err(|error| IdentityError::Name { uri: shown(uri), error })?,
        })
    }

    /// This identity, if it belongs to a trust domain.
    ///
    /// # Errors
    /// [`IdentityError::OtherTrustDomain`] when it does not.
    pub fn within(self, expected: &TrustDomain) -> Result<Self, IdentityError> {
        if self.trust_domain == *expected {
            return Ok(self);
        }
        Err(IdentityError::OtherTrustDomain {
            identity: Box::new(self),
            expected: expected.clone(),
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.trust_domain, self.role, self.name)
    }
}

fn one_uri(der: &CertificateDer<'_>) -> Result<String, IdentityError> {
    let certificate = x509::read(der).map_err(IdentityError::Unreadable)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| IdentityError::Unreadable(x509::explain(&error)))?;
    let mut uris = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
    let first = uris.next().ok_or(IdentityError::NoUriSan)?;
    match uris.count() {
        0 => Ok(first.to_owned()),
        more => Err(IdentityError::SeveralUriSans(more + 1)),
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(uri: &str) -> String {
        Identity::from_uri(uri).unwrap_err().to_string()
    }

    #[test]
    fn uri_is_read_and_written_alike() {
        let uri = "spiffe://example.org/viewer/alice.laptop_1";
        let identity = Identity::from_uri(uri).unwrap();
        assert_eq!(identity.role, Role::Viewer);
        assert_eq!(identity.name.as_str(), "alice.laptop_1");
        assert_eq!(identity.to_string(), uri);
    }

    #[test]
    fn host_name_is_lower_cased_but_nothing_else_is() {
        assert_eq!(
            Identity::from_uri("spiffe://d/agent/Node1").unwrap().to_string(),
            "spiffe://d/agent/node1"
        );
        assert!(Identity::from_uri("spiffe://D/agent/node1").is_err());
        assert!(Identity::from_uri("spiffe://d/Agent/node1").is_err());
        assert!(Identity::from_uri("SPIFFE://d/agent/node1").is_err());
    }

    #[test]
    fn other_forms_are_refused_with_the_uri_and_the_form_expected() {
        for uri in [
            "",
            "https://d/agent/n",
            "spiffe://d",
            "spiffe://d/agent",
            "spiffe://d/agent/n/more",
            "spiffe:///agent/n",
            "spiffe://user@d/agent/n",
            "spiffe://d:1/agent/n",
            "spiffe://d/agent/..",
        ] {
            assert_eq!(
                error(uri),
                format!("URI SAN {uri:?} is not of the form spiffe://<trust domain>/<role>/<name>")
            );
        }
    }

    #[test]
    fn unknown_role_and_bad_name_are_named() {
        assert_eq!(
            error("spiffe://d/root/n"),
            "URI SAN \"spiffe://d/root/n\": role is \"root\", expected agent, viewer or operator"
        );
        assert_eq!(
            error("spiffe://d/agent/a%2f"),
            "URI SAN \"spiffe://d/agent/a%2f\": host name contains '%', only a-z, 0-9, '.', '_' \
             and '-' are allowed"
        );
        assert!(error("spiffe://d/agent/n?x#y").contains("'?'"));
        assert!(error("spiffe://d/agent/").contains("host name is empty"));
    }

    #[test]
    fn other_trust_domain_is_refused() {
        let ours = TrustDomain::parse("ours").unwrap();
        let identity = Identity::from_uri("spiffe://theirs/agent/n").unwrap();
        assert_eq!(
            identity.within(&ours).unwrap_err().to_string(),
            "certificate of spiffe://theirs/agent/n is of trust domain theirs, expected ours"
        );
        assert!(Identity::from_uri("spiffe://ours/agent/n").unwrap().within(&ours).is_ok());
    }

    #[test]
    fn text_from_a_certificate_is_escaped_and_cut_in_errors() {
        let text = error(&format!("spiffe://d/\u{1b}[31m{}/n", "x".repeat(5_000)));
        assert!(text.contains("\\u{1b}"), "{text}");
        assert!(text.len() < 600, "{}", text.len());
    }

    #[test]
    fn bytes_that_are_no_certificate_are_unreadable() {
        let error = Identity::from_der(&CertificateDer::from(&b"\x30\x03abc"[..])).unwrap_err();
        assert!(matches!(error, IdentityError::Unreadable(_)), "{error}");
        assert_eq!(Identity::from_chain(&[]), Err(IdentityError::NoCertificate));
    }
}
