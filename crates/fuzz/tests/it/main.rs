//! What the fuzzers found worth keeping, and what they begin with.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod corpus;
mod seeds;
