//! Compiles `proto/` into the root package: messages, services and the descriptor set.
//!
//! protox stands in for protoc, so a build needs no tool beyond cargo. Nothing else belongs here:
//! every crate depends on this package, so whatever reruns this script rebuilds the workspace.

use std::error::Error;
use std::path::PathBuf;

const PROTOS: [&str; 4] = [
    "rowcall/v1/telemetry.proto",
    "rowcall/v1/summary.proto",
    "rowcall/v1/admin.proto",
    "rowcall/v1/enrollment.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    std::fs::write(
        out.join("rowcall.v1.bin"),
        protox::prost::Message::encode_to_vec(&descriptors),
    )?;
    tonic_prost_build::configure()
        .codec_path("crate::codec::SmallBuffers")
        // Or each record, decoded, would be as large as the largest that there can be: a batch of
        // crumbs from a hostile peer would take 100 MB, and a backlog several times its bytes.
        .boxed(".rowcall.v1.Record.body.host_info")
        .boxed(".rowcall.v1.Record.body.devices")
        .boxed(".rowcall.v1.Sample.vitals")
        .client_mod_attribute(".", "#[cfg(feature = \"client\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .compile_fds(descriptors)?;
    Ok(())
}
