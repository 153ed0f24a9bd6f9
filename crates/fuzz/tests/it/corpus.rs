//! Every file of the corpus goes through its target again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rowcall_core::clock::{Clock as _, TestClock};
use rowcall_core::id::{Epoch, UnixMicros};
use rowcall_core::record::{Body, Sample};
use rowcall_fuzz::{Files, TARGETS};
use rowcall_spool::{Settings, Spool};

/// For a spool's own thread.
const PATIENCE: Duration = Duration::from_secs(60);

/// All of it, so that a clone stays small.
const MAX_BYTES: usize = 300_000;

pub(crate) fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder(target);
    let read = |name: String| {
        let bytes = fs::read(folder.join(&name)).unwrap();
        (name, bytes)
    };
    names(&folder).into_iter().map(read).collect()
}

#[test]
fn every_target_has_inputs_that_are_good_and_some_that_are_not() {
    let mut bytes = 0;
    for (name, target) in TARGETS {
        let inputs = inputs(name);
        let good = inputs.iter().filter(|(_, input)| target(input)).count();
        assert!(good > 0, "{name}: nothing is good");
        assert!(good < inputs.len(), "{name}: all is good");
        // What is good says what it is by its name.
        for (file, input) in &inputs {
            assert!(!file.starts_with("good-") || target(input), "{name}/{file} was good once");
            assert!(!file.starts_with("bad-") || !target(input), "{name}/{file} was never good");
        }
        bytes += inputs.iter().map(|(_, input)| input.len()).sum::<usize>();
    }
    assert!(bytes < MAX_BYTES, "{bytes} bytes");
}

#[test]
fn every_target_has_a_folder_and_a_program_and_there_are_no_others() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&root.join("corpus")), targets);
    let programs = names(&root.join("fuzz/fuzz_targets"));
    assert_eq!(programs, targets.iter().map(|name| format!("{name}.rs")).collect());
    let manifest = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
    for name in targets {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} in fuzz/Cargo.toml");
        let program = root.join(format!("fuzz/fuzz_targets/{name}.rs"));
        let program = fs::read_to_string(program).unwrap();
        assert!(program.contains(&format!("rowcall_fuzz::{name}(")), "{program}");
    }
}

#[test]
fn inputs_cut_anywhere_are_taken_as_well() {
    for (name, target) in TARGETS {
        for (_, input) in inputs(name) {
            let step = input.len().div_ceil(100).max(1);
            for end in (0..input.len()).step_by(step) {
                let _good: bool = target(input.get(..end).unwrap());
            }
        }
    }
}

#[test]
fn an_agent_goes_on_with_whatever_its_disk_holds() {
    for (name, input) in inputs("spool") {
        let Some(files) = Files::of_input(&input) else { continue };
        let folder = tempfile::tempdir().unwrap();
        for (file, bytes) in files.mended() {
            fs::write(folder.path().join(file), bytes).unwrap();
        }
        let clock = Arc::new(TestClock::at(UnixMicros(1_800_000_000_000_000)));
        let settings = Settings {
            dir: folder.path().to_owned(),
            max_bytes: 1 << 20,
            max_age: Duration::from_secs(7 * 86_400),
            owner: String::new(),
        };
        let epoch = Epoch::new(5).unwrap();
        let own: Arc<TestClock> = Arc::clone(&clock);
        // A newer version's is not opened; all else is.
        let Ok((spool, _)) = Spool::open(settings, own, "boot", epoch) else {
            assert!(name.contains("newer"), "{name}");
            continue;
        };
        let given = spool.append(clock.wall(), clock.since_boot(), Body::Sample(Sample::default()));
        assert!(spool.flush(PATIENCE), "{name}");
        let records = spool.read_from(given, usize::MAX);
        assert_eq!(records.first().map(|record| record.sequence), Some(given), "{name}");
        spool.release(given);
        assert_eq!(spool.status().unacknowledged_records, 0, "{name}");
        assert!(spool.close(PATIENCE), "{name}");
    }
}
