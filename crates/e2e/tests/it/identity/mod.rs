//! Who may speak: joining, tokens, names, clones, revocation, renewal, changes of authorities; on
//! real processes.

mod authorities;
mod clones;
mod joins;
mod names;
mod renewal;
mod revocation;
mod tokens;

use std::process::Output;

use rowcall_e2e::cluster::{Cluster, Issuing, Node};

const SAMPLES: &str = "SELECT count(*) FROM host_usage";

/// Both outputs of a command that failed, after its exit code was looked at.
fn refused(output: &Output, code: i32) -> String {
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = told + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// Samples of a host.
fn samples_of(name: &str) -> String {
    format!(
        "SELECT count(*) FROM host_usage u JOIN host_info i ON i.id = u.host_id
          WHERE i.hostname = '{name}'"
    )
}
