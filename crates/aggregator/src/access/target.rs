//! On what a call was that is refused before any service sees it.

use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use prost::Message;
use tokio::time::timeout;
use tonic::body::Body;

/// Longest call that is read, and how long that may take.
const MAX_BYTES: usize = 16 << 10;
const PATIENCE: Duration = Duration::from_secs(2);

/// Before the message: whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;

/// The calls whose message begins with the name of a host, or the id of a token.
const NAMED: [&str; 6] =
    ["host.label", "host.retire", "host.revoke", "host.restore", "host.rename", "token.revoke"];

/// What all these messages have in common.
#[derive(Clone, PartialEq, Eq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

/// The host or the token that the call is about; empty if it does not say, or not in time.
pub(super) async fn target_of(action: &str, body: Body) -> String {
    if !NAMED.contains(&action) {
        return String::new();
    }
    let Ok(Ok(read)) = timeout(PATIENCE, Limited::new(body, MAX_BYTES).collect()).await else {
        return String::new();
    };
    named(&read.to_bytes()).unwrap_or_default()
}

fn named(call: &[u8]) -> Option<String> {
    let (head, message) = call.split_at_checked(HEAD_BYTES)?;
    // A compressed one is not worth the while.
    let plain = head.first() == Some(&0);
    Named::decode(message).ok().filter(|_| plain).map(|named| named.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_call_names_nothing() {
        let named_a = [0, 0, 0, 0, 3, 0x0a, 1, b'a'];
        assert_eq!(named(&named_a).as_deref(), Some("a"));
        assert_eq!(named(&[0, 0, 0, 0, 0]).as_deref(), Some(""));
        assert_eq!(named(&[1, 0, 0, 0, 3, 0x0a, 1, b'a']), None, "compressed");
        for length in 0..named_a.len() {
            assert_ne!(named(&named_a[..length]).as_deref(), Some("a"));
        }
        assert_eq!(named(&[0, 0, 0, 0, 2, 0xff, 0xff]), None);
    }
}
