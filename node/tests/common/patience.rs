//! Waiting for what has to come about, and saying what did not.

use std::{fmt::Debug, time::Duration};

/// Asks until an answer will do; for a minute, because the machine that tests run on may be busy.
#[expect(clippy::disallowed_methods, reason = "the test's own time, beside that of the nodes")]
pub async fn until<T: Debug>(
    what: &str,
    mut ask: impl AsyncFnMut() -> T,
    will_do: impl Fn(&T) -> bool,
) -> T {
    let mut answer = ask().await;
    for _ in 0..3_000 {
        if will_do(&answer) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        answer = ask().await;
    }
    panic!("{what}: {answer:?}");
}
