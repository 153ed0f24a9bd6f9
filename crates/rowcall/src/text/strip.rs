//! One character per window.

/// Eighths of a full block.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Stands for a window without a value where only ASCII can be shown.
pub(crate) const SPARK_NONE_ASCII: char = '.';

/// Percentages as a line of blocks, 0 to 100; with ASCII as digits, each for its ten percent (9
/// also for 100). Windows without a value stay blank, with ASCII a dot.
pub(crate) fn spark(percent: &[f32], unicode: bool) -> String {
    let steps: u8 = if unicode { 8 } else { 10 };
    let mark = |value: &f32| {
        if value.is_nan() {
            return if unicode { ' ' } else { SPARK_NONE_ASCII };
        }
        let height = (value / 100.0 * f32::from(steps)).floor();
        let step = (0..steps - 1).find(|step| height < f32::from(*step) + 1.0).unwrap_or(steps - 1);
        if unicode {
            BLOCKS.get(usize::from(step)).copied().unwrap_or('█')
        } else {
            char::from(b'0' + step)
        }
    };
    percent.iter().map(mark).collect()
}

/// Makes a row of windows fit: neighbours in groups of the same size, each made one by `merge`.
/// Also the size of the groups, 1 when all fit.
pub(crate) fn fold<T: Copy>(
    windows: &[T],
    room: usize,
    merge: impl Fn(&[T]) -> T,
) -> (Vec<T>, usize) {
    let size = windows.len().div_ceil(room.max(1)).max(1);
    if size == 1 {
        return (windows.to_vec(), 1);
    }
    (windows.chunks(size).map(merge).collect(), size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparks_run_from_0_to_100_percent_and_leave_out_what_is_missing() {
        let values = [0.0, 12.4, 12.5, 50.0, f32::NAN, 99.9, 100.0];
        assert_eq!(spark(&values, true), "▁▁▂▅ ██");
        assert_eq!(spark(&values, false), "0115.99");
        assert_eq!(spark(&[-5.0, 250.0], true), "▁█");
    }

    #[test]
    fn windows_fold_in_equal_groups_only_when_they_do_not_fit() {
        let worst = |group: &[u32]| group.iter().copied().max().unwrap_or(0);
        assert_eq!(fold(&[1, 2, 3], 3, worst), (vec![1, 2, 3], 1));
        assert_eq!(fold(&[1, 2, 3, 4, 5], 3, worst), (vec![2, 4, 5], 2));
        assert_eq!(fold(&[1, 2, 3], 0, worst), (vec![3], 3));
        assert_eq!(fold(&[], 10, worst), (vec![], 1));
    }
}
