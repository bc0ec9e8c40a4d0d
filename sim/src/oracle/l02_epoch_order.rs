//! L2: leader epochs never decrease along a log.

use super::{Check, Verdict, violated, index::Index};

pub const CHECK: Check = Check {
    name: "L2 epoch order",
    claim: "leader epochs never decrease along a log",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let finals = index.finals.iter().map(|(partition, log)| {
        (*partition, log.batches.iter().map(|b| (b.base_offset, b.leader_epoch)).collect())
    });
    let recovered = index.history.boundaries.iter().flat_map(|b| b.recovered.iter().flatten());
    let images = recovered.map(|(partition, image)| {
        (*partition, image.batches.iter().map(|b| (b.base_offset, b.leader_epoch)).collect())
    });
    for (partition, epochs) in finals.chain(images) {
        let epochs: Vec<(i64, i32)> = epochs;
        if let Some(pair) = epochs.windows(2).find(|pair| pair[1].1 < pair[0].1) {
            let ((_, before), (offset, epoch)) = (pair[0], pair[1]);
            let name = index.name(partition);
            return violated(format!("{name}: epoch {epoch} at {offset} follows epoch {before}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, batch};
    use super::CHECK;

    #[test]
    fn an_epoch_that_goes_back_is_found() {
        let mut example = Example::new();
        let mut newer = batch(2, 2..4);
        newer.leader_epoch = 3;
        example.finish(vec![batch(0, 0..2), newer.clone()]);
        assert!(example.holds(&CHECK));
        example.history.finals.clear();
        example.finish(vec![newer, batch(4, 4..5)]);
        assert!(!example.holds(&CHECK));
    }
}
