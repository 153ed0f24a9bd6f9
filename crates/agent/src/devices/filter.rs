//! Which things of a kind are read.

use crate::collect::Filter;

impl Filter {
    /// Whether what has this name is read: an include pattern takes it (or there is none), and no
    /// exclude pattern does.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

/// Whether a pattern fits a whole name: `*` stands for any characters, '/' among them, `?` for
/// one. Takes at most the product of both lengths.
fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    // Where to go on when what follows the last star did not fit: the star takes one more.
    let mut star: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let left = name.clone();
        match (pattern.next(), name.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                star = Some((pattern.clone(), left.clone()));
                name = left;
            }
            (Some('?'), Some(_)) => {}
            (Some(expected), Some(found)) if expected == found => {}
            _ => {
                let Some((after_star, taken)) = &mut star else { return false };
                if taken.next().is_none() {
                    return false;
                }
                (pattern, name) = (after_star.clone(), taken.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Filter {
        let owned = |patterns: &[&str]| patterns.iter().map(|&p| p.to_owned()).collect();
        Filter { include: owned(include), exclude: owned(exclude) }
    }

    #[test]
    fn stars_and_question_marks_stand_for_characters() {
        for (pattern, name) in [
            ("eth0", "eth0"),
            ("eth?", "eth0"),
            ("veth*", "veth"),
            ("veth*", "veth12ab"),
            ("*", ""),
            ("/mnt/*", "/mnt/a/b"),
            ("*a*b*", "xxaxxbxx"),
            ("*ab", "aab"),
            ("?", "ü"),
            ("a**b", "ab"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("eth0", "eth01"),
            ("eth01", "eth0"),
            ("eth?", "eth"),
            ("veth*x", "veth"),
            ("", "a"),
            ("*a*b", "ba"),
            ("ETH0", "eth0"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_made_to_take_long_does_not() {
        assert!(!matches(&"*a".repeat(200), &"a".repeat(199)));
    }

    #[test]
    fn excluding_wins_and_including_nothing_includes_all() {
        assert!(filter(&[], &[]).takes("sda"));
        assert!(!filter(&[], &["sd*"]).takes("sda"));
        assert!(filter(&["sd*"], &[]).takes("sda"));
        assert!(!filter(&["sd*"], &[]).takes("nvme0n1"));
        assert!(!filter(&["sd*"], &["sda"]).takes("sda"));
    }
}
