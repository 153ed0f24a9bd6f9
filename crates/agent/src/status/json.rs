//! For programs: every key is always there, null is unknown.

use serde_json::{Value, json};

use super::{Report, fault};
use crate::identity::Note;

const DAY_US: i64 = 86_400_000_000;

pub(crate) fn json(report: &Report) -> Value {
    let spool = report.spool.as_ref().ok().and_then(Option::as_ref);
    let certificate = report.certificate.as_ref().ok();
    let enrolled = certificate.and_then(|certificate| certificate.enrolled.as_ref());
    let note = |note: &Option<Note>| {
        note.as_ref().map(|note| json!({ "since_unix_us": note.at.0, "text": note.text }))
    };
    json!({
        "running": report.spool.as_ref().ok().map(|_| spool.is_some_and(|s| s.pid.is_some())),
        "pid": spool.and_then(|spool| spool.pid),
        "agent_version": env!("CARGO_PKG_VERSION"),
        "host": certificate.map(|certificate| &certificate.host),
        "identity": {
            "source": certificate
                .map(|certificate| if certificate.enrolled.is_some() { "enrolled" } else { "files" }),
            "enroll_servers": enrolled.map(|enrolled| &enrolled.servers),
            "issued_unix_us": enrolled.map(|enrolled| enrolled.issued_at.0),
            "renew_unix_us": enrolled.map(|enrolled| enrolled.renew_at.0),
            "enrolment_error": note(&report.told.enrolment),
            "renewal_error": note(&report.told.renewal),
            "refused": note(&report.told.refused),
        },
        "certificate": {
            "path": certificate.map(|certificate| certificate.path.display().to_string()),
            "role": certificate.map(|certificate| certificate.role),
            "expires_unix_us": certificate.map(|certificate| certificate.not_after.0),
            "days_left": certificate
                .map(|certificate| certificate.not_after.since(report.now).div_euclid(DAY_US)),
            "error": report.certificate.as_ref().err(),
        },
        "aggregators": report.aggregators,
        "spool": {
            "dir": report.spool_dir.display().to_string(),
            "error": report.spool.as_ref().err(),
            "epoch": spool.map(|spool| spool.status.epoch.as_u64()),
            "epoch_origin": spool.map(|spool| spool.status.origin.as_str()),
            "oldest_sequence": spool.map(|spool| spool.status.oldest.as_u64()),
            "next_sequence": spool.map(|spool| spool.status.next.as_u64()),
            "unacknowledged_records": spool.map(|spool| spool.status.unacknowledged_records),
            "oldest_unacknowledged_age_s": spool
                .and_then(|spool| spool.status.oldest_unacknowledged_age)
                .map(|age| age.as_secs()),
            "size_bytes": spool.map(|spool| spool.status.size_bytes),
            "max_bytes": report.spool_max_bytes,
            "waiting_bytes": spool.map(|spool| spool.status.waiting_bytes),
            "due_ticks": spool.map(|spool| spool.status.due_ticks),
            "dropped_records": spool.map(|spool| spool.status.dropped_records),
            "damaged_records": spool.map(|spool| spool.status.damaged_records),
            "write_failures": spool.map(|spool| spool.status.write_failures),
            "fault": spool.and_then(|spool| spool.status.fault).map(fault),
            "acknowledged_sequence": spool
                .and_then(|spool| spool.status.acknowledged)
                .map(|(through, _)| through.as_u64()),
            "acknowledged_unix_us": spool
                .and_then(|spool| spool.status.acknowledged)
                .map(|(_, at)| at.0),
        },
        "devices": {
            "left_out": spool.map(|_| report.leaves_devices_out()),
            "read_unix_us": report.devices.as_ref().map(|devices| devices.at.0),
            "skipped": report.devices.as_ref().map(|devices| {
                devices.skipped.iter().map(crate::cli::skipped).collect::<Vec<_>>()
            }),
        },
    })
}
