//! Rowcall's PostgreSQL.
