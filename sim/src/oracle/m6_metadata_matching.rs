//! M6: equal positions of the metadata log mean equal metadata, on whatever broker.

use super::{Check, Verdict, violated, index::Index};
use std::collections::BTreeMap;

pub const CHECK: Check = Check {
    name: "M6 metadata matching",
    claim: "brokers that have applied the same metadata log have the same metadata",
    judge,
};

fn judge(index: &Index<'_>) -> Verdict {
    let mut digests: BTreeMap<u64, (i32, &str)> = BTreeMap::new();
    for seen in &index.history.metadata {
        let (other, digest) = *digests.entry(seen.offset).or_insert((seen.machine, &seen.digest));
        if digest != seen.digest {
            let (machine, offset) = (seen.machine, seen.offset);
            return violated(format!(
                "brokers {other} and {machine} have applied the metadata log to {offset} and \
                 have other metadata"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::{Example, in_sync};
    use super::CHECK;

    #[test]
    fn other_metadata_at_the_same_offset_is_found() {
        let mut example = Example::in_cluster();
        example.saw(1, 7, "a", in_sync(1, 1));
        example.saw(2, 7, "a", in_sync(1, 1));
        example.saw(2, 8, "b", in_sync(1, 1));
        assert!(example.holds(&CHECK));
        example.saw(3, 7, "c", in_sync(1, 1));
        assert!(!example.holds(&CHECK));
    }
}
