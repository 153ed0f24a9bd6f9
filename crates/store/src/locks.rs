//! Keys of the advisory locks, one place for all: "Rowcall" in ASCII, then a number.
//!
//! They hold within one database.

/// Held while the schema changes.
pub(crate) const MIGRATE: i64 = 0x526f_7763_616c_6c01;
/// Held while days are added to `host_usage`; the function `rowcall.create_days` takes it, and
/// spells it out.
#[cfg(test)]
pub(crate) const PARTITIONS: i64 = 0x526f_7763_616c_6c02;
/// Held while silent hosts retire themselves.
pub(crate) const EPHEMERAL: i64 = 0x526f_7763_616c_6c03;
/// Held while hosts change names.
pub(crate) const NAMES: i64 = 0x526f_7763_616c_6c04;
