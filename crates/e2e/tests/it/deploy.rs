//! The example settings in deploy/ name every setting there is, with its default, and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::stack::{command, root};

/// An example, and the command that reads it.
const EXAMPLES: [(&str, &[&str]); 2] = [
    ("agent.toml", &["rowcall-agent", "run"]),
    ("aggregator.toml", &["rowcall-aggregator", "serve"]),
];

/// Settings that go only one way or the other: the node enrols, or has certificates of its own.
const EITHER_OR: [&[&str]; 2] = [&["enroll_server", "token_file"], &["ca", "certificate", "key"]];

/// What `--print-config` says of each setting; none: not set.
type Settings = BTreeMap<String, Option<String>>;

#[test]
fn every_setting_stands_in_its_example_with_its_default() -> Result<()> {
    for (name, program) in EXAMPLES {
        let path = example(name);
        let text = std::fs::read_to_string(&path)?;
        let mut in_force = print_config(program, &path)?;
        let mut unset = Vec::new();
        for (key, value) in assignments(&text) {
            let known = in_force.remove(&key);
            let known = known.with_context(|| format!("{name}: {key} is none, or stands twice"))?;
            match known {
                Some(known) => {
                    ensure!(
                        known == value,
                        "{name}: {key} is {value} there, the default is {known}"
                    );
                }
                None => unset.push(key),
            }
        }
        ensure!(in_force.is_empty(), "{name} does not name {:?}", in_force.keys());
        ensure!(!unset.is_empty(), "{name} should show what has no default, too");
    }
    Ok(())
}

#[test]
fn every_line_of_the_examples_may_be_used() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (name, program) in EXAMPLES {
        let ways: &[&[&str]] = if name == "agent.toml" { &EITHER_OR } else { &[&[]] };
        for left_out in ways {
            let text = uncommented(&std::fs::read_to_string(example(name))?);
            let other_way = |line: &&str| !left_out.iter().any(|key| is_of(line, key));
            let text: Vec<_> = text.lines().filter(other_way).collect();
            let path = folder.path().join(name);
            std::fs::write(&path, text.join("\n"))?;
            let shown = print_config(program, &path)?;
            let unset = shown.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key);
            let unset: Vec<_> = unset.filter(|key| !left_out.contains(&key.as_str())).collect();
            ensure!(unset.is_empty(), "{name}: {unset:?} are not set by their lines");
        }
    }
    Ok(())
}

#[test]
fn the_commands_example_is_read_whole() -> Result<()> {
    let text = std::fs::read_to_string(example("client.toml"))?;
    let help = String::from_utf8(command("rowcall")?.args(["status", "--help"]).output()?.stdout)?;
    let section = help.split("Connection:").nth(1).context("no options for the connection")?;
    let section = section.split("\n\n").next().unwrap_or_default();
    let mut options: Vec<_> = section
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("--"))
        .map(|option| option.replace('-', "_"))
        .filter(|option| option != "data_dir")
        // Of the file alone: the pair for commands that change something, and where nodes enrol.
        .chain(["operator_cert", "operator_key", "enroll_server"].map(str::to_owned))
        .collect();
    let mut keys: Vec<_> = assignments(&text).into_iter().map(|(key, _)| key).collect();
    options.sort();
    keys.sort();
    ensure!(keys == options, "client.toml has {keys:?}, the options are {options:?}");

    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("client.toml"), uncommented(&text))?;
    let output = command("rowcall")?.args(["status", "--data-dir"]).arg(folder.path()).output()?;
    // The settings are good, the certificates are not there.
    ensure!(output.status.code() == Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn example(name: &str) -> PathBuf {
    root().join("deploy").join(name)
}

/// The file with its commented settings in force.
fn uncommented(text: &str) -> String {
    text.lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if is_assignment(rest) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect()
}

/// Keys and values, commented or not, in their order.
fn assignments(text: &str) -> Vec<(String, String)> {
    let text = uncommented(text);
    let lines = text.lines().filter(|line| is_assignment(line));
    lines.filter_map(|line| line.split_once(" = ")).map(|(k, v)| (k.into(), bare(v))).collect()
}

fn is_assignment(line: &str) -> bool {
    line.split_once(" = ").is_some_and(|(key, _)| {
        !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    })
}

fn is_of(line: &str, key: &str) -> bool {
    line.split_once(" = ").is_some_and(|(found, _)| found == key)
}

fn bare(value: &str) -> String {
    value.trim().trim_matches('"').to_owned()
}

fn print_config(program: &[&str], file: &Path) -> Result<Settings> {
    let (name, subcommand) = (program[0], program[1]);
    let output =
        command(name)?.args([subcommand, "--print-config", "--config"]).arg(file).output()?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let shown = String::from_utf8(output.stdout)?;
    let settings = shown.lines().map(|line| match line.strip_prefix("# ") {
        Some(unset) => {
            let (key, _) = unset.split_once(" is not set").with_context(|| line.to_owned())?;
            Ok((key.to_owned(), None))
        }
        None => {
            let (key, rest) = line.split_once(" = ").with_context(|| line.to_owned())?;
            let (value, _) = rest.rsplit_once(" # ").with_context(|| line.to_owned())?;
            Ok((key.to_owned(), Some(bare(value))))
        }
    });
    settings.collect()
}
