//! What is kept beside a certificate: `identity.toml`.

use rowcall_core::id::{HostName, UnixMicros};

use crate::config::Endpoint;

/// What enrolment and renewal told beside the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    /// The name in the certificate.
    pub(crate) host: HostName,
    /// Where it was enrolled, and is renewed once it has expired.
    pub(crate) enroll_servers: Vec<Endpoint>,
    /// Name expected in the servers' certificates, where that isn't the host.
    pub(crate) server_name: Option<String>,
    /// Where streams go.
    pub(crate) aggregators: Vec<Endpoint>,
    /// When this certificate was issued, by the aggregator's clock.
    pub(crate) issued_at: UnixMicros,
    /// From when on to ask for the next one, by the aggregator's clock; spread by some chance.
    pub(crate) renew_at: UnixMicros,
}

impl About {
    /// As it stands in the file.
    pub(super) fn to_text(&self) -> String {
        let list = |endpoints: &[Endpoint]| {
            let texts = endpoints.iter().map(|endpoint| endpoint.to_string().into());
            toml::Value::Array(texts.collect())
        };
        let mut table = toml::Table::new();
        table.insert("host".into(), self.host.as_str().into());
        table.insert("enroll_servers".into(), list(&self.enroll_servers));
        if let Some(server_name) = &self.server_name {
            table.insert("server_name".into(), server_name.as_str().into());
        }
        table.insert("aggregators".into(), list(&self.aggregators));
        table.insert("issued_unix_us".into(), self.issued_at.0.into());
        table.insert("renew_unix_us".into(), self.renew_at.0.into());
        format!("# Written by rowcall-agent, anew at each renewal.\n{table}")
    }

    /// From the file's bytes.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(bytes).map_err(|_| "it is no UTF-8 text".to_owned())?;
        let table: toml::Table =
            text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
        let string = |key: &str| table.get(key).and_then(toml::Value::as_str);
        let needed = |key: &str| string(key).ok_or_else(|| format!("{key} is missing"));
        let time = |key: &str| {
            let time = table.get(key).and_then(toml::Value::as_integer);
            time.map(UnixMicros).ok_or_else(|| format!("{key} is missing"))
        };
        let list = |key: &str, parse: fn(&str) -> Result<Endpoint, String>| {
            let texts = table.get(key).and_then(toml::Value::as_array);
            let texts = texts.ok_or_else(|| format!("{key} is missing"))?.iter();
            texts.map(|text| parse(text.as_str().unwrap_or_default())).collect::<Result<_, _>>()
        };
        Ok(Self {
            host: HostName::parse(needed("host")?).map_err(|error| error.to_string())?,
            enroll_servers: list("enroll_servers", Endpoint::parse_enroll)?,
            server_name: string("server_name").map(str::to_owned),
            aggregators: list("aggregators", Endpoint::parse)?,
            issued_at: time("issued_unix_us")?,
            renew_at: time("renew_unix_us")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut about = About {
            host: HostName::parse("node1.example.com").unwrap(),
            enroll_servers: vec![Endpoint::parse_enroll("db1").unwrap()],
            server_name: None,
            aggregators: vec![Endpoint::parse("db1").unwrap(), Endpoint::parse("[::1]:7").unwrap()],
            issued_at: UnixMicros(1_800_000_000_000_000),
            renew_at: UnixMicros(-1),
        };
        for name in [None, Some("db.example")] {
            about.server_name = name.map(str::to_owned);
            assert_eq!(About::read(about.to_text().as_bytes()), Ok(about.clone()));
        }
        for (text, said) in [
            ("", "host is missing"),
            ("host = 'a b'", "host name contains ' '"),
            ("host = ", "quoted"),
            ("host = 'a'", "enroll_servers is missing"),
        ] {
            let error = About::read(text.as_bytes()).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert!(About::read(b"\xff").is_err());
    }
}
