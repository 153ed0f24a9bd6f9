//! Which schema this is. Numbers of hosts and epochs mean something only within one.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Client;

use crate::error::{Error, Kind};

pub(crate) const IDENTITY: &str = include_str!("../../../sql/queries/migrate/identity.sql");

/// What tells a schema from one that was made anew: in this database, in another one of its name,
/// or on another server. A restored copy of the server's files has the identity of its original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaId {
    /// The number of a table. A new server gives the same numbers again.
    table: u32,
    /// When the first migration was applied, in microseconds. A dump keeps it.
    made_at: i64,
}

/// The schema that is there now; None: none is.
pub(crate) async fn read(client: &Client) -> Result<Option<SchemaId>, Error> {
    let row = match client.query_opt(IDENTITY, &[]).await {
        Ok(Some(row)) => row,
        Ok(None) => return Ok(None),
        Err(error) => {
            let error = Error::from(error);
            let missing = matches!(error.sqlstate(), Some("42P01" | "3F000"));
            return if missing { Ok(None) } else { Err(error) };
        }
    };
    Ok(Some(SchemaId { table: row.try_get(0)?, made_at: row.try_get(1)? }))
}

/// The schema that a new connection must find. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected(Arc<Mutex<Option<SchemaId>>>);

impl Expected {
    /// None: whichever is there. Whether that is another one than before.
    pub(crate) fn set(&self, schema: Option<SchemaId>) -> bool {
        let mut expected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *expected, schema) != schema
    }

    /// Looks what a new connection leads to.
    ///
    /// # Errors
    /// [`Kind::Schema`] if that is another schema, or none.
    pub(crate) async fn check(&self, client: &Client) -> Result<(), Error> {
        let expected = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if expected.is_none() || read(client).await? == expected {
            return Ok(());
        }
        Err(Error::new(
            Kind::Schema,
            "the database is not the one that the hosts registered in: it was replaced, or its \
             schema was made anew",
        ))
    }
}
