//! Damaged files: each costs what it tells, and nothing else.

use std::collections::BTreeSet;

use super::machine::{Entry, Machine};
use super::machines::ALL;
use super::observed::Observer;

/// What a file tells: the beginnings of the lines that may change when it is damaged. The first
/// that is the beginning of a path holds for it; what stands nowhere may change nothing.
const TELLS: &[(&str, &[&str])] = &[];

/// Ways to damage a file.
const DAMAGES: [(&str, fn(&str) -> Option<String>); 7] = [
    ("missing", |_| None),
    ("empty", |_| Some(String::new())),
    ("cut in the middle", |text| {
        Some(
            text.char_indices()
                .take_while(|(at, _)| *at < text.len() / 2)
                .map(|(_, c)| c)
                .collect(),
        )
    }),
    ("garbage", |_| Some("\u{1}\u{0}\u{fffd}\u{7f}\n\u{0}: = [\n\n  9x 9x\n".repeat(40))),
    ("huge numbers", |text| Some(with_numbers(text, "18446744073709551615"))),
    ("numbers that no type holds", |text| Some(with_numbers(text, "99999999999999999999999999"))),
    ("negative numbers", |text| Some(with_numbers(text, "-7"))),
];

/// The text with another number in the place of each.
fn with_numbers(text: &str, number: &str) -> String {
    let mut damaged = String::new();
    let mut is_number = false;
    let mut last = ' ';
    for c in text.chars() {
        // A digit within a name is part of it.
        is_number = c.is_ascii_digit() && (is_number || last.is_whitespace() || last == '=');
        if !is_number {
            damaged.push(c);
        } else if !last.is_ascii_digit() {
            damaged.push_str(number);
        }
        last = c;
    }
    damaged
}

/// The machine with one file damaged.
fn damaged(machine: &Machine, path: &str, damage: fn(&str) -> Option<String>) -> Machine {
    let Some(Entry::File(text)) = machine.0.get(path) else { panic!("{path} is no file") };
    match damage(text) {
        Some(text) => machine.clone().file(path, text),
        None => machine.clone().without(path),
    }
}

/// One path of each kind: those that differ in numbers alone are alike.
fn one_of_each_kind(machine: &Machine) -> Vec<String> {
    let mut kinds = BTreeSet::new();
    let kind = |path: &str| path.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    machine
        .files()
        .filter(|(path, _)| kinds.insert(kind(path)))
        .map(|(path, _)| path.into())
        .collect()
}

#[tokio::test]
async fn a_damaged_file_costs_what_it_tells_and_nothing_else() {
    let mut wrong = Vec::new();
    for (name, machine) in ALL {
        let (before, after) = (machine(0), machine(1));
        let mut observer = Observer::new();
        let whole: BTreeSet<_> =
            observer.watch(before.clone(), after.clone()).await.lines().into_iter().collect();
        for path in one_of_each_kind(&after) {
            let told = TELLS.iter().find(|(start, _)| path.starts_with(start));
            let told = told.map_or(&[][..], |(_, told)| told);
            for (how, damage) in DAMAGES {
                let observed = observer.watch(before.clone(), damaged(&after, &path, damage)).await;
                let lines: BTreeSet<_> = observed.lines().into_iter().collect();
                let unexpected = whole
                    .symmetric_difference(&lines)
                    .filter(|line| !line.starts_with("skipped "))
                    .find(|line| !told.iter().any(|told| line.starts_with(told)));
                if let Some(line) = unexpected {
                    wrong.push(format!("{name}: {path} is {how}: {line}"));
                }
                if let Some(line) = lines.iter().find(|line| has_impossible_number(line)) {
                    wrong.push(format!("{name}: {path} is {how}, and this cannot be: {line}"));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "{} in all", wrong.len());
}

/// Shares and counts that no machine has. Temperatures may be below zero.
fn has_impossible_number(line: &str) -> bool {
    let Some((name, value)) = line.strip_prefix("vitals ").and_then(|rest| rest.split_once(" = "))
    else {
        return false;
    };
    value.parse::<f64>().is_ok_and(|value| {
        value < 0.0 || !value.is_finite() || name.ends_with("_percent") && value > 100.0
    })
}

#[tokio::test]
async fn a_machine_of_nothing_but_damage_is_read_to_the_end() {
    for (name, machine) in ALL {
        let (before, after) = (machine(0), machine(1));
        for (how, damage) in DAMAGES {
            let all = |machine: &Machine| {
                let paths: Vec<_> = machine.files().map(|(path, _)| path.to_owned()).collect();
                paths.iter().fold(machine.clone(), |machine, path| damaged(&machine, path, damage))
            };
            let mut observer = Observer::new();
            // Damaged from the beginning, and damaged and whole again under an agent that runs.
            let observed = observer.watch(all(&before), all(&after)).await;
            let line = observed.lines().into_iter().find(|line| has_impossible_number(line));
            assert_eq!(line, None, "{name}, all {how}");
            observer.watch(all(&before), after.clone()).await;
        }
    }
}
