//! What a host did, in more breadth than the classic columns.
//!
//! The fields are listed once, in [`crate::for_each_vital`]: the struct, its conversions to and from the
//! wire, and the columns that the store writes are made from that list. The meaning of each stands
//! at `Vitals` in `telemetry.proto`.

use crate::proto::v1 as pb;

/// Calls a macro with every field of [`Vitals`]: `share` fields are percentages of a whole, `real`
/// ones have a fraction and are not negative, `count` fields are what a `bigint` holds and not
/// negative, `signed` ones may be negative.
#[macro_export]
macro_rules! for_each_vital {
    ($callback:path) => {
        $callback! {
            share cpu_user_percent,
            share cpu_nice_percent,
            share cpu_system_percent,
            share cpu_iowait_percent,
            share cpu_irq_percent,
            share cpu_softirq_percent,
            share cpu_steal_percent,
            share cpu_guest_percent,
            share cpu_busy_max_percent,
            real load_1,
            real load_5,
            real load_15,
            count processes_running,
            count processes_blocked,
            count processes,
            count context_switches,
            count forks,
            count memory_used_max_kib,
            count memory_buffers_kib,
            count memory_cached_kib,
            count memory_dirty_kib,
            count memory_slab_kib,
            count huge_pages_kib,
            count huge_pages_free_kib,
            count swap_used_kib,
            count swap_in_kib,
            count swap_out_kib,
            count major_faults,
            count oom_kills,
            share pressure_cpu_some_percent,
            share pressure_cpu_full_percent,
            share pressure_memory_some_percent,
            share pressure_memory_full_percent,
            share pressure_io_some_percent,
            share pressure_io_full_percent,
            share disk_busy_percent,
            share disk_busy_max_percent,
            count disk_read_kib,
            count disk_written_kib,
            count net_rx_bytes,
            count net_tx_bytes,
            count net_rx_packets,
            count net_tx_packets,
            count net_errors,
            count net_drops,
            count tcp_established,
            count tcp_retransmitted,
            count tcp_listen_drops,
            count conntrack,
            count file_handles,
            signed clock_offset_us,
        }
    };
}

/// By how many percent a share may lie outside 0 to 100 and still be rounding: its two clocks are
/// not read at one instant.
const ROUNDING: f32 = 1.0;
/// What is nearer to 0 is 0: no kernel counts so finely, and PostgreSQL refuses to make a `real`
/// of an average that is too small for one.
const LEAST: f32 = 1e-6;
/// Highest load average that is believed: a kernel cannot have more tasks by far.
const MOST_LOAD: f32 = 1e9;

/// A percentage of a whole, 0 to 100; what cannot be one is unknown.
pub(crate) fn share(percent: Option<f32>) -> Option<f32> {
    percent_up_to(percent, 100.0)
}

/// A percentage of something of which there may be several, up to `most`; what cannot be one is
/// unknown.
pub(crate) fn percent_up_to(percent: Option<f32>, most: f32) -> Option<f32> {
    let percent = percent.filter(|it| (-ROUNDING..=most + ROUNDING).contains(it))?;
    Some(without_dust(percent.clamp(0.0, most)))
}

/// A number with a fraction; what cannot be one is unknown.
fn real(value: Option<f32>) -> Option<f32> {
    value.filter(|value| (0.0..=MOST_LOAD).contains(value)).map(without_dust)
}

fn without_dust(value: f32) -> f32 {
    if value < LEAST { 0.0 } else { value }
}

macro_rules! kind {
    (share) => {
        f32
    };
    (real) => {
        f32
    };
    (count) => {
        i64
    };
    (signed) => {
        i64
    };
}

macro_rules! checked {
    (share $value:expr) => {
        share($value)
    };
    (real $value:expr) => {
        real($value)
    };
    (count $value:expr) => {
        $value.and_then(|value| i64::try_from(value).ok())
    };
    (signed $value:expr) => {
        $value
    };
}

macro_rules! wire {
    (share $value:expr) => {
        $value
    };
    (real $value:expr) => {
        $value
    };
    (count $value:expr) => {
        $value.and_then(|value| u64::try_from(value).ok())
    };
    (signed $value:expr) => {
        $value
    };
}

macro_rules! shown {
    (share $value:expr) => {
        f64::from($value)
    };
    (real $value:expr) => {
        f64::from($value)
    };
    ($kind:ident $value:expr) => {
        inexact($value)
    };
}

/// As a number for showing.
#[expect(clippy::cast_precision_loss, reason = "15 digits are enough to show")]
fn inexact(value: i64) -> f64 {
    value as f64
}

macro_rules! define {
    ($($kind:ident $name:ident,)*) => {
        /// What a host did. `None`: could not be read, which is not 0. Each field's meaning and
        /// unit: `Vitals` in `telemetry.proto`.
        #[derive(Clone, Debug, Default, PartialEq)]
        #[expect(missing_docs, reason = "telemetry.proto has them")]
        pub struct Vitals {
            $(pub $name: Option<kind!($kind)>,)*
        }

        impl Vitals {
            /// The names of all fields, in the order of the wire.
            pub const NAMES: &[&str] = &[$(stringify!($name),)*];

            /// Checks what came over the wire: a number that no column can hold, or that cannot be
            /// true, is unknown.
            #[must_use]
            pub fn from_wire(wire: &pb::Vitals) -> Self {
                Self { $($name: checked!($kind wire.$name),)* }
            }

            /// As it goes on the wire.
            #[must_use]
            pub fn to_wire(&self) -> pb::Vitals {
                pb::Vitals { $($name: wire!($kind self.$name),)* }
            }

            /// How many fields are known.
            #[must_use]
            pub fn known(&self) -> usize {
                [$(self.$name.is_some(),)*].into_iter().filter(|known| *known).count()
            }

            /// Every field with its value, in the order of the wire.
            #[must_use]
            pub fn values(&self) -> Vec<(&'static str, Option<f64>)> {
                vec![$((stringify!($name), self.$name.map(|value| shown!($kind value))),)*]
            }
        }
    };
}

for_each_vital!(define);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_no_column_holds_become_unknown() {
        let wire = pb::Vitals {
            cpu_user_percent: Some(f32::NAN),
            forks: Some(u64::MAX),
            net_rx_bytes: Some(7),
            clock_offset_us: Some(-5),
            ..pb::Vitals::default()
        };
        let vitals = Vitals::from_wire(&wire);
        assert_eq!((vitals.cpu_user_percent, vitals.forks), (None, None));
        assert_eq!((vitals.net_rx_bytes, vitals.clock_offset_us), (Some(7), Some(-5)));
        assert_eq!(vitals.known(), 2);
    }

    #[test]
    fn shares_and_loads_that_cannot_be_become_unknown() {
        for (told, taken) in [
            (0.0, Some(0.0)),
            (100.0, Some(100.0)),
            (99.5, Some(99.5)),
            (100.9, Some(100.0)),
            (-0.5, Some(0.0)),
            (1e-45, Some(0.0)),
            (-1e-45, Some(0.0)),
            (101.5, None),
            (-5.0, None),
            (1e30, None),
            (f32::INFINITY, None),
            (f32::NAN, None),
        ] {
            let wire = pb::Vitals { disk_busy_percent: Some(told), ..pb::Vitals::default() };
            assert_eq!(Vitals::from_wire(&wire).disk_busy_percent, taken, "{told} %");
        }
        for (told, taken) in [
            (0.0, Some(0.0)),
            (4_000.0, Some(4_000.0)),
            (1e-45, Some(0.0)),
            (-0.1, None),
            (1e30, None),
            (f32::NAN, None),
        ] {
            let wire = pb::Vitals { load_1: Some(told), ..pb::Vitals::default() };
            assert_eq!(Vitals::from_wire(&wire).load_1, taken, "a load of {told}");
        }
    }

    #[test]
    fn what_is_known_survives_the_wire() {
        let vitals = Vitals {
            load_1: Some(0.5),
            memory_slab_kib: Some(9),
            clock_offset_us: Some(-1),
            ..Vitals::default()
        };
        assert_eq!(Vitals::from_wire(&vitals.to_wire()), vitals);
        assert_eq!(Vitals::NAMES.len(), vitals.values().len());
    }
}
