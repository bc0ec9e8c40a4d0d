//! Offsets of a group in a file, line by line `TOPIC,PARTITION,OFFSET`, as Kafka's
//! `kafka-consumer-groups.sh` exports and takes them. Lines that begin with a group are of that group.

use anyhow::Context;
use highwater_node::env::{Disk, OpenMode, OsDisk};
use std::{collections::BTreeMap, path::Path};

/// What a group has 100,000 partitions in.
const MAX_FILE_BYTES: usize = 32 << 20;

/// Offsets by topic and partition.
pub type Offsets = BTreeMap<(String, i32), i64>;

/// Reads the offsets of a group from a file.
pub async fn read(file: &Path, group: &str) -> anyhow::Result<Offsets> {
    let name = file.display();
    let disk = OsDisk::new().context("cannot start the I/O threads")?;
    let reading = async {
        let handle = disk.open(file, OpenMode::Read).await?;
        handle.read_at(0, MAX_FILE_BYTES + 1).await
    };
    let bytes = reading.await.with_context(|| format!("cannot read {name}"))?;
    anyhow::ensure!(bytes.len() <= MAX_FILE_BYTES, "{name} is larger than 32 MiB");
    let text = std::str::from_utf8(&bytes).with_context(|| format!("{name} is not UTF-8"))?;
    parse(text, group).with_context(|| format!("cannot read {name}"))
}

fn parse(text: &str, group: &str) -> anyhow::Result<Offsets> {
    let mut offsets = Offsets::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let fields: Vec<&str> =
            line.split(',').map(|field| field.trim().trim_matches('"')).collect();
        let (of, topic, partition, offset) = match fields[..] {
            [topic, partition, offset] => (group, topic, partition, offset),
            [of, topic, partition, offset] => (of, topic, partition, offset),
            _ => anyhow::bail!("line {number} is not TOPIC,PARTITION,OFFSET"),
        };
        let partition = partition.parse().ok().filter(|partition: &i32| *partition >= 0);
        let offset = offset.parse().ok().filter(|offset: &i64| *offset >= 0);
        let (Some(partition), Some(offset)) = (partition, offset) else {
            anyhow::bail!("line {number} has no partition or no offset: `{line}`");
        };
        if of == group {
            offsets.insert((topic.to_owned(), partition), offset);
        }
    }
    anyhow::ensure!(!offsets.is_empty(), "there is no offset of group `{group}`");
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_of_the_group_unless_they_name_another() {
        let text = "t,0,5\n\n\"u\", 1, 6\ng,t,2,7\nother,t,3,8\n";
        let offsets: Vec<_> = parse(text, "g").expect("offsets").into_iter().collect();
        let at = |topic: &str, partition, offset| ((topic.to_owned(), partition), offset);
        assert_eq!(offsets, [at("t", 0, 5), at("t", 2, 7), at("u", 1, 6)]);
    }

    #[test]
    fn a_line_that_says_something_else_is_told_by_its_number() {
        for (text, reason) in [
            ("t,0,5\nt,1\n", "line 2 is not TOPIC,PARTITION,OFFSET"),
            ("t,-1,5", "line 1 has no partition"),
            ("t,0,-5", "line 1 has no partition or no offset"),
            ("topic,partition,offset", "line 1 has no partition"),
            ("other,t,0,5", "there is no offset of group `g`"),
            ("", "there is no offset of group `g`"),
        ] {
            let error = parse(text, "g").expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
