//! What a server's error code means: the only place that looks at SQLSTATEs to decide what to do.
//!
//! A row is put aside only where the code says that the row is what is wrong. Whatever else a
//! server may say keeps the rows on the nodes, and is tried again or told to people.

use tokio_postgres::error::DbError;

use crate::error::Kind;

/// What to do about an error of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) kind: Kind,
    /// The connection that said it is of no more use.
    pub(crate) discard: bool,
}

/// SQLSTATE to [`Verdict`].
pub(crate) fn verdict(error: &DbError) -> Verdict {
    let code = error.code().code();
    let kind = match code {
        // No partition takes the row: a check violation that names the table and no constraint.
        "23514" if error.constraint().is_none() && error.table().is_some_and(is_kept_by_days) => {
            Kind::MissingPartition
        }
        // A table was changed under a prepared statement: a new connection prepares it anew.
        "0A000" if is_stale_plan(error) => Kind::Transient,
        _ => kind_of(code),
    };
    let discard = kind == Kind::ReadOnly
        || is_stale_plan(error)
        || is_prepared_elsewhere(code)
        || matches!(code, "25P02" | "25P03" | "25P04")
        || matches!(class(code), "08" | "57") && code != "57014";
    Verdict { kind, discard }
}

/// Tables with a partition for each day.
fn is_kept_by_days(table: &str) -> bool {
    matches!(table, "host_usage" | "host_vitals" | "device_sample" | "host_metric")
}

fn kind_of(code: &str) -> Kind {
    match code {
        "25006" => Kind::ReadOnly,
        // Not in a usable state now, as a standby in recovery; in use; a lock that did not come.
        "55000" | "55006" | "55P03" => Kind::Transient,
        // A transaction that failed before, or was idle or ran for too long.
        "25P02" | "25P03" | "25P04" => Kind::Transient,
        _ if is_prepared_elsewhere(code) => Kind::Transient,
        // The last three: a person's view stands on what is to be dropped; a setting in the URL
        // that can't be set, or names a role that is not there.
        "3D000" | "42501" | "2BP01" | "55P02" | "0P000" => Kind::Config,
        // Table, column, function, schema, type or key missing, or of another kind.
        "42P01" | "42703" | "42883" | "3F000" | "42704" | "42P10" | "42804" | "42809" => {
            Kind::Schema
        }
        // A row too wide for an index or a page, and one that a person's trigger refuses. Other
        // limits, and a trigger that breaks, would put all rows aside.
        "54000" | "P0001" => Kind::Data,
        _ => match class(code) {
            // Values, constraints, and the condition of a person's view.
            "22" | "23" | "44" => Kind::Data,
            // Connection, conflict, resources, operator intervention (time-outs among them), I/O, a
            // snapshot too old, another server behind this one.
            "08" | "40" | "53" | "57" | "58" | "72" | "HV" => Kind::Transient,
            "28" | "F0" => Kind::Config,
            _ => Kind::Internal,
        },
    }
}

/// What was prepared on this connection is not there, or what was not is: somebody between hands
/// out the server's sessions in turn.
pub(crate) fn is_prepared_elsewhere(code: &str) -> bool {
    matches!(code, "26000" | "42P05")
}

fn is_stale_plan(error: &DbError) -> bool {
    error.code().code() == "0A000" && error.routine() == Some("RevalidateCachedQuery")
}

/// The first two letters.
fn class(code: &str) -> &str {
    code.get(..2).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::testing::Bench;

    /// What each code that a server may send is taken for, and whether its connection goes on.
    const CODES: &[(&str, Kind, bool)] = &[
        // Connections.
        ("08000", Kind::Transient, true),
        ("08003", Kind::Transient, true),
        ("08006", Kind::Transient, true),
        ("08P01", Kind::Transient, true),
        ("57P01", Kind::Transient, true),
        ("57P02", Kind::Transient, true),
        ("57P03", Kind::Transient, true),
        ("57P04", Kind::Transient, true),
        ("57P05", Kind::Transient, true),
        ("26000", Kind::Transient, true),
        ("42P05", Kind::Transient, true),
        // Time-outs and cancels.
        ("57014", Kind::Transient, false),
        ("55P03", Kind::Transient, false),
        ("25P02", Kind::Transient, true),
        ("25P03", Kind::Transient, true),
        ("25P04", Kind::Transient, true),
        // Servers that only read.
        ("25006", Kind::ReadOnly, true),
        ("55000", Kind::Transient, false),
        // Others in the way.
        ("40001", Kind::Transient, false),
        ("40002", Kind::Transient, false),
        ("40003", Kind::Transient, false),
        ("40P01", Kind::Transient, false),
        ("55006", Kind::Transient, false),
        // Resources and the machine.
        ("53000", Kind::Transient, false),
        ("53100", Kind::Transient, false),
        ("53200", Kind::Transient, false),
        ("53300", Kind::Transient, false),
        ("53400", Kind::Transient, false),
        ("58000", Kind::Transient, false),
        ("58030", Kind::Transient, false),
        ("58P01", Kind::Transient, false),
        ("72000", Kind::Transient, false),
        ("HV000", Kind::Transient, false),
        // The row.
        ("22000", Kind::Data, false),
        ("22001", Kind::Data, false),
        ("22003", Kind::Data, false),
        ("22008", Kind::Data, false),
        ("22021", Kind::Data, false),
        ("22P02", Kind::Data, false),
        ("22P03", Kind::Data, false),
        ("22P05", Kind::Data, false),
        ("23000", Kind::Data, false),
        ("23502", Kind::Data, false),
        ("23503", Kind::Data, false),
        ("23505", Kind::Data, false),
        ("23514", Kind::Data, false),
        ("23P01", Kind::Data, false),
        ("44000", Kind::Data, false),
        ("54000", Kind::Data, false),
        ("P0001", Kind::Data, false),
        // The schema.
        ("42P01", Kind::Schema, false),
        ("42703", Kind::Schema, false),
        ("42704", Kind::Schema, false),
        ("42804", Kind::Schema, false),
        ("42809", Kind::Schema, false),
        ("42883", Kind::Schema, false),
        ("42P10", Kind::Schema, false),
        ("3F000", Kind::Schema, false),
        // People's doing.
        ("28000", Kind::Config, false),
        ("28P01", Kind::Config, false),
        ("3D000", Kind::Config, false),
        ("42501", Kind::Config, false),
        ("2BP01", Kind::Config, false),
        ("55P02", Kind::Config, false),
        ("0P000", Kind::Config, false),
        ("F0000", Kind::Config, false),
        // Ours, or damage; a row is never to blame.
        ("0A000", Kind::Internal, false),
        ("21000", Kind::Internal, false),
        ("25001", Kind::Internal, false),
        ("38000", Kind::Internal, false),
        ("39000", Kind::Internal, false),
        ("42601", Kind::Internal, false),
        ("42P02", Kind::Internal, false),
        ("54001", Kind::Internal, false),
        ("54011", Kind::Internal, false),
        ("P0004", Kind::Internal, false),
        ("XX000", Kind::Internal, false),
        ("XX001", Kind::Internal, false),
        ("XX002", Kind::Internal, false),
        ("ZZ999", Kind::Internal, false),
    ];

    #[tokio::test]
    async fn each_code_has_its_verdict() {
        let bench = Bench::empty().await;
        for &(code, kind, discard) in CODES {
            let raise = format!(
                "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}', MESSAGE = 'words'; END $$"
            );
            let error = Error::from(bench.sql.batch_execute(&raise).await.unwrap_err());
            assert_eq!(error.sqlstate(), Some(code));
            assert_eq!((error.kind(), error.spoils_connection()), (kind, discard), "{code}");
            assert!(error.to_string().contains("words"), "{error}");
            assert_eq!(error.is_conflict(), matches!(code, "40001" | "40P01"), "{code}");
        }
    }

    #[tokio::test]
    async fn a_table_changed_under_a_prepared_statement_is_a_matter_of_the_connection() {
        let bench = Bench::empty().await;
        bench.sql.batch_execute("CREATE TABLE t (n int)").await.unwrap();
        let statement = bench.sql.prepare("SELECT * FROM t").await.unwrap();
        bench.sql.batch_execute("ALTER TABLE t ADD m int").await.unwrap();
        let error = Error::from(bench.sql.query(&statement, &[]).await.unwrap_err());
        assert_eq!(error.sqlstate(), Some("0A000"));
        assert_eq!((error.kind(), error.spoils_connection()), (Kind::Transient, true), "{error}");
    }
}
