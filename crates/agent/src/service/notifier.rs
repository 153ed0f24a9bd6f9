//! Datagrams to a service manager (systemd's sd_notify), and the variables that announce it.
//!
//! Never blocks: a service manager that does not read must not stop the agent. Written out here
//! because the abstract sockets of old systemd versions and sending without blocking are what
//! ready-made crates lack.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Where to tell, and how often to show that we are alive.
#[derive(Debug)]
pub(crate) struct Notifier {
    socket: UnixDatagram,
    manager: SocketAddr,
    pub(crate) watchdog: Option<Duration>,
}

impl Notifier {
    /// What `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` say; none without a service
    /// manager.
    pub(crate) fn from_environment() -> Option<Self> {
        let path = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())?;
        let text = |name| std::env::var(name).ok();
        let watchdog = watchdog(text("WATCHDOG_USEC"), text("WATCHDOG_PID"));
        match Self::new(&path, watchdog) {
            Ok(notifier) => Some(notifier),
            Err(error) => {
                tracing::warn!(
                    "the service manager is not told how this agent is: NOTIFY_SOCKET {path:?}: \
                     {error}"
                );
                None
            }
        }
    }

    pub(super) fn new(path: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let manager = address(path)?;
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, manager, watchdog })
    }

    /// Tells lines such as `READY=1`. The socket is looked up each time: a service manager that
    /// was started anew has another one.
    pub(crate) fn tell(&self, lines: &str) -> io::Result<()> {
        self.socket.send_to_addr(lines.as_bytes(), &self.manager).map(drop)
    }
}

/// A path, or with `@` before it a name in the abstract namespace.
fn address(path: &OsStr) -> io::Result<SocketAddr> {
    match path.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(path),
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::linux::net::SocketAddrExt as _;
            SocketAddr::from_abstract_name(name)
        }
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "it is neither a path nor @NAME")),
    }
}

/// The time within which the service manager wants to hear from this very process.
fn watchdog(usec: Option<String>, pid: Option<String>) -> Option<Duration> {
    let own = std::process::id().to_string();
    if pid.is_some_and(|pid| pid.trim() != own) {
        return None;
    }
    let micros = usec?.trim().parse().ok().filter(|micros| *micros > 0)?;
    Some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn lines_reach_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(path.as_os_str(), None).unwrap();
        notifier.tell("READY=1\n").unwrap();
        assert_eq!(received(&manager), "READY=1\n");
        drop(manager);
        std::fs::remove_file(&path).unwrap();
        assert!(notifier.tell("STATUS=x\n").is_err(), "nobody is there");
        let anew = UnixDatagram::bind(&path).unwrap();
        notifier.tell("STATUS=y\n").unwrap();
        assert_eq!(received(&anew), "STATUS=y\n");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn lines_reach_the_abstract_socket_of_an_old_systemd() {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("rowcall-test-{}-{}", std::process::id(), crate::random::bits());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::new(format!("@{name}").as_ref(), None).unwrap();
        notifier.tell("READY=1\n").unwrap();
        assert_eq!(received(&manager), "READY=1\n");
    }

    #[test]
    fn a_manager_that_does_not_read_blocks_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(path.as_os_str(), None).unwrap();
        let refused = (0..100_000).find_map(|_| notifier.tell("STATUS=x\n").err());
        assert_eq!(refused.unwrap().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_no_socket_is_refused() {
        for path in ["vsock:2:1", "notify", "@", &"/x".repeat(100)] {
            let told = Notifier::new(path.as_ref(), None).and_then(|n| n.tell("READY=1\n"));
            assert!(told.is_err(), "{path}");
        }
    }

    #[test]
    fn only_this_process_is_watched() {
        let own = std::process::id().to_string();
        let text = |text: &str| Some(text.to_owned());
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(text("1000000"), None), second);
        assert_eq!(watchdog(text("1000000"), Some(own)), second);
        assert_eq!(watchdog(text("1000000"), text("1")), None);
        for broken in [None, text("0"), text("-1"), text("x"), text("99999999999999999999")] {
            assert_eq!(watchdog(broken.clone(), None), None, "{broken:?}");
        }
    }
}
