//! Manual pages, section 1: `rowcall.1` for a program, `rowcall-host-list.1` for a command.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::sections::{Line, Section, sections};

/// The programs that have pages, for SEE ALSO.
const PROGRAMS: [&str; 3] = ["rowcall", "rowcall-agent", "rowcall-aggregator"];

/// File names and contents of a program's pages, the program's own first.
pub(super) fn pages(program: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    // `help` shows what the pages show. Built, each command knows its whole name.
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let about = About {
        source: format!("{} {}", program.get_name(), program.get_version().unwrap_or_default()),
        exit_status: after(&program).into_iter().find(Section::is_exit_status),
    };
    let mut pages = Vec::new();
    about.add(&program, None, &mut pages)?;
    Ok(pages)
}

/// What all pages of a program have.
struct About {
    source: String,
    exit_status: Option<Section>,
}

impl About {
    fn add(
        &self,
        command: &Command,
        parent: Option<&str>,
        pages: &mut Vec<(String, Vec<u8>)>,
    ) -> io::Result<()> {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        pages.push((format!("{name}.1"), self.page(command, &name, parent)?));
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            self.add(sub, Some(&name), pages)?;
        }
        Ok(())
    }

    fn page(&self, command: &Command, name: &str, parent: Option<&str>) -> io::Result<Vec<u8>> {
        let man = Man::new(command.clone())
            .title(name.to_uppercase())
            // None: quoted, or the next one would be taken for it.
            .date("\"\"")
            .source(&self.source)
            .manual("Rowcall manual");
        let mut page = Vec::new();
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        if command.get_subcommands().any(|sub| !sub.is_hide_set()) {
            man.render_subcommands_section(&mut page)?;
        }
        let mut more = after(command);
        if !more.iter().any(Section::is_exit_status) {
            more.extend(self.exit_status.clone());
        }
        let mut roff = Roff::default();
        for section in &more {
            write(section, &mut roff);
        }
        let others = PROGRAMS.into_iter().filter(|other| *other != name && Some(*other) != parent);
        let also: Vec<String> =
            parent.into_iter().chain(others).map(|other| format!("{other}(1)")).collect();
        roff.control("SH", ["SEE ALSO"]);
        roff.text([roman(also.join(", "))]);
        roff.to_writer(&mut page)?;
        Ok(page)
    }
}

/// What the command says after its options.
fn after(command: &Command) -> Vec<Section> {
    let text = command.get_after_long_help().or_else(|| command.get_after_help());
    text.map(|text| sections(&text.to_string())).unwrap_or_default()
}

fn write(section: &Section, roff: &mut Roff) {
    roff.control("SH", [section.title.as_str()]);
    for line in &section.lines {
        match line {
            Line::Term(term, words) => {
                roff.control("TP", []);
                roff.text([clap_mangen::roff::bold(term.as_str())]);
                roff.text([roman(words.as_str())]);
            }
            Line::Literal(words) => {
                roff.control("nf", []);
                roff.text([roman(words.as_str())]);
                roff.control("fi", []);
            }
            Line::Words(words) => {
                roff.control("PP", []);
                roff.text([roman(words.as_str())]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::command;
    use super::*;
    use crate::cli::Program;

    fn all() -> Vec<(Command, String, String)> {
        fn walk(command: &Command, found: &mut Vec<(Command, String)>) {
            let name = command.get_display_name().unwrap_or_else(|| command.get_name());
            found.push((command.clone(), format!("{name}.1")));
            command.get_subcommands().for_each(|sub| walk(sub, found));
        }
        let mut all = Vec::new();
        for program in [Program::Rowcall, Program::RowcallAgent, Program::RowcallAggregator] {
            let mut built = command(program).disable_help_subcommand(true);
            built.build();
            let mut commands = Vec::new();
            walk(&built, &mut commands);
            let pages = pages(command(program)).unwrap();
            assert_eq!(pages.len(), commands.len());
            for (command, name) in commands {
                let (_, page) = pages.iter().find(|(page, _)| *page == name).unwrap();
                let page = String::from_utf8(page.clone()).unwrap().replace("\\-", "-");
                all.push((command, name, page));
            }
        }
        all
    }

    #[test]
    fn each_program_and_command_has_a_page_that_names_every_option() {
        let all = all();
        for (command, name, page) in &all {
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let shown = match arg.get_long() {
                    Some(long) => format!("--{long}"),
                    None => arg.get_value_names().unwrap()[0].to_string(),
                };
                assert!(page.contains(&shown), "{shown} is not in {name}:\n{page}");
            }
            for sub in command.get_subcommands() {
                let shown = sub.get_display_name().unwrap();
                assert!(page.contains(&format!("{shown}(1)")), "{shown} is not in {name}");
            }
        }
        let names: Vec<&str> = all.iter().map(|(_, name, _)| name.as_str()).collect();
        for name in [
            "rowcall.1",
            "rowcall-host-retire.1",
            "rowcall-pki-rotate.1",
            "rowcall-token-create.1",
            "rowcall-agent.1",
            "rowcall-aggregator-serve.1",
        ] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
    }

    #[test]
    fn what_stands_after_the_options_becomes_sections() {
        let all = all();
        let page = |name: &str| &all.iter().find(|(_, page, _)| page == name).unwrap().2;
        let summary = page("rowcall-summary.1");
        for part in [
            ".TH ROWCALL-SUMMARY 1 \"\" \"rowcall ",
            ".SH ENVIRONMENT\n",
            ".SH FILES\n.TP\n\\fBclient.toml\\fR\nsays what",
            ".SH \"EXIT STATUS\"\n.TP\n\\fB0\\fR\ndone\n",
            ".SH \"SEE ALSO\"\nrowcall(1), rowcall-agent(1), rowcall-aggregator(1)\n",
        ] {
            assert!(summary.contains(part), "{part:?} is not in:\n{summary}");
        }
        for (_, name, page) in all.iter().filter(|(_, name, _)| name.starts_with("rowcall-aggr")) {
            assert!(page.contains("EXIT STATUS"), "{name}:\n{page}");
        }
    }
}
