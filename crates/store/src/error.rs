//! What can go wrong with the database, sorted by what to do about it, in words for people. What a
//! server's code means is decided in [`crate::sqlstate`].
//!
//! No message holds a password: the database is named by host, port, database and user. What a
//! server says is cut and cleaned of what harms a terminal or a log before it becomes a message.

use std::error::Error as _;
use std::fmt;

use deadpool_postgres::{HookError, PoolError, TimeoutType};
use rowcall_core::convert::clean_text_within;
use tokio_postgres::error::{DbError, SqlState};

use crate::connect;
use crate::sqlstate::{Verdict, is_prepared_elsewhere, verdict};

/// Most of each text that a server gives, in bytes.
const MAX_SAID: usize = 500;
/// Most of a message, in bytes.
const MAX_MESSAGE: usize = 2_048;

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Try the whole thing again, after a while: a deadlock, a full disk, a server that restarts
    /// or is out of reach.
    Transient,
    /// The server only reads (SQLSTATE 25006), as a standby or after a switch-over. The
    /// connection is thrown away; another one may lead to the server that writes.
    ReadOnly,
    /// The row's day has no partition: make it and try again.
    MissingPartition,
    /// A row that the database does not take (SQLSTATE classes 22 and 23). Its neighbours may be
    /// fine.
    Data,
    /// The database's schema and this program do not fit together.
    Schema,
    /// The database holds less than it had committed: see [`crate::Store::guard_marks`]. Nothing
    /// was done.
    WentBack,
    /// Somebody must change a setting: the URL, a password, rights.
    Config,
    /// A bug in this program, or damage in the database.
    Internal,
}

/// A failed piece of work with the database. Its message says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
    /// The connection is of no more use.
    discard: bool,
    /// TLS itself failed, not what was said over it.
    tls_failure: bool,
    /// What the message was made of, and so no source: whoever prints the chain would say it twice.
    cause: Option<tokio_postgres::Error>,
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the same thing may succeed later without anybody's doing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, Kind::Transient | Kind::ReadOnly | Kind::WentBack)
    }

    /// The server's code for it, if the server said it.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        self.cause.as_ref().and_then(|error| error.code()).map(SqlState::code)
    }

    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: clean(&message.into(), MAX_MESSAGE),
            discard: false,
            tls_failure: false,
            cause: None,
        }
    }

    /// No answer in time; whatever the connection still does is nobody's business any more.
    pub(crate) fn no_answer(target: &Target, seconds: u64) -> Self {
        Self {
            discard: true,
            ..Self::new(
                Kind::Transient,
                format!(
                    "{target} has not answered for {seconds} s; look at its load and its locks"
                ),
            )
        }
    }

    /// The same error with words before its message.
    pub(crate) fn with_context(mut self, context: &str) -> Self {
        self.message = clean(&format!("{context}: {}", self.message), MAX_MESSAGE);
        self
    }

    /// Whether the connection that it happened on must not be used again.
    pub(crate) fn spoils_connection(&self) -> bool {
        self.discard
    }

    /// Two transactions stood in each other's way; the second try needs no waiting.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self.sqlstate(), Some("40001" | "40P01"))
    }

    /// Nobody there, or somebody who says nothing.
    pub(crate) fn no_connection(target: &Target) -> Self {
        Self::new(
            Kind::Transient,
            format!("cannot reach {target}: no answer in time; check host, port and firewall"),
        )
    }

    /// An error while connecting, already explained.
    pub(crate) fn connecting(kind: Kind, message: String, cause: tokio_postgres::Error) -> Self {
        Self { discard: true, cause: Some(cause), ..Self::new(kind, message) }
    }

    /// Whether TLS itself did not work, so that `sslmode=prefer` goes on without.
    pub(crate) fn tls_failure(mut self, failed: bool) -> Self {
        self.tls_failure = failed;
        self
    }

    /// See [`Error::tls_failure`].
    pub(crate) fn is_tls_failure(&self) -> bool {
        self.tls_failure
    }

    /// `pg_hba.conf` does not let us in this way.
    pub(crate) fn is_login_refused(&self) -> bool {
        self.sqlstate() == Some("28000")
    }

    /// The errors of several servers as one. As long as one of them may come back, so may all.
    pub(crate) fn join(mut errors: Vec<Self>) -> Self {
        if errors.len() == 1
            && let Some(only) = errors.pop()
        {
            return only;
        }
        let kind = [Kind::Transient, Kind::ReadOnly]
            .into_iter()
            .find(|kind| errors.iter().any(|error| error.kind == *kind))
            .or_else(|| errors.first().map(|error| error.kind))
            .unwrap_or(Kind::Internal);
        let messages: Vec<_> = errors.iter().map(|error| error.message.as_str()).collect();
        let message = messages.join("; and ");
        Self { discard: true, ..Self::new(kind, message) }
    }

    /// A URL that cannot be read. The cause is the parser's, which names keys and not values.
    pub(crate) fn url(error: &tokio_postgres::Error) -> Self {
        let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        Self::new(
            Kind::Config,
            format!("database URL: {cause}; it looks like postgresql://user@host:5432/host_agent"),
        )
    }

    /// An error from a pool.
    pub(crate) fn pool(target: &Target, size: usize, error: PoolError) -> Self {
        match error {
            // A new connection failed with an error of ours, a used one with the driver's.
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
                match connect::unpack(error) {
                    Ok(error) => error,
                    Err(error) => error.into(),
                }
            }
            PoolError::Timeout(TimeoutType::Wait) => Self::new(
                Kind::Transient,
                format!(
                    "all {size} connections to {target} are busy; raise the pool's size or ask less"
                ),
            ),
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
                Self::no_connection(target)
            }
            PoolError::Closed => Self::new(Kind::Transient, "the pool is closed"),
            other => Self::new(Kind::Internal, format!("connection pool: {other}")),
        }
    }
}

impl From<tokio_postgres::Error> for Error {
    /// An error of a statement.
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            // Without a word from the server: the link broke, or the two ends misunderstand each
            // other over a type, which is a bug.
            let broken = error.is_closed() || has_io_cause(&error);
            let (kind, message) = if broken {
                let message = format!(
                    "the connection to the database broke ({}); check that PostgreSQL runs, and \
                     its log",
                    text(&error)
                );
                (Kind::Transient, message)
            } else {
                let message =
                    format!("database: {}; this is a bug, please report it", text(&error));
                (Kind::Internal, message)
            };
            return Self { discard: true, cause: Some(error), ..Self::new(kind, message) };
        };
        let Verdict { kind, discard } = verdict(db);
        let message = match kind {
            Kind::Schema => format!(
                "database: {}; the schema is not what this program needs: run \
                 `rowcall-aggregator migrate`",
                describe(db)
            ),
            Kind::Config if db.code().code() == "2BP01" => format!(
                "database: {}: {}; drop what depends on it, or let it depend on something that \
                 stays",
                describe(db),
                db.detail().map_or_else(
                    || "the server does not say what".to_owned(),
                    |detail| said(&detail.replace('\n', ", "))
                )
            ),
            Kind::Config => format!("database: {}; see sql/README.md for the rights", describe(db)),
            Kind::ReadOnly => {
                format!("database: {}; the server is a standby or switched over", describe(db))
            }
            Kind::Internal => format!(
                "database: {}; this is a bug or damage in the database, please report it",
                describe(db)
            ),
            Kind::Transient if db.code().code() == "53100" => {
                format!("database: {}; make room on the database's disk", describe(db))
            }
            Kind::Transient if is_prepared_elsewhere(db.code().code()) => format!(
                "database: {}; connect to the server itself, not through a pooler in transaction \
                 mode",
                describe(db)
            ),
            Kind::Transient | Kind::MissingPartition | Kind::Data | Kind::WentBack => {
                format!("database: {}", describe(db))
            }
        };
        Self { discard, cause: Some(error), ..Self::new(kind, message) }
    }
}

/// The server's words, on one line.
fn describe(error: &DbError) -> String {
    // Codes have five letters; a server that is none may send whatever it likes.
    format!("{} (SQLSTATE {})", said(error.message()), clean(error.code().code(), 8))
}

/// What a server said: on one line, without what harms a terminal, and not without an end.
pub(crate) fn said(text: &str) -> String {
    clean(text, MAX_SAID)
}

/// Text on one line, without control characters and marks of direction, cut to `most` bytes with
/// a sign of that.
fn clean(text: &str, most: usize) -> String {
    let line = |c: char| if c.is_whitespace() { ' ' } else { c };
    // Some of it is thrown away, but not without an end either. One letter more than fits shows
    // that something is cut.
    let start: String = text.chars().take(4 * most).map(line).collect();
    let mut clean = clean_text_within(&start, most + 4).unwrap_or_default();
    if clean.len() > most || text.chars().nth(4 * most).is_some() {
        clean.truncate(clean.floor_char_boundary(most));
        clean.push_str("...");
    }
    clean
}

/// Whatever it is, on one line.
pub(crate) fn text(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => describe(db),
        None => match error.source() {
            Some(cause) => said(&format!("{error}: {cause}")),
            None => said(&error.to_string()),
        },
    }
}

fn has_io_cause(error: &tokio_postgres::Error) -> bool {
    error.source().is_some_and(|cause| cause.is::<std::io::Error>())
}

/// A database's address without its password. Shown on one line, clean.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) database: String,
    pub(crate) user: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, database) = (said(&self.address), said(&self.database));
        write!(f, "PostgreSQL at {address} (database {database})")
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::{Settings, Store};

    /// What harms terminals and logs: ESC, BEL, CR, and the mark that turns the direction.
    const HARMFUL: [char; 6] = ['\u{1b}', '\u{7}', '\r', '\n', '\u{202e}', '\0'];

    /// A server that is none: takes the login, then answers with an ErrorResponse of such fields.
    async fn hostile(fields: Vec<(u8, String)>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // Who hangs up while we send is no failure of ours.
                drop(refuse(&mut stream, &fields).await);
            }
        });
        port
    }

    async fn refuse(stream: &mut TcpStream, fields: &[(u8, String)]) -> std::io::Result<()> {
        let length = stream.read_u32().await?;
        let mut login = vec![0; usize::try_from(length).unwrap() - 4];
        stream.read_exact(&mut login).await?;
        let mut body = Vec::new();
        for (field, text) in fields {
            body.push(*field);
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        stream.write_u8(b'E').await?;
        stream.write_u32(u32::try_from(body.len()).unwrap() + 4).await?;
        stream.write_all(&body).await?;
        stream.shutdown().await
    }

    #[tokio::test]
    async fn what_a_server_says_is_cut_and_cleaned() {
        let bad = "\u{1b}]0;x\u{7}one\r\n\u{202e}two ";
        let long = bad.repeat((5 << 20) / bad.len());
        for (code, word) in [
            ("28P01", "does not let user"),
            ("28000", "does not let user"),
            ("42501", "has no right to connect"),
            ("XX000", "refuses the connection"),
            ("\u{1b}[2JXX000XX000", "refuses the connection"),
        ] {
            let fields = vec![
                (b'S', "FATAL".to_owned()),
                (b'V', "FATAL".to_owned()),
                (b'C', code.to_owned()),
                (b'M', long.clone()),
                (b'D', long.clone()),
                (b'H', long.clone()),
            ];
            let port = hostile(fields).await;
            let user = "u%1b%07%e2%80%ae";
            let url = format!("postgresql://{user}@127.0.0.1:{port}/d%1b%0ad?sslmode=disable");
            let error = Store::connect(&Settings::new(url)).await.unwrap_err();
            let text = error.to_string();
            assert!(text.contains(word) && text.contains("one"), "{text}");
            assert!(text.len() <= MAX_MESSAGE + 3, "{} bytes: {text}", text.len());
            assert!(text.matches("one").count() * bad.len() <= MAX_SAID * 2, "{text}");
            assert!(!text.contains(HARMFUL), "{text:?}");
        }
    }

    #[test]
    fn text_is_cut_with_a_sign_and_short_text_stays() {
        assert_eq!(said("relation \"x\" does not exist"), "relation \"x\" does not exist");
        assert_eq!(said("a\nb\u{a0}c\u{1b}[2J"), "a b c[2J");
        let cut = said(&"é".repeat(1_000));
        assert_eq!(cut, format!("{}...", "é".repeat(MAX_SAID / 2)));
        assert_eq!(said(&"é".repeat(MAX_SAID / 2)), "é".repeat(MAX_SAID / 2));
        assert!(said(&"\u{1b}".repeat(1 << 20)).len() <= 3);
        let long = Error::new(Kind::Data, "x".repeat(1 << 20)).with_context("why");
        assert_eq!(long.to_string().len(), MAX_MESSAGE + 3);
    }
}
