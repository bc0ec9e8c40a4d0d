//! What can be said about groups.

use super::{
    Broker,
    moment::{datetime, duration},
};
use clap::{Args, Subcommand};
use std::{path::PathBuf, str::FromStr, time::Duration};

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub enum Group {
    List(ListGroups),
    Describe(DescribeGroups),
    Members(GroupMembers),
    Offsets(GroupOffsets),
    Reset(ResetOffsets),
    Delete(DeleteGroups),
    DeleteOffsets(DeleteOffsets),
}

/// A topic, or some of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicScope {
    pub topic: String,
    /// Their indexes; `None` for all.
    pub partitions: Option<Vec<i32>>,
}

impl FromStr for TopicScope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((topic, partitions)) = text.split_once(':') else {
            return Ok(Self { topic: text.to_owned(), partitions: None });
        };
        let index = |text: &str| text.parse().ok().filter(|index: &i32| *index >= 0);
        let indexes: Option<Vec<i32>> = partitions.split(',').map(index).collect();
        match indexes {
            Some(indexes) => Ok(Self { topic: topic.to_owned(), partitions: Some(indexes) }),
            None => Err("write TOPIC or TOPIC:PARTITION,PARTITION".to_owned()),
        }
    }
}

/// List the groups of all brokers.
#[derive(Args, Debug)]
pub struct ListGroups {
    #[command(flatten)]
    pub at: Broker,
    /// Only groups in this state, such as Stable or Empty. May be given more than once.
    #[arg(long)]
    pub state: Vec<String>,
    /// Only groups of this type: classic or consumer. May be given more than once.
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
}

/// Show the state, the members and the lag of groups.
#[derive(Args, Debug)]
pub struct DescribeGroups {
    #[command(flatten)]
    pub at: Broker,
    /// The groups' names; all groups if none is given.
    pub names: Vec<String>,
}

/// Show the members of a group and what they own.
#[derive(Args, Debug)]
pub struct GroupMembers {
    #[command(flatten)]
    pub at: Broker,
    /// The group's name.
    pub name: String,
}

/// Show how far a group has come in each partition, and how far it lags behind.
#[derive(Args, Debug)]
pub struct GroupOffsets {
    #[command(flatten)]
    pub at: Broker,
    /// The group's name.
    pub name: String,
}

/// Let a group go on elsewhere: commit other offsets for it.
///
/// The group must have no members: they would go on where they are. Without a topic it is all
/// topics that the group has committed offsets of. Offsets before the first record or behind the
/// last become those; what would be skipped is told.
#[derive(Args, Debug)]
pub struct ResetOffsets {
    #[command(flatten)]
    pub at: Broker,
    /// The group's name.
    pub name: String,
    /// Only this topic, or with TOPIC:0,1 only these partitions of it. May be given more than once.
    #[arg(long, short, conflicts_with = "from_file")]
    pub topic: Vec<TopicScope>,
    #[command(flatten)]
    pub to: ResetTo,
    /// Only show what would be committed.
    #[arg(long)]
    pub dry_run: bool,
    /// Print TOPIC,PARTITION,OFFSET for --from-file, and nothing else.
    #[arg(long, requires = "dry_run")]
    pub export: bool,
}

/// Where a group goes on.
#[derive(Args, Clone, Debug, Default)]
#[group(required = true, multiple = false)]
pub struct ResetTo {
    /// To the first record.
    #[arg(long)]
    pub to_earliest: bool,
    /// Behind the last record.
    #[arg(long)]
    pub to_latest: bool,
    /// To where it is, so that offsets are committed again; behind the last record where it has
    /// committed none.
    #[arg(long)]
    pub to_current: bool,
    /// To this offset.
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    pub to_offset: Option<i64>,
    /// By so many records from where it is; back if it is negative.
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pub shift_by: Option<i64>,
    /// To the first record with this timestamp or a later one, in milliseconds since 1970.
    #[arg(long, value_name = "MILLISECONDS", value_parser = clap::value_parser!(i64).range(0..))]
    pub by_time: Option<i64>,
    /// To the first record of this moment or later, such as 2026-01-31T12:00:00.000, which is UTC.
    #[arg(long, value_name = "MOMENT", value_parser = datetime)]
    pub to_datetime: Option<i64>,
    /// To the first record that is no older than this, such as P7D or PT1H30M.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub by_duration: Option<Duration>,
    /// To the offsets in a file of lines TOPIC,PARTITION,OFFSET.
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
}

/// Forget offsets of topics that no member of a group subscribes to.
#[derive(Args, Debug)]
pub struct DeleteOffsets {
    #[command(flatten)]
    pub at: Broker,
    /// The group's name.
    pub name: String,
    /// Of this topic, or with TOPIC:0,1 of these partitions of it. May be given more than once.
    #[arg(long, short, required = true)]
    pub topic: Vec<TopicScope>,
}

/// Delete groups that have no members, and their offsets.
#[derive(Args, Debug)]
pub struct DeleteGroups {
    #[command(flatten)]
    pub at: Broker,
    /// The groups' names.
    #[arg(required = true)]
    pub names: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::super::{Arguments, Command};
    use super::*;
    use clap::Parser;

    fn parse(line: &str) -> Result<Group, clap::Error> {
        match Arguments::try_parse_from(line.split_whitespace())?.command {
            Command::Group(group) => Ok(group),
            other => panic!("{line} became {other:?}"),
        }
    }

    #[test]
    fn a_line_about_groups_becomes_its_command() {
        let Ok(Group::Reset(reset)) = parse("highwater group reset g -t orders --shift-by -5")
        else {
            panic!("reset")
        };
        assert_eq!((reset.name.as_str(), reset.to.shift_by, reset.dry_run), ("g", Some(-5), false));
        assert_eq!(reset.topic, ["orders".parse().unwrap()]);
        let line = "highwater group delete-offsets g -t orders:0,2 -t bills";
        let Ok(Group::DeleteOffsets(delete)) = parse(line) else { panic!("delete-offsets") };
        let scope = |topic: &str, partitions| TopicScope { topic: topic.into(), partitions };
        let expected = [scope("orders", Some(vec![0, 2])), scope("bills", None)];
        assert_eq!((delete.name.as_str(), &delete.topic[..]), ("g", &expected[..]));
        let Ok(Group::List(list)) = parse("highwater group list --state Empty --type classic")
        else {
            panic!("list")
        };
        assert_eq!((list.state, list.types), (vec!["Empty".into()], vec!["classic".into()]));
    }

    #[test]
    fn what_makes_no_sense_about_groups_is_wrong_usage() {
        for line in [
            "highwater group",
            "highwater group members",
            "highwater group delete",
            "highwater group reset g",
            "highwater group reset g --to-earliest --to-latest",
            "highwater group reset g --to-offset -1",
            "highwater group reset g --by-time yesterday",
            "highwater group reset g --by-duration 5m",
            "highwater group reset g --to-datetime yesterday",
            "highwater group reset g --to-current --from-file f",
            "highwater group reset g --from-file f --topic t",
            "highwater group reset g --topic t: --to-latest",
            "highwater group reset g --topic t:0,-1 --to-latest",
            "highwater group delete-offsets g",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }
}
