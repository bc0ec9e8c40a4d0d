//! I7: no producer identity is given out twice, whatever the broker lived through.

use super::{Check, Verdict, violated, index::Index};
use crate::history::Outcome;
use std::collections::BTreeSet;

pub const CHECK: Check = Check {
    name: "I7 pid unique",
    claim: "no producer id and epoch is given out twice",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let mut given = BTreeSet::new();
    for call in &index.history.calls {
        if let Outcome::Identity { id, epoch } = call.outcome
            && !given.insert((id, epoch))
        {
            return violated(format!("producer {id} with epoch {epoch} was given out twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, WALL};
    use super::CHECK;
    use crate::history::{Outcome, Request};

    #[test]
    fn an_identity_given_twice_is_found() {
        let mut example = Example::new();
        for (epoch, holds) in [(0, true), (1, true), (1, false)] {
            let call = example.history.invoke(0, WALL, Request::InitProducer { bump: None });
            example.history.end(call, Outcome::Identity { id: 4, epoch });
            assert_eq!(example.holds(&CHECK), holds);
        }
    }
}
