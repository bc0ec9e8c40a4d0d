//! What a shard remembers of a group that is gone when the shard is loaded again.

use super::expressions::Refresh;
use crate::{time::Instant, types::MetadataOffset};
use core::time::Duration;

/// A group's regular expressions are looked up again when topics may have come or gone, and at
/// most so often.
pub(super) const EXPRESSION_REFRESH_INTERVAL: Duration = Duration::from_secs(10);

/// Soft state of a group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Soft {
    /// The image that the group's metadata hash was last compared with.
    pub metadata: Option<MetadataOffset>,
    /// The image in which all regular expressions were last looked up, and when.
    expressions: Option<(MetadataOffset, Instant)>,
}

impl Soft {
    /// Which expressions are to be looked up in an image now; remembers that they were.
    pub(super) fn refresh(&mut self, now: Instant, applied: MetadataOffset) -> Refresh {
        let is_due = self.expressions.is_none_or(|(image, at)| {
            image != applied && now >= at.after(EXPRESSION_REFRESH_INTERVAL)
        });
        if !is_due {
            return Refresh::Unresolved;
        }
        self.expressions = Some((applied, now));
        Refresh::All
    }

    /// Not all expressions were looked up: the next heartbeat goes on.
    pub(super) fn refresh_again(&mut self) {
        self.expressions = None;
    }
}
