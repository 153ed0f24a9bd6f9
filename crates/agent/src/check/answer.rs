//! Whether the aggregator would let this host in, and what its answer tells beside: its clock.

use rowcall_core::clock::unix_micros;
use rowcall_core::id::{HostName, UnixMicros};
use rowcall_core::proto::v1 as pb;
use rowcall_proto::v1::enrollment_service_client::EnrollmentServiceClient;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::Report;
use crate::config::Endpoint;
use crate::link::one_line;

const PATH: &str = "/grpc.health.v1.Health/Check";

/// The service asked after: that to which agents stream.
const SERVICE: &str = "rowcall.v1.TelemetryService";

const MAX_TEXT_BYTES: usize = 512;

/// A second is the precision of a Date header, and something is on the way.
const SAME_CLOCK_US: i64 = 3_000_000;

/// Beyond this the database takes no samples.
const WRONG_CLOCK_US: i64 = 600_000_000;

/// grpc.health.v1.HealthCheckRequest
#[derive(Clone, PartialEq, prost::Message)]
struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// grpc.health.v1.HealthCheckResponse
#[derive(Clone, PartialEq, prost::Message)]
struct HealthResponse {
    /// 1 is SERVING. Whatever it is, somebody answers.
    #[prost(int32, tag = "1")]
    status: i32,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    result: Result<Said, Status>,
    date: Option<UnixMicros>,
}

/// What the aggregator says of this host.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// It would let it in, under the name that it has now.
    LetsIn(String),
    /// It is one that cannot be asked, but it is there.
    CannotSay,
}

/// Asks.
pub(super) async fn ask(channel: Channel) -> Answer {
    let mut client = EnrollmentServiceClient::new(channel.clone());
    match client.check(pb::CheckRequest {}).await {
        Ok(response) => {
            let date = date(response.metadata());
            Answer { result: Ok(Said::LetsIn(response.into_inner().host_name)), date }
        }
        Err(status) if status.code() == Code::Unimplemented => health(channel).await,
        Err(status) => Answer { date: date(status.metadata()), result: Err(status) },
    }
}

/// Whether it is an aggregator at all.
async fn health(channel: Channel) -> Answer {
    let mut client = tonic::client::Grpc::new(channel);
    let answered = async {
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let request = Request::new(HealthRequest { service: SERVICE.to_owned() });
        let codec = ProstCodec::<HealthRequest, HealthResponse>::default();
        client.unary(request, PathAndQuery::from_static(PATH), codec).await
    };
    match answered.await {
        Ok(response) => Answer { date: date(response.metadata()), result: Ok(Said::CannotSay) },
        Err(status) => Answer { date: date(status.metadata()), result: Err(status) },
    }
}

fn date(metadata: &MetadataMap) -> Option<UnixMicros> {
    let text = metadata.get("date")?.to_str().ok()?;
    httpdate::parse_http_date(text).ok().map(unix_micros)
}

/// How this machine's clock stands to the server's, as far as its answer tells.
pub(super) fn clock(
    report: &mut Report,
    server: &Endpoint,
    answer: &Answer,
    before: UnixMicros,
    after: UnixMicros,
) {
    let Some(theirs) = answer.date else {
        return report.fine(
            "clock",
            format!("{server}: within its certificate's dates; it tells no time to compare with"),
        );
    };
    // Its clock read something from the whole second on up to the next one, some time in between.
    let (least, most) = (theirs.since(after), theirs.plus_micros(1_000_000).since(before));
    let off = if least > 0 { least } else { most.min(0) };
    let seconds = off.unsigned_abs() / 1_000_000;
    let how = if off > 0 { "behind" } else { "ahead of" };
    let text = format!("{server}: this machine's is {seconds} s {how} the aggregator's");
    if off.abs() <= SAME_CLOCK_US {
        report.fine("clock", format!("{server}: as the aggregator's, to the second"));
    } else if off.abs() < WRONG_CLOCK_US {
        report.warn("clock", format!("{text}; check NTP on both"));
    } else {
        let effect = "samples 10 minutes ahead of the database are not taken";
        report.fail("clock", format!("{text}; set it (NTP), {effect}"));
    }
}

/// Whether the aggregator lets this host in; without one, whether enrolment is there.
pub(super) fn accepted(
    report: &mut Report,
    server: &Endpoint,
    answer: &Answer,
    host: Option<&HostName>,
) {
    let status = match &answer.result {
        Ok(Said::LetsIn(name)) => {
            let name = one_line(name, MAX_TEXT_BYTES);
            let as_whom = match host {
                Some(host) if host.as_str() != name => format!(" under its new name, {name}"),
                _ => String::new(),
            };
            return report.fine("accepted", format!("{server}: it lets this host in{as_whom}"));
        }
        Ok(Said::CannotSay) => {
            return report.warn(
                "accepted",
                format!(
                    "{server}: it takes this certificate; not asked whether the host is revoked: \
                     it is older than this agent. That shows when the agent connects"
                ),
            );
        }
        Err(status) => status,
    };
    let said = match one_line(status.message(), MAX_TEXT_BYTES) {
        empty if empty.is_empty() => status.code().description().to_owned(),
        said => said,
    };
    let is_lost = std::error::Error::source(status).is_some();
    match status.code() {
        // The listener for enrolment has no other service.
        Code::Unimplemented if host.is_none() => {
            let text = format!("{server}: enrolment is there; the token is not tried");
            report.fine("answers", text);
        }
        Code::Unimplemented => report.fail(
            "accepted",
            format!("{server}: no Rowcall aggregator answers there; check address and port"),
        ),
        Code::PermissionDenied | Code::Unauthenticated => {
            report.fail("accepted", format!("{server}: it refuses this host: {said}"));
        }
        Code::Unavailable | Code::ResourceExhausted if !is_lost => report.warn(
            "accepted",
            format!(
                "{server}: it takes this certificate, and cannot say now whether it lets the host \
                 in: {said}"
            ),
        ),
        code => {
            let what = if host.is_none() { "answers" } else { "accepted" };
            report.fail(what, format!("{server}: {}: {said}", code.description()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(theirs_s: i64, before_us: i64, after_us: i64) -> String {
        let mut report = Report::default();
        let date = Some(UnixMicros(theirs_s * 1_000_000));
        let answer = Answer { result: Ok(Said::CannotSay), date };
        let server = Endpoint::default();
        clock(&mut report, &server, &answer, UnixMicros(before_us), UnixMicros(after_us));
        report.text()
    }

    #[test]
    fn clocks_are_compared_as_exactly_as_a_whole_second_allows() {
        let at = 1_800_000_000;
        let us = |seconds: i64| (at + seconds) * 1_000_000;
        for (before, after, said) in [
            (us(0), us(0) + 900_000, "ok    clock        https://localhost:7443: as the aggr"),
            (us(-2), us(30), "ok  "),
            (
                us(-9),
                us(-5),
                "warn  clock        https://localhost:7443: this machine's is 5 s behind",
            ),
            (
                us(9),
                us(9),
                "warn  clock        https://localhost:7443: this machine's is 8 s ahead of",
            ),
            (
                us(-700),
                us(-700),
                "FAIL  clock        https://localhost:7443: this machine's is 700 s b",
            ),
            (us(5000), us(5000), "FAIL  "),
        ] {
            let text = verdict(at, before, after);
            assert!(text.starts_with(said), "{text}");
        }
    }
}
