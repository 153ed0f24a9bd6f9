//! End-to-end tests, on real processes, and rules for the repository as a whole.

mod certs_example;
mod deploy;
mod imports;
mod readme;
mod refused;
mod repository;
mod sessions;
mod stack;
