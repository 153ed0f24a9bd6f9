//! Why a node was not enrolled, and what the program ends with then.

use rowcall_tls::connect::{ConnectError, ServerFault};
use tonic::{Code, Status};

use crate::identity::{FolderError, InvalidBundle};
use crate::link::one_line;

/// Most of a text from the other side that is repeated.
const MAX_TEXT_BYTES: usize = 1024;

/// Who can change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Time, perhaps: the network, the server, another process.
    NotNow,
    /// Whoever wrote the command line or the settings, or owns the folder.
    Usage,
    /// Whoever gives out tokens.
    Token,
    /// The server is not the one that the token is for.
    Pin,
    /// Whoever sets clocks.
    Clock,
    /// Whoever gives out names.
    Name,
}

impl Why {
    /// What the process ends with.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::NotNow => 1,
            Self::Usage => 2,
            Self::Token => 3,
            Self::Pin => 4,
            Self::Clock => 5,
            Self::Name => 6,
        }
    }
}

/// Why a node was not enrolled, in words with what to do. Never holds any of the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct EnrollError {
    pub(crate) why: Why,
    pub(crate) text: String,
}

impl EnrollError {
    pub(crate) fn new(why: Why, text: impl Into<String>) -> Self {
        Self { why, text: text.into() }
    }

    /// No connection to a server, which is named.
    pub(super) fn of_connect(error: &ConnectError, server: &str) -> Self {
        let ConnectError::ServerCertificate(fault) = error else {
            return Self::new(Why::NotNow, format!("{server}: {error}"));
        };
        let (why, more) = match fault {
            ServerFault::Pin(_) => (Why::Pin, "; nothing of ours was sent"),
            ServerFault::Clock(_) => (
                Why::Clock,
                "; nothing of ours was sent. If this clock is right, renew it there with `rowcall \
                 pki renew`",
            ),
            ServerFault::Name(_) => (
                Why::Usage,
                "; or, where it is that server all the same, name one of them as --server-name",
            ),
            _ => (Why::NotNow, ""),
        };
        Self::new(why, format!("{server}: {error}{more}"))
    }

    /// The server's answer.
    pub(super) fn of_status(status: &Status, server: &str) -> Self {
        if std::error::Error::source(status).is_some() {
            return Self::new(
                Why::NotNow,
                format!(
                    "{server}: the connection was lost before the answer came; try again: {}",
                    one_line(status.message(), MAX_TEXT_BYTES)
                ),
            );
        }
        let said = match one_line(status.message(), MAX_TEXT_BYTES) {
            empty if empty.is_empty() => status.code().description().to_owned(),
            said => said,
        };
        let (why, text) = match status.code() {
            // What to do the server says with it.
            Code::Unauthenticated => (Why::Token, format!("the token is refused: {said}")),
            Code::PermissionDenied | Code::AlreadyExists => (
                Why::Name,
                format!("the name is refused: {said}; another one is given with --name"),
            ),
            Code::InvalidArgument => (
                Why::Usage,
                format!(
                    "the request is refused: {said}; get another token, and run the same version \
                     on both sides"
                ),
            ),
            Code::FailedPrecondition => {
                (Why::NotNow, format!("not enrolled: {said}; --server names one"))
            }
            Code::Unimplemented => (
                Why::NotNow,
                format!("there is no enrolment there ({said}); check --server, its port is 7444"),
            ),
            Code::ResourceExhausted => (Why::NotNow, format!("not enrolled yet: {said}")),
            _ => (Why::NotNow, format!("not enrolled: {said}; try again")),
        };
        Self::new(why, format!("{server}: {text}"))
    }
}

impl From<FolderError> for EnrollError {
    fn from(error: FolderError) -> Self {
        let why = if error.passes() { Why::NotNow } else { Why::Usage };
        Self::new(why, error.to_string())
    }
}

impl From<InvalidBundle> for EnrollError {
    fn from(error: InvalidBundle) -> Self {
        Self::new(Why::NotNow, error.to_string())
    }
}
