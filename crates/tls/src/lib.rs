//! Certificates and mutual TLS for Rowcall.
//!
//! - [`identity`]: who a certificate says its holder is
//! - [`load`]: certificate, key and CA files, with errors that say what to do
//! - [`config`]: rustls configurations for both ends, and the rules for client certificates
//! - `accept` (feature `accept`): connections for a tonic server, each with its peer's identity
//! - `connect` (feature `connect`): the agent's and the command's way to a server
//! - `issue` (feature `issue`): a small certificate authority
//!
//! Limits and invariants: TLS 1.3 only, provider ring handed over explicitly, no session is ever
//! resumed (a resumed session would skip the check of the client's certificate), a client
//! certificate is always required. `README.md` beside this crate says which rule is checked
//! where, and what is not defended yet.

pub mod config;
pub mod identity;
pub mod load;

#[cfg(feature = "accept")]
pub mod accept;
#[cfg(feature = "connect")]
pub mod connect;
#[cfg(feature = "issue")]
pub mod issue;

#[cfg(any(feature = "accept", feature = "connect"))]
mod socket;
mod x509;
