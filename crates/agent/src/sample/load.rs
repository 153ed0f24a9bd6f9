//! Load averages, from /proc/loadavg.

use procfs::{FromRead as _, LoadAverage};
use rowcall_core::vitals::Vitals;

/// Writes down what the text of /proc/loadavg tells.
pub(super) fn tell(text: &[u8], vitals: &mut Vitals) {
    let Some(load) = text.strip_suffix(b"\n").and_then(|line| LoadAverage::from_read(line).ok())
    else {
        return;
    };
    // A float is also parsed from "nan" and "inf".
    let sane = |load: f32| (load.is_finite() && load >= 0.0).then_some(load);
    vitals.load_1 = sane(load.one);
    vitals.load_5 = sane(load.five);
    vitals.load_15 = sane(load.fifteen);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(text: &[u8]) -> [Option<f32>; 3] {
        let mut vitals = Vitals::default();
        tell(text, &mut vitals);
        [vitals.load_1, vitals.load_5, vitals.load_15]
    }

    #[test]
    fn the_three_averages_are_read() {
        assert_eq!(loads(b"0.20 3.18 112.50 3/480 11206\n"), [Some(0.2), Some(3.18), Some(112.5)]);
    }

    #[test]
    fn what_is_no_load_is_unknown() {
        for broken in
            [&b""[..], b"0.20", b"0.20 3.18 112.50 3/480 1120", b"a b c 1/1 1\n", b"\xff\n"]
        {
            assert_eq!(loads(broken), [None; 3], "{broken:?}");
        }
        assert_eq!(loads(b"nan -1 inf 1/1 1\n"), [None; 3]);
    }
}
