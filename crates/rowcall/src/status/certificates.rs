//! What certificates the aggregator has, and what is wrong with them.

use anstyle::Style;
use jiff::Timestamp;
use rowcall_proto::v1;

use crate::summary::instant;
use crate::text::{self, BAD, GOOD, ODD};

/// A certificate or authority that ends within this time, in seconds, deserves a look: a daily timer
/// renews the server's long before.
const ENDING_S: i64 = 30 * 86_400;

/// What the aggregator says of its certificate and authorities; nothing where it says nothing.
pub(super) fn facts(answer: &v1::StatusResponse, now: Timestamp) -> Vec<(Style, String)> {
    let mut lines = Vec::new();
    if !answer.certificate_error.is_empty() {
        let error = text::clean(&answer.certificate_error);
        lines.push((BAD, format!("{error}; what was in use before stays in use")));
    }
    let ends = [
        ("server's", instant(answer.certificate_expires_at.as_ref())),
        ("client authority's", instant(answer.client_ca_expires_at.as_ref())),
    ];
    let known = ends.iter().filter_map(|(whose, ends)| Some((*whose, (*ends)?)));
    let mut said: Vec<String> = Vec::new();
    let mut style = GOOD;
    for (whose, ends) in known {
        let left = ends.duration_since(now).as_secs();
        if left < ENDING_S {
            style = if left < 0 { BAD } else { ODD };
        }
        let ended = if left < 0 { "ended" } else { "ends" };
        said.push(format!("the {whose} {ended} {}", text::age(ends, now)));
    }
    if !said.is_empty() {
        let issues = if answer.issues_certificates { "issues; " } else { "issues none; " };
        lines.push((style, format!("{issues}{}", said.join(", "))));
    }
    lines
}
