//! How long a client wants to wait for the answer to an administrative request.

use super::Context;
use std::time::Duration;

/// The outcome of `work`, or `None` when the client's timeout passed before. What was proposed may
/// still be carried out then: the answer only says that it was not known in time.
pub async fn within<T>(
    context: &Context,
    timeout_ms: i32,
    work: impl Future<Output = T>,
) -> Option<T> {
    let clock = &context.shared.doors.clock;
    let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    let deadline = clock.now().monotonic.after(timeout);
    tokio::select! {
        biased;
        outcome = work => Some(outcome),
        () = clock.sleep_until(deadline) => None,
    }
}
