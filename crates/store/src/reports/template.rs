//! Report files as prepared statements.
//!
//! A report file runs as it stands in `psql`, because its parameters stand as defaults in one line.
//! Here that line, and nothing else, is replaced by one that takes parameters of the same names.

/// What the line with the defaults starts with, in every report file and in no other line of it.
const START: &str = "WITH params AS NOT MATERIALIZED (SELECT ";

/// The line that stands in its place. [`super::Parameters`] fills it in this order.
const TYPED: &str = "WITH params AS NOT MATERIALIZED (SELECT $1::timestamptz AS from_ts, \
     $2::timestamptz AS to_ts, make_interval(secs => $3::float8) AS window_len, \
     $4::int AS min_samples, jsonb_object($5::text[], $6::text[]) AS labels, \
     $7::text AS name_glob, $8::timestamptz AS now_ts, $9::timestamptz AS hardware_as_of),";

pub(super) const FRAME: &str = include_str!("../../../../sql/queries/reports/frame.sql");
pub(super) const HARDWARE: &str = include_str!("../../../../sql/queries/reports/hardware.sql");
pub(super) const MEMORY: &str = include_str!("../../../../sql/queries/reports/memory.sql");
pub(super) const ROLL: &str = include_str!("../../../../sql/queries/reports/roll.sql");
pub(super) const BOOTS: &str = include_str!("../../../../sql/queries/reports/boots.sql");
pub(super) const UNOBSERVED: &str = include_str!("../../../../sql/queries/reports/unobserved.sql");
pub(super) const BALANCE: &str = include_str!("../../../../sql/queries/reports/balance.sql");
pub(super) const INTEGRITY: &str = include_str!("../../../../sql/queries/reports/integrity.sql");
pub(super) const LEDGER: &str = include_str!("../../../../sql/queries/reports/ledger.sql");
pub(super) const PRESSURE: &str = include_str!("../../../../sql/queries/reports/pressure.sql");

/// All of them.
#[cfg(test)]
pub(super) const ALL: [&str; 10] =
    [FRAME, HARDWARE, MEMORY, ROLL, BOOTS, UNOBSERVED, BALANCE, INTEGRITY, LEDGER, PRESSURE];

/// A report file with parameters instead of its defaults.
pub(super) fn with_parameters(file: &str) -> String {
    let mut statement = String::with_capacity(file.len());
    for line in file.lines() {
        statement.push_str(if line.starts_with(START) { TYPED } else { line });
        statement.push('\n');
    }
    statement
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults(file: &str) -> Vec<&str> {
        file.lines().filter(|line| line.starts_with(START)).collect()
    }

    /// From the line with the defaults to the end of the selection of hosts.
    fn opening(file: &str) -> &str {
        let end = file.find("l.value = wanted.value)))\n)").expect("selects hosts");
        file.get(file.find(START).expect("has defaults")..end).expect("whole characters")
    }

    #[test]
    fn every_file_has_one_line_of_defaults_and_it_is_the_same_in_all() {
        for file in ALL {
            assert_eq!(defaults(file).len(), 1);
            assert_eq!(defaults(file), defaults(ROLL));
            assert!(file.starts_with("-- "), "a file opens with what it is for");
        }
    }

    #[test]
    fn the_defaults_and_the_parameters_have_the_same_names_in_the_same_order() {
        let names = |line: &str| -> Vec<String> {
            let words: Vec<_> = line.split_whitespace().collect();
            let named = words.windows(2).skip(3).filter(|pair| pair[0] == "AS");
            named.map(|pair| pair[1].trim_end_matches([',', ')']).to_owned()).collect()
        };
        assert_eq!(names(defaults(ROLL)[0]), names(TYPED));
        assert_eq!(names(TYPED).len(), 8);
    }

    #[test]
    fn range_and_hosts_are_selected_by_the_same_words_in_all_reports() {
        for file in [MEMORY, BOOTS, BALANCE, INTEGRITY, LEDGER, PRESSURE] {
            assert_eq!(opening(file), opening(ROLL));
        }
        // Who was retired as of a time is another question.
        let retired = "h.retired_at > coalesce(b.hardware_as_of, b.first_ts)";
        let as_of_now = opening(HARDWARE).replace(retired, "h.retired_at > b.first_ts");
        assert!(opening(HARDWARE).contains(retired));
        assert_eq!(as_of_now, opening(ROLL));
        let range = |file: &str| {
            file.split("bounds AS")
                .nth(1)
                .and_then(|rest| rest.split("\n)").next())
                .map(str::to_owned)
        };
        assert_eq!(range(UNOBSERVED), range(ROLL));
        let hosts = |file| opening(file).split("hosts AS MATERIALIZED").nth(1);
        assert!(hosts(FRAME).is_some());
        assert_eq!(hosts(FRAME), hosts(ROLL));
    }

    #[test]
    fn the_roll_gives_agents_the_pause_that_readers_of_the_roll_give_them() {
        let pause =
            format!("interval '{} minutes' AS pause", super::super::WAY_BACK.as_secs() / 60);
        assert!(ROLL.contains(&pause), "{pause}");
    }

    #[test]
    fn only_the_line_with_the_defaults_is_replaced() {
        let statement = with_parameters(ROLL);
        let differing: Vec<_> =
            statement.lines().zip(ROLL.lines()).filter(|(new, old)| new != old).collect();
        assert_eq!(differing, [(TYPED, defaults(ROLL)[0])]);
        assert_eq!(statement.lines().count(), ROLL.lines().count());
    }
}
