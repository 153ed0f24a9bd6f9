//! How a stream ends, in words for whoever runs the node.

use std::time::Duration;

use tonic::{Code, Status};

use super::dial::{NotConnected, Remedy};

/// Most of a text from the other side that is repeated.
const MAX_TEXT_BYTES: usize = 1024;

/// What to do about two agents with one certificate.
const CLONED: &str = "if this machine was made from a copy of another one, then on the copy stop the \
                      agent, move its spool away (`status` says where it is) and run `rowcall-agent \
                      enroll --again --name NAME` with a name of its own; until then its samples \
                      wait in the spool";

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// We were told to stop.
    Stopped,
    /// The aggregator asks us to come back.
    Drained {
        /// Within this span.
        within: Duration,
        /// It is about to stop: another one is better.
        leaves: bool,
    },
    /// Our spool was rolled back or copied: it goes on under a new epoch.
    NewEpoch,
    /// The aggregator refuses us: only people can change the reason, and trying soon again only
    /// burdens it.
    Refused(String),
    /// Another agent with this host's certificate has the host's stream.
    Taken(String),
    /// Our certificate has expired.
    Expired(String),
    /// Only people can change the reason.
    NeedsPeople(String),
    /// Anything else: it may work the next time.
    Failed(String),
}

impl From<NotConnected> for End {
    fn from(NotConnected { reason, remedy }: NotConnected) -> Self {
        match remedy {
            Remedy::Time => Self::Failed(reason),
            Remedy::People => Self::NeedsPeople(reason),
            Remedy::Acceptance => Self::Refused(reason),
            Remedy::Renewal => Self::Expired(reason),
        }
    }
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        if let Some(cause) = std::error::Error::source(&status) {
            return Self::Failed(format!("the connection was lost: {}", root(cause)));
        }
        let said = match one_line(status.message(), MAX_TEXT_BYTES) {
            empty if empty.is_empty() => status.code().description().to_owned(),
            said => said,
        };
        match status.code() {
            Code::AlreadyExists => Self::Taken(format!("{said}; {CLONED}")),
            Code::FailedPrecondition => Self::Refused(format!(
                "{said}; this is rowcall-agent {}",
                env!("CARGO_PKG_VERSION")
            )),
            Code::PermissionDenied | Code::Unauthenticated => Self::Refused(format!(
                "{said}; or enrol this node anew (`rowcall-agent enroll --again`, the token of `rowcall \
                 token create --host NAME --replace`), or give it a certificate of role agent of \
                 the aggregator's trust domain"
            )),
            Code::Unimplemented => Self::NeedsPeople(format!(
                "the server there is no Rowcall aggregator, or one too old ({said}); check address \
                 and port"
            )),
            Code::InvalidArgument | Code::OutOfRange => Self::NeedsPeople(format!(
                "the aggregator takes nothing from this agent: {said}; run the same version on both \
                 sides"
            )),
            _ => Self::Failed(format!("the aggregator ended the stream: {said}")),
        }
    }
}

/// A text from the other side on one line, cut to so many bytes.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    let text = text.trim();
    let (cut, _) = text.split_at(text.floor_char_boundary(most));
    cut.replace(char::is_control, " ")
}

/// The cause of all causes, in a word.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    let is_end = |error: &std::io::Error| error.kind() == std::io::ErrorKind::UnexpectedEof;
    let text = deepest.to_string();
    // Below HTTP/2 the kind of an error is no longer to be had, and TLS explains this one at length.
    if deepest.downcast_ref().is_some_and(is_end) || text.contains("close_notify") {
        return "the other side closed it".to_owned();
    }
    one_line(&text, MAX_TEXT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(code: Code, message: &str) -> End {
        Status::new(code, message).into()
    }

    #[test]
    fn what_only_people_can_change_is_told_from_what_passes() {
        assert!(matches!(
            end(Code::AlreadyExists, "x"),
            End::Taken(said) if said.starts_with("x; ") && said.contains("enroll --again")
        ));
        for code in [Code::FailedPrecondition, Code::PermissionDenied, Code::Unauthenticated] {
            assert!(
                matches!(end(code, "x"), End::Refused(said) if said.starts_with('x')),
                "{code}"
            );
        }
        for code in [Code::InvalidArgument, Code::Unimplemented] {
            assert!(matches!(end(code, "x"), End::NeedsPeople(_)), "{code}");
        }
        for code in [Code::Unavailable, Code::Internal, Code::Aborted, Code::ResourceExhausted] {
            let told = End::Failed("the aggregator ended the stream: x".into());
            assert_eq!(end(code, "x"), told, "{code}");
        }
    }

    #[test]
    fn texts_of_the_other_side_stay_on_one_line_and_short() {
        let End::Failed(said) =
            end(Code::Unavailable, &format!("a\nb\u{1b}[31mx{}", "\u{e9}".repeat(9999)))
        else {
            panic!("not failed")
        };
        assert!(said.contains("a b [31mx") && said.len() < 1100, "{said}");
        assert!(said.ends_with('\u{e9}'), "cut between characters: {said}");
        let nothing = end(Code::Unavailable, "");
        let told = "the aggregator ended the stream: The service is currently unavailable";
        assert_eq!(nothing, End::Failed(told.into()));
    }

    #[test]
    fn a_lost_connection_names_its_cause_without_the_layers_above() {
        let lost = |kind| {
            let status = Status::from_error(Box::new(std::io::Error::from(kind)));
            let End::Failed(said) = End::from(status) else { panic!("not failed") };
            said
        };
        assert_eq!(
            lost(std::io::ErrorKind::UnexpectedEof),
            "the connection was lost: the other side closed it"
        );
        assert_eq!(
            lost(std::io::ErrorKind::ConnectionReset),
            "the connection was lost: connection reset"
        );
    }
}
