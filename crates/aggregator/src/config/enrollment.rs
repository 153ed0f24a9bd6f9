//! Settings of what is issued, to whom it is told where to go, and of what is not believed any more.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use http::Uri;
use ipnet::IpNet;

use super::reader::Reader;
use super::settings::{CRL_IN_PKI_DIR, OF_ISSUER};

/// Where enrolment is served unless told otherwise.
const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 7444);
/// Enrolments and renewals a minute from one source unless told otherwise.
const DEFAULT_PER_SOURCE: u32 = 60;

/// What certificates of nodes are issued with, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrollment {
    /// The authority that issues; the first certificate in the file.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities that nodes are told to trust.
    pub server_ca: PathBuf,
    /// Where nodes enrol; none: they can only renew, on [`super::Config::listen`].
    pub listen: Option<SocketAddr>,
    /// Where nodes are told to send to; empty: to the host that they enrolled at.
    pub advertise: Vec<String>,
    /// Most enrolments and renewals a minute from one source on [`Self::listen`].
    pub per_source: u32,
}

impl Enrollment {
    /// With the defaults of what is no file.
    #[must_use]
    pub const fn new(certificate: PathBuf, key: PathBuf, server_ca: PathBuf) -> Self {
        Self {
            certificate,
            key,
            server_ca,
            listen: Some(DEFAULT_LISTEN),
            advertise: Vec::new(),
            per_source: DEFAULT_PER_SOURCE,
        }
    }
}

/// Which client certificates are revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocations {
    /// Their authorities' lists.
    pub path: PathBuf,
    /// No file means none was revoked yet. Once there was one it must stay.
    pub may_be_missing: bool,
}

impl Reader {
    pub(super) fn revocations(&mut self) -> Option<Revocations> {
        if self.values.get("client_crl").is_some() {
            return Some(Revocations { path: self.path("client_crl"), may_be_missing: false });
        }
        let folder = self.values.get("pki_dir")?.text.trim();
        let path = Path::new(folder).join(CRL_IN_PKI_DIR);
        Some(Revocations { path, may_be_missing: true })
    }

    pub(super) fn enrollment(&mut self) -> Option<Enrollment> {
        // All are read, so that each problem is told.
        let issues = self.values.get("issuer").cloned().is_none_or(|value| {
            let read =
                |text: &str| text.parse().map_err(|_| format!("{text:?} is not true or false"));
            self.checked("issuer", &value, read).unwrap_or(true)
        });
        let listen = self.address_or_off("enroll_listen", "0.0.0.0:7444");
        let advertise = self.list("advertise", url);
        let per_source = self.number("enroll_per_source", 1, 100_000);
        let is_whole = OF_ISSUER.iter().all(|key| self.values.get(key).is_some());
        if !issues || !is_whole {
            return None;
        }
        Some(Enrollment {
            certificate: self.path("issuer_certificate"),
            key: self.path("issuer_key"),
            server_ca: self.path("server_ca"),
            listen,
            advertise,
            per_source: u32::try_from(per_source).unwrap_or(u32::MAX),
        })
    }

    /// Certificates are to be issued, and something for that is missing.
    pub(super) fn half_an_issuer(&mut self) {
        let issuer = self.values.get("issuer").map(|value| value.text.trim());
        if issuer == Some("false") {
            return;
        }
        let asked_for = issuer == Some("true");
        let (set, unset): (Vec<_>, Vec<_>) =
            OF_ISSUER.iter().partition(|key| self.values.get(key).is_some());
        if unset.is_empty() || (set.is_empty() && !asked_for) {
            return;
        }
        let words = |keys: Vec<&str>| keys.join(" and ");
        let why = if set.is_empty() { "issuer = true".to_owned() } else { words(set) };
        let missing = words(unset);
        self.problems.push(format!(
            "{missing} is not set, which {why} needs: set it too, or pki_dir, or issuer = false if \
             this aggregator is not to issue certificates"
        ));
    }
}

/// A network, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse().map(|address: std::net::IpAddr| IpNet::from(address.to_canonical()));
    address.or_else(|_| text.parse().map(|network: IpNet| network.trunc())).map_err(|_| {
        format!("{text:?} is neither a network such as 10.0.0.0/8 nor an address such as 192.0.2.7")
    })
}

/// Where an aggregator's streams go.
fn url(text: &str) -> Result<String, String> {
    let wrong = || {
        format!("{text:?} is not of the form https://HOST:PORT, such as https://db1.example:7443")
    };
    let url: Uri = text.parse().map_err(|_| wrong())?;
    let has_port = url.port_u16().is_some_and(|port| port > 0);
    let has_host = url.host().is_some_and(|host| !host.is_empty());
    let plain = matches!(url.path_and_query().map(|path| path.as_str()), None | Some("/" | ""));
    let no_user = !text.contains('@');
    if url.scheme_str() == Some("https") && has_host && has_port && plain && no_user {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err(wrong())
}

#[cfg(test)]
mod tests {
    use super::super::from_file_text;
    use super::*;

    const LEAST: &str = "database = 'embedded'\n";

    #[test]
    fn a_folder_gives_all_files_and_one_setting_overrides_one_of_them() {
        let text = format!("{LEAST}pki_dir = '/pki'\nkey = '/run/key'\n");
        let config = from_file_text(&text).unwrap();
        assert_eq!(config.files.certificate, Path::new("/pki/server.pem"));
        assert_eq!(config.files.key, Path::new("/run/key"));
        assert_eq!(config.files.authorities, Path::new("/pki/client-ca.pem"));
        let revocations = config.revocations.unwrap();
        assert_eq!(revocations.path, Path::new("/pki/client-crl.pem"));
        assert!(revocations.may_be_missing);
        let enrollment = config.enrollment.unwrap();
        assert_eq!(enrollment.key, Path::new("/pki/client-ca.key"));
        let expected = Enrollment::new(
            "/pki/client-ca.pem".into(),
            "/pki/client-ca.key".into(),
            "/pki/root.pem".into(),
        );
        assert_eq!(enrollment, expected);
    }

    #[test]
    fn without_an_issuer_nothing_of_it_is_named() {
        let text = format!("{LEAST}pki_dir = '/pki'\nissuer = false\n");
        let config = from_file_text(&text).unwrap();
        assert_eq!(config.enrollment, None);
        assert!(!format!("{config:?}").contains("client-ca.key"));
    }

    #[test]
    fn a_ca_of_ones_own_issues_nothing_unless_all_of_an_issuer_is_there() {
        let own = format!("{LEAST}certificate = 'c'\nkey = 'k'\nclient_ca = 'a'\n");
        assert_eq!(from_file_text(&own).unwrap().enrollment, None);
        for (more, part) in [
            (
                "issuer_key = 'i'",
                "server_ca and issuer_certificate is not set, which issuer_key needs",
            ),
            (
                "issuer = true",
                "which issuer = true needs: set it too, or pki_dir, or issuer = false",
            ),
            ("issuer = 'maybe'", "\"maybe\" is not true or false"),
        ] {
            let problems = from_file_text(&format!("{own}{more}\n")).unwrap_err().to_string();
            assert!(problems.contains(part), "{problems}");
        }
        let whole = format!("{own}issuer_key = 'i'\nissuer_certificate = 'j'\nserver_ca = 's'\n");
        assert!(from_file_text(&whole).unwrap().enrollment.is_some());
        let off = format!("{own}issuer_key = 'i'\nissuer = false\n");
        assert_eq!(from_file_text(&off).unwrap().enrollment, None);
    }

    #[test]
    fn networks_and_urls_are_checked_one_by_one() {
        let base = format!("{LEAST}pki_dir = '/pki'\n");
        let text = format!(
            "{base}exempt_sources = '10.1.2.3/8, 192.0.2.7,::ffff:192.0.2.8'\n\
             proxy_from = '2001:db8::/32'\nadvertise = 'https://db1:7443/,https://[::1]:7'\n\
             enroll_listen = 'off'\nenroll_per_source = 5\n"
        );
        let config = from_file_text(&text).unwrap();
        let shown: Vec<_> = config.exempt_sources.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.0/8", "192.0.2.7/32", "192.0.2.8/32"]);
        assert_eq!(config.proxy_from.len(), 1);
        let enrollment = config.enrollment.unwrap();
        assert_eq!(enrollment.advertise, ["https://db1:7443", "https://[::1]:7"]);
        assert_eq!((enrollment.listen, enrollment.per_source), (None, 5));
        for (line, part) in [
            ("exempt_sources = '10.0.0.0/33'", "\"10.0.0.0/33\" is neither a network such as"),
            ("proxy_from = 'balancer'", "\"balancer\" is neither a network such as"),
            ("advertise = 'http://db1:7443'", "is not of the form https://HOST:PORT"),
            ("advertise = 'https://db1'", "is not of the form https://HOST:PORT"),
            ("advertise = 'https://u@db1:1'", "is not of the form https://HOST:PORT"),
            ("advertise = 'https://db1:1/x'", "is not of the form https://HOST:PORT"),
            ("enroll_per_source = 0", "is no whole number between 1 and 100000"),
            ("enroll_listen = 'here'", "such as 0.0.0.0:7444 nor the word off"),
            ("enroll_listen = '0.0.0.0:7443'", "enroll_listen and listen are the same port"),
            ("enroll_listen = '0.0.0.0:7445'", "http_listen and enroll_listen are the same port"),
        ] {
            let problems = from_file_text(&format!("{base}{line}\n")).unwrap_err().to_string();
            assert!(problems.contains(part), "{line}: {problems}");
        }
    }
}
