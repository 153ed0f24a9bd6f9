//! The one map from reasons to gRPC codes, and to what is counted.

use rowcall_core::proto::MAX_FRAME_BYTES;
use rowcall_core::session::aggregator::Refusal;
use rowcall_store::{Error as StoreError, Kind};
use tonic::{Code, Status};

use crate::refusals::Reason;

/// Why a stream ends before its agent wants it to.
#[derive(Debug)]
pub(crate) struct Broken {
    /// What is counted; none where nobody did anything wrong.
    pub(crate) reason: Option<Reason>,
    /// What the agent is told.
    pub(crate) status: Status,
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        Self { reason: None, status }
    }
}

impl From<&Refusal> for Broken {
    fn from(refusal: &Refusal) -> Self {
        let reason = match refusal {
            Refusal::HelloExpected | Refusal::Hello(_) => Reason::BadHello,
            Refusal::Version(_) => Reason::Version,
            Refusal::OtherHost { .. } => Reason::OtherHost,
            Refusal::NoHello => Reason::NoHello,
            Refusal::UnexpectedFrame
            | Refusal::Sequence(_)
            | Refusal::Hole { .. }
            | Refusal::Records(_) => Reason::BadFrame,
            Refusal::Window => Reason::Window,
            Refusal::Silence(_) => Reason::Silence,
        };
        Self { reason: Some(reason), status: status(refusal) }
    }
}

impl Broken {
    pub(crate) fn because(reason: Reason, status: Status) -> Self {
        Self { reason: Some(reason), status }
    }

    /// A message that could not be received, in words for the agent's log. tonic's own name
    /// neither the limit nor, for a message that is too large, the right code.
    pub(crate) fn received(status: Status) -> Self {
        let said = status.message();
        match status.code() {
            Code::OutOfRange => Self::because(
                Reason::FrameTooLarge,
                Status::resource_exhausted(format!(
                    "frame too large: at most {MAX_FRAME_BYTES} bytes are taken ({said})"
                )),
            ),
            Code::ResourceExhausted => Self::because(
                Reason::FrameTooLarge,
                Status::resource_exhausted(format!(
                    "frame too large: it inflates to more than the {MAX_FRAME_BYTES} bytes that \
                     are taken"
                )),
            ),
            // What prost and the gRPC framing refuse.
            Code::Internal => Self::because(
                Reason::BadFrame,
                Status::invalid_argument(format!(
                    "what came is no frame of this protocol ({said}); is the client's version \
                     right, or something between that changes data?"
                )),
            ),
            // The connection.
            _ => status.into(),
        }
    }
}

fn status(refusal: &Refusal) -> Status {
    let text = refusal.to_string();
    match refusal {
        Refusal::HelloExpected
        | Refusal::UnexpectedFrame
        | Refusal::Hello(_)
        | Refusal::Sequence(_)
        | Refusal::Hole { .. }
        | Refusal::Records(_) => Status::invalid_argument(text),
        Refusal::Version(_) => Status::failed_precondition(text),
        Refusal::OtherHost { .. } => Status::permission_denied(text),
        Refusal::Window => Status::resource_exhausted(text),
        Refusal::NoHello | Refusal::Silence(_) => Status::deadline_exceeded(text),
    }
}

/// Why the database made no report: as [`database`] says, or that it takes too long.
pub(crate) fn report(error: &StoreError) -> Status {
    // Cancelled by the server, after its statement time-out or by somebody's hand.
    if error.sqlstate() == Some("57014") {
        return Status::deadline_exceeded(format!(
            "{error}: the report took too long; ask for fewer hosts or a shorter range, or raise \
             the aggregator's statement_timeout"
        ));
    }
    database(error)
}

/// Why the database did not do what a call needs. The caller may try again, whatever it was,
/// except when the database refused the caller's own values.
pub(crate) fn database(error: &StoreError) -> Status {
    match error.kind() {
        // With a code it came from a statement of ours, whatever values it met.
        Kind::Data if error.sqlstate().is_none() => Status::invalid_argument(error.to_string()),
        Kind::Data => Status::internal(error.to_string()),
        Kind::Transient
        | Kind::ReadOnly
        | Kind::MissingPartition
        | Kind::Schema
        | Kind::WentBack
        | Kind::Config
        | Kind::Internal => Status::unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rowcall_core::convert::InvalidHello;
    use rowcall_core::id::{HostName, InvalidHostName, OutOfRange, Sequence};
    use rowcall_core::version::{self, Range};
    use tonic::Code;

    use super::*;

    #[test]
    fn every_refusal_has_its_code_and_its_words() {
        let name = |text| HostName::parse(text).unwrap();
        let sequence = |n| Sequence::new(n).unwrap();
        let version = version::negotiate(version::OURS, Range { min: 8, max: 9 }).unwrap_err();
        let range = OutOfRange { what: "sequence", value: 0 };
        for (refusal, code, words) in [
            (Refusal::HelloExpected, Code::InvalidArgument, "must be Hello"),
            (Refusal::UnexpectedFrame, Code::InvalidArgument, "only Batch and Bye"),
            (
                Refusal::Hello(InvalidHello::HostName(InvalidHostName::Empty)),
                Code::InvalidArgument,
                "host name is empty",
            ),
            (Refusal::Sequence(range), Code::InvalidArgument, "sequence is 0"),
            (
                Refusal::Hole { got: sequence(3), expected: sequence(2) },
                Code::InvalidArgument,
                "record 3 came where 2 was due",
            ),
            (Refusal::Version(version), Code::FailedPrecondition, "the agent speaks 8 to 9"),
            (
                Refusal::OtherHost { said: name("a"), certified: name("b") },
                Code::PermissionDenied,
                "Hello says host a, but the certificate names b",
            ),
            (Refusal::Window, Code::ResourceExhausted, "1048576 bytes"),
            (Refusal::Records(9_000), Code::InvalidArgument, "9000 records, at most 8192"),
            (Refusal::NoHello, Code::DeadlineExceeded, "no Hello within 10 s"),
            (Refusal::Silence(Duration::from_secs(150)), Code::DeadlineExceeded, "for 150 s"),
        ] {
            let status = status(&refusal);
            assert_eq!(status.code(), code, "{refusal}");
            assert!(status.message().contains(words), "{}", status.message());
        }
    }
}
