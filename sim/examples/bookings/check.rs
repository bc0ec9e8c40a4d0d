//! The property: what a customer was told is what the topic says.

use highwater_sim::{
    history::History,
    lab::Check,
    oracle::{Verdict, Violation},
};
use std::collections::BTreeSet;

pub struct NoFalseRefusal;

impl Check for NoFalseRefusal {
    fn name(&self) -> &str {
        "no false refusal"
    }

    fn claim(&self) -> &str {
        "an order that the customer was told is booked is in the topic, and a refused one is not"
    }

    fn judge(&self, history: &History) -> Verdict {
        let told = |what: &str| -> BTreeSet<&str> {
            let all = history.observations.iter().filter(|seen| seen.what == what);
            all.map(|seen| seen.value.as_str()).collect()
        };
        let (booked, refused, found) = (told("booked"), told("refused"), told("found"));
        if let Some(order) = booked.difference(&found).next() {
            return Err(Violation::new(format!("order {order} was booked and is gone")));
        }
        if let Some(order) = refused.intersection(&found).next() {
            return Err(Violation::new(format!("order {order} was refused and is booked")));
        }
        Ok(())
    }
}
