//! L18: a reader is told that an offset is out of range only where it is. What lies between the log
//! start and the end of what is committed is there, and a follower that does not have it yet says so in
//! other words: whoever takes that for the end of the log goes back, or skips (KIP-392).

use super::{
    Check, Verdict, Violation,
    index::Index,
    told::{Ends, start_asked_by},
};
use crate::history::{Call, Outcome, Partition, Request};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "L18 in range",
    claim: "no offset is out of range between the log start and the end of what is committed",
    judge,
};

const OFFSET_OUT_OF_RANGE: i16 = 1;

fn judge(index: &Index<'_>) -> Verdict {
    let mut ends: BTreeMap<Partition, Ends> = BTreeMap::new();
    for call in &index.history.calls {
        let Some((partition, offset)) = refused(call) else { continue };
        let is_readable = index.online(partition).is_some();
        // Nobody knows where retention has moved the log start to.
        if !is_readable || index.history.topics[partition.topic].has_retention() {
            continue;
        }
        let ends = ends.entry(partition).or_insert_with(|| Ends::of(index, partition));
        let Some(end) = ends.end_before(call).filter(|end| offset <= *end) else { continue };
        let start = start_asked_by(index, partition, call);
        if offset < start {
            continue;
        }
        let broker = call.broker;
        let message = format!(
            "broker {broker} called {offset} out of range; everything up to {end} was known to be \
             committed, and deletion was asked to {start}"
        );
        return Err(Violation::new(message)
            .at(partition, offset)
            .on([broker])
            .shown_by([call])
            .saw("asked from", offset)
            .saw("known to be committed up to", end)
            .saw("deletion asked to", start)
            .of(index, partition));
    }
    Ok(())
}

/// The offset that a fetch was told to be out of range.
fn refused(call: &Call) -> Option<(Partition, i64)> {
    match (&call.request, &call.outcome) {
        (Request::Fetch { partition, offset }, Outcome::Failed(OFFSET_OUT_OF_RANGE)) => {
            Some((*partition, *offset))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION, WALL, batch};
    use super::{CHECK, OFFSET_OUT_OF_RANGE};
    use crate::history::{Outcome, Request};

    /// Four records are acknowledged by broker 1; somebody has asked for deletion; then broker 2 is
    /// asked by who knows this epoch.
    fn holds(offset: i64, knew: i32, deleted: Option<i64>) -> bool {
        let mut example = Example::in_cluster();
        let told = example.produced(0..4, 0);
        example.history.calls[told].knew = Some(1);
        if let Some(before) = deleted {
            let request = Request::DeleteRecords { partition: PARTITION, before };
            example.history.invoke(2, WALL, request);
        }
        let read = Request::Fetch { partition: PARTITION, offset };
        let call = example.history.invoke(1, WALL, read);
        example.history.calls[call].broker = 2;
        example.history.calls[call].knew = Some(knew);
        example.history.end(call, Outcome::Failed(OFFSET_OUT_OF_RANGE));
        example.finish(vec![batch(0, 0..4)]);
        example.holds(&CHECK)
    }

    #[test]
    fn a_committed_offset_that_is_called_out_of_range_is_found() {
        assert!(!holds(3, 1, None));
        assert!(!holds(4, 1, None), "the end is in range");
        assert!(!holds(3, 1, Some(2)));
    }

    #[test]
    fn offsets_behind_the_end_and_below_the_start_are_out_of_range() {
        assert!(holds(5, 1, None));
        assert!(holds(1, 1, Some(2)));
        assert!(holds(3, 1, Some(-1)), "everything may have been deleted");
    }

    #[test]
    fn what_a_later_leadership_told_need_not_be_known() {
        for (told_in, is_sound) in [(1, false), (2, true)] {
            let mut example = Example::in_cluster();
            example.produce(0..4, None);
            example.fetched(0, 4, vec![batch(0, 0..4)]);
            example.history.calls[1].knew = Some(told_in);
            let read = Request::Fetch { partition: PARTITION, offset: 3 };
            let call = example.history.invoke(1, WALL, read);
            example.history.calls[call].knew = Some(1);
            example.history.end(call, Outcome::Failed(OFFSET_OUT_OF_RANGE));
            example.finish(vec![batch(0, 0..4)]);
            assert_eq!(example.holds(&CHECK), is_sound, "told in epoch {told_in}");
        }
    }
}
