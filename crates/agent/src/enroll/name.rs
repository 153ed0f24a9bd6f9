//! The name that a node asks for when nobody gives it one: its fully qualified name, as `hostname -f`
//! would find it, else the kernel's.

use std::net::ToSocketAddrs as _;
use std::path::Path;

use rowcall_core::id::HostName;

/// The name of this machine. Blocks, for a name lookup too.
///
/// # Errors
/// What is wrong with it, and what to do.
pub(super) fn of_this_machine() -> Result<HostName, String> {
    let kernel = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let text = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    let resolves =
        |name: &str| (name, 0).to_socket_addrs().is_ok_and(|mut found| found.next().is_some());
    checked(&fully_qualified(&kernel, &text("/etc/hosts"), &text("/etc/resolv.conf"), resolves))
}

fn checked(name: &str) -> Result<HostName, String> {
    let name = name.trim_end_matches('.');
    let advice = "set this machine's name, or give one with --name";
    match HostName::parse(name) {
        Ok(name) if is_nobodys(name.as_str()) => {
            Err(format!("this machine's name is {name}, which every machine has; {advice}"))
        }
        Ok(name) => Ok(name),
        Err(error) => {
            Err(format!("this machine's name {name:?} cannot be used: {error}; {advice}"))
        }
    }
}

/// Names of machines that were given none.
fn is_nobodys(name: &str) -> bool {
    name.split('.').next().is_some_and(|first| first == "localhost") || name == "(none)"
}

fn fully_qualified(
    kernel: &str,
    hosts: &str,
    resolv_conf: &str,
    resolves: impl Fn(&str) -> bool,
) -> String {
    if kernel.contains('.') || is_nobodys(kernel) {
        return kernel.to_owned();
    }
    let words = |line: &str| -> Vec<String> {
        let line = line.split('#').next().unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect()
    };
    // The first name after an address is the official one, those after it are others for it.
    let official = hosts.lines().map(words).find_map(|words| {
        let names = words.get(1..)?;
        let ours = names.iter().any(|name| name.eq_ignore_ascii_case(kernel));
        let mut qualified = names.iter().filter(|name| name.contains('.') && !is_nobodys(name));
        ours.then(|| qualified.next().cloned()).flatten()
    });
    if let Some(official) = official {
        return official;
    }
    // The last of these lines counts.
    let domains = resolv_conf
        .lines()
        .map(words)
        .rfind(|words| matches!(words.first().map(String::as_str), Some("search" | "domain")));
    let domains = domains.unwrap_or_default().into_iter().skip(1);
    let names = domains.map(|domain| format!("{kernel}.{}", domain.trim_matches('.')));
    names
        .filter(|name| !name.ends_with('.'))
        .find(|name| resolves(name))
        .unwrap_or_else(|| kernel.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fully_qualified_name_is_found_where_the_system_keeps_it() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1\tnode1.example.com Node1 # us\n";
        let resolv = "domain old\nsearch a.example b.example\n";
        for (kernel, hosts, resolv, known, name) in [
            ("node1.example.org", hosts, resolv, "", "node1.example.org"),
            ("node1", hosts, resolv, "", "node1.example.com"),
            (
                "node1",
                "::1 node1 localhost.localdomain",
                resolv,
                "node1.b.example",
                "node1.b.example",
            ),
            ("node1", "", resolv, "node1.old", "node1"),
            ("node1", "", "", "", "node1"),
            ("node1", "", "search .", "node1.", "node1"),
            ("localhost", "127.0.0.1 localhost.example.com localhost", "", "", "localhost"),
        ] {
            assert_eq!(fully_qualified(kernel, hosts, resolv, |asked| asked == known), name);
        }
    }

    #[test]
    fn a_name_is_lower_cased_and_one_that_everybody_has_or_nobody_can_have_is_none() {
        assert_eq!(checked("Node1.Example.COM.").unwrap().as_str(), "node1.example.com");
        for (name, said) in [
            ("localhost.localdomain", "which every machine has"),
            ("(none)", "contains '('"),
            ("n\u{f6}de", "contains '\u{f6}'"),
            ("", "host name is empty"),
        ] {
            let error = checked(name).unwrap_err();
            assert!(error.contains(said) && error.ends_with("with --name"), "{error}");
        }
    }
}
