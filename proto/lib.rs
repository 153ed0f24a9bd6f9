//! Rowcall's wire contract: the messages and services of package `rowcall.v1`.
//!
//! Generated from `proto/rowcall/v1/*.proto`; `proto/README.md` is the protocol's specification.
//! Features `client` and `server` add the generated halves, so that an agent links no server.

pub mod codec;

/// Package `rowcall.v1`.
pub mod v1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        clippy::all,
        clippy::clone_on_ref_ptr,
        clippy::or_fun_call,
        clippy::use_self,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        clippy::missing_errors_doc,
        reason = "generated code; documented in the .proto files"
    )]
    tonic::include_proto!("rowcall.v1");
}

/// The encoded `FileDescriptorSet` of the contract and what it imports, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rowcall.v1.bin"));

/// Lowest protocol version this build speaks.
pub const PROTOCOL_MIN: u32 = 1;
/// Highest protocol version this build speaks.
pub const PROTOCOL_MAX: u32 = 1;

/// Largest encoded frame on the telemetry stream, in bytes. Both sides refuse larger ones.
pub const MAX_FRAME_BYTES: usize = 256 * 1024;

/// Largest answer of the Summary RPC, in bytes: what gRPC clients take by default.
pub const MAX_SUMMARY_BYTES: usize = 4 * 1024 * 1024;
