//! Where an aggregator listens.

use std::fmt;
use std::net::Ipv6Addr;

use rustls::pki_types::ServerName;

/// The port of an aggregator's streams, where none is named.
pub(crate) const DEFAULT_PORT: u16 = 7443;

/// The port of its enrolment, where none is named.
pub(crate) const ENROLL_PORT: u16 = 7444;

/// More aggregators than anybody has: a list beyond this is a slip.
const MOST_ENDPOINTS: usize = 16;

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
        Self::parse_with(text, DEFAULT_PORT)
    }

    /// The same, of the listener for enrolment: the port is 7444 where none is named.
    ///
    /// # Errors
    /// A text that says what is wrong and what to write.
    pub fn parse_enroll(text: &str) -> Result<Self, String> {
        Self::parse_with(text, ENROLL_PORT)
    }

    fn parse_with(text: &str, default_port: u16) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("{text:?} {why}; write https://HOST:{default_port}"));
        let trimmed = text.trim();
        let rest = match trimmed.split_once("://") {
            None => trimmed,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => rest,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => {
                return wrong("would not be encrypted");
            }
            Some((scheme, _)) => return wrong(&format!("has the unknown scheme {scheme:?}")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.is_empty() {
            return wrong("names no host");
        }
        if rest.contains('@') {
            return wrong("names a user, but the certificate says who this agent is");
        }
        if rest.contains(['/', '?', '#']) {
            return wrong("has something after host and port");
        }
        let (host, port) = match rest.rsplit_once(':') {
            _ if rest.ends_with(']') => (rest, None),
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        };
        let port = match port.map(str::parse) {
            None => default_port,
            Some(Ok(port)) if port > 0 => port,
            Some(_) if host.contains(':') && !host.ends_with(']') => {
                return wrong("needs brackets around an IPv6 address");
            }
            Some(_) => return wrong("names no port from 1 to 65535"),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        match (bare, bare.unwrap_or(host).parse::<Ipv6Addr>()) {
            (None, Ok(_)) => return wrong("needs brackets around an IPv6 address"),
            (None, Err(_)) if host.matches(':').count() > 0 => {
                return wrong("needs brackets around an IPv6 address");
            }
            (Some(_), Err(_)) => return wrong("has no IPv6 address in its brackets"),
            (Some(_), Ok(_)) => {}
            (None, Err(_)) if ServerName::try_from(host).is_err() => {
                return wrong("names no host: neither a DNS name nor an address");
            }
            (None, Err(_)) => {}
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

/// Reads aggregators with commas between them, in the order in which they are tried.
pub(super) fn endpoints(text: &str) -> Result<Vec<Endpoint>, String> {
    several(text, Endpoint::parse)
}

/// The same, of listeners for enrolment.
pub(super) fn enroll_servers(text: &str) -> Result<Vec<Endpoint>, String> {
    several(text, Endpoint::parse_enroll)
}

fn several(
    text: &str,
    parse: impl Fn(&str) -> Result<Endpoint, String>,
) -> Result<Vec<Endpoint>, String> {
    let mut endpoints = Vec::new();
    for part in text.split(',') {
        let endpoint = parse(part)?;
        if endpoints.contains(&endpoint) {
            return Err(format!("{endpoint} is named twice; name each aggregator once"));
        }
        endpoints.push(endpoint);
    }
    if endpoints.len() > MOST_ENDPOINTS {
        return Err(format!("{} aggregators are too many; the most is 16", endpoints.len()));
    }
    Ok(endpoints)
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
        assert_eq!(parsed("[::1]"), ("[::1]".into(), 7443));
        assert_eq!(parsed("10.0.0.1:9"), ("10.0.0.1".into(), 9));
        assert_eq!(parsed("HTTPS://db_1"), ("db_1".into(), 7443));
        assert_eq!(parsed("db1.example."), ("db1.example.".into(), 7443));
    }

    #[test]
    fn several_are_tried_in_the_order_in_which_they_are_written() {
        let found = endpoints("https://db1:1, db2 ,[::1]:3").unwrap();
        let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["https://db1:1", "https://db2:7443", "https://[::1]:3"]);
        for (text, reason) in [
            ("db1,", "\"\" names no host"),
            ("db1,http://db2", "\"http://db2\" would not be encrypted"),
            ("db1, https://db1:7443", "https://db1:7443 is named twice; name each aggregator once"),
            (
                &vec!["a"; 17]
                    .iter()
                    .zip(1..)
                    .map(|(a, n)| format!("{a}{n}"))
                    .collect::<Vec<_>>()
                    .join(","),
                "17 aggregators are too many",
            ),
        ] {
            let problem = endpoints(text).unwrap_err();
            assert!(problem.contains(reason), "{text}: {problem}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_the_reason_and_a_remedy() {
        for (text, reason) in [
            ("", "names no host"),
            ("https://", "names no host"),
            ("://", "unknown scheme \"\""),
            ("http://a:1", "would not be encrypted"),
            ("HTTP://a", "would not be encrypted"),
            ("grpc://a:1", "unknown scheme \"grpc\""),
            ("a:0", "names no port from 1 to 65535"),
            ("a:", "names no port from 1 to 65535"),
            ("a:99999", "names no port from 1 to 65535"),
            ("a:7443x", "names no port from 1 to 65535"),
            ("https://a:-1", "names no port from 1 to 65535"),
            ("a b", "names no host: neither"),
            ("a:7443 junk", "names no port"),
            ("-a-.example", "names no host: neither"),
            (&"a".repeat(300), "names no host: neither"),
            ("user@a:1", "names a user"),
            ("https://a/path", "something after host and port"),
            ("https://a:7443/x/", "something after host and port"),
            ("a?x", "something after host and port"),
            ("a#x", "something after host and port"),
            ("::1", "needs brackets"),
            ("fe80::1:7443", "needs brackets"),
            ("https://::1:7443", "needs brackets"),
            ("[a]:1", "no IPv6 address in its brackets"),
            ("[::1", "needs brackets"),
            ("a\0b", "names no host: neither"),
        ] {
            let problem = Endpoint::parse(text).unwrap_err();
            assert!(problem.contains(reason), "{text}: {problem}");
            assert!(problem.contains("; write https://HOST:7443"), "{text}: {problem}");
        }
    }
}
