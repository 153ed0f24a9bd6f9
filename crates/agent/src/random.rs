//! Random numbers that nobody else has.

/// 64 random bits. Where the system gives none, which only happens in the first moments of a
/// machine's life, a number of this process and moment.
pub(crate) fn bits() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        use std::hash::{BuildHasher as _, RandomState};
        RandomState::new().hash_one(std::process::id())
    })
}

/// A random number from 0 up to and without 1.
pub(crate) fn share() -> f64 {
    // 53 bits: as many as a float holds.
    (bits() >> 11) as f64 / (1_u64 << 53) as f64
}
