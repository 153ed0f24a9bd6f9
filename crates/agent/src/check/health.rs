//! A health check over gRPC, and what its answer tells beside: the server's clock.

use rowcall_core::clock::unix_micros;
use rowcall_core::id::UnixMicros;
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
    /// 1 is SERVING.
    #[prost(int32, tag = "1")]
    status: i32,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    /// Whether it serves.
    result: Result<bool, Status>,
    date: Option<UnixMicros>,
}

/// Asks.
pub(super) async fn ask(channel: Channel) -> Answer {
    let mut client = tonic::client::Grpc::new(channel);
    let answered = async {
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let request = Request::new(HealthRequest { service: SERVICE.to_owned() });
        let codec = ProstCodec::<HealthRequest, HealthResponse>::default();
        client.unary(request, PathAndQuery::from_static(PATH), codec).await
    };
    match answered.await {
        Ok(response) => {
            let date = date(response.metadata());
            Answer { result: Ok(response.into_inner().status == 1), date }
        }
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

/// Whether the aggregator takes this certificate.
pub(super) fn accepted(
    report: &mut Report,
    server: &Endpoint,
    answer: &Answer,
    is_enrolment: bool,
) {
    let what = if is_enrolment { "answers" } else { "accepted" };
    match &answer.result {
        // The listener for enrolment has no other service.
        Err(status) if is_enrolment && status.code() == Code::Unimplemented => {
            report.fine(what, format!("{server}: enrolment is there; the token is not tried"));
        }
        Ok(true) => report.fine(
            what,
            format!(
                "{server}: it takes this certificate; a revoked host shows at the agent's Hello"
            ),
        ),
        Ok(false) => report.warn(
            what,
            format!(
                "{server}: it takes this certificate, and is not ready: is its database there?"
            ),
        ),
        Err(status) if status.code() == Code::Unimplemented => report.fail(
            what,
            format!("{server}: no Rowcall aggregator answers there; check address and port"),
        ),
        Err(status) => {
            let said = one_line(status.message(), MAX_TEXT_BYTES);
            report.fail(what, format!("{server}: {}: {said}", status.code().description()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(theirs_s: i64, before_us: i64, after_us: i64) -> String {
        let mut report = Report::default();
        let date = Some(UnixMicros(theirs_s * 1_000_000));
        let answer = Answer { result: Ok(true), date };
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
