//! R9: whatever lies below the high watermark of a partition's leader is on the disk of every broker
//! in sync, whoever was told of it. It is looked at every 20 ms. With `durability=replicated` a record
//! counts before it is flushed, and this is not judged.

use super::{Check, Verdict, Violation, index::Index};
use crate::history::{Absence, Required};

pub const CHECK: Check = Check {
    name: "R9 valid high watermark",
    claim: "what lies below a leader's high watermark is on the disk of every broker in sync",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    for absence in &index.history.absences {
        let Required::Committed { leader, high_watermark } = absence.required else { continue };
        let Absence { partition, broker, isr, offset, found, .. } = absence;
        let message = format!(
            "{}: the high watermark of broker {leader}, who leads, is {high_watermark}, in sync at \
             {offset} of the metadata log are {isr:?}, and broker {broker} has {found}",
            index.name(*partition)
        );
        return Err(Violation::new(message)
            .at(*partition, high_watermark - 1)
            .on([leader, *broker])
            .saw("high watermark", high_watermark)
            .saw("in sync", format!("{isr:?}"))
            .saw(&format!("broker {broker} has"), found));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, PARTITION};
    use super::CHECK;
    use crate::history::{Absence, Required};

    #[test]
    fn a_high_watermark_that_a_disk_in_sync_does_not_reach_is_found() {
        let mut example = Example::in_cluster();
        let with = |required| Absence {
            at: 1,
            partition: PARTITION,
            broker: 2,
            required,
            isr: vec![1, 2],
            offset: 7,
            found: "nothing".into(),
        };
        example.history.absences.push(with(Required::Stored(1)));
        assert!(example.holds(&CHECK));
        let committed = Required::Committed { leader: 1, high_watermark: 5 };
        example.history.absences.push(with(committed));
        assert!(example.violation(&CHECK).evidence.offsets.contains(&4));
    }
}
