//! A request, checked.

use rowcall_core::id::UnixMicros;
use rowcall_core::proto::v1 as pb;
use rowcall_store::reports::Scope;
use tonic::Status;

/// Default length of a window.
const WINDOW_S: u32 = 300;

/// Which reports, and over what.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) scope: Scope,
    pub(super) hardware: bool,
    pub(super) memory: bool,
    pub(super) roll: bool,
    pub(super) balance: bool,
    pub(super) integrity: bool,
    pub(super) pressure: bool,
}

impl Asked {
    /// Reads a request. Range, windows and selector are the store's to check.
    pub(super) fn read(request: pb::SummaryRequest) -> Result<Self, Status> {
        let all = request.reports.is_empty();
        let mut asked = Self {
            hardware: all,
            memory: all,
            roll: all,
            balance: all,
            integrity: all,
            pressure: all,
            scope: Scope {
                from: request.from.map(|t| micros("from", t)).transpose()?,
                to: request.to.map(|t| micros("to", t)).transpose()?,
                window_s: request.window_s.unwrap_or(WINDOW_S),
                min_samples: request.min_samples,
                hardware_as_of: request
                    .hardware_as_of
                    .map(|t| micros("hardware_as_of", t))
                    .transpose()?,
                ..Scope::default()
            },
        };
        for report in request.reports {
            match pb::Report::try_from(report) {
                Ok(pb::Report::Hardware) => asked.hardware = true,
                Ok(pb::Report::Memory) => asked.memory = true,
                Ok(pb::Report::Roll) => asked.roll = true,
                Ok(pb::Report::Balance) => asked.balance = true,
                Ok(pb::Report::Integrity) => asked.integrity = true,
                Ok(pb::Report::Pressure) => asked.pressure = true,
                Ok(pb::Report::Unspecified) | Err(_) => {
                    return Err(Status::invalid_argument(format!(
                        "reports: {report} is no report"
                    )));
                }
            }
        }
        let hosts = request.hosts.unwrap_or_default();
        asked.scope.labels = hosts.labels.into_iter().collect();
        asked.scope.name_glob = hosts.name_glob;
        Ok(asked)
    }
}

fn micros(field: &str, time: prost_types::Timestamp) -> Result<UnixMicros, Status> {
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let micros = time.seconds.checked_mul(1_000_000);
    micros
        .zip(nanos)
        .and_then(|(micros, nanos)| micros.checked_add(i64::from(nanos / 1_000)))
        .map(UnixMicros)
        .ok_or_else(|| Status::invalid_argument(format!("{field}: no valid time")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(request: pb::SummaryRequest) -> String {
        let status = Asked::read(request).unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        status.message().to_owned()
    }

    #[test]
    fn nothing_named_means_all_reports_and_five_minutes() {
        let asked = Asked::read(pb::SummaryRequest::default()).unwrap();
        assert!(asked.hardware && asked.memory && asked.roll && asked.balance && asked.integrity);
        assert!(asked.pressure);
        assert_eq!((asked.scope.window_s, asked.scope.from, asked.scope.to), (300, None, None));
    }

    #[test]
    fn only_the_reports_named_are_made() {
        let reports = vec![pb::Report::Roll.into()];
        let asked = Asked::read(pb::SummaryRequest { reports, ..Default::default() }).unwrap();
        assert!(asked.roll && !asked.hardware && !asked.memory && !asked.balance);
        assert!(!asked.integrity && !asked.pressure);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_field() {
        let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
        for time in [time(i64::MAX, 0), time(0, -1), time(0, 1_000_000_000), time(i64::MIN, 0)] {
            let request = pb::SummaryRequest { from: time, ..Default::default() };
            assert!(refused(request).starts_with("from: "));
            let request = pb::SummaryRequest { hardware_as_of: time, ..Default::default() };
            assert!(refused(request).starts_with("hardware_as_of: "));
        }
        let request = pb::SummaryRequest { reports: vec![99], ..Default::default() };
        assert_eq!(refused(request), "reports: 99 is no report");
        let request = pb::SummaryRequest { reports: vec![0], ..Default::default() };
        assert_eq!(refused(request), "reports: 0 is no report");
    }
}
