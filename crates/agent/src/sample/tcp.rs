//! TCP, from /proc/net/snmp and /proc/net/netstat: a line of names above a line of numbers.
//!
//! By hand: procfs makes a map of the first file and does not know the second.

use std::path::Path;

use rowcall_core::vitals::Vitals;

use super::count;
use super::proc_file::{Buffer, ProcFile};
use super::text::{lines, number, words};

/// Reads both files.
#[derive(Debug)]
pub(super) struct Tcp {
    snmp: ProcFile,
    netstat: ProcFile,
    previous: Counters,
}

/// Counters since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    retransmitted: Option<u64>,
    listen_drops: Option<u64>,
}

impl Tcp {
    /// Reads below `<root>/proc/net`.
    pub(super) fn new(root: &Path) -> Self {
        let file = |name: &str| ProcFile::new(root.join("proc/net").join(name));
        Self { snmp: file("snmp"), netstat: file("netstat"), previous: Counters::default() }
    }

    /// Writes down what happened since the previous call, and what is now.
    pub(super) fn read(&mut self, buffer: &mut Buffer, vitals: &mut Vitals) {
        let mut now = Counters::default();
        if let Some(text) = self.snmp.read(buffer) {
            let [established, retransmitted] =
                values(text, b"Tcp:", [b"CurrEstab", b"RetransSegs"]);
            vitals.tcp_established = established.and_then(count);
            now.retransmitted = retransmitted;
        }
        if let Some(text) = self.netstat.read(buffer) {
            [now.listen_drops] = values(text, b"TcpExt:", [b"ListenDrops"]);
        }
        let before = std::mem::replace(&mut self.previous, now);
        let since = |now: Option<u64>, before: Option<u64>| now?.checked_sub(before?);
        vitals.tcp_retransmitted = since(now.retransmitted, before.retransmitted).and_then(count);
        vitals.tcp_listen_drops = since(now.listen_drops, before.listen_drops).and_then(count);
    }
}

/// The numbers under these names in a group.
fn values<const N: usize>(text: &[u8], group: &[u8], names: [&[u8]; N]) -> [Option<u64>; N] {
    let mut values = [None; N];
    let mut in_group = lines(text).map(words).filter_map(|mut words| {
        let first = words.next()?;
        (first == group).then_some(words)
    });
    let (Some(header), Some(numbers)) = (in_group.next(), in_group.next()) else { return values };
    for (name, word) in header.zip(numbers) {
        if let Some(place) = names.iter().position(|wanted| *wanted == name) {
            values[place] = number(word);
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const SNMP: &str = "Ip: Forwarding DefaultTTL InReceives\nIp: 1 64 9000\nIcmp: InMsgs\nIcmp: 4\nTcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\nTcp: 1 200 120000 -1 812 77 20 31 44 61000 60500 ";

    fn tree(retransmitted: &str, listen_drops: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), retransmitted, listen_drops);
        root
    }

    fn write(root: &Path, retransmitted: &str, listen_drops: &str) {
        let net = root.join("proc/net");
        fs::create_dir_all(&net).unwrap();
        fs::write(net.join("snmp"), format!("{SNMP}{retransmitted} 0 9 0\nUdp: In\nUdp: 4\n"))
            .unwrap();
        let netstat = format!(
            "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPHPHits\nTcpExt: 0 3 {listen_drops} 7\nIpExt: InOctets\nIpExt: 5\n"
        );
        fs::write(net.join("netstat"), netstat).unwrap();
    }

    #[test]
    fn connections_are_of_now_and_the_rest_of_the_interval() {
        let root = tree("1000", "5");
        let (mut tcp, mut buffer) = (Tcp::new(root.path()), Buffer::default());
        let mut read = || {
            let mut vitals = Vitals::default();
            tcp.read(&mut buffer, &mut vitals);
            (vitals.tcp_established, vitals.tcp_retransmitted, vitals.tcp_listen_drops)
        };
        assert_eq!(read(), (Some(44), None, None));
        write(root.path(), "1012", "5");
        assert_eq!(read(), (Some(44), Some(12), Some(0)));
        write(root.path(), "3", "many");
        assert_eq!(read(), (Some(44), None, None), "went back, and no number");
        write(root.path(), "4", "6");
        assert_eq!(read(), (Some(44), Some(1), None), "it would span two intervals");
    }

    #[test]
    fn names_without_numbers_are_unknown() {
        for text in [
            "Tcp: CurrEstab",
            "Tcp: CurrEstab\n",
            "Tcp: CurrEstab\nUdp: 5\n",
            "Tcp: CurrEstab\nTcp: 5",
        ] {
            assert_eq!(values(text.as_bytes(), b"Tcp:", [b"CurrEstab"]), [None], "{text:?}");
        }
        let fewer = b"Tcp: MaxConn CurrEstab\nTcp: -1\n";
        assert_eq!(values(fewer, b"Tcp:", [b"MaxConn", b"CurrEstab"]), [None, None]);
    }
}
