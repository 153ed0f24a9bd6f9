//! Wire messages to checked types and back: the only place where text and numbers from outside
//! are cleaned.
//!
//! What names things (names, epochs, sequences) must be right, or the stream is refused. What was
//! measured is never a reason to refuse: a number that no column can hold becomes `None`, a body
//! that makes no sense becomes [`Body::Invalid`] and is put aside, so that one bad record never
//! blocks its neighbours.

use crate::id::{Epoch, HostName, InvalidHostName, OutOfRange, RunId, Sequence, UnixMicros};
use crate::proto::v1 as pb;
use crate::record::{Body, EpochOrigin, Gap, GapCause, GapState, HostFacts, Record, Sample};
use crate::version::Range;
use crate::vitals::Vitals;

pub mod devices;
mod facts;

/// Longest text kept of a fact, in bytes. Longer ones are cut at a character's end.
pub const MAX_TEXT_BYTES: usize = 256;

/// A checked Hello.
#[derive(Clone, Debug, PartialEq)]
pub struct Hello {
    /// Protocol versions the agent speaks.
    pub versions: Range,
    /// The name it reads in its own certificate.
    pub host_name: HostName,
    /// Version of the agent.
    pub agent_version: Option<String>,
    /// /etc/machine-id.
    pub machine_id: Option<String>,
    /// The kernel's id of this boot.
    pub boot_id: Option<String>,
    /// This process.
    pub run: RunId,
    /// This spool.
    pub epoch: Epoch,
    /// How that spool's epoch came about.
    pub epoch_origin: EpochOrigin,
    /// Lowest sequence it can still send.
    pub oldest: Sequence,
    /// Sequence of its next record.
    pub next: Sequence,
    /// Its wall clock.
    pub clock: UnixMicros,
    /// What the host is.
    pub facts: HostFacts,
}

/// What is wrong with a Hello.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHello {
    /// The host name.
    #[error("Hello: {0}")]
    HostName(#[from] InvalidHostName),
    /// An epoch, run or sequence.
    #[error("Hello: {0}")]
    Number(#[from] OutOfRange),
    /// `oldest_sequence` lies after `next_sequence`.
    #[error("Hello: oldest sequence {oldest} lies after next sequence {next}")]
    Order {
        /// Oldest.
        oldest: Sequence,
        /// Next.
        next: Sequence,
    },
}

/// Checks a Hello.
///
/// # Errors
/// [`InvalidHello`] names the field.
pub fn hello(hello: pb::Hello) -> Result<Hello, InvalidHello> {
    let oldest = Sequence::new(hello.oldest_sequence)?;
    let next = Sequence::new(hello.next_sequence)?;
    if oldest > next {
        return Err(InvalidHello::Order { oldest, next });
    }
    Ok(Hello {
        versions: Range { min: hello.protocol_min, max: hello.protocol_max },
        host_name: HostName::parse(&hello.host_name)?,
        agent_version: clean_text(&hello.agent_version),
        machine_id: clean_text(&hello.machine_id),
        boot_id: clean_text(&hello.boot_id),
        run: RunId::new(hello.run_id)?,
        epoch: Epoch::new(hello.spool_epoch)?,
        epoch_origin: match hello.epoch_origin() {
            pb::EpochOrigin::Unspecified => EpochOrigin::Unknown,
            pb::EpochOrigin::New => EpochOrigin::New,
            pb::EpochOrigin::RolledBack => EpochOrigin::RolledBack,
            pb::EpochOrigin::Damaged => EpochOrigin::Damaged,
        },
        oldest,
        next,
        clock: UnixMicros(hello.clock_unix_us),
        facts: hello.host_info.map(host_facts).unwrap_or_default(),
    })
}

/// Checks a record. Only a sequence outside the range is an error.
///
/// # Errors
/// [`OutOfRange`] when the sequence is 0 or too large.
pub fn record(record: pb::Record) -> Result<Record, OutOfRange> {
    let sequence = Sequence::new(record.sequence)?;
    let body = match record.body {
        Some(pb::record::Body::Sample(sample)) => Body::Sample(self::sample(&sample)),
        Some(pb::record::Body::HostInfo(info)) => Body::HostFacts(Box::new(host_facts(*info))),
        Some(pb::record::Body::Gap(gap)) => self::gap(sequence, &gap),
        Some(pb::record::Body::Devices(devices)) => {
            Body::Devices(Box::new(devices::from_wire(*devices)))
        }
        None => Body::Invalid("a record without a body that this version knows"),
    };
    // One that cannot be is one that was not told.
    let due_ticks = number(record.due_ticks).unwrap_or(0);
    Ok(Record { sequence, time: UnixMicros(record.time_unix_us), due_ticks, body })
}

fn sample(sample: &pb::Sample) -> Sample {
    Sample {
        elapsed_us: sample.elapsed_us.and_then(number),
        uptime_us: sample.uptime_us.and_then(number),
        memory_free_kib: sample.memory_free_kib.and_then(number),
        memory_available_kib: sample.memory_available_kib.and_then(number),
        cpu_idle_percent: sample.cpu_idle_percent.and_then(finite),
        cpu_kernel_percent: sample.cpu_kernel_percent.and_then(finite),
        disk_io: sample.disk_io.and_then(number),
        disk_available_kib: sample.disk_available_kib.and_then(number),
        clock_shift_us: sample.clock_shift_us.filter(|shift| *shift != 0),
        vitals: sample.vitals.as_deref().map(Vitals::from_wire).map(Box::new),
    }
}

fn gap(sequence: Sequence, gap: &pb::Gap) -> Body {
    match (Sequence::new(gap.through_sequence), i64::try_from(gap.ticks)) {
        (Ok(through), Ok(ticks)) if through >= sequence => Body::Gap(Gap {
            through,
            ticks,
            state: match gap.state() {
                pb::GapState::Unspecified => GapState::Unknown,
                pb::GapState::Dropped => GapState::Dropped,
                pb::GapState::Missed => GapState::Missed,
                pb::GapState::Forgotten => GapState::Forgotten,
                pb::GapState::Corrupt => GapState::Corrupt,
            },
            cause: match gap.cause() {
                pb::GapCause::Unspecified => GapCause::Unknown,
                pb::GapCause::Size => GapCause::Size,
                pb::GapCause::Age => GapCause::Age,
                pb::GapCause::Off => GapCause::Off,
                pb::GapCause::Suspended => GapCause::Suspended,
                pb::GapCause::Starved => GapCause::Starved,
                pb::GapCause::Storage => GapCause::Storage,
            },
            from: UnixMicros(gap.from_unix_us),
            to: UnixMicros(gap.to_unix_us),
        }),
        _ => Body::Invalid("a gap that ends before it begins, or with too many ticks"),
    }
}

/// Checks facts: whatever cannot be held becomes `None`.
#[must_use]
pub fn host_facts(info: pb::HostInfo) -> HostFacts {
    let text = |text: Option<String>| text.as_deref().and_then(clean_text);
    HostFacts {
        cpu_number: info.cpu_number.and_then(|n| i32::try_from(n).ok()).filter(|n| *n > 0),
        cpu_architecture: text(info.cpu_architecture),
        cpu_model: text(info.cpu_model),
        cpu_mhz: info.cpu_mhz.and_then(finite).filter(|mhz| *mhz > 0.0),
        l2_cache_kib: info.l2_cache_kib.and_then(number),
        total_mem_kib: info.total_mem_kib.and_then(number),
        os: text(info.os),
        kernel: text(info.kernel),
        kernel_host_name: text(info.kernel_host_name),
        booted: info.booted_unix_us.map(UnixMicros),
        boot_id: text(info.boot_id),
        virtualization: text(info.virtualization),
        board: text(info.board),
        firmware: text(info.firmware),
        memory_mhz: info.memory_mhz.and_then(finite).filter(|mhz| *mhz > 0.0),
        cpu_sockets: info.cpu_sockets.and_then(|n| i32::try_from(n).ok()).filter(|n| *n > 0),
        cpu_cores: info.cpu_cores.and_then(|n| i32::try_from(n).ok()).filter(|n| *n > 0),
        disks: info.disks.map(facts::disks),
        interfaces: info.interfaces.map(facts::interfaces),
    }
}

/// Text as it may be stored and shown: without control characters (NUL among them) and without
/// the marks that turn the direction of writing, trimmed, at most [`MAX_TEXT_BYTES`] long.
#[must_use]
pub fn clean_text(text: &str) -> Option<String> {
    clean_text_within(text, MAX_TEXT_BYTES)
}

/// As [`clean_text`], with another limit, in bytes.
#[must_use]
pub fn clean_text_within(text: &str, most: usize) -> Option<String> {
    let mut clean = String::new();
    for c in text.trim().chars() {
        let harmful = c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        // What was not at the beginning may be once something harmful before it is gone.
        if harmful || (clean.is_empty() && c.is_whitespace()) {
            continue;
        }
        if clean.len() + c.len_utf8() > most {
            break;
        }
        clean.push(c);
    }
    let kept = clean.trim_end().len();
    clean.truncate(kept);
    (!clean.is_empty()).then_some(clean)
}

fn number(value: u64) -> Option<i64> {
    i64::try_from(value).ok()
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// A record as it goes on the wire.
#[must_use]
pub fn record_to_wire(record: &Record) -> pb::Record {
    let body = match &record.body {
        Body::Sample(sample) => Some(pb::record::Body::Sample(sample_to_wire(sample))),
        Body::HostFacts(facts) => Some(pb::record::Body::HostInfo(Box::new(facts_to_wire(facts)))),
        Body::Gap(gap) => Some(pb::record::Body::Gap(gap_to_wire(gap))),
        Body::Devices(devices) => {
            Some(pb::record::Body::Devices(Box::new(devices::to_wire(devices))))
        }
        Body::Invalid(_) => None,
    };
    pb::Record {
        sequence: record.sequence.as_u64(),
        time_unix_us: record.time.0,
        due_ticks: u64::try_from(record.due_ticks).unwrap_or(0),
        body,
    }
}

fn sample_to_wire(sample: &Sample) -> pb::Sample {
    let number = |value: Option<i64>| value.and_then(|v| u64::try_from(v).ok());
    pb::Sample {
        elapsed_us: number(sample.elapsed_us),
        uptime_us: number(sample.uptime_us),
        memory_free_kib: number(sample.memory_free_kib),
        memory_available_kib: number(sample.memory_available_kib),
        cpu_idle_percent: sample.cpu_idle_percent,
        cpu_kernel_percent: sample.cpu_kernel_percent,
        disk_io: number(sample.disk_io),
        disk_available_kib: number(sample.disk_available_kib),
        clock_shift_us: sample.clock_shift_us,
        vitals: sample.vitals.as_deref().map(Vitals::to_wire).map(Box::new),
    }
}

/// An epoch's origin as it goes on the wire.
#[must_use]
pub fn origin_to_wire(origin: EpochOrigin) -> pb::EpochOrigin {
    match origin {
        EpochOrigin::Unknown => pb::EpochOrigin::Unspecified,
        EpochOrigin::New => pb::EpochOrigin::New,
        EpochOrigin::RolledBack => pb::EpochOrigin::RolledBack,
        EpochOrigin::Damaged => pb::EpochOrigin::Damaged,
    }
}

/// Facts as they go on the wire.
#[must_use]
pub fn facts_to_wire(facts: &HostFacts) -> pb::HostInfo {
    let number = |value: Option<i64>| value.and_then(|v| u64::try_from(v).ok());
    pb::HostInfo {
        cpu_number: facts.cpu_number.and_then(|n| u32::try_from(n).ok()),
        cpu_architecture: facts.cpu_architecture.clone(),
        cpu_model: facts.cpu_model.clone(),
        cpu_mhz: facts.cpu_mhz,
        l2_cache_kib: number(facts.l2_cache_kib),
        total_mem_kib: number(facts.total_mem_kib),
        os: facts.os.clone(),
        kernel: facts.kernel.clone(),
        kernel_host_name: facts.kernel_host_name.clone(),
        booted_unix_us: facts.booted.map(|time| time.0),
        boot_id: facts.boot_id.clone(),
        virtualization: facts.virtualization.clone(),
        board: facts.board.clone(),
        firmware: facts.firmware.clone(),
        memory_mhz: facts.memory_mhz,
        cpu_sockets: facts.cpu_sockets.and_then(|n| u32::try_from(n).ok()),
        cpu_cores: facts.cpu_cores.and_then(|n| u32::try_from(n).ok()),
        disks: facts.disks.as_deref().map(facts::disks_to_wire),
        interfaces: facts.interfaces.as_deref().map(facts::interfaces_to_wire),
    }
}

fn gap_to_wire(gap: &Gap) -> pb::Gap {
    let state = match gap.state {
        GapState::Unknown => pb::GapState::Unspecified,
        GapState::Dropped => pb::GapState::Dropped,
        GapState::Missed => pb::GapState::Missed,
        GapState::Forgotten => pb::GapState::Forgotten,
        GapState::Corrupt => pb::GapState::Corrupt,
    };
    let cause = match gap.cause {
        GapCause::Unknown => pb::GapCause::Unspecified,
        GapCause::Size => pb::GapCause::Size,
        GapCause::Age => pb::GapCause::Age,
        GapCause::Off => pb::GapCause::Off,
        GapCause::Suspended => pb::GapCause::Suspended,
        GapCause::Starved => pb::GapCause::Starved,
        GapCause::Storage => pb::GapCause::Storage,
    };
    pb::Gap {
        through_sequence: gap.through.as_u64(),
        ticks: u64::try_from(gap.ticks).unwrap_or(0),
        state: state.into(),
        cause: cause.into(),
        from_unix_us: gap.from.0,
        to_unix_us: gap.to.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire_sample(sample: pb::Sample) -> pb::Record {
        pb::Record {
            sequence: 1,
            time_unix_us: 5,
            due_ticks: 0,
            body: Some(pb::record::Body::Sample(sample)),
        }
    }

    fn hello_of(name: &str) -> pb::Hello {
        pb::Hello {
            host_name: name.into(),
            run_id: 1,
            spool_epoch: 1,
            oldest_sequence: 1,
            next_sequence: 1,
            ..Default::default()
        }
    }

    #[test]
    fn numbers_that_no_column_holds_become_unknown() {
        let record = record(wire_sample(pb::Sample {
            memory_free_kib: Some(u64::MAX),
            memory_available_kib: Some(24 << 30),
            cpu_idle_percent: Some(f64::NAN),
            cpu_kernel_percent: Some(f64::INFINITY),
            ..Default::default()
        }))
        .unwrap();
        let Body::Sample(sample) = record.body else { panic!("not a sample") };
        assert_eq!(sample.memory_free_kib, None);
        assert_eq!(sample.memory_available_kib, Some(24 << 30), "24 TiB fit");
        assert_eq!((sample.cpu_idle_percent, sample.cpu_kernel_percent), (None, None));
    }

    #[test]
    fn a_body_that_makes_no_sense_is_put_aside_and_not_refused() {
        let backwards = pb::Gap { through_sequence: 3, ..Default::default() };
        for body in [None, Some(pb::record::Body::Gap(backwards))] {
            let wire = pb::Record { sequence: 4, time_unix_us: 0, due_ticks: 0, body };
            assert!(matches!(record(wire).unwrap().body, Body::Invalid(_)));
        }
    }

    #[test]
    fn text_loses_what_harms_a_table_or_a_terminal() {
        assert_eq!(clean_text(" a\0b\u{1b}[31m\u{202e}c\n "), Some("ab[31mc".into()));
        assert_eq!(clean_text("\0\u{feff}"), None);
        assert_eq!(clean_text("\u{e} a"), Some("a".into()));
        assert_eq!(clean_text("\u{202b}שלום"), Some("שלום".into()), "letters stay");
        assert_eq!(
            clean_text("Robert'); DROP TABLE x;--"),
            Some("Robert'); DROP TABLE x;--".into())
        );
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let cut = clean_text(&"é".repeat(70_000)).unwrap();
        assert_eq!(cut.len(), MAX_TEXT_BYTES);
    }

    #[test]
    fn a_hello_says_which_field_is_wrong() {
        assert!(hello(hello_of("node1")).is_ok());
        assert!(hello(hello_of("no de")).unwrap_err().to_string().contains("host name"));
        let epoch = pb::Hello { spool_epoch: 0, ..hello_of("node1") };
        assert!(hello(epoch).unwrap_err().to_string().contains("spool epoch is 0"));
        let order = pb::Hello { oldest_sequence: 2, ..hello_of("node1") };
        assert!(hello(order).unwrap_err().to_string().contains("lies after"));
    }

    proptest! {
        #[test]
        fn any_sample_survives_the_wire(
            free in proptest::option::of(0..i64::MAX), idle in proptest::option::of(-1e300..1e300_f64),
            sequence in 1..i64::MAX.unsigned_abs(), time in any::<i64>(),
        ) {
            let sent = Record {
                sequence: Sequence::new(sequence).unwrap(),
                time: UnixMicros(time),
                due_ticks: sequence.cast_signed(),
                body: Body::Sample(Sample {
                    memory_free_kib: free, cpu_idle_percent: idle, ..Default::default()
                }),
            };
            prop_assert_eq!(record(record_to_wire(&sent)), Ok(sent));
        }

        #[test]
        fn clean_text_is_clean_already(text in ".*") {
            if let Some(clean) = clean_text(&text) {
                prop_assert_eq!(clean_text(&clean), Some(clean));
            }
        }
    }
}
