//! Text for people: what the terminal can show, tables, strips, times and sizes.
//!
//! Everything is rendered with colours; the writer (anstream) takes them out where standard output
//! is no terminal or `NO_COLOR` is set. Text from outside passes through [`clean`], or a host could
//! send escape sequences to an administrator's terminal.

mod strip;
mod table;
mod value;

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;

pub(crate) use strip::{SPARK_NONE_ASCII, fold, spark};
pub(crate) use table::{Cell, Column, Table};
pub(crate) use value::{
    K_IS, age, clean, count, cut, decimal, kib, milliseconds, plural, short_bytes, span, timestamp,
};

/// Width of lines where nothing tells.
const DEFAULT_WIDTH: usize = 80;
/// Narrower than this, lines wrap instead.
const MIN_WIDTH: usize = 60;

/// Headings.
pub(crate) const HEADING: Style = Style::new().bold();
/// Column titles and legends.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// As it should be.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Somebody should look at it.
pub(crate) const ODD: Style = AnsiColor::Yellow.on_default();
/// Somebody must look at it.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// How to show things.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    /// Characters in a line.
    pub(crate) width: usize,
    /// Whether it shows more than ASCII.
    pub(crate) unicode: bool,
    /// The zone that times are shown in.
    pub(crate) zone: TimeZone,
}

impl Screen {
    /// What standard output and the environment tell.
    pub(crate) fn detect(zone: TimeZone, env: &dyn Fn(&str) -> Option<String>) -> Self {
        let columns = env("COLUMNS").and_then(|text| text.parse().ok());
        let terminal = || {
            let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
            Some(usize::from(size.ws_col)).filter(|width| *width > 0)
        };
        let width = columns.or_else(terminal).unwrap_or(DEFAULT_WIDTH).max(MIN_WIDTH);
        Self { width, unicode: is_utf8(env), zone }
    }
}

/// Whether the locale's characters are UTF-8, by the variables in the order that C asks them.
fn is_utf8(env: &dyn Fn(&str) -> Option<String>) -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| env(name).filter(|value| !value.is_empty()))
        .is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            value.contains("utf-8") || value.contains("utf8")
        })
}

/// Text in a style.
pub(crate) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Adds a line.
pub(crate) fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// Adds a report's heading: its name, and in words what it shows.
pub(crate) fn heading(out: &mut String, name: &str, about: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    let name = paint(HEADING, name);
    if about.is_empty() {
        line(out, &name);
    } else {
        writeln!(out, "{name}  {}", paint(FAINT, about)).expect("a String takes everything");
    }
}

/// Adds a paragraph, indented, broken between words where the line would be too long.
pub(crate) fn paragraph(out: &mut String, screen: &Screen, style: Style, text: &str) {
    let mut current = String::new();
    let flush = |current: &mut String, out: &mut String| {
        if !current.is_empty() {
            line(out, &format!("  {}", paint(style, current)));
            current.clear();
        }
    };
    for word in text.split_whitespace() {
        if current.chars().count() + 1 + word.chars().count() + 2 > screen.width {
            flush(&mut current, out);
        }
        if !current.is_empty() {
            current.push(' ');
        }
        current.push_str(word);
    }
    flush(&mut current, out);
}

/// One word for a POSIX shell, quoted only where it must be.
pub(crate) fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._:,=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// 80 columns of UTF-8 in UTC.
    pub(crate) fn screen() -> Screen {
        Screen { width: 80, unicode: true, zone: TimeZone::UTC }
    }

    /// As it looks without colours; lines without trailing blanks.
    pub(crate) fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text)
            .to_string()
            .lines()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect()
    }

    #[test]
    fn utf8_is_taken_from_the_first_variable_that_is_set() {
        let locale = |pairs: &'static [(&str, &str)]| {
            is_utf8(&|name| {
                pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(locale(&[("LANG", "de_DE.UTF-8")]));
        assert!(locale(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8"), ("LANG", "C")]));
        assert!(!locale(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]));
        assert!(!locale(&[]));
    }

    #[test]
    fn words_are_quoted_for_the_shell_only_where_they_must_be() {
        assert_eq!(shell("/opt/a-b/c_d.pem"), "/opt/a-b/c_d.pem");
        assert_eq!(shell("/home/o'neil/a b"), r"'/home/o'\''neil/a b'");
        assert_eq!(shell(""), "''");
        assert_eq!(shell("~/x"), "'~/x'");
    }

    #[test]
    fn paragraphs_break_between_words() {
        let mut out = String::new();
        let screen = Screen { width: 20, ..screen() };
        paragraph(&mut out, &screen, FAINT, "one two three four five six seven");
        assert_eq!(plain(&out), "  one two three four\n  five six seven\n");
    }
}
