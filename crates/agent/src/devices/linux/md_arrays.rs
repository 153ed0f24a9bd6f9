//! Software RAIDs, from /proc/mdstat; the state in the kernel's words from /sys/block.

use std::sync::Arc;

use rowcall_core::convert::clean_text_within;
use rowcall_core::devices::{MAX_MD_ARRAYS, MdArray};

use super::Context;
use super::files::{self, MAX_NAME_BYTES, Table};
use crate::collect::Collector;
use crate::devices::found::{Found, Source, keep_unique};

/// What is going on over all members of an array.
const SYNCS: [&str; 5] = ["resync", "recovery", "check", "repair", "reshape"];

/// Reads arrays.
#[derive(Debug)]
pub(super) struct MdArrays {
    context: Arc<Context>,
    mdstat: Table,
}

impl MdArrays {
    pub(super) fn new(context: Arc<Context>) -> Self {
        let mdstat = Table::new(context.path("proc/mdstat"));
        Self { context, mdstat }
    }
}

impl Source for MdArrays {
    fn read(&mut self, found: &mut Found) {
        let table = match self.mdstat.read() {
            Ok(table) => String::from_utf8_lossy(table).into_owned(),
            // A kernel without software RAID.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(_) => return found.unreadable(Collector::MdArrays, None),
        };
        let arrays = parse(&table).into_iter().map(|array| self.with_state(array)).collect();
        found.devices.md_arrays =
            keep_unique(Collector::MdArrays, arrays, MAX_MD_ARRAYS, |it| &it.name, found);
    }
}

impl MdArrays {
    fn with_state(&self, mut array: MdArray) -> MdArray {
        let folder = self.context.path("sys/block").join(&array.name).join("md");
        if let Some(state) = files::text(&folder.join("array_state")) {
            array.state = Some(state);
        }
        // An array that was not started says nothing of it in the table.
        if array.level.is_none() {
            array.level = files::text(&folder.join("level"));
            if let Some(disks) = files::number(&folder.join("raid_disks")).filter(|n| *n > 0) {
                array.disks = disks;
                array.disks_failed = array.disks_failed.max(disks - array.disks_active);
            }
        }
        array
    }
}

/// Arrays of the table.
fn parse(table: &str) -> Vec<MdArray> {
    let mut arrays: Vec<MdArray> = Vec::new();
    for line in table.lines() {
        if line.starts_with(char::is_whitespace) {
            if let Some(array) = arrays.last_mut() {
                add_line(array, line);
            }
        } else if let Some(array) = first_line(line) {
            arrays.push(array);
        }
    }
    arrays
}

/// `md0 : active (auto-read-only) raid1 sdb1[1](S) sda1[0]`
fn first_line(line: &str) -> Option<MdArray> {
    let (name, rest) = line.split_once(" : ")?;
    let mut words = rest.split_ascii_whitespace();
    let state = words.next()?;
    // "Personalities : [raid1]" is none.
    if state.starts_with('[') || name.contains(char::is_whitespace) {
        return None;
    }
    let is_member = |word: &&str| word.contains('[') && word.contains(']');
    let marked = |word: &str, mark: &str| word.contains(mark);
    let (mut level, mut members, mut spares, mut faulty) = (None, 0, 0, 0);
    for word in words {
        if is_member(&word) {
            members += 1;
            if marked(word, "(F)") {
                faulty += 1;
            } else if marked(word, "(S)") {
                spares += 1;
            }
        } else if level.is_none() && members == 0 && !word.starts_with('(') {
            level = clean_text_within(word, MAX_NAME_BYTES);
        }
    }
    // All that is told of a level without redundancy. Members of an array that was not started
    // are all marked as spares.
    let started = level.is_some();
    let disks: i32 = if started { members - spares } else { members };
    Some(MdArray {
        name: clean_text_within(name, MAX_NAME_BYTES).filter(|name| !name.contains('/'))?,
        level,
        state: clean_text_within(state, MAX_NAME_BYTES),
        disks,
        disks_active: if started { disks - faulty } else { 0 },
        disks_failed: faulty,
        disks_spare: spares,
        sync_percent: None,
    })
}

/// `123 blocks [2/1] [U_]`, `[==>..]  recovery = 12.6% (1/8) ...` or `resync=DELAYED`.
fn add_line(array: &mut MdArray, line: &str) {
    for word in line.split_ascii_whitespace() {
        let inner = word.strip_prefix('[').and_then(|word| word.strip_suffix(']'));
        if let Some((disks, active)) = inner.and_then(|inner| inner.split_once('/')) {
            let parsed = (disks.parse::<i32>(), active.parse::<i32>());
            if let (Ok(disks @ 0..), Ok(active @ 0..)) = parsed {
                array.disks = disks;
                array.disks_active = active;
                array.disks_failed = array.disks_failed.max(disks.saturating_sub(active));
            }
        }
    }
    let Some((before, after)) = sync(line) else { return };
    if SYNCS.iter().any(|sync| before.ends_with(sync)) {
        let percent = after.split('%').next().and_then(|it| it.trim().parse::<f32>().ok());
        // "DELAYED", "PENDING" and "REMOTE" wait at the beginning.
        array.sync_percent = Some(percent.filter(|it| (0.0..=100.0).contains(it)).unwrap_or(0.0));
    }
}

/// What stands before and after the sign of a sync; the bar before it has such signs too.
fn sync(line: &str) -> Option<(&str, &str)> {
    let after_bar = line.rsplit_once(']').map_or(line, |(_, after)| after);
    let (before, after) = after_bar.split_once('=')?;
    Some((before.trim(), after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::linux::tests::{Tree, read, skipped};

    const TABLE: &str = "Personalities : [raid1] [raid6] [raid5] [raid4] [raid0]
md0 : active raid1 sdb1[1] sda1[0]
      1048512 blocks super 1.2 [2/2] [UU]
      bitmap: 0/1 pages [0KB], 65536KB chunk

md1 : active raid1 sdb2[1] sda2[0](F)
      136448 blocks [2/1] [_U]

md2 : active (auto-read-only) raid5 sde1[5] sdd1[3] sdc1[1] sdb1[4](S)
      3906 blocks super 1.2 level 5, 512k chunk, algorithm 2 [3/2] [UU_]
      [==>..................]  recovery = 12.6% (37043392/292945152) finish=127.5min speed=33440K/sec

md3 : active raid0 sdg[1] sdf[0]
      1048512 blocks 512k chunks

md4 : active raid6 sdk[3] sdj[2] sdi[1] sdh[0]
      16 blocks level 6, 64k chunk, algorithm 2 [4/4] [UUUU]
        resync=DELAYED

md127 : inactive sdm[1](S) sdl[0](S)
      1048 blocks super 1.2

unused devices: <none>
";

    fn told(array: &MdArray) -> (&str, &str, &str, [i32; 4], Option<f32>) {
        (
            array.name.as_str(),
            array.level.as_deref().unwrap_or("-"),
            array.state.as_deref().unwrap_or("-"),
            [array.disks, array.disks_active, array.disks_failed, array.disks_spare],
            array.sync_percent,
        )
    }

    #[test]
    fn arrays_tell_what_they_lack_and_how_far_they_are() {
        let tree = Tree::new()
            .with("proc/mdstat", TABLE)
            .with("sys/block/md0/md/array_state", "clean\n")
            .with("sys/block/md127/md/array_state", "inactive\n")
            .with("sys/block/md127/md/level", "raid1\n")
            .with("sys/block/md127/md/raid_disks", "2\n");
        let arrays = read(&tree, Collector::MdArrays).md_arrays;
        let expected = [
            ("md0", "raid1", "clean", [2, 2, 0, 0], None),
            ("md1", "raid1", "active", [2, 1, 1, 0], None),
            ("md2", "raid5", "active", [3, 2, 1, 1], Some(12.6)),
            ("md3", "raid0", "active", [2, 2, 0, 0], None),
            ("md4", "raid6", "active", [4, 4, 0, 0], Some(0.0)),
            ("md127", "raid1", "inactive", [2, 0, 2, 2], None),
        ];
        assert_eq!(arrays.iter().map(told).collect::<Vec<_>>(), expected);
    }

    /// A spare has taken its place, so the array lacks nothing; the broken disk is still there.
    #[test]
    fn a_disk_that_failed_and_was_replaced_is_still_told() {
        let table = "md0 : active raid1 sdd[3](S) sdc[2] sdb[1](F) sda[0]\n 9 blocks [2/2] [UU]\n";
        let whole = parse(table).remove(0);
        assert_eq!(told(&whole), ("md0", "raid1", "active", [2, 2, 1, 1], None));
        let linear = parse("md1 : active linear sdb[1](F) sda[0]\n").remove(0);
        assert_eq!(told(&linear), ("md1", "linear", "active", [2, 1, 1, 0], None));
    }

    #[test]
    fn every_kind_of_sync_is_seen() {
        for kind in SYNCS {
            let line = format!("      [>....]  {kind} =  0.5% (1/2) finish=1min");
            let array = parse(&format!("md0 : active raid1 a[0]\n{line}\n")).remove(0);
            assert_eq!(array.sync_percent, Some(0.5), "{kind}");
        }
    }

    #[test]
    fn nonsense_is_read_as_far_as_it_goes() {
        let tree = Tree::new();
        tree.add_bytes("proc/mdstat", b"\xff\xfe : active\n  [2/1] x\nmd0 : \nmd1 : active raid1 a[0]\n [99999999999/1] [-1/2]\n  resync = nan% \n recovery = 1e9%\n../x : active raid1\n [1/1]\n");
        let arrays = read(&tree, Collector::MdArrays).md_arrays;
        let array = arrays.iter().find(|it| it.name == "md1").unwrap();
        assert_eq!(told(array), ("md1", "raid1", "active", [1, 1, 0, 0], Some(0.0)));
        assert!(arrays.iter().all(|it| !it.name.contains('/')));
        let none = read(&Tree::new(), Collector::MdArrays);
        assert_eq!((none.md_arrays.len(), none.skipped.len()), (0, 0));
    }

    #[test]
    fn many_arrays_are_read_up_to_the_bound() {
        let line = |n| format!("md{n} : active raid1 a[0] b[1]\n  1 blocks [2/2] [UU]\n");
        let tree = Tree::new().with("proc/mdstat", &(0..100).map(line).collect::<String>());
        let devices = read(&tree, Collector::MdArrays);
        assert_eq!(devices.md_arrays.len(), MAX_MD_ARRAYS);
        assert_eq!(skipped(&devices), ["md_arrays limit 36"]);
    }
}
