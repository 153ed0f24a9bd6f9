//! The parameters of `vitals.sql`, made from the one list of fields.

use postgres_types::ToSql;
use rowcall_core::for_each_vital;
use rowcall_core::record::Sample;

use super::Item;
use crate::time::Time;

macro_rules! of_kind {
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

macro_rules! define {
    ($($kind:ident $name:ident,)*) => {
        /// One element per sample that has vitals.
        #[derive(Default)]
        pub(super) struct Vitals {
            host_id: Vec<i32>,
            epoch_id: Vec<i32>,
            sequence: Vec<i64>,
            time: Vec<Time>,
            uptime_s: Vec<Option<i64>>,
            $($name: Vec<Option<of_kind!($kind)>>,)*
        }

        impl Vitals {
            /// A sample, if it has any.
            pub(super) fn push(&mut self, item: &Item<'_>, sample: &Sample) {
                let Some(vitals) = &sample.vitals else { return };
                self.host_id.push(item.incoming.host_id.0);
                self.epoch_id.push(item.incoming.epoch_id.0);
                self.sequence.push(item.incoming.record.sequence.as_i64());
                self.time.push(Time(item.incoming.record.time));
                self.uptime_s.push(sample.uptime_us.map(|micros| micros / 1_000_000));
                $(self.$name.push(vitals.$name);)*
            }

            pub(super) fn is_empty(&self) -> bool {
                self.host_id.is_empty()
            }

            pub(super) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
                vec![
                    &self.host_id,
                    &self.epoch_id,
                    &self.sequence,
                    &self.time,
                    &self.uptime_s,
                    $(&self.$name,)*
                ]
            }
        }
    };
}

for_each_vital!(define);
