//! Where an aggregator listens.

use std::fmt;

use rustls::pki_types::ServerName;
use tonic::codegen::http::Uri;

/// The port of an endpoint that names none.
const DEFAULT_PORT: u16 = 7443;

/// Host and port of an aggregator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address; an IPv6 address in brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Endpoint {
    /// Reads `https://host:port`, `host:port` or `host`.
    ///
    /// # Errors
    /// A text that says what is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} {why}; write https://HOST:{DEFAULT_PORT}");
        let rest = match text.trim().split_once("://") {
            None => text.trim(),
            Some(("https", rest)) => rest,
            Some(_) => return Err(wrong("is not reached over TLS")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let uri: Uri =
            format!("https://{rest}/").parse().map_err(|_| wrong("is no address of a server"))?;
        let host = uri.host().filter(|host| !host.is_empty());
        match host {
            Some(host) if !rest.contains(['@', '/', '?', '#']) => {
                let port = match uri.port_u16() {
                    None if rest == host => DEFAULT_PORT,
                    None | Some(0) => return Err(wrong("names no port from 1 to 65535")),
                    Some(port) => port,
                };
                Ok(Self { host: host.to_owned(), port })
            }
            _ => Err(wrong("is no address of a server")),
        }
    }
}

impl Default for Endpoint {
    fn default() -> Self {
        Self { host: "localhost".into(), port: DEFAULT_PORT }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}:{}", self.host, self.port)
    }
}

/// A name that a certificate can carry.
pub(super) fn server_name(text: &str) -> Result<String, String> {
    match ServerName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!(
            "{text:?} is no DNS name or address; write the one in the aggregator's certificate"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, u16) {
        let endpoint = Endpoint::parse(text).unwrap();
        (endpoint.host, endpoint.port)
    }

    #[test]
    fn scheme_and_port_may_be_left_out() {
        for text in [
            "https://db1.example:7443",
            "https://db1.example:7443/",
            "db1.example:7443",
            "db1.example",
        ] {
            assert_eq!(parsed(text), ("db1.example".into(), 7443), "{text}");
        }
        assert_eq!(parsed("[::1]:9"), ("[::1]".into(), 9));
        assert_eq!(parsed("10.0.0.1:9"), ("10.0.0.1".into(), 9));
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_a_remedy() {
        for text in [
            "",
            "http://a:1",
            "a:0",
            "a:",
            "a:99999",
            "a b",
            "user@a:1",
            "https://a/path",
            "a?x",
            "://",
        ] {
            let problem = Endpoint::parse(text).unwrap_err();
            assert!(problem.contains("write https://HOST:7443"), "{text}: {problem}");
        }
    }
}
