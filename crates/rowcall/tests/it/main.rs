//! The built program, run as a person would run it: its output, its files, its end.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod check;
mod generated;
mod pki;
mod process;
mod settings;
mod up;
