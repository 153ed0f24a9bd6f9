//! How many handshakes may be under way, in all and per source.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;

use super::counts::{HandshakeCounts, Refusal};

/// Bounds on what strangers can make an aggregator hold. They cover connections from their TCP
/// accept until the server has taken them over, not those that run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest time from TCP accept to the finished handshake, a balancer's header included.
    /// Default 10 s.
    pub handshake_deadline: Duration,
    /// Handshakes under way in all; further connections are closed at once. Default 4,096. Each
    /// holds a file descriptor and some 20 KiB.
    pub in_flight: usize,
    /// Handshakes under way from one source: an IPv4 address, or an IPv6 /64. Default 64. A fleet
    /// behind one NAT needs more, since all of it comes back at once after a restart, or its
    /// address in `exempt`.
    pub in_flight_per_source: usize,
    /// Sources without a bound of their own; the bound on all of them together stays. Default none.
    pub exempt: Vec<IpNet>,
    /// Balancers: their connections must start with a PROXY header of version 2, and the client
    /// that it names is the source. Nobody else's header is read. Default none.
    pub proxy_from: Vec<IpNet>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_deadline: Duration::from_secs(10),
            in_flight: 4_096,
            in_flight_per_source: 64,
            exempt: Vec::new(),
            proxy_from: Vec::new(),
        }
    }
}

impl Limits {
    /// Whether this address has no bound of its own.
    #[must_use]
    pub fn is_exempt(&self, address: IpAddr) -> bool {
        holds(&self.exempt, address)
    }

    /// Whether this address is a balancer's.
    pub(super) fn is_balancer(&self, address: IpAddr) -> bool {
        holds(&self.proxy_from, address)
    }
}

fn holds(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

#[derive(Debug)]
pub(super) struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Arc<Limits>,
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
    pub(super) fn new(limits: Arc<Limits>, counts: Arc<HandshakeCounts>) -> Self {
        Self(Arc::new(Inner { limits, inside: Mutex::default(), counts }))
    }

    /// A place for one handshake of this source, given back when the pass is dropped. A
    /// balancer's connections have no source yet: see [`Pass::attribute`].
    pub(super) fn enter(&self, address: IpAddr) -> Result<Pass, Refusal> {
        let mut inside = self.0.lock();
        if inside.total >= self.0.limits.in_flight {
            return Err(Refusal::TooMany);
        }
        let source = if self.0.limits.is_balancer(address) {
            None
        } else {
            self.0.count(&mut inside, address)?
        };
        inside.total += 1;
        self.0.counts.set_in_flight(inside.total);
        Ok(Pass { gate: Arc::clone(&self.0), source })
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more of its source, unless that has no bound.
    fn count(&self, inside: &mut Inside, address: IpAddr) -> Result<Option<IpAddr>, Refusal> {
        if self.limits.is_exempt(address) {
            return Ok(None);
        }
        let source = source(address);
        let from_source = inside.by_source.get(&source).copied().unwrap_or(0);
        if from_source >= self.limits.in_flight_per_source {
            return Err(Refusal::TooManyFromSource);
        }
        inside.by_source.insert(source, from_source + 1);
        Ok(Some(source))
    }
}

#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Inner>,
    /// None where it has no bound of its own.
    source: Option<IpAddr>,
}

impl Pass {
    /// Whose handshake it is, now that the balancer has said so.
    pub(super) fn attribute(&mut self, address: IpAddr) -> Result<(), Refusal> {
        let mut inside = self.gate.lock();
        self.source = self.gate.count(&mut inside, address)?;
        Ok(())
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inside = self.gate.lock();
        inside.total = inside.total.saturating_sub(1);
        if let Some(source) = self.source {
            match inside.by_source.get_mut(&source) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(inside.by_source.remove(&source)),
            }
        }
        self.gate.counts.set_in_flight(inside.total);
    }
}

/// What bounds per source count: an IPv4 address, or an IPv6 /64. Whoever has one IPv6 address
/// usually has the 2^64 of its network.
#[must_use]
pub fn source(address: IpAddr) -> IpAddr {
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
        Gate::new(Arc::new(limits), Arc::default())
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
    fn exempt_sources_have_no_bound_of_their_own_but_the_one_of_all() {
        let exempt = vec!["192.0.2.0/24".parse().unwrap()];
        let limits = Limits { in_flight: 3, in_flight_per_source: 1, exempt, ..Limits::default() };
        let gate = Gate::new(Arc::new(limits), Arc::default());
        let _places =
            ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"].map(|a| gate.enter(ip(a)).unwrap());
        assert_eq!(gate.enter(ip("192.0.2.1")).unwrap_err(), Refusal::TooMany);
    }

    #[test]
    fn a_balancers_connections_count_for_the_clients_that_it_names() {
        let proxy_from = vec!["10.0.0.1/32".parse().unwrap()];
        let limits =
            Limits { in_flight: 9, in_flight_per_source: 1, proxy_from, ..Limits::default() };
        let gate = Gate::new(Arc::new(limits), Arc::default());
        let [mut first, mut second, mut third] =
            ["10.0.0.1"; 3].map(|balancer| gate.enter(ip(balancer)).unwrap());
        first.attribute(ip("192.0.2.1")).unwrap();
        assert_eq!(second.attribute(ip("192.0.2.1")), Err(Refusal::TooManyFromSource));
        third.attribute(ip("192.0.2.2")).unwrap();
        assert_eq!(gate.enter(ip("192.0.2.2")).unwrap_err(), Refusal::TooManyFromSource);
        drop(first);
        assert!(gate.enter(ip("192.0.2.1")).is_ok());
        drop((second, third));
        assert!(gate.0.lock().by_source.is_empty());
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
