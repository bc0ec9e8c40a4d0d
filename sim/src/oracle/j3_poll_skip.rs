//! J poll-skip and nonmonotonic-poll: a fetch begins where it was asked to and leaves nothing out.

use super::{Check, Verdict, Violation, index::Index};
use crate::history::{Outcome, Request};

pub const CHECK: Check = Check {
    name: "J poll-skip",
    claim: "a fetch begins at the offset asked, and its batches follow each other",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for call in &index.history.calls {
        let (
            Request::Fetch { partition, offset },
            Outcome::Fetched { batches, .. },
        ) = (&call.request, &call.outcome)
        else {
            continue;
        };
        let mut next = *offset;
        for (at, batch) in batches.iter().enumerate() {
            let begins = if at == 0 { batch.base_offset <= next } else { batch.base_offset == next };
            if !begins || batch.last_offset < next {
                let (name, base) = (index.name(*partition), batch.base_offset);
                let message =
                    format!("{name}: a fetch from {offset} had {base} where {next} was due");
                return Err(Violation::new(message)
                    .at(*partition, next)
                    .on([call.broker])
                    .shown_by([call])
                    .saw("asked from", offset)
                    .saw("due", next)
                    .saw("came", base));
            }
            next = batch.last_offset + 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch};
    use super::CHECK;

    #[test]
    fn records_that_are_left_out_are_found() {
        let with = |offset, batches| {
            let mut example = Example::new();
            example.fetched(offset, 9, batches);
            example.holds(&CHECK)
        };
        assert!(with(1, vec![batch(0, 0..2), batch(2, 2..4)]));
        assert!(!with(1, vec![batch(2, 2..4)]));
        assert!(!with(0, vec![batch(0, 0..2), batch(3, 3..4)]));
        assert!(!with(0, vec![batch(2, 2..4), batch(0, 0..2)]));
    }
}
