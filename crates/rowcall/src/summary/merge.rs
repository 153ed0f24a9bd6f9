//! Parts of a streamed answer made one, as protobuf merges messages: repeated fields are appended,
//! single ones replaced where the part has them.

use anyhow::Context as _;
use prost::Message as _;
use rowcall_proto::v1;

/// Puts parts together.
#[derive(Debug, Default)]
pub(crate) struct Merger(v1::SummaryResponse);

impl Merger {
    /// Adds the next part.
    ///
    /// # Errors
    /// Never for a part that was decoded; the merge itself goes over the wire's form.
    pub(crate) fn add(&mut self, part: v1::SummaryResponse) -> anyhow::Result<()> {
        let bytes = part.encode_to_vec();
        drop(part);
        self.0.merge(bytes.as_slice()).context("merge a part of the answer")
    }

    /// The answer. A hardware group that came in several parts is one group again.
    pub(crate) fn finish(mut self) -> v1::SummaryResponse {
        if let Some(hardware) = &mut self.0.hardware {
            let mut groups: Vec<v1::HardwareGroup> = Vec::new();
            for mut group in std::mem::take(&mut hardware.groups) {
                match groups.iter_mut().find(|known| known.cpu_number == group.cpu_number) {
                    Some(known) => known.hosts.append(&mut group.hosts),
                    None => groups.push(group),
                }
            }
            hardware.groups = groups;
        }
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn parts_give_what_one_answer_would_have_been() {
        let whole = samples::answer();
        let mut parts = vec![v1::SummaryResponse {
            from: whole.from,
            to: whole.to,
            window_s: whole.window_s,
            generated_at: whole.generated_at,
            ..v1::SummaryResponse::default()
        }];
        let part = |change: &dyn Fn(&mut v1::SummaryResponse)| {
            let mut part = v1::SummaryResponse::default();
            change(&mut part);
            part
        };
        for group in &whole.hardware.as_ref().unwrap().groups {
            for host in &group.hosts {
                let groups = vec![v1::HardwareGroup { hosts: vec![host.clone()], ..group.clone() }];
                parts.push(part(&|p| {
                    p.hardware = Some(v1::HardwareReport { groups: groups.clone() });
                }));
            }
        }
        for host in &whole.memory.as_ref().unwrap().hosts {
            parts.push(part(&|p| {
                p.memory = Some(v1::MemoryReport { hosts: vec![host.clone()] });
            }));
        }
        let roll = whole.roll.clone().unwrap();
        parts.push(part(&|p| {
            p.roll = Some(v1::RollReport { incomplete: Vec::new(), ..roll.clone() });
        }));
        for host in &roll.incomplete {
            parts.push(part(&|p| {
                p.roll = Some(v1::RollReport {
                    incomplete: vec![host.clone()],
                    ..v1::RollReport::default()
                });
            }));
        }
        parts.push(part(&|p| {
            p.balance = whole.balance.clone();
            p.pressure = whole.pressure.clone();
            p.integrity = whole.integrity.clone();
        }));
        let mut merger = Merger::default();
        for part in parts {
            merger.add(part).unwrap();
        }
        // NaN is not equal to itself, so the texts are compared.
        assert_eq!(format!("{:#?}", merger.finish()), format!("{whole:#?}"));
    }
}
