//! PROXY protocol, version 2: what a load balancer says about the connection that it passes on.
//!
//! Only balancers that the settings name are asked, and each must say it: the header stands before
//! TLS and anybody could write one. Version 1, which is text, is not read.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_BYTES: usize = 16;
/// What follows the fixed part: addresses, and records that we skip. Balancers send some 100 bytes.
const MAX_REST_BYTES: u16 = 4096;

/// Why a balancer's connection is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// It starts with something else.
    #[error(
        "the source is in proxy_from, but sends no PROXY header of version 2; have the balancer \
         send one (haproxy: send-proxy-v2), or take it out of proxy_from"
    )]
    NoHeader,
    /// It broke off, or was closed.
    #[error("the connection ended before its PROXY header did: {0}")]
    Io(#[from] std::io::Error),
    /// The header is malformed, or of a kind that we do not take.
    #[error("its PROXY header cannot be used: {0}")]
    Bad(String),
}

/// Reads the header and nothing after it. The client's address, or none where the balancer speaks
/// for itself (its health checks) or does not know.
///
/// # Errors
/// [`ProxyError`] says what came instead.
pub async fn proxy_source(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, ProxyError> {
    let mut fixed = [0; FIXED_BYTES];
    // The shortest thing that a client could send instead is enough to tell.
    let mut filled = 0;
    while filled < FIXED_BYTES {
        let room = fixed.get_mut(filled..).unwrap_or_default();
        match stream.read(room).await? {
            0 => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            more => filled += more,
        }
        let seen = SIGNATURE.len().min(filled);
        if fixed.get(..seen) != SIGNATURE.get(..seen) {
            return Err(ProxyError::NoHeader);
        }
    }
    let [.., version_command, family, high, low] = fixed;
    let length = u16::from_be_bytes([high, low]);
    if length > MAX_REST_BYTES {
        return Err(ProxyError::Bad(format!(
            "{length} bytes follow its fixed part, at most {MAX_REST_BYTES} are read"
        )));
    }
    let mut rest = vec![0; usize::from(length)];
    stream.read_exact(&mut rest).await?;
    match version_command {
        // The balancer's own connection.
        0x20 => Ok(None),
        0x21 => address(family, &rest).map_err(ProxyError::Bad),
        other if other >> 4 != 2 => Err(ProxyError::Bad(format!("its version is {}", other >> 4))),
        other => Err(ProxyError::Bad(format!("its command is {}", other & 0x0f))),
    }
}

/// Source address and port come first, the destination's after both are skipped.
fn address(family: u8, rest: &[u8]) -> Result<Option<SocketAddr>, String> {
    let cut = || "its addresses are cut off".to_owned();
    match family {
        0x11 => {
            let (addresses, _) = rest.split_first_chunk::<12>().ok_or_else(cut)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
            Ok(Some((IpAddr::from([a, b, c, d]), u16::from_be_bytes([high, low])).into()))
        }
        0x21 => {
            let (addresses, _) = rest.split_first_chunk::<36>().ok_or_else(cut)?;
            let (source, others) = addresses.split_first_chunk::<16>().ok_or_else(cut)?;
            let (_, ports) = others.split_first_chunk::<16>().ok_or_else(cut)?;
            let (port, _) = ports.split_first_chunk::<2>().ok_or_else(cut)?;
            let source = IpAddr::from(*source).to_canonical();
            Ok(Some((source, u16::from_be_bytes(*port)).into()))
        }
        // Unspecified, or a Unix socket of the balancer's machine: no address to go by.
        0x00 | 0x31 => Ok(None),
        other => Err(format!("it is about something else than TCP (family {other:#04x})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[version_command, family], &length, rest].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x1d, 0x13];

    /// The answer, and what is left of the bytes for TLS.
    async fn read(bytes: &[u8]) -> (Result<Option<SocketAddr>, ProxyError>, Vec<u8>) {
        let mut stream = bytes;
        let answer = proxy_source(&mut stream).await;
        (answer, stream.to_vec())
    }

    async fn refusal(bytes: &[u8]) -> String {
        read(bytes).await.0.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn ipv4_and_ipv6_sources_are_read_and_nothing_behind_the_header() {
        let bytes = [header(0x21, 0x11, &V4), b"TLS".to_vec()].concat();
        let (source, left) = read(&bytes).await;
        assert_eq!(source.unwrap(), Some("192.0.2.7:12345".parse().unwrap()));
        assert_eq!(left, b"TLS");

        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        v6[15] = 9;
        v6[32..34].copy_from_slice(&12345_u16.to_be_bytes());
        let (source, _) = read(&header(0x21, 0x21, &v6)).await;
        assert_eq!(source.unwrap(), Some("[2001:db8::9]:12345".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_mapped_source_is_its_ipv4_address() {
        let mut v6 = [0; 36];
        v6[10..16].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 7]);
        let (source, _) = read(&header(0x21, 0x21, &v6)).await;
        assert_eq!(source.unwrap().unwrap().ip().to_string(), "192.0.2.7");
    }

    #[tokio::test]
    async fn the_balancers_own_connections_and_unknown_families_name_nobody() {
        for (version_command, family) in [(0x20, 0x00), (0x20, 0x11), (0x21, 0x00), (0x21, 0x31)] {
            let bytes = [header(version_command, family, &V4), b"TLS".to_vec()].concat();
            let (source, left) = read(&bytes).await;
            assert_eq!(source.unwrap(), None);
            assert_eq!(left, b"TLS");
        }
    }

    #[tokio::test]
    async fn further_records_are_skipped_up_to_a_bound() {
        let most = [&V4[..], &vec![0xaa; usize::from(MAX_REST_BYTES) - V4.len()]].concat();
        let bytes = [header(0x21, 0x11, &most), b"TLS".to_vec()].concat();
        let (source, left) = read(&bytes).await;
        assert!(source.unwrap().is_some());
        assert_eq!(left, b"TLS");
        let said = refusal(&header(0x21, 0x11, &[most, vec![0]].concat())).await;
        assert!(said.contains("4097 bytes follow its fixed part, at most 4096"), "{said}");
    }

    #[tokio::test]
    async fn headers_cut_off_anywhere_are_refused() {
        let whole = header(0x21, 0x11, &V4);
        for length in 0..whole.len() {
            let error = read(&whole[..length]).await.0.unwrap_err();
            assert!(matches!(error, ProxyError::Io(_)), "{length}: {error}");
        }
        for (family, length) in [(0x11, 11), (0x21, 35)] {
            let said = refusal(&header(0x21, family, &[0; 36][..length])).await;
            assert!(said.contains("its addresses are cut off"), "{said}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_told_apart_at_its_first_byte() {
        for bytes in [&b"\x16\x03\x01"[..], b"PROXY TCP4 192.0.2.7 ", b"G"] {
            let said = refusal(bytes).await;
            assert!(said.contains("sends no PROXY header of version 2"), "{said}");
        }
    }

    #[tokio::test]
    async fn other_versions_commands_and_transports_are_named() {
        for (version_command, family, words) in
            [(0x31, 0x11, "version is 3"), (0x22, 0x11, "command is 2"), (0x21, 0x12, "0x12")]
        {
            let said = refusal(&header(version_command, family, &V4)).await;
            assert!(said.contains(words), "{said}");
        }
    }
}
