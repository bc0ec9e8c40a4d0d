//! K4: wall clocks fence nobody. The sessions of brokers are monotonic time of the controller's, so
//! that in a run in which nothing else goes wrong with brokers every one keeps its registration.

use super::{Check, Verdict, Violation, index::Index, k2_no_elections::under_faults, violated};

pub const CHECK: Check = Check {
    name: "K4 nobody fenced",
    claim: "where nothing but wall clocks goes wrong, no broker is fenced or registers again",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let history = index.history;
    if !history.promise.is_undisturbed {
        return Ok(());
    }
    let mut registered = None;
    for seen in under_faults(history) {
        if let Some(fenced) = seen.fenced.first() {
            let offset = seen.offset;
            let message = format!("broker {fenced} is fenced at {offset} of the metadata log");
            return Err(Violation::new(message).on([*fenced]));
        }
        let first = registered.get_or_insert(&seen.brokers);
        if **first != seen.brokers {
            return violated(format!(
                "the epochs of the brokers were {first:?} and are {:?} at {} of the metadata log",
                seen.brokers, seen.offset
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, in_sync};
    use super::CHECK;

    fn undisturbed() -> Example {
        let mut example = Example::undisturbed();
        example.saw(1, 2, "b", in_sync(1, 1));
        example
    }

    #[test]
    fn a_broker_that_is_fenced_is_found() {
        let mut example = undisturbed();
        assert!(example.holds(&CHECK));
        example.history.metadata[1].fenced = vec![2];
        assert!(!example.holds(&CHECK));
        example.history.promise.is_undisturbed = false;
        assert!(example.holds(&CHECK), "something else may be to blame");
    }

    #[test]
    fn a_broker_that_registers_again_is_found() {
        let mut example = undisturbed();
        example.history.metadata[1].brokers.insert(1, 2);
        assert!(!example.holds(&CHECK));
    }

    #[test]
    fn what_was_before_the_start_is_not_judged() {
        let mut example = undisturbed();
        example.history.metadata[0].fenced = vec![2];
        assert!(!example.holds(&CHECK));
        example.history.unleashed = example.history.tick();
        assert!(example.holds(&CHECK));
    }
}
