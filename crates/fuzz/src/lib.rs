//! What reads bytes from outside, as functions that take any bytes: none of them may panic, and
//! each says whether the bytes were good.
//!
//! `make fuzz` feeds them what libFuzzer makes up (`fuzz/`, a workspace of its own, has one line
//! for each); ordinary tests feed them what is in `corpus/`.

mod certificate;
mod csr;
mod proxy;
mod spool;
mod stream;
mod token;

pub use certificate::certificate;
pub use csr::csr;
pub use proxy::proxy;
pub use spool::{Files, spool};
pub use stream::stream;
pub use token::token;

/// Takes any bytes; whether they were good.
pub type Target = fn(&[u8]) -> bool;

/// Every target, by the name of its folder in `corpus/` and of its program in `fuzz/`.
pub const TARGETS: [(&str, Target); 6] = [
    ("certificate", certificate),
    ("csr", csr),
    ("proxy", proxy),
    ("spool", spool),
    ("stream", stream),
    ("token", token),
];
