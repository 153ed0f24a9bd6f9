//! End-to-end tests, on real processes, and rules for the repository as a whole.

mod agreement;
mod certs_example;
mod deploy;
mod diagnostics;
mod faults;
mod hostile_machine;
mod identity;
mod imports;
mod interop;
mod messages;
mod outages;
mod readme;
mod refused;
mod remote;
mod repository;
mod sandbox;
mod sessions;
mod wrong;

use rowcall_e2e::stack;
