//! The URL, which is a secret: whoever knows it can keep the alarm from coming.

use std::fmt;

use http::Uri;

/// Longest URL, in bytes.
const MAX_BYTES: usize = 2_048;

/// What is to be called. Shown without what follows the host.
#[derive(Clone, PartialEq, Eq)]
pub struct DeadManUrl {
    pub(super) https: bool,
    /// As in a URL, so an IPv6 address stands in brackets.
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// Begins with a slash.
    pub(super) path: String,
}

/// Why a text is no URL that can be called. Says nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// It can't be read.
    #[error("it is no URL: expected one such as https://host/path")]
    Unreadable,
    /// Another scheme, or none.
    #[error("it must begin with https:// or http://")]
    Scheme,
    /// No host, or something before it.
    #[error("expected a host, and no user or password before it")]
    Host,
    /// Too long.
    #[error("it has more than {MAX_BYTES} bytes")]
    Long,
}

impl DeadManUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`InvalidUrl`].
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        if text.len() > MAX_BYTES {
            return Err(InvalidUrl::Long);
        }
        let uri: Uri = text.parse().map_err(|_| InvalidUrl::Unreadable)?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(InvalidUrl::Scheme),
        };
        let authority = uri.authority().ok_or(InvalidUrl::Host)?;
        let (host, port) = (authority.host(), authority.port());
        // With a port that is no number, say, the host alone is not all there is.
        let plain = match &port {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        if host.is_empty()
            || plain != authority.as_str()
            || port.is_some() && port_of(&uri).is_none()
        {
            return Err(InvalidUrl::Host);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { https, host: host.to_owned(), port: port_of(&uri), path })
    }

    /// What TLS and DNS call it: without the brackets of an IPv6 address.
    pub(super) fn name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn authority(&self) -> String {
        self.port.map_or_else(|| self.host.clone(), |port| format!("{}:{port}", self.host))
    }
}

fn port_of(uri: &Uri) -> Option<u16> {
    uri.port_u16().filter(|port| *port != 0)
}

/// Without path and query.
impl fmt::Display for DeadManUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}/********", self.authority())
    }
}

impl fmt::Debug for DeadManUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_shown_without_its_secret() {
        for (text, shown, path, name) in [
            ("https://hc.example/SECRET", "https://hc.example/********", "/SECRET", "hc.example"),
            ("http://h:8080/SECRET?a=SECRET", "http://h:8080/********", "/SECRET?a=SECRET", "h"),
            ("https://[::1]:9/SECRET", "https://[::1]:9/********", "/SECRET", "::1"),
            ("http://h?SECRET", "http://h/********", "/?SECRET", "h"),
            ("http://h", "http://h/********", "/", "h"),
        ] {
            let url = DeadManUrl::parse(text).unwrap();
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.into(), shown.into()));
            assert_eq!((url.path.as_str(), url.name()), (path, name));
            assert!(DeadManUrl::parse(shown).is_ok(), "what is printed can be read");
        }
    }

    #[test]
    fn what_cannot_be_called_is_refused_without_being_repeated() {
        for (text, why) in [
            ("", InvalidUrl::Unreadable),
            ("SECRET", InvalidUrl::Scheme),
            ("/SECRET", InvalidUrl::Scheme),
            ("ftp://h/SECRET", InvalidUrl::Scheme),
            ("https://user:SECRET@h/x", InvalidUrl::Host),
            ("https://h:0/SECRET", InvalidUrl::Host),
            ("https://h:99999/SECRET", InvalidUrl::Host),
            ("https:// h/SECRET", InvalidUrl::Unreadable),
            ("https://h/\r\nSECRET", InvalidUrl::Unreadable),
            (&format!("https://h/{}", "x".repeat(MAX_BYTES)), InvalidUrl::Long),
        ] {
            let error = DeadManUrl::parse(text).unwrap_err();
            assert_eq!(error, why, "{text}");
            assert!(!error.to_string().contains("SECRET"));
        }
    }
}
