//! How many handshakes may be under way, in all and per source.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::counts::{HandshakeCounts, Refusal};

/// Bounds on what strangers can make an aggregator hold. They cover connections from their TCP
/// accept until the server has taken them over, not those that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest time from TCP accept to the finished handshake. Default 10 s.
    pub handshake_deadline: Duration,
    /// Handshakes under way in all; further connections are closed at once. Default 4,096. Each
    /// holds a file descriptor and some 20 KiB.
    pub in_flight: usize,
    /// Handshakes under way from one source: an IPv4 address, or an IPv6 /64. Default 64. A fleet
    /// behind one NAT or balancer needs more, since all of it comes back at once after a restart.
    pub in_flight_per_source: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_deadline: Duration::from_secs(10),
            in_flight: 4_096,
            in_flight_per_source: 64,
        }
    }
}

#[derive(Debug)]
pub(super) struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    inside: Mutex<Inside>,
    counts: Arc<HandshakeCounts>,
}

#[derive(Debug, Default)]
struct Inside {
    total: usize,
    /// Never holds a zero, so it is bounded by `in_flight` entries.
    by_source: HashMap<IpAddr, usize>,
}

impl Gate {
    pub(super) fn new(limits: Limits, counts: Arc<HandshakeCounts>) -> Self {
        Self(Arc::new(Inner { limits, inside: Mutex::default(), counts }))
    }

    /// A place for one handshake, given back when the pass is dropped.
    pub(super) fn enter(&self, address: IpAddr) -> Result<Pass, Refusal> {
        let source = source(address);
        let mut inside = self.0.lock();
        if inside.total >= self.0.limits.in_flight {
            return Err(Refusal::TooMany);
        }
        let from_source = inside.by_source.get(&source).copied().unwrap_or(0);
        if from_source >= self.0.limits.in_flight_per_source {
            return Err(Refusal::TooManyFromSource);
        }
        inside.by_source.insert(source, from_source + 1);
        inside.total += 1;
        self.0.counts.set_in_flight(inside.total);
        Ok(Pass { gate: Arc::clone(&self.0), source })
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Inner>,
    source: IpAddr,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inside = self.gate.lock();
        inside.total = inside.total.saturating_sub(1);
        match inside.by_source.get_mut(&self.source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(inside.by_source.remove(&self.source)),
        }
        self.gate.counts.set_in_flight(inside.total);
    }
}

/// Whoever has one IPv6 address usually has the 2^64 of its network.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(in_flight: usize, in_flight_per_source: usize) -> Gate {
        let limits = Limits { in_flight, in_flight_per_source, ..Limits::default() };
        Gate::new(limits, Arc::default())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_source_cannot_take_the_places_of_others() {
        let gate = gate(3, 2);
        let first = gate.enter(ip("192.0.2.1")).unwrap();
        let _second = gate.enter(ip("192.0.2.1")).unwrap();
        assert_eq!(gate.enter(ip("192.0.2.1")).unwrap_err(), Refusal::TooManyFromSource);
        let _other = gate.enter(ip("192.0.2.2")).unwrap();
        assert_eq!(gate.enter(ip("192.0.2.3")).unwrap_err(), Refusal::TooMany);
        drop(first);
        assert!(gate.enter(ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn places_given_back_leave_no_trace() {
        let gate = gate(2, 2);
        let passes = [gate.enter(ip("192.0.2.1")).unwrap(), gate.enter(ip("2001:db8::1")).unwrap()];
        assert_eq!(gate.0.counts.in_flight(), 2);
        drop(passes);
        assert_eq!(gate.0.counts.in_flight(), 0);
        assert!(gate.0.lock().by_source.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_source_and_mapped_addresses_are_ipv4() {
        assert_eq!(source(ip("2001:db8::1")), source(ip("2001:db8::ffff:2")));
        assert_ne!(source(ip("2001:db8::1")), source(ip("2001:db8:0:1::1")));
        assert_eq!(source(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }
}
