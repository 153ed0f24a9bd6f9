//! What a collector finds.

use std::collections::HashSet;
use std::fmt::Debug;

use rowcall_core::convert::clean_text_within;
use rowcall_core::devices::{Devices, SkipReason, Skipped};

use crate::collect::Collector;

/// Most things that are named of one collector for one reason; what is beyond is only counted.
const MAX_NAMED: usize = 16;

/// Reads one kind of devices, or one device that may hang for itself.
pub(super) trait Source: Debug + Send {
    /// Reads everything there is to `found`.
    fn read(&mut self, found: &mut Found);

    /// The server without which it hangs, with all else of that server; `None` for what is on this
    /// machine.
    fn server(&self) -> Option<&str> {
        None
    }
}

/// Most bytes of a thing's name that are shown before why it was not read.
const MAX_SHOWN_BYTES: usize = 200;

/// What was read, and what was not.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Devices, and what was skipped.
    pub(super) devices: Devices,
    /// What the collector's things are asked by, each with its name, one by one.
    pub(super) further: Vec<(String, Box<dyn Source>)>,
}

impl Found {
    /// Says that something was not read: all of a collector's things, or those of one name.
    pub(super) fn skip(
        &mut self,
        collector: Collector,
        item: Option<&str>,
        reason: SkipReason,
        count: usize,
    ) {
        let skipped = &mut self.devices.skipped;
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let alike = |it: &&mut Skipped| it.collector == collector.name() && it.reason == reason;
        let named = skipped.iter_mut().filter(alike).filter(|it| it.item.is_some()).count();
        let item = item.filter(|_| named < MAX_NAMED).map(str::to_owned);
        match skipped.iter_mut().filter(alike).find(|it| it.item == item) {
            Some(same) => same.count = same.count.saturating_add(count),
            None if count == 0 => {}
            None => skipped.push(Skipped {
                collector: collector.name().to_owned(),
                item,
                reason,
                count,
            }),
        }
    }

    /// Says that a device cannot be read, or not be understood.
    pub(super) fn unreadable(&mut self, collector: Collector, item: Option<&str>) {
        self.skip(collector, item, SkipReason::Unreadable, 1);
    }

    /// Says of one thing in words why it was not read: "/mnt/a: not asked, others hang".
    pub(super) fn unread(&mut self, collector: Collector, item: &str, why: &str) {
        let shown = clean_text_within(item, MAX_SHOWN_BYTES).unwrap_or_default();
        self.unreadable(collector, Some(&format!("{shown}: {why}")));
    }

    /// Adds what another reading found.
    pub(super) fn add(&mut self, other: Devices) {
        let Devices {
            filesystems,
            disks,
            interfaces,
            sensors,
            md_arrays,
            memory_controllers,
            cgroups,
            processes,
            metrics,
            skipped,
        } = other;
        let all = &mut self.devices;
        all.filesystems.extend(filesystems);
        all.disks.extend(disks);
        all.interfaces.extend(interfaces);
        all.sensors.extend(sensors);
        all.md_arrays.extend(md_arrays);
        all.memory_controllers.extend(memory_controllers);
        all.cgroups.extend(cgroups);
        all.processes.extend(processes);
        all.metrics.extend(metrics);
        for it in skipped {
            let collector = Collector::ALL.into_iter().find(|c| c.name() == it.collector);
            if let Some(collector) = collector {
                let count = usize::try_from(it.count).unwrap_or(0);
                self.skip(collector, it.item.as_deref(), it.reason, count);
            }
        }
    }
}

/// Keeps what has a name that nothing before it has, at most `most` of them, and says what did not
/// find room. Names that were cleaned may have become the same; nobody could tell which is which.
pub(super) fn keep_unique<T>(
    collector: Collector,
    list: Vec<T>,
    most: usize,
    name: impl Fn(&T) -> &str,
    found: &mut Found,
) -> Vec<T> {
    let mut names = HashSet::new();
    let mut kept = Vec::with_capacity(list.len().min(most));
    let mut too_many = 0;
    for it in list {
        if names.contains(name(&it)) {
            found.unread(collector, name(&it), "another one has this name");
        } else if kept.len() == most {
            too_many += 1;
        } else {
            names.insert(name(&it).to_owned());
            kept.push(it);
        }
    }
    found.skip(collector, None, SkipReason::Limit, too_many);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_things_that_were_skipped_are_named_up_to_a_bound_and_counted() {
        let mut found = Found::default();
        for n in 0..1000 {
            found.skip(Collector::Disks, Some(&format!("sd{n}")), SkipReason::Unreadable, 1);
        }
        found.skip(Collector::Disks, None, SkipReason::Limit, 7);
        found.skip(Collector::Disks, None, SkipReason::Limit, usize::MAX);
        found.skip(Collector::Cgroups, None, SkipReason::Limit, 0);
        let skipped = &found.devices.skipped;
        assert_eq!(skipped.len(), MAX_NAMED + 2);
        let unnamed = |reason| {
            skipped.iter().find(|it| it.item.is_none() && it.reason == reason).unwrap().count
        };
        assert_eq!(unnamed(SkipReason::Unreadable), 1000 - 16);
        assert_eq!(unnamed(SkipReason::Limit), i32::MAX);
    }

    #[test]
    fn what_several_tasks_found_is_put_together() {
        fn one<T: Default>() -> Vec<T> {
            vec![T::default()]
        }
        let skipped = Skipped {
            collector: "disks".into(),
            item: Some("sda".into()),
            reason: SkipReason::Unreadable,
            count: 7,
        };
        let devices = Devices {
            filesystems: one(),
            disks: one(),
            interfaces: one(),
            sensors: one(),
            md_arrays: one(),
            memory_controllers: one(),
            cgroups: one(),
            processes: one(),
            metrics: one(),
            skipped: vec![skipped],
        };
        let mut found = Found::default();
        found.add(devices.clone());
        assert_eq!(found.devices, devices);
        found.add(devices);
        assert_eq!((found.devices.metrics.len(), found.devices.sensors.len()), (2, 2));
        let skipped = &found.devices.skipped;
        assert_eq!((skipped.len(), skipped[0].count), (1, 14));
    }

    #[test]
    fn of_two_of_one_name_the_first_stays_and_what_is_too_much_is_counted() {
        let mut found = Found::default();
        let list = vec!["a", "b", "a", "c", "d"];
        let kept = keep_unique(Collector::Sensors, list, 2, |it| it, &mut found);
        assert_eq!(kept, ["a", "b"]);
        let said: Vec<_> = found
            .devices
            .skipped
            .iter()
            .map(|it| (it.item.as_deref(), it.reason, it.count))
            .collect();
        assert_eq!(
            said,
            [
                (Some("a: another one has this name"), SkipReason::Unreadable, 1),
                (None, SkipReason::Limit, 2)
            ]
        );
    }
}
