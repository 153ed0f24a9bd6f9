//! Waiting for a condition, never for a time.

use std::fmt::Display;
use std::panic::Location;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// A deadline that is reached only when a test fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Asks again and again, with short waits, until `look` gives an answer, and returns it.
///
/// `what` completes the sentence "waited ... for". Give a generous `deadline`: it is only reached
/// when the test fails.
///
/// # Panics
///
/// When there is no answer by the deadline, naming `what` and the caller; also when one look takes
/// that long.
#[track_caller]
pub fn wait_for<T, F, Fut>(
    what: impl Display,
    deadline: Duration,
    mut look: F,
) -> impl Future<Output = T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let caller = Location::caller();
    async move {
        let end = Instant::now() + deadline;
        loop {
            match timeout_at(end, look()).await {
                Ok(Some(answer)) => return answer,
                Ok(None) if Instant::now() < end => sleep(LOOK).await,
                _ => panic!("waited {deadline:?} in vain for {what} (at {caller})"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_answer_is_returned() {
        let mut looks = 0;
        let answer = wait_for("the third look", Duration::from_secs(60), || {
            looks += 1;
            let answer = (looks == 3).then_some(looks);
            async move { answer }
        });
        assert_eq!(answer.await, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "in vain for the end of days (at crates/testkit/src/poll.rs")]
    async fn a_deadline_names_what_was_waited_for() {
        wait_for("the end of days", Duration::from_millis(30), || async { None::<()> }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "in vain for a look that hangs")]
    async fn a_look_that_hangs_ends_at_the_deadline() {
        let look = std::future::pending::<Option<()>>;
        wait_for("a look that hangs", Duration::from_millis(30), look).await;
    }
}
