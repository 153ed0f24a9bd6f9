use super::*;
use std::fs;

const SPAN: Duration = Duration::from_secs(10);

const HEADER: &str = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";

/// A machine whose interfaces a test writes down.
struct Tree {
    root: tempfile::TempDir,
    interfaces: Interfaces,
    buffer: Buffer,
    now: Duration,
    is_later: bool,
}

impl Tree {
    fn with_devices(names: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc/net")).unwrap();
        for name in names {
            let folder = root.path().join("sys/class/net").join(name).join("device");
            fs::create_dir_all(folder).unwrap();
        }
        let interfaces = Interfaces::new(root.path());
        let now = Duration::from_secs(1000);
        Self { root, interfaces, buffer: Buffer::default(), now, is_later: false }
    }

    fn read_text(&mut self, text: &[u8]) -> Vitals {
        fs::write(self.root.path().join("proc/net/dev"), text).unwrap();
        self.now += SPAN;
        let elapsed = std::mem::replace(&mut self.is_later, true).then_some(SPAN);
        let mut vitals = Vitals::default();
        self.interfaces.read(&mut self.buffer, self.now, elapsed, &mut vitals);
        vitals
    }

    fn read(&mut self, lines: &str) -> Vitals {
        self.read_text(format!("{HEADER}{lines}").as_bytes())
    }
}

fn line(name: &str, rx: u64, tx: u64) -> String {
    format!("{name:>6}: {rx:>7} {} 1 2 0 0 0 3 {tx} {} 4 5 0 0 0 0\n", rx / 10, tx / 10)
}

#[test]
fn what_has_a_device_is_summed_up_over_the_interval() {
    let mut tree = Tree::with_devices(&["eth0", "eth1"]);
    let lines = |n: u64| {
        line("lo", 90 * n, 90 * n)
            + &line("eth0", 1_000 * n, 500 * n)
            + &line("eth1", 100 * n, 50 * n)
            + &line("br0", 1_000 * n, 500 * n)
    };
    assert_eq!(tree.read(&lines(1)), Vitals::default(), "nothing to compare with");
    let vitals = tree.read(&lines(3));
    assert_eq!((vitals.net_rx_bytes, vitals.net_tx_bytes), (Some(2_200), Some(1_100)));
    assert_eq!((vitals.net_rx_packets, vitals.net_tx_packets), (Some(220), Some(110)));
    assert_eq!((vitals.net_errors, vitals.net_drops), (Some(0), Some(0)));
}

#[test]
fn errors_and_drops_are_of_both_directions() {
    let mut tree = Tree::with_devices(&["eth0"]);
    tree.read("  eth0: 5 5 10 20 0 0 0 0 5 5 30 40 0 0 0 0\n");
    let vitals = tree.read("  eth0: 5 5 11 22 9 9 9 9 5 5 33 44 9 9 9 9\n");
    assert_eq!((vitals.net_errors, vitals.net_drops), (Some(1 + 3), Some(2 + 4)));
}

#[test]
fn where_no_interface_has_a_device_all_but_loopback_count() {
    let mut tree = Tree::with_devices(&[]);
    let lines =
        |n: u64| line("lo", 9 * n, 9 * n) + &line("eth0", 10 * n, n) + &line("eth1", 5 * n, n);
    tree.read(&lines(1));
    let vitals = tree.read(&lines(2));
    assert_eq!((vitals.net_rx_bytes, vitals.net_tx_bytes), (Some(15), Some(2)));
}

#[test]
fn interfaces_that_come_go_or_were_reset_count_from_their_second_reading() {
    let mut tree = Tree::with_devices(&["eth0", "eth1", "eth2"]);
    tree.read(&(line("eth0", 100, 100) + &line("eth1", 900, 900)));
    let vitals = tree.read(&(line("eth0", 110, 105) + &line("eth2", 5_000, 5_000)));
    assert_eq!((vitals.net_rx_bytes, vitals.net_tx_bytes), (Some(10), Some(5)));
    let vitals = tree.read(&(line("eth0", 9, 500) + &line("eth2", 5_001, 5_000)));
    assert_eq!((vitals.net_rx_bytes, vitals.net_tx_bytes), (Some(1), Some(0)), "eth0 was reset");
    assert_eq!(tree.interfaces.known.len(), 2, "nothing is kept of what is gone");
}

#[test]
fn a_file_that_is_not_understood_is_unknown_once_and_for_the_next_interval() {
    let mut tree = Tree::with_devices(&["eth0"]);
    tree.read(&line("eth0", 1, 1));
    for broken in ["eth0 5 5\n", "  eth0: 5 5 5\n", "  eth0: 5 x 1 2 0 0 0 3 5 5 4 5 0 0 0 0\n"] {
        assert_eq!(tree.read(broken), Vitals::default(), "{broken:?}");
        assert_eq!(tree.read(&line("eth0", 70_000, 7)), Vitals::default(), "it would span two");
        assert!(tree.interfaces.take_peaks().is_empty(), "and so would a peak");
        assert_eq!(tree.read(&line("eth0", 70_001, 7)).net_rx_bytes, Some(1));
        let _of_the_last = tree.interfaces.take_peaks();
    }
}

#[test]
fn of_a_name_that_stands_twice_the_first_line_counts() {
    let mut tree = Tree::with_devices(&["eth0"]);
    let both = |n: u64| line("eth0", 100 + n, 0) + &line("eth0", 200 + n, 0);
    tree.read(&both(0));
    assert_eq!(tree.read(&both(1)).net_rx_bytes, Some(1));
}

#[test]
fn names_glued_to_numbers_and_names_of_any_bytes_are_read() {
    let mut tree = Tree::with_devices(&["eth0"]);
    let glued = |n: u32| format!("  eth0:{n} 1 0 0 0 0 0 0 {n} 1 0 0 0 0 0 0\n");
    tree.read(&glued(1_234_567_890));
    assert_eq!(tree.read(&glued(1_234_567_899)).net_rx_bytes, Some(9));
    let strange = |n: u32| {
        let mut text = format!("{HEADER}{}", glued(2_000_000_000 + n)).into_bytes();
        text.extend_from_slice(b" \xff\xfe!: 7 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n");
        text
    };
    tree.read_text(&strange(0));
    assert_eq!(tree.read_text(&strange(4)).net_rx_bytes, Some(4));
}

#[test]
fn the_busiest_span_of_each_interface_stays_until_it_is_taken() {
    let mut tree = Tree::with_devices(&["eth0"]);
    let lines = |eth, veth| line("eth0", eth, eth / 2) + &line("veth7", veth, veth);
    tree.read(&lines(0, 0));
    tree.read(&lines(50_000, 0));
    tree.read(&lines(51_000, 10));
    let peaks = tree.interfaces.take_peaks();
    assert_eq!(peaks.get("eth0"), Some(&(5_000, 2_500)));
    assert_eq!(peaks.get("veth7"), Some(&(1, 1)), "those without a device have theirs, too");
    assert!(tree.interfaces.take_peaks().is_empty(), "taken");
}

#[test]
fn a_thousand_interfaces_are_read_and_then_looked_up_no_more() {
    let names: Vec<_> = (0..1000).map(|number| format!("eth{number}")).collect();
    let mut tree = Tree::with_devices(&[]);
    let lines = |n| names.iter().map(|name| line(name, n, n)).collect::<String>();
    tree.read(&lines(1));
    fs::create_dir_all(tree.root.path().join("sys/class/net/eth0/device")).unwrap();
    assert_eq!(tree.read(&lines(2)).net_rx_bytes, Some(1000));
    tree.now += LOOK_AGAIN_EVERY;
    assert_eq!(tree.read(&lines(3)).net_rx_bytes, Some(1), "now one has a device");
}
