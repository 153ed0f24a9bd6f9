//! Files that are broken, cut, huge or made up: no panic, no number that cannot be.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use rowcall_core::vitals::Vitals;

use super::tree::FILES;
use super::*;

/// Whatever was read: shares are shares, and nothing is negative.
pub(super) fn check_sane(vitals: &Vitals) {
    for (name, value) in vitals.values() {
        let Some(value) = value else { continue };
        assert!(value.is_finite() && value >= 0.0, "{name} = {value}");
        assert!(!name.ends_with("_percent") || value <= 100.0, "{name} = {value}");
    }
}

fn check_sample(sample: &Sample) {
    check_sane(sample.vitals.as_ref().unwrap());
    let shares = [sample.cpu_idle_percent, sample.cpu_kernel_percent];
    assert!(shares.into_iter().flatten().all(|share| (0.0..=100.0).contains(&share)), "{sample:?}");
    let counts = [sample.memory_free_kib, sample.memory_available_kib, sample.disk_io];
    assert!(counts.into_iter().flatten().all(|count| count >= 0), "{sample:?}");
}

/// Samples a tree before and after a file of it got another text.
fn sample_with(tree: &Tree, path: &str, before: &[u8], after: &[u8]) -> Sample {
    let clock = TestClock::at(UnixMicros(0));
    let mut sampler = Sampler::new(tree.root(), &Collect::default());
    tree.write(path, before);
    sampler.prime(&clock);
    tree.write(path, after);
    clock.advance(TICK / 2);
    sampler.peak(&clock);
    clock.advance(TICK / 2);
    let sample = sampler.sample(&clock).sample;
    check_sample(&sample);
    let peaks = sampler.take_peaks();
    assert!(peaks.disks.values().all(|busy| (0.0..=100.0).contains(busy)), "{peaks:?}");
    assert!(peaks.interfaces.values().all(|(rx, tx)| *rx >= 0 && *tx >= 0), "{peaks:?}");
    sample
}

/// What a file tells that was cut is what the whole one tells, or nothing. Devices whose lines are
/// cut off are missing from sums, as devices that went are.
#[test]
fn a_file_cut_at_any_byte_tells_nothing_else() {
    let tree = Tree::centos_7();
    let before = FILES.map(|path| tree.text(path));
    tree.centos_7_after(100);
    let after = FILES.map(|path| tree.text(path));
    for ((path, before), after) in FILES.into_iter().zip(before).zip(after) {
        let whole = sample_with(&tree, path, &before, &after);
        for cut in 0..after.len() {
            let sample = sample_with(&tree, path, &before, &after[..cut]);
            assert!(
                sample.cpu_idle_percent.is_none_or(|idle| Some(idle) == whole.cpu_idle_percent)
            );
            assert!(sample.memory_free_kib.is_none_or(|free| Some(free) == whole.memory_free_kib));
            let (some, all) = (sample.vitals.unwrap(), whole.vitals.as_ref().unwrap());
            for ((name, some), (_, all)) in some.values().into_iter().zip(all.values()) {
                let is_sum = name.starts_with("disk_") || name.starts_with("net_");
                let is_told = some == all || is_sum && some <= all;
                assert!(some.is_none() || is_told, "{path} cut at {cut}: {name} = {some:?}");
            }
        }
    }
}

#[test]
fn a_file_of_ten_megabytes_is_given_up_and_the_others_are_read() {
    let tree = Tree::centos_7();
    for path in FILES {
        let text = tree.text(path);
        let long = text.repeat(10 * 1024 * 1024 / text.len());
        let sample = sample_with(&tree, path, &text, &long);
        let known = sample.vitals.unwrap().known();
        assert!(known >= 10, "{path}: {known}");
        tree.write(path, text);
    }
}

#[test]
fn numbers_at_the_edge_of_what_fits_give_no_nonsense() {
    let tree = Tree::centos_7();
    for path in FILES {
        let text = String::from_utf8(tree.text(path)).unwrap();
        for number in
            ["18446744073709551615", "9223372036854775808", "0", "-1", "99999999999999999999999"]
        {
            // Every number of the file at once; names keep theirs.
            let words = text.split_inclusive(char::is_whitespace).map(|word| {
                let digits = word.trim_end();
                let is_number = !digits.is_empty() && digits.parse::<f64>().is_ok();
                if is_number { word.replace(digits, number) } else { word.to_owned() }
            });
            let edge: String = words.collect();
            sample_with(&tree, path, text.as_bytes(), edge.as_bytes());
            sample_with(&tree, path, edge.as_bytes(), text.as_bytes());
            sample_with(&tree, path, edge.as_bytes(), edge.as_bytes());
        }
    }
}

#[test]
fn text_that_is_no_unicode_takes_only_what_it_touches() {
    let tree = Tree::centos_7();
    for path in FILES {
        let text = tree.text(path);
        let mut broken = b"\xff\xfe\x00 \xc3\x28\n".to_vec();
        broken.extend_from_slice(&text);
        let sample = sample_with(&tree, path, &text, &broken);
        assert!(sample.vitals.unwrap().known() >= 20, "{path}");
        tree.write(path, text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes put into, taken out of and exchanged in what kernels write, and any bytes at all.
    #[test]
    fn no_bytes_make_it_panic_or_tell_what_cannot_be(
        file in 0..FILES.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, any::<u8>()), 1..24),
        any_bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let tree = Tree::centos_7();
        let path = FILES[file];
        let text = tree.text(path);
        let mut edited = text.clone();
        for (place, edit, byte) in edits {
            let place = place.index(edited.len());
            match edit {
                0 => edited.insert(place, byte),
                1 if edited.len() > 1 => { edited.remove(place); }
                _ => edited[place] = b'0' + byte % 10,
            }
        }
        for (before, after) in [(&text, &edited), (&edited, &text), (&edited, &any_bytes), (&any_bytes, &edited)] {
            let read = AssertUnwindSafe(|| sample_with(&tree, path, before, after));
            prop_assert!(catch_unwind(read).is_ok(), "{path}: {:?}", String::from_utf8_lossy(after));
        }
    }
}
