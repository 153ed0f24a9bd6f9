//! Network interfaces, from /proc/net/dev and /sys/class/net.

use std::sync::Arc;

use rowcall_core::convert::clean_text_within;
use rowcall_core::devices::{Interface, MAX_INTERFACES};

use super::Context;
use super::files::{self, MAX_NAME_BYTES, Table};
use crate::collect::Collector;
use crate::devices::found::{Found, Source, keep_unique};

/// Lines of headings in /proc/net/dev.
const HEADINGS: usize = 2;

/// Reads interfaces.
#[derive(Debug)]
pub(super) struct Interfaces {
    context: Arc<Context>,
    dev: Table,
}

impl Interfaces {
    pub(super) fn new(context: Arc<Context>) -> Self {
        let dev = Table::new(context.path("proc/net/dev"));
        Self { context, dev }
    }
}

impl Source for Interfaces {
    fn read(&mut self, found: &mut Found) {
        let Ok(table) = self.dev.read() else {
            return found.unreadable(Collector::Interfaces, None);
        };
        let mut interfaces = Vec::new();
        for line in String::from_utf8_lossy(table).lines().skip(HEADINGS) {
            // Old kernels write "eth0:123"; no counter has a colon.
            let Some((name, counters)) = line.rsplit_once(':') else {
                found.unreadable(Collector::Interfaces, None);
                continue;
            };
            let name = name.trim();
            if !self.context.collect.interfaces.takes(name) {
                continue;
            }
            match interface(name, counters) {
                Some(interface) => interfaces.push((name.to_owned(), interface)),
                None => {
                    let name = clean_text_within(name, MAX_NAME_BYTES);
                    found.unreadable(Collector::Interfaces, name.as_deref());
                }
            }
        }
        let kept = keep_unique(
            Collector::Interfaces,
            interfaces,
            MAX_INTERFACES,
            |(_, interface)| &interface.name,
            found,
        );
        let add_link = |(name, interface): (String, Interface)| self.with_link(&name, interface);
        found.devices.interfaces = kept.into_iter().map(add_link).collect();
    }
}

impl Interfaces {
    /// Adds what sysfs tells.
    fn with_link(&self, name: &str, mut interface: Interface) -> Interface {
        let folder = self.context.path("sys/class/net").join(name);
        let counted_since = self.context.counted_since();
        // An interface that is made anew under its old name has another index.
        interface.counted_since = match files::number(&folder.join("ifindex")) {
            Some(index) => counted_since.and_number(index).number(),
            None => counted_since.and(name.as_bytes()).number(),
        };
        interface.up = match files::text(&folder.join("operstate")).as_deref() {
            Some("up") => Some(true),
            // The driver does not say: a loopback or tunnel device.
            None | Some("unknown") => None,
            Some(_) => Some(false),
        };
        // Asking what has no link may take long, and the answer would be an error.
        if interface.up == Some(true) {
            interface.speed_mbit =
                files::number(&folder.join("speed")).filter(|mbit: &i32| *mbit > 0);
        }
        interface
    }
}

/// An interface of its line's counters.
fn interface(name: &str, counters: &str) -> Option<Interface> {
    let mut words = counters.split_ascii_whitespace();
    let mut next = || words.next()?.parse::<i64>().ok().filter(|counter| *counter >= 0);
    let (rx_bytes, rx_packets, rx_errors, rx_drops) = (next()?, next()?, next()?, next()?);
    let [_fifo, _frame, _compressed, _multicast] = [next()?, next()?, next()?, next()?];
    Some(Interface {
        name: clean_text_within(name, MAX_NAME_BYTES)?,
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_drops,
        tx_bytes: next()?,
        tx_packets: next()?,
        tx_errors: next()?,
        tx_drops: next()?,
        ..Interface::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::{Collect, Filter};
    use crate::devices::linux::tests::{Tree, read, read_with, skipped};

    const HEAD: &str = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";

    fn table(lines: &str) -> Tree {
        Tree::new().with("proc/net/dev", &format!("{HEAD}{lines}"))
    }

    #[test]
    fn an_interface_has_its_counters_and_what_sysfs_says_of_its_link() {
        let tree = table("    lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n  eth0: 1000 10 1 2 0 0 0 9 2000 20 3 4 0 0 0 0\n wlan0:7 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n")
            .with("sys/class/net/lo/operstate", "unknown\n")
            .with("sys/class/net/eth0/operstate", "up\n")
            .with("sys/class/net/eth0/ifindex", "2\n")
            .with("sys/class/net/eth0/speed", "10000\n")
            .with("sys/class/net/wlan0/operstate", "down\n")
            .with("sys/class/net/wlan0/speed", "100\n");
        let interfaces = read(&tree, Collector::Interfaces).interfaces;
        let link: Vec<_> =
            interfaces.iter().map(|it| (it.name.as_str(), it.up, it.speed_mbit)).collect();
        assert_eq!(
            link,
            [("lo", None, None), ("eth0", Some(true), Some(10000)), ("wlan0", Some(false), None)]
        );
        let eth0 = &interfaces[1];
        assert_eq!(
            (eth0.rx_bytes, eth0.rx_packets, eth0.rx_errors, eth0.rx_drops),
            (1000, 10, 1, 2)
        );
        assert_eq!(
            (eth0.tx_bytes, eth0.tx_packets, eth0.tx_errors, eth0.tx_drops),
            (2000, 20, 3, 4)
        );
        assert_eq!(interfaces[2].rx_bytes, 7);
    }

    #[test]
    fn a_virtual_link_that_is_up_may_say_that_it_has_no_speed() {
        let tree = table("br0: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n")
            .with("sys/class/net/br0/operstate", "up\n")
            .with("sys/class/net/br0/speed", "-1\n");
        assert_eq!(read(&tree, Collector::Interfaces).interfaces[0].speed_mbit, None);
    }

    #[test]
    fn an_interface_made_anew_counts_since_another_time() {
        let tree = table("tun0: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n")
            .with("sys/class/net/tun0/ifindex", "5\n");
        let since = |tree: &Tree| read(tree, Collector::Interfaces).interfaces[0].counted_since;
        let first = since(&tree);
        assert_eq!(since(&tree), first);
        tree.add("sys/class/net/tun0/ifindex", "6\n");
        assert_ne!(since(&tree), first);
    }

    #[test]
    fn thousands_are_read_up_to_the_bound_and_patterns_choose() {
        let line = |n: usize| format!("veth{n}: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n");
        let tree = table(&(0..10_000).map(line).collect::<String>());
        let devices = read(&tree, Collector::Interfaces);
        assert_eq!(devices.interfaces.len(), MAX_INTERFACES);
        assert_eq!(skipped(&devices), ["interfaces limit 8976"]);
        let interfaces = Filter { include: vec![], exclude: vec!["veth?*".into()] };
        let collect = Collect { interfaces, ..Collect::default() };
        assert!(read_with(&tree, Collector::Interfaces, collect).interfaces.is_empty());
    }

    #[test]
    fn broken_lines_are_named_and_the_rest_is_read() {
        let tree = table(
            "no colon\nshort: 1 2\nhuge: 99999999999999999999 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\nminus: -1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\nok: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n",
        );
        let devices = read(&tree, Collector::Interfaces);
        assert_eq!(devices.interfaces.len(), 1);
        assert_eq!(
            skipped(&devices),
            [
                "interfaces unreadable 1",
                "interfaces short unreadable 1",
                "interfaces huge unreadable 1",
                "interfaces minus unreadable 1"
            ]
        );
        assert_eq!(
            skipped(&read(&Tree::new(), Collector::Interfaces)),
            ["interfaces unreadable 1"]
        );
    }
}
