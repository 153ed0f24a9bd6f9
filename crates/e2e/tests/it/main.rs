//! End-to-end tests, on real processes, and rules for the repository as a whole.

mod imports;
mod repository;
