//! A spool that gets short of room keeps its samples, and leaves readings of devices out.

use rowcall_core::devices::SkipReason;
use rowcall_testkit::log::Log;
use tracing::Level;

use super::super::second::{DEVICES, NO_ROOM};
use super::*;

/// The least that the settings allow.
const SMALL_BYTES: u64 = 1 << 20;

/// So many of the longest metrics.
fn long_metrics(count: usize) -> Devices {
    let metric = |n: usize| Metric {
        name: format!("m{n:0255}"),
        labels: ["a", "b", "c"].map(|name| (name.to_owned(), "x".repeat(255))).into(),
        value: 1.5,
    };
    Devices { metrics: (0..count).map(metric).collect(), ..Devices::default() }
}

impl Host {
    /// Five minutes: a sample in each, and where there is room for it a reading.
    fn five_minutes(&mut self, reading: &Devices) -> bool {
        self.samples(5);
        let may = self.taker.second.may_begin();
        if may {
            let began = Instant::now(self.clock.as_ref());
            self.taker.read_devices(began, reading.clone());
        }
        self.write();
        may
    }

    /// Waits until everything is on disk.
    fn write(&mut self) {
        assert!(self.taker.queue.spool.flush(MINUTE));
        while self.taker.second.has_parts() {
            self.taker.second.append();
            assert!(self.taker.queue.spool.flush(MINUTE));
        }
    }

    /// The aggregator commits all.
    fn release(&self) {
        let last = records(&self.taker.queue).last().unwrap().through();
        self.taker.queue.spool.release(last);
    }
}

/// What each reading among these says of those that were left out.
fn left_out(records: &[Record]) -> Vec<Vec<(Option<&str>, SkipReason, i32)>> {
    let readings = records.iter().filter_map(|record| match &record.body {
        Body::Devices(devices) if devices.metrics.is_empty() || !devices.skipped.is_empty() => {
            let ours = devices.skipped.iter().filter(|it| it.collector == DEVICES);
            Some(ours.map(|it| (it.item.as_deref(), it.reason, it.count)).collect())
        }
        _ => None,
    });
    readings.collect()
}

#[test]
fn readings_that_would_take_the_samples_room_are_left_out_told_and_no_lost_samples() {
    let log = Log::start(Level::INFO);
    let mut host = Host::with_spool(START, SMALL_BYTES);
    let reading = long_metrics(50);
    let read: Vec<_> = (0..72).map(|_| host.five_minutes(&reading)).collect();
    let taken = read.iter().take_while(|read| **read).count();
    assert!((5..20).contains(&taken), "{taken}");
    assert!(read.iter().skip(taken).all(|read| !read), "then samples alone");
    let left = 72 - taken;
    let before = records(&host.taker.queue);
    assert_eq!(samples(&before).len(), 360, "every sample is there");
    assert_eq!(before.last().unwrap().due_ticks, 360);
    let status = host.taker.queue.spool.status();
    assert_eq!((status.dropped_records, status.due_ticks), (0, 360));
    assert!(!status.has_room(SMALL_BYTES), "as `status` says");
    let counts = host.taker.health.counts();
    assert_eq!(usize::try_from(counts.left_out_readings).unwrap(), left);
    assert_eq!((host.taker.health.leaves_out(), counts.missed_ticks), (true, 0));
    let lines = log.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let said = "devices are not read: samples that wait need the rest of the spool";
    assert!(lines[0].contains("WARN") && lines[0].contains(said), "{lines:?}");

    host.release();
    let small = devices(0);
    let small = Devices {
        skipped: vec![],
        sensors: vec![rowcall_core::devices::Sensor::default()],
        ..small
    };
    assert!(host.five_minutes(&small) && host.five_minutes(&small));
    assert!(!host.taker.health.leaves_out());
    let lines = log.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let said = format!("devices are read again left_out={left}");
    assert!(lines[0].contains("INFO") && lines[0].contains(&said), "{lines:?}");
    let after = records(&host.taker.queue);
    let new = after.iter().filter(|record| record.sequence > before.last().unwrap().sequence);
    let new: Vec<_> = new.cloned().collect();
    let told = (Some(NO_ROOM), SkipReason::Limit, i32::try_from(left).unwrap());
    assert_eq!(left_out(&new), [vec![told], vec![]], "the first one tells, once");
    assert!(host.taker.health.skipped().is_empty(), "no reading skipped anything");
}

#[test]
fn where_room_comes_and_goes_the_log_is_not_filled() {
    let log = Log::start(Level::INFO);
    let mut host = Host::with_spool(START, SMALL_BYTES);
    let reading = long_metrics(100);
    for _ in 0..10 {
        assert!((0..100).any(|_| !host.five_minutes(&reading)), "there is always room");
        host.release();
    }
    assert!(host.taker.health.counts().left_out_readings >= 10);
    assert_eq!(log.take().len(), 2, "it began, and ended");
}

#[test]
fn a_reading_that_is_larger_than_the_spools_memory_costs_neither_its_parts_nor_a_sample() {
    let mut host = Host::with_spool(START, 64 << 20);
    host.samples(1);
    let began = Instant::now(host.clock.as_ref());
    let reading = long_metrics(2000);
    host.taker.read_devices(began, reading.clone());
    host.samples(1);
    host.write();
    let records = records(&host.taker.queue);
    let metrics = records.iter().filter_map(|record| match &record.body {
        Body::Devices(devices) => Some(devices.metrics.clone()),
        _ => None,
    });
    assert!(metrics.flatten().eq(reading.metrics), "all of it, in order");
    assert_eq!((samples(&records).len(), host.taker.queue.spool.status().dropped_records), (2, 0));
    let mut times: Vec<_> = records.iter().map(|record| record.time).collect();
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), records.len());
    assert!(host.taker.second.may_begin());
}

#[test]
fn a_reading_too_large_for_a_small_spool_is_cut_and_says_so() {
    let mut host = Host::with_spool(START, SMALL_BYTES);
    let skipped = |collector: &str| Skipped {
        collector: collector.into(),
        item: None,
        reason: SkipReason::Hung,
        count: 1,
    };
    let reading = Devices { skipped: vec![skipped("disks")], ..long_metrics(4000) };
    host.five_minutes(&reading);
    let records = records(&host.taker.queue);
    let devices: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.body {
            Body::Devices(devices) => Some(devices),
            _ => None,
        })
        .collect();
    assert_eq!(devices.len(), host.taker.queue.spool.most_records());
    let kept: usize = devices.iter().map(|devices| devices.metrics.len()).sum();
    let said: Vec<_> = devices.iter().flat_map(|devices| devices.skipped.clone()).collect();
    let count = i32::try_from(4000 - kept).unwrap();
    let cut = Skipped { reason: SkipReason::Limit, count, ..skipped(DEVICES) };
    assert_eq!(said, [skipped("disks"), cut]);
    assert!(kept > 100 && host.taker.queue.spool.has_room(), "a quarter at most");
    assert_eq!(samples(&records).len(), 5);
}

/// Readings of drop-in files with each sample, with a small spool.
#[tokio::test]
async fn samples_go_on_while_no_aggregator_is_there_and_readings_come_again_with_one() {
    let folder = tempfile::tempdir().unwrap();
    let value = "x".repeat(250);
    let line = |n: usize| format!("m{n}{{a=\"{value}\",b=\"{value}\",c=\"{value}\"}} {n}\n");
    std::fs::write(folder.path().join("long.prom"), (0..500).map(line).collect::<String>())
        .unwrap();
    let collect = crate::collect::Collect {
        metrics_dir: Some(folder.path().to_owned()),
        ..crate::collect::Collect::of(crate::collect::Profile::Full)
    };
    let readings = |reader: &Reader, name: &HostName| {
        let devices = crate::devices::DeviceReader::new("/", collect.clone());
        Readings::new(devices, reader.clone(), &collect, name, true)
    };
    let (sampling, readings, host) = sampling_with(SMALL_BYTES, readings);
    let (queue, health) = (Arc::clone(&host.taker.queue), Arc::clone(&sampling.health));
    let counted = async |wanted: u64| {
        let left_out = || async { (health.counts().left_out_readings >= wanted).then_some(()) };
        rowcall_testkit::poll::wait_for("readings left out", MINUTE, left_out).await;
    };
    let course = async {
        counted(20).await;
        let status = queue.spool.status();
        assert_eq!(status.dropped_records, 0, "{status:?}");
        let waiting = records(&queue);
        assert_eq!(waiting[0].sequence, rowcall_core::id::Sequence::FIRST);
        assert!(samples(&waiting).len() >= 20);
        let last = waiting.last().unwrap().through();
        // A disk that is slow makes some be left out, and told, before that.
        let before = left_out(&waiting).concat();
        let before = before.iter().filter(|(item, ..)| *item == Some(NO_ROOM));
        let before: i32 = before.map(|(_, _, count)| count).sum();
        queue.spool.release(last);
        let again = || async {
            let new = queue.spool.read_from(last.next(), usize::MAX);
            let told = left_out(&new).concat();
            let told = told.iter().find(|(item, ..)| *item == Some(NO_ROOM));
            told.map(|(_, _, count)| *count)
        };
        before
            + rowcall_testkit::poll::wait_for("a reading that tells of them", MINUTE, again).await
    };
    tokio::select! {
        ended = sampling.run(readings) => panic!("it goes on for ever: {ended:?}"),
        count = course => assert!(count >= 20, "{count}"),
    }
}
