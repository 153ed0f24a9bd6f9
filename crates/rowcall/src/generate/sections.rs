//! The text after a command's options, taken apart into a manual page's sections.
//!
//! A line that begins with a title and a colon (`Exit codes:`) opens a section; what stands before
//! the first is NOTES. Indented lines of the form `term  words`, two blanks apart, are terms; other
//! lines make paragraphs, which blank lines part.

/// A title as it stands in the help, and the section that it becomes.
const TITLES: [(&str, &str); 6] = [
    ("Exit codes:", EXIT_STATUS),
    ("Environment:", "ENVIRONMENT"),
    ("Files:", "FILES"),
    ("Examples:", EXAMPLES),
    ("Monitoring:", "MONITORING"),
    ("Notes:", NOTES),
];
const EXIT_STATUS: &str = "EXIT STATUS";
const EXAMPLES: &str = "EXAMPLES";
const NOTES: &str = "NOTES";

/// A part of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    /// In capitals.
    pub(super) title: String,
    /// What it says.
    pub(super) lines: Vec<Line>,
}

/// A piece of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// A word and what it means.
    Term(String, String),
    /// A line to type, as it stands.
    Literal(String),
    /// A paragraph.
    Words(String),
}

impl Section {
    /// Says what the process ends with.
    pub(super) fn is_exit_status(&self) -> bool {
        self.title == EXIT_STATUS
    }
}

/// Takes a text apart.
pub(super) fn sections(text: &str) -> Vec<Section> {
    let mut found: Vec<Section> = Vec::new();
    // Whether the line before this one ended its paragraph.
    let mut ended = true;
    for line in text.lines() {
        if line.trim().is_empty() {
            ended = true;
            continue;
        }
        let title = TITLES.iter().find_map(|(title, name)| {
            let rest = line.get(..title.len()).filter(|head| head.eq_ignore_ascii_case(title));
            rest.map(|_| (*name, line.get(title.len()..).unwrap_or_default().trim()))
        });
        let (name, rest) = title.unwrap_or((NOTES, line));
        // A new title, or the first line of all, opens a section.
        if title.is_some() || found.is_empty() {
            found.push(Section { title: name.to_owned(), lines: Vec::new() });
        }
        if let Some(section) = found.last_mut()
            && !rest.is_empty()
        {
            let next = piece(rest, &section.title);
            match (section.lines.last_mut(), next) {
                // The definition has broken a paragraph into lines.
                (Some(Line::Words(words)), Line::Words(more)) if !ended => {
                    words.push(' ');
                    words.push_str(&more);
                }
                (_, next) => section.lines.push(next),
            }
        }
        ended = false;
    }
    found
}

fn piece(line: &str, section: &str) -> Line {
    let trimmed = line.trim();
    if section == EXAMPLES {
        return Line::Literal(trimmed.to_owned());
    }
    match trimmed.split_once("  ") {
        Some((term, words)) if line.starts_with(' ') => {
            Line::Term(term.to_owned(), words.trim().to_owned())
        }
        _ => Line::Words(trimmed.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_open_sections_and_two_blanks_part_a_term_from_its_words() {
        let text = "Before\nall.\n\nSecond.\n\nExit codes:\n  0  done\n  1, 2   not\n\nFiles: none\nmore\n";
        let term = |term: &str, words: &str| Line::Term(term.to_owned(), words.to_owned());
        let words = |words: &str| Line::Words(words.to_owned());
        let section = |title: &str, lines: Vec<Line>| Section { title: title.to_owned(), lines };
        assert_eq!(
            sections(text),
            [
                section(NOTES, vec![words("Before all."), words("Second.")]),
                section(EXIT_STATUS, vec![term("0", "done"), term("1, 2", "not")]),
                section("FILES", vec![words("none more")]),
            ]
        );
        assert_eq!(sections(" \n"), []);
    }
}
