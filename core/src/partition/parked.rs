//! Produce requests that wait until their record is durable.

use super::Response;
use crate::{
    time::Instant,
    types::{Offset, RequestId},
};
use alloc::collections::{BTreeMap, BTreeSet};

/// The parked produce requests. Their number is bounded by the requests in flight that the
/// connections admit.
#[derive(Clone, Debug, Default)]
pub(super) struct ParkedProduces {
    requests: BTreeMap<RequestId, ParkedProduce>,
    /// Invariant: one entry for each of `requests`.
    by_end: BTreeSet<(Offset, RequestId)>,
    /// Invariant: one entry for each of `requests`.
    by_deadline: BTreeSet<(Instant, RequestId)>,
}

#[derive(Clone, Debug)]
struct ParkedProduce {
    /// The high watermark that answers it.
    end: Offset,
    deadline: Instant,
    since: Instant,
    response: Response,
}

impl ParkedProduces {
    pub(super) fn park(
        &mut self,
        request: RequestId,
        end: Offset,
        (since, deadline): (Instant, Instant),
        response: Response,
    ) {
        self.by_end.insert((end, request));
        self.by_deadline.insert((deadline, request));
        let previous =
            self.requests.insert(request, ParkedProduce { end, deadline, since, response });
        assert!(previous.is_none(), "request ids are never reused");
    }

    /// Takes the next request that is answered by this high watermark, in the order of the log.
    pub(super) fn take_durable(&mut self, high_watermark: Offset) -> Option<(RequestId, Response)> {
        let (end, request) = *self.by_end.first()?;
        if end > high_watermark {
            return None;
        }
        let parked = self.remove(request).expect("both orders hold the same requests");
        Some((request, parked.response))
    }

    /// Takes the next request whose deadline has come.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Option<RequestId> {
        let (deadline, request) = *self.by_deadline.first()?;
        if deadline > now {
            return None;
        }
        self.remove(request);
        Some(request)
    }

    /// Takes the next request that was parked at or before an instant. Ids are given in the order of
    /// the requests.
    pub(super) fn take_parked_by(&mut self, instant: Instant) -> Option<(RequestId, Response)> {
        let (request, parked) = self.requests.first_key_value()?;
        if parked.since > instant {
            return None;
        }
        let request = *request;
        self.remove(request).map(|parked| (request, parked.response))
    }

    /// When the newest request was parked.
    pub(super) fn newest(&self) -> Option<Instant> {
        self.requests.last_key_value().map(|(_, parked)| parked.since)
    }

    /// Takes any request that is left.
    pub(super) fn take_any(&mut self) -> Option<RequestId> {
        let request = *self.requests.first_key_value()?.0;
        self.remove(request);
        Some(request)
    }

    pub(super) fn cancel(&mut self, request: RequestId) {
        self.remove(request);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    fn remove(&mut self, request: RequestId) -> Option<ParkedProduce> {
        let parked = self.requests.remove(&request)?;
        self.by_end.remove(&(parked.end, request));
        self.by_deadline.remove(&(parked.deadline, request));
        Some(parked)
    }
}
