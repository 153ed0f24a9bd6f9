//! Seven days.
