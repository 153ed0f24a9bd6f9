//! What is in the folder, until when, and the pin.

use anyhow::Context as _;
use jiff::Timestamp;
use rowcall_core::id::UnixMicros;
use serde::Serialize;

use super::certificate::Certificate;
use super::folder::{Ca, Folder, SERVER, split};
use super::issued::{Entry, Record};
use super::make;
use crate::text::{self, BAD, Cell, Column, FAINT, GOOD, HEADING, ODD, Screen, Table};

/// What there is.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    dir: String,
    trust_domain: String,
    pin: String,
    certificates: Vec<One>,
    issued: Vec<Held>,
    server_names: Vec<String>,
    service_user: Option<String>,
    revoked_certificates: usize,
    revocation_lists_until: Option<String>,
}

/// A certificate.
#[derive(Debug, Serialize)]
struct One {
    file: String,
    about: &'static str,
    serial: Option<String>,
    expires_at: Option<String>,
    /// Less than a third of its life is left.
    due: bool,
    key: bool,
    error: Option<String>,
}

/// A certificate of somebody's, that was issued here and has not ended; wherever its file is.
#[derive(Debug, Serialize)]
struct Held {
    role: String,
    name: String,
    serial: String,
    expires_at: String,
    revoked_at: Option<String>,
}

/// Looks.
pub(super) fn look(folder: &Folder, now: UnixMicros) -> anyhow::Result<Shown> {
    let mut certificates = Vec::new();
    let mut add = |file: &str, about: &'static str, key: bool, pem: anyhow::Result<String>| {
        let read = pem.and_then(|pem| Certificate::read(&pem, file));
        let (certificate, error) = match read {
            Ok(certificate) => (Some(certificate), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        certificates.push(One {
            file: file.to_owned(),
            about,
            serial: certificate.as_ref().map(|c| c.serial.clone()),
            expires_at: certificate.as_ref().map(|c| super::certificate::shown(c.not_after)),
            due: certificate.is_some_and(|certificate| certificate.is_due(now)),
            key,
            error,
        });
    };
    for (ca, about) in [
        (Ca::Root, "what nodes trust"),
        (Ca::Server, "issues for aggregators"),
        (Ca::Client, "issues for nodes and people"),
    ] {
        let pem = ca.pem();
        let text = folder.need(&pem)?;
        let blocks = split(&text);
        add(&pem, about, folder.has(&ca.key()), Ok(blocks.first().cloned().unwrap_or(text)));
        for old in blocks.into_iter().skip(1) {
            add(&pem, "the one before, until --finish", true, Ok(old));
        }
    }
    let pair = |stem: &str| (format!("{stem}.pem"), folder.has(&format!("{stem}.key")));
    let (pem, key) = pair(SERVER);
    add(&pem, "this aggregator's", key, folder.need(&pem));
    for stem in pairs(folder)? {
        let (pem, key) = pair(&stem);
        let about = match stem.split('-').next() {
            Some("server") => "a further aggregator's",
            Some("viewer") => "a viewer's",
            Some("operator") => "an operator's",
            _ => "this machine's agent's",
        };
        add(&pem, about, key, folder.need(&pem));
    }
    let record = Record::read(folder)?;
    let until = record.lists.map(|(_, until)| super::certificate::shown(UnixMicros(until)));
    let names = make::server_names(folder).unwrap_or_default();
    Ok(Shown {
        dir: folder.path().display().to_string(),
        trust_domain: make::trust_domain(folder)?.to_string(),
        pin: make::pin(folder)?.to_string(),
        certificates,
        issued: held(&record, now),
        server_names: names.iter().map(ToString::to_string).collect(),
        service_user: folder.service_user(),
        revoked_certificates: record.revoked(),
        revocation_lists_until: until,
    })
}

/// Who holds what, by role and name.
fn held(record: &Record, now: UnixMicros) -> Vec<Held> {
    let mut entries: Vec<&Entry> =
        record.certificates.iter().filter(|entry| entry.not_after >= now.0).collect();
    entries.sort_by_key(|entry| (&entry.role, &entry.name, entry.not_after));
    let shown = |at: i64| super::certificate::shown(UnixMicros(at));
    let held = |entry: &Entry| Held {
        role: entry.role.clone(),
        name: entry.name.clone(),
        serial: entry.serial.clone(),
        expires_at: shown(entry.not_after),
        revoked_at: entry.revoked_at.map(shown),
    };
    entries.into_iter().map(held).collect()
}

/// The further pairs of files, by name.
fn pairs(folder: &Folder) -> anyhow::Result<Vec<String>> {
    let path = folder.path();
    let entries =
        std::fs::read_dir(path).with_context(|| format!("look into {}", path.display()))?;
    let mut found: Vec<String> = entries
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".pem")?.to_owned()))
        .filter(|stem| {
            stem.split_once('-').is_some_and(|(role, _)| {
                stem != Ca::Server.stem()
                    && ["server", "viewer", "operator", "agent"].contains(&role)
            })
        })
        .collect();
    found.sort();
    Ok(found)
}

impl Shown {
    /// One JSON document on one line.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        let mut text = serde_json::to_string(self).context("write JSON")?;
        text.push('\n');
        Ok(text)
    }

    /// For people.
    pub(super) fn text(&self, now: UnixMicros, screen: &Screen) -> String {
        let mut out = String::new();
        text::line(&mut out, &text::paint(HEADING, &text::clean(&self.dir)));
        let mut fact = |name: &str, value: &str| {
            let name = text::paint(FAINT, &format!("{name:<12}"));
            text::line(&mut out, &format!("  {name} {value}"));
        };
        fact("trust domain", &self.trust_domain);
        fact("pin", &self.pin);
        fact("server names", &self.server_names.join(", "));
        if let Some(user) = &self.service_user {
            fact(
                "aggregator",
                &format!("runs as user {}, who owns what it reads", text::clean(user)),
            );
        }
        if let Some(until) = &self.revocation_lists_until {
            let number = u64::try_from(self.revoked_certificates).unwrap_or(u64::MAX);
            let what = text::plural(number, "certificate");
            fact("revoked", &format!("{what}; the list is good until {until}"));
        }
        out.push('\n');
        let titles = ["FILE", "KEY", "UNTIL", "LEFT", "WHAT"].map(Column::left);
        let mut table = Table::new(titles);
        let now = Timestamp::from_microsecond(now.0).unwrap_or_default();
        for one in &self.certificates {
            let key = if one.key { "here".into() } else { Cell::styled(FAINT, "not here") };
            let ends = one.expires_at.as_ref().and_then(|at| at.parse::<Timestamp>().ok());
            let left = ends.map_or_else(
                || "-".into(),
                |ends| {
                    let left = u64::try_from(ends.duration_since(now).as_secs()).ok();
                    left.map_or_else(
                        || Cell::styled(BAD, "over"),
                        |left| {
                            let style = if one.due { ODD } else { GOOD };
                            Cell::styled(style, &text::plural(left / 86_400, "day"))
                        },
                    )
                },
            );
            let until = one.expires_at.as_deref().unwrap_or("-");
            let what = match &one.error {
                Some(error) => Cell::styled(BAD, &text::clean(error)),
                None => one.about.into(),
            };
            table.row([text::clean(&one.file).into(), key, until.into(), left, what]);
        }
        table.write(&mut out);
        if !self.issued.is_empty() {
            out.push('\n');
            self.people(&mut out);
        }
        if self.certificates.iter().any(|one| one.due) {
            let words = "What is nearly over is renewed by `rowcall pki renew`, authorities by \
                         `rowcall pki rotate`.";
            text::paragraph(&mut out, screen, ODD, words);
        }
        out
    }
    /// Who has a certificate that was issued here.
    fn people(&self, out: &mut String) {
        let mut table = Table::new(["WHO", "UNTIL", "STATE", "SERIAL"].map(Column::left));
        for held in &self.issued {
            let state = held.revoked_at.as_ref().map_or_else(
                || Cell::styled(GOOD, "good"),
                |at| Cell::styled(BAD, &format!("revoked on {at}")),
            );
            let who = text::clean(&format!("{} {}", held.role, held.name));
            let serial = Cell::styled(FAINT, &text::cut(&text::clean(&held.serial), 12));
            table.row([who.into(), held.expires_at.as_str().into(), state, serial]);
        }
        table.write(out);
    }
}
