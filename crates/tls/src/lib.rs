//! Certificates and mutual TLS for Rowcall.
//!
//! - [`identity`]: who a certificate says its holder is
//! - [`load`]: certificate, key and CA files, with errors that say what to do
//! - [`trust`]: which client certificates are believed, revocation lists among the reasons
//! - [`config`]: rustls configurations for both ends
//! - [`certificate`], [`pin`]: what a certificate, or an authority, is known by
//! - [`renewal`]: proof that someone holds the key of a certificate that expired
//! - [`reload`]: files that are read again when they change
//! - [`plain`]: reads a file that settings name, and nothing that is none
//! - `accept` (feature `accept`): connections for a tonic server, each with its peer's identity
//! - `connect` (feature `connect`): the agent's and the command's way to a server, also to one
//!   that is known by its pin alone
//! - `request` (feature `request`): a node's key, and its request for a certificate
//! - `issue`, `csr` (feature `issue`): a small certificate authority
//! - `private` (features `issue` and `request`): files with secrets
//!
//! Limits and invariants: TLS 1.3 only, provider ring handed over explicitly, no session is ever
//! resumed (a resumed session would skip the check of the client's certificate), a client
//! certificate is always required but for enrolment. `README.md` beside this crate says which rule
//! is checked where, who can do what with which key, and what is not defended.

pub mod certificate;
pub mod config;
pub mod identity;
pub mod load;
pub mod pin;
pub mod plain;
pub mod reload;
pub mod renewal;
pub mod trust;

#[cfg(feature = "accept")]
pub mod accept;
#[cfg(feature = "connect")]
pub mod connect;
#[cfg(feature = "issue")]
pub mod csr;
#[cfg(feature = "issue")]
pub mod issue;
#[cfg(any(feature = "issue", feature = "request"))]
pub mod private;
#[cfg(feature = "request")]
pub mod request;

#[cfg(any(feature = "accept", feature = "connect"))]
mod socket;
mod x509;
