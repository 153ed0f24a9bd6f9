//! What may be a label.

use std::collections::BTreeMap;

use rowcall_core::convert::clean_text;

use crate::error::{Error, Kind};

/// Most labels of one host.
pub const MAX_HOST_LABELS: usize = 64;
/// Longest key of a label, in bytes.
pub const MAX_KEY_BYTES: usize = 63;
/// Longest value of a label, in bytes.
pub const MAX_VALUE_BYTES: usize = 255;

/// Labels to set and to remove, within the limits and without contradiction.
pub(crate) fn check_labels(set: &BTreeMap<String, String>, remove: &[String]) -> Result<(), Error> {
    for key in set.keys().chain(remove) {
        check_key(key)?;
    }
    if let Some(key) = remove.iter().find(|key| set.contains_key(*key)) {
        return Err(refuse(format!("label {key:?} is to be set and removed at once")));
    }
    for (key, value) in set {
        if value.len() > MAX_VALUE_BYTES {
            return Err(refuse(format!(
                "the value of label {key:?} has {} bytes, at most {MAX_VALUE_BYTES} are allowed",
                value.len()
            )));
        }
        if clean_text(value).unwrap_or_default() != *value {
            return Err(refuse(format!(
                "the value of label {key:?} is {value:?}: control characters, marks of direction \
                 and spaces at its ends are not allowed"
            )));
        }
    }
    Ok(())
}

fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() {
        return Err(refuse("a label's key is empty"));
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(refuse(format!(
            "a label's key has {} bytes, at most {MAX_KEY_BYTES} are allowed",
            key.len()
        )));
    }
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '/' | '-');
    match key.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(refuse(format!(
            "the label's key {key:?} contains {c:?}, only a-z, 0-9, '.', '_', '/' and '-' are \
             allowed"
        ))),
        None => Ok(()),
    }
}

pub(super) fn refuse(why: impl Into<String>) -> Error {
    Error::new(Kind::Data, why)
}
