//! What the numbers of a script may be. A script is a scenario's run that was changed: it may leave
//! the bounds of its scenario, and never what the language has words for.

use super::{
    Bounds,
    faults::FAULT,
    keys::{Key, Takes},
    shapes::{BROKER, CLUSTER, ROOT, WORKLOAD},
};

/// What a strike draws within its key `millis`. Less of it does less, and shrinking tries that.
const DURATIONS: [&str; 4] = ["millis", "broken", "whole", "late"];

/// What a number of the run as a whole may be, when a scenario draws it from these bounds.
#[must_use]
pub fn of_run(name: &str, bounds: &Bounds) -> Bounds {
    // Clients need something to write to; a scenario without topics says that there are no clients.
    if name == "topics" {
        return *bounds.start().min(&1)..=*bounds.end();
    }
    with_described(&[ROOT, CLUSTER, BROKER, WORKLOAD], name, bounds)
}

/// What a number of a client or of one of its operations may be.
#[must_use]
pub fn of_client(name: &str, bounds: &Bounds) -> Bounds {
    with_described(&[WORKLOAD], name, bounds)
}

/// What a number of a strike may be.
#[must_use]
pub fn of_strike(name: &str, bounds: &Bounds) -> Bounds {
    match DURATIONS.contains(&name) {
        true => *bounds.start().min(&0)..=*bounds.end(),
        false => with_described(&[FAULT], name, bounds),
    }
}

/// The bounds, and what the key of that name takes, if there is one.
fn with_described(tables: &[&[Key]], name: &str, bounds: &Bounds) -> Bounds {
    let described = tables.iter().copied().flatten().find_map(|key| match key.takes {
        Takes::Bounds { within, .. } | Takes::Integer(_, within) if key.name == name => {
            Some(within)
        }
        _ => None,
    });
    let (least, most) = described.unwrap_or((*bounds.start(), *bounds.end()));
    least.min(*bounds.start())..=most.max(*bounds.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_may_leave_its_scenario_and_not_the_language() {
        assert_eq!(of_run("brokers", &(3..=5)), 1..=9);
        assert_eq!(of_run("topics", &(2..=3)), 1..=3);
        assert_eq!(of_run("topics", &(0..=0)), 0..=0);
        assert_eq!(of_client("producers", &(1..=2)), 0..=40);
        assert_eq!(of_strike("nth", &(2..=2)), 1..=10_000);
    }

    #[test]
    fn a_number_without_a_key_stays_within_its_bounds() {
        assert_eq!(of_run("log.segment.bytes", &(2_048..=4_096)), 2_048..=4_096);
        assert_eq!(of_strike("pace_percent", &(50..=200)), 50..=200);
    }

    #[test]
    fn a_strike_may_be_shorter_than_its_scenario_says() {
        assert_eq!(of_strike("broken", &(20..=400)), 0..=400);
        assert_eq!(of_strike("millis", &(-500..=500)), -500..=500);
    }
}
