//! Space left on the root filesystem.

use std::path::Path;

use rustix::fs::{StatVfs, statvfs};

use super::kib;

/// What an ordinary user can still fill on the filesystem of `path`, in KiB. `None` when the
/// filesystem doesn't say.
pub(super) fn available_kib(path: &Path) -> Option<i64> {
    available(&statvfs(path).ok()?)
}

fn available(stat: &StatVfs) -> Option<i64> {
    // bavail leaves out what is reserved for root; it counts fragments, not blocks.
    stat.f_bavail.checked_mul(stat.f_frsize).and_then(kib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_filesystem_has_a_size_and_a_missing_path_has_none() {
        assert!(available_kib(Path::new("/")).is_some_and(|kib| kib >= 0));
        assert_eq!(available_kib(Path::new("/nonexistent/path")), None);
    }

    #[test]
    fn what_is_kept_for_root_is_left_out_and_fragments_are_counted() {
        let any = statvfs("/").unwrap();
        let stat = StatVfs { f_bsize: 8192, f_frsize: 2048, f_bfree: 700, f_bavail: 400, ..any };
        assert_eq!(available(&stat), Some(800));
        assert_eq!(available(&StatVfs { f_bavail: u64::MAX, ..stat }), None);
    }
}
