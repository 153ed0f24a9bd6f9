//! What this machine is called.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rowcall_core::id::{HostName, MAX_HOST_NAME_BYTES};

use crate::args::{self, ServerName};

/// A machine without a usable name.
const NAMELESS: &str = "localhost";

/// Its name: the fully qualified one where the hosts file tells, else the kernel's.
pub(crate) fn name() -> HostName {
    let kernel = rustix::system::uname();
    let kernel = kernel.nodename().to_string_lossy();
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    host_name(&kernel, &hosts)
}

/// The names and addresses that a server on this machine is reached under, the best one first.
pub(crate) fn server_names() -> Vec<ServerName> {
    server_names_of(&name())
}

/// As [`server_names`], for a machine of this name.
pub(crate) fn server_names_of(name: &HostName) -> Vec<ServerName> {
    let short = name.as_str().split('.').next().unwrap_or_default();
    let mut names = Vec::new();
    for name in [name.as_str(), short, NAMELESS] {
        // A host name may have an underscore, which a name in DNS may not.
        let usable = args::server_name(name).ok().filter(|_| !name.contains('_'));
        names.extend(usable.filter(|name| !names.contains(name)));
    }
    let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    names.extend(loopback.map(ServerName::Address));
    names
}

/// The fully qualified name, where the hosts file tells one, else the kernel's; in the alphabet of
/// host names.
fn host_name(kernel: &str, hosts: &str) -> HostName {
    let qualified = hosts.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let names: Vec<&str> = line.split_whitespace().skip(1).collect();
        let ours = names.iter().any(|name| name.eq_ignore_ascii_case(kernel));
        let is_longer = |name: &&str| {
            let head = name.get(..kernel.len()).unwrap_or_default();
            head.eq_ignore_ascii_case(kernel)
                && name.get(kernel.len()..).is_some_and(|domain| domain.starts_with('.'))
        };
        names.iter().copied().find(|name| ours && is_longer(name))
    });
    let clean = |c: char| {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }
    };
    let name: String =
        qualified.unwrap_or(kernel).chars().map(clean).take(MAX_HOST_NAME_BYTES).collect();
    HostName::parse(&name).unwrap_or_else(|_| {
        HostName::parse(NAMELESS).expect("the name of nameless machines is one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_fully_qualified_one_where_the_hosts_file_tells() {
        let hosts = "127.0.0.1 localhost\n# 127.0.1.1 node1.commented.out node1\n\
                     127.0.1.1\tNode1.Example.org node1 # us\n10.0.0.2 node10.example.org node10\n";
        assert_eq!(host_name("node1", hosts).as_str(), "node1.example.org");
        assert_eq!(host_name("node10", hosts).as_str(), "node10.example.org");
        assert_eq!(host_name("node2", hosts).as_str(), "node2");
        assert_eq!(host_name("node1.other.net", hosts).as_str(), "node1.other.net");
    }

    #[test]
    fn strange_names_become_host_names() {
        assert_eq!(host_name("My Laptop's", "").as_str(), "my-laptop-s");
        assert_eq!(host_name("münchen", "").as_str(), "m-nchen");
        assert_eq!(host_name("", "").as_str(), "localhost");
        assert_eq!(host_name(&"x".repeat(300), "").as_str().len(), 253);
    }

    #[test]
    fn a_server_is_reached_under_all_names_of_its_machine_once() {
        let names = |name: &str| -> Vec<String> {
            let name = HostName::parse(name).unwrap();
            server_names_of(&name).iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            names("db.example.org"),
            ["db.example.org", "db", "localhost", "127.0.0.1", "::1"]
        );
        assert_eq!(names("localhost"), ["localhost", "127.0.0.1", "::1"]);
        assert_eq!(names("my_db"), ["localhost", "127.0.0.1", "::1"]);
    }
}
