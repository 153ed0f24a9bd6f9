//! What a database URL says: the driver's parameters, and those that are ours because the driver
//! refuses them or knows only half of their values.
//!
//! Both forms are read, `postgresql://user@host/database?key=value` and `key=value key=value`.
//! Nothing here comes from the environment or from files in a home folder: a service shall do what
//! its settings say. No message holds a value, which may be a password in the wrong place.

use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslNegotiation, TargetSessionAttrs};

use super::tls::{ClientFiles, Mode, Roots, Tls};
use crate::error::{Error, Kind};

/// Parameters that the driver understands.
const DRIVERS: [&str; 18] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslnegotiation",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// Parameters that we read ourselves.
const OURS: [&str; 5] = ["passfile", "sslcert", "sslkey", "sslmode", "sslrootcert"];

const LOOKS_LIKE: &str = "it looks like postgresql://user@host:5432/host_agent";

/// What a URL asks for.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) config: Config,
    pub(super) tls: Tls,
    pub(super) passfile: Option<PathBuf>,
    /// The parameters that it names, in the URL's order.
    pub(super) keys: Vec<String>,
}

impl Given {
    /// Whether a person chose a parameter's value.
    pub(super) fn names(&self, parameter: &str) -> bool {
        self.keys.iter().any(|key| key == parameter)
    }
}

/// Reads a URL.
///
/// # Errors
/// [`Kind::Config`]: what cannot be read, is unknown, or contradicts itself.
pub(super) fn parse(url: &str) -> Result<Given, Error> {
    let parts = take_apart(url)?;
    let keys = match &parts {
        Parts::Url { pairs, .. } => pairs.iter().map(|(key, _)| key.clone()).collect(),
        Parts::Line(pairs) => pairs.iter().map(|(key, _)| key.clone()).collect(),
    };
    let (pairs, rest) = match parts {
        Parts::Url { scheme, base, pairs } => split_url(scheme, base, pairs)?,
        Parts::Line(pairs) => split_line(pairs),
    };
    let config: Config = rest.parse().map_err(|error| Error::url(&error))?;
    check_hosts(&config)?;
    check_texts(&config, &pairs)?;
    if config.get_target_session_attrs() == TargetSessionAttrs::ReadOnly {
        return Err(refuse("target_session_attrs must be any or read-write: rows are written"));
    }

    let given = |name: &str| {
        let last = pairs.iter().rev().find(|(key, _)| key == name);
        last.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    };
    let tls = tls(&config, given)?;
    let passfile = given("passfile").map(PathBuf::from);
    if passfile.is_some() && config.get_user().is_none() {
        return Err(refuse("passfile needs a user in the URL to look up"));
    }
    Ok(Given { config, tls, passfile, keys })
}

fn tls<'a>(config: &Config, given: impl Fn(&str) -> Option<&'a str>) -> Result<Tls, Error> {
    let roots = match given("sslrootcert") {
        None => Roots::None,
        Some("system") => Roots::System,
        Some(path) => Roots::File(path.into()),
    };
    let mode = match given("sslmode") {
        // As libpq: the authorities of the system prove nothing without the name.
        None if roots == Roots::System => Mode::VerifyFull,
        None => Mode::Prefer,
        Some(word) => Mode::parse(word).ok_or_else(|| {
            refuse(format!("sslmode must be one of {}", Mode::ALL.map(Mode::word).join(", ")))
        })?,
    };
    if roots == Roots::System && mode != Mode::VerifyFull {
        return Err(refuse(format!(
            "sslrootcert=system goes with sslmode=verify-full only, not with {}: anybody gets a \
             certificate from a public authority",
            mode.word()
        )));
    }
    if mode >= Mode::VerifyCa && roots == Roots::None {
        return Err(refuse(format!(
            "sslmode={} needs sslrootcert: the file with the authority's certificate, or the word \
             system",
            mode.word()
        )));
    }
    if config.get_ssl_negotiation() == SslNegotiation::Direct && mode < Mode::Require {
        return Err(refuse("sslnegotiation=direct needs sslmode=require or stronger"));
    }
    let client = match (given("sslcert"), given("sslkey")) {
        (None, None) => None,
        (Some(certificate), Some(key)) => {
            Some(ClientFiles { certificate: certificate.into(), key: key.into() })
        }
        (Some(_), None) => return Err(refuse("sslcert needs sslkey, the file of its key")),
        (None, Some(_)) => return Err(refuse("sslkey needs sslcert, the file of its certificate")),
    };
    Ok(Tls { mode, roots, client })
}

fn check_hosts(config: &Config) -> Result<(), Error> {
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    let split_password = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
    if hosts.iter().any(split_password) {
        return Err(refuse("a character in the password must be percent-encoded, '@' as %40"));
    }
    let odd = |name: &str| {
        name.is_empty() || name.contains(|c: char| c.is_control() || c.is_whitespace())
    };
    let no_host = |host: &Host| match host {
        Host::Tcp(name) => odd(name),
        // A folder may have spaces in its name.
        Host::Unix(folder) => folder.to_string_lossy().contains(char::is_control),
    };
    if hosts.iter().any(no_host) {
        return Err(refuse(
            "a host is empty or holds a space or a control character; name a server",
        ));
    }
    let count = hosts.len().max(addresses.len());
    if count == 0 {
        return Err(refuse("it names no host; for a socket add ?host=/folder/of/the/socket"));
    }
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err(refuse("host and hostaddr must name equally many servers"));
    }
    if config.get_ports().len() > 1 && config.get_ports().len() != count {
        return Err(refuse("give one port, or one for each host"));
    }
    Ok(())
}

/// What no server takes, and what stands in the wrong place.
fn check_texts(config: &Config, pairs: &Pairs) -> Result<(), Error> {
    let texts = [
        config.get_user().map(str::as_bytes),
        config.get_password(),
        config.get_dbname().map(str::as_bytes),
        config.get_options().map(str::as_bytes),
        config.get_application_name().map(str::as_bytes),
    ];
    let ours = pairs.iter().map(|(_, value)| value.as_bytes());
    if texts.into_iter().flatten().chain(ours).any(|text| text.contains(&0)) {
        return Err(refuse("it holds a NUL (%00), which no user, password, name or path may have"));
    }
    if config.get_dbname().is_some_and(|name| name.contains("://")) {
        return Err(refuse("dbname holds a URL; give the URL alone"));
    }
    Ok(())
}

type Pairs = Vec<(String, String)>;

/// A URL in its pieces; every key is known.
pub(super) enum Parts<'a> {
    /// `scheme` with its `://`, `base` up to the `?`, and values as they are written.
    Url { scheme: &'a str, base: &'a str, pairs: Vec<(String, &'a str)> },
    /// Keywords and values without quotes and escapes.
    Line(Pairs),
}

/// Takes a URL to pieces; the only place that knows where they begin and end.
pub(super) fn take_apart(url: &str) -> Result<Parts<'_>, Error> {
    let prefix = ["postgresql://", "postgres://"].iter().find(|prefix| url.starts_with(**prefix));
    let Some(prefix) = prefix else { return Ok(Parts::Line(line_pairs(url)?)) };
    let start = query_start(url, prefix.len()).unwrap_or(url.len());
    let (base, query) = url.split_at(start);
    let (scheme, base) = base.split_at(prefix.len());
    if base.matches('@').count() > 1 {
        return Err(refuse("'@' in user, password or database must be percent-encoded, as %40"));
    }
    let mut pairs = Vec::new();
    for pair in query.trim_start_matches('?').split('&').filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(refuse("a parameter after '?' has no '='"));
        };
        let key = decode(key)?;
        if OURS.contains(&key.as_str()) || DRIVERS.contains(&key.as_str()) {
            pairs.push((key, value));
        } else if query.contains('@') {
            // Perhaps the query is half a password.
            return Err(refuse("'?', '/' and '@' in user or password must be percent-encoded"));
        } else {
            return Err(unknown(&key));
        }
    }
    Ok(Parts::Url { scheme, base, pairs })
}

/// Takes our parameters out of a URL; the rest is for the driver.
fn split_url(
    scheme: &str,
    base: &str,
    pairs: Vec<(String, &str)>,
) -> Result<(Pairs, String), Error> {
    let (mut ours, mut drivers) = (Vec::new(), Vec::new());
    for (key, value) in pairs {
        if OURS.contains(&key.as_str()) {
            ours.push((key, decode(value)?));
        } else {
            // The driver takes the first '@' for the end of the password, wherever it stands.
            drivers.push(format!("{key}={}", value.replace('@', "%40")));
        }
    }
    let query = if drivers.is_empty() { String::new() } else { format!("?{}", drivers.join("&")) };
    Ok((ours, format!("{scheme}{base}{query}")))
}

/// Where the `?` of the parameters stands: after the `@` of user and password, if there is one.
fn query_start(url: &str, prefix: usize) -> Option<usize> {
    let find = |from: usize, what: char| {
        url.get(from..).and_then(|rest| rest.find(what)).map(|index| from + index)
    };
    let (at, slash, question) = (find(prefix, '@'), find(prefix, '/'), find(prefix, '?'));
    match (at, question) {
        // `postgresql:///database?options=a@b` has no user; `user:a?b@host` has.
        (Some(at), Some(question)) if question < at && slash.is_some_and(|s| s < question) => {
            Some(question)
        }
        (Some(at), _) => find(at, '?'),
        (None, question) => question,
    }
}

fn decode(text: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next(), rest.next()].map(|digit| {
            digit
                .and_then(|digit| char::from(digit).to_digit(16))
                .and_then(|d| u8::try_from(d).ok())
        });
        let [Some(high), Some(low)] = digits else {
            return Err(refuse("a '%' in a parameter must be followed by two hexadecimal digits"));
        };
        bytes.push(high << 4 | low);
    }
    String::from_utf8(bytes).map_err(|_| refuse("a parameter is not UTF-8"))
}

/// Takes our parameters out of a line of keywords and values; the rest is for the driver.
fn split_line(pairs: Pairs) -> (Pairs, String) {
    let (ours, drivers): (Pairs, Pairs) =
        pairs.into_iter().partition(|(key, _)| OURS.contains(&key.as_str()));
    let drivers: Vec<_> = drivers.iter().map(|(key, value)| line_pair(key, value)).collect();
    (ours, drivers.join(" "))
}

/// A keyword and its value as a line has them.
pub(super) fn line_pair(key: &str, value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('\'', r"\'");
    format!("{key}='{value}'")
}

/// The keywords and values of a line; the last word on each is the driver's.
fn line_pairs(line: &str) -> Result<Pairs, Error> {
    let mut pairs = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let Some((key, after)) = rest.split_once('=') else { return Err(refuse(LOOKS_LIKE)) };
        let key = key.trim();
        if key.contains(char::is_whitespace) {
            return Err(refuse(
                "a keyword is not followed by '='; quote a value with spaces in ''",
            ));
        }
        let (value, after) = line_value(after.trim_start())?;
        rest = after.trim_start();
        if !OURS.contains(&key) && !DRIVERS.contains(&key) {
            return Err(unknown(key));
        }
        pairs.push((key.to_owned(), value));
    }
    Ok(pairs)
}

/// One value, quoted or not, and what comes after it.
fn line_value(text: &str) -> Result<(String, &str), Error> {
    let (quoted, body) = match text.strip_prefix('\'') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let mut value = String::new();
    let mut letters = body.char_indices();
    while let Some((index, letter)) = letters.next() {
        match letter {
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            '\'' if quoted => return Ok((value, body.get(index + 1..).unwrap_or_default())),
            letter if !quoted && letter.is_whitespace() => {
                return Ok((value, body.get(index..).unwrap_or_default()));
            }
            letter => value.push(letter),
        }
    }
    if quoted { Err(refuse("a quoted value has no end")) } else { Ok((value, "")) }
}

fn unknown(key: &str) -> Error {
    let mut known: Vec<_> = DRIVERS.into_iter().chain(OURS).collect();
    known.sort_unstable();
    // What is not even a word is not repeated: it may be a piece of a password.
    let word = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let what = if word && !key.is_empty() { format!(" {key}") } else { String::new() };
    refuse(format!("unknown parameter{what}; known are {}", known.join(", ")))
}

fn refuse(why: impl Into<String>) -> Error {
    Error::new(Kind::Config, format!("database URL: {}", why.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [&str; 2] = [
        "postgresql://u:p%40ss@db:6432/x?sslmode=verify-full&sslrootcert=%2Fa%20b%2Fca.pem\
         &options=-c%20a%3Db&sslcert=/c.pem&sslkey=/k.pem&passfile=/run/pg@pass",
        r"host=db port = 6432 user=u password='p@ss' dbname=x sslmode=verify-full
          sslrootcert='/a b/ca.pem' options='-c a=b' sslcert=/c.pem sslkey=/k.pem
          passfile=/run/pg\@pass",
    ];

    #[test]
    fn both_forms_are_read_alike() {
        for url in BOTH {
            let given = parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(given.config.get_user(), Some("u"));
            assert_eq!(given.config.get_password(), Some(b"p@ss".as_slice()));
            assert_eq!(given.config.get_ports(), [6432]);
            assert_eq!(given.config.get_dbname(), Some("x"));
            assert_eq!(given.config.get_options(), Some("-c a=b"));
            assert_eq!(given.tls.mode, Mode::VerifyFull);
            assert_eq!(given.tls.roots, Roots::File("/a b/ca.pem".into()));
            let client = given.tls.client.unwrap();
            assert_eq!(client.certificate, PathBuf::from("/c.pem"));
            assert_eq!(client.key, PathBuf::from("/k.pem"));
            assert_eq!(given.passfile, Some(PathBuf::from("/run/pg@pass")));
        }
    }

    #[test]
    fn a_url_without_a_user_may_hold_an_at_sign_and_a_password_may_hold_a_question_mark() {
        let given = parse("postgresql:///x?host=/run/pg&user=u@dom&passfile=/p@q").unwrap();
        assert_eq!(given.config.get_user(), Some("u@dom"));
        assert_eq!(given.config.get_hosts(), [Host::Unix("/run/pg".into())]);
        assert_eq!(given.passfile, Some(PathBuf::from("/p@q")));
        let given = parse("postgresql://u:a?b@db/x?sslmode=require").unwrap();
        assert_eq!(given.config.get_password(), Some(b"a?b".as_slice()));
        assert_eq!(given.tls.mode, Mode::Require);
        let given = parse("postgresql://u@a:1,b:2,[::1]:3/x?sslmode=disable").unwrap();
        assert_eq!(given.config.get_hosts().len(), 3);
        assert_eq!(given.config.get_ports(), [1, 2, 3]);
    }

    #[test]
    fn the_default_mode_is_prefer_and_that_of_the_systems_authorities_verify_full() {
        assert_eq!(parse("postgresql://db/x").unwrap().tls.mode, Mode::Prefer);
        assert_eq!(parse("host=db sslmode=''").unwrap().tls.mode, Mode::Prefer);
        let given = parse("postgresql://db/x?sslrootcert=system").unwrap();
        assert_eq!((given.tls.mode, given.tls.roots), (Mode::VerifyFull, Roots::System));
    }

    #[test]
    fn what_is_wrong_is_named_and_values_are_not() {
        for (url, words) in [
            ("postgresql://db/x?sslmode=geheim", "sslmode must be one of disable, allow, prefer"),
            ("host=db sslmode=geheim", "sslmode must be one of disable, allow, prefer"),
            ("postgresql://db/x?sslcrl=geheim", "unknown parameter sslcrl; known are application"),
            ("host=db sslcrl=geheim", "unknown parameter sslcrl; known are application_name, cha"),
            ("postgresql://u:x/y?geheim=z@db/x", "must be percent-encoded"),
            ("postgresql://db/x?GEHEIM=1", "unknown parameter; known are"),
            ("postgresql://db/x?sslmode", "has no '='"),
            ("postgresql://db/x?sslcert=%zz", "two hexadecimal digits"),
            ("postgresql://db/x?sslcert=%ff", "not UTF-8"),
            ("postgresql://db/x?sslcert=/geheim", "sslcert needs sslkey"),
            ("postgresql://db/x?sslkey=/geheim", "sslkey needs sslcert"),
            ("postgresql://db/x?sslmode=verify-ca", "sslmode=verify-ca needs sslrootcert"),
            ("host=db sslmode=verify-full", "sslmode=verify-full needs sslrootcert"),
            ("postgresql://db/x?sslmode=require&sslrootcert=system", "verify-full only, not with"),
            ("postgresql://db/x?sslnegotiation=direct", "sslnegotiation=direct needs sslmode="),
            ("postgresql://db/x?sslnegotiation=geheim", "invalid value for option"),
            ("postgresql://db/x?passfile=/geheim", "passfile needs a user"),
            ("host=db password='geheim", "has no end"),
            ("host=db geheim user=x", "not followed by '='"),
            ("geheim", "it looks like postgresql://"),
            ("host=a target_session_attrs=read-only", "must be any or read-write"),
            ("host=a,b hostaddr=127.0.0.1", "equally many"),
            ("postgresql://u@/x?host=", "a host is empty"),
            ("postgresql://u@a,,b/x", "a host is empty"),
            ("user=u host=''", "a host is empty"),
            ("postgresql://u@a%00b/x", "a host is empty or holds"),
            ("postgresql://u@a%20b/x", "a host is empty or holds"),
            ("host='/run/a\u{1b}b'", "a host is empty or holds"),
            ("postgresql://u%00@db/geheim", "it holds a NUL"),
            ("postgresql://u:geheim%00@db/x", "it holds a NUL"),
            ("postgresql://u@db/x%00", "it holds a NUL"),
            ("postgresql://u@db/x?options=%00", "it holds a NUL"),
            ("postgresql://u@db/x?passfile=/geheim%00", "it holds a NUL"),
            ("postgresql://u:a@geheim@db/x", "'@' in user, password or database must be"),
            ("postgresql://u:a@geheim/b@db/x", "'@' in user, password or database must be"),
            ("host=db dbname=postgresql://u:geheim@db/x", "dbname holds a URL"),
            ("host=a,b,c port=1,2", "one port, or one for each host"),
        ] {
            let Err(error) = parse(url) else { panic!("{url} is taken") };
            let text = error.to_string();
            assert_eq!(error.kind(), Kind::Config, "{url}: {text}");
            assert!(text.starts_with("database URL: ") && text.contains(words), "{url}: {text}");
            assert!(!text.to_lowercase().contains("geheim"), "{url}: {text}");
        }
    }
}
