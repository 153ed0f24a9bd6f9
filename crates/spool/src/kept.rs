//! What the thread says of each record that is safe: the end-to-end oracle reads it.

use rowcall_core::record::Body;

use crate::format::Head;
use crate::positions::Positions;
use crate::record;

pub(crate) fn tell(positions: &Positions, head: &Head, payload: &[u8]) {
    if !tracing::enabled!(target: "rowcall_spool::kept", tracing::Level::TRACE) {
        return;
    }
    let record = record::record(positions, head, payload);
    let (kind, sample) = match &record.body {
        Body::Sample(sample) => ("sample", Some(sample)),
        Body::HostFacts(_) => ("facts", None),
        Body::Gap(_) => ("gap", None),
        Body::Devices(_) => ("devices", None),
        Body::Invalid(_) => ("invalid", None),
    };
    tracing::trace!(
        target: "rowcall_spool::kept",
        epoch = positions.epoch.as_u64(),
        sequence = record.sequence.as_u64(),
        through = record.through().as_u64(),
        time_us = record.time.0,
        kind,
        ticks = record.body.ticks(),
        memory_free_kib = sample.and_then(|sample| sample.memory_free_kib),
        disk_io = sample.and_then(|sample| sample.disk_io),
        "kept"
    );
}
