//! Being asked to stop.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::SignalKind;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Signals this close together are one request: a wrapper passes on what its whole process group
/// got already.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// The first signal asks to stop, another one a while later ends the process at once, with the
/// code returned.
pub(super) async fn watch(
    mut next: impl AsyncFnMut() -> SignalKind,
    shutdown: CancellationToken,
) -> ExitCode {
    ExitCode::from(watch_code(&mut next, &shutdown).await)
}

async fn watch_code(
    next: &mut impl AsyncFnMut() -> SignalKind,
    shutdown: &CancellationToken,
) -> u8 {
    next().await;
    let asked = Instant::now();
    tracing::info!("asked to stop");
    shutdown.cancel();
    loop {
        let signal = next().await;
        if asked.elapsed() >= ONE_REQUEST {
            return u8::try_from(128 + signal.as_raw_value()).unwrap_or(1);
        }
        tracing::debug!("asked to stop again at once: the same request");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signals at these milliseconds.
    async fn code_after(at_ms: &[u64]) -> u8 {
        let start = Instant::now();
        let mut left = at_ms.iter();
        let mut next = async || match left.next() {
            Some(ms) => {
                tokio::time::sleep_until(start + Duration::from_millis(*ms)).await;
                SignalKind::terminate()
            }
            None => std::future::pending().await,
        };
        let shutdown = CancellationToken::new();
        let code = watch_code(&mut next, &shutdown).await;
        assert!(shutdown.is_cancelled());
        code
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_it_at_once() {
        assert_eq!(code_after(&[5, 1005]).await, 128 + 15);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_request_passed_on_by_a_wrapper_counts_once() {
        assert_eq!(code_after(&[0, 0, 20, 100, 999, 1500]).await, 128 + 15);
        let forever = tokio::time::timeout(Duration::from_secs(3600), code_after(&[0, 100]));
        assert!(forever.await.is_err(), "two signals within 100 ms are one request");
    }
}
