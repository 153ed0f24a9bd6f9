//! What a balancer says before TLS.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use rowcall_tls::accept::proxy_source;

/// The first bytes of a connection from a balancer: a whole PROXY header of version 2.
///
/// # Panics
/// If it waits for more than there is; a bug.
#[must_use]
pub fn proxy(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let source = pin!(proxy_source(&mut rest)).poll(&mut Context::from_waker(Waker::noop()));
    match source {
        Poll::Ready(source) => source.is_ok(),
        Poll::Pending => panic!("all bytes are there: what came is answered at once"),
    }
}
