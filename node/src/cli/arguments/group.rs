//! What can be said about groups.

use super::Broker;
use clap::{Args, Subcommand};

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub enum Group {
    List(ListGroups),
    Describe(DescribeGroups),
    Members(GroupMembers),
    Offsets(GroupOffsets),
    Reset(ResetOffsets),
    Delete(DeleteGroups),
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
#[command(group = clap::ArgGroup::new("to").required(true))]
pub struct ResetOffsets {
    #[command(flatten)]
    pub at: Broker,
    /// The group's name.
    pub name: String,
    /// Only this topic. May be given more than once.
    #[arg(long, short)]
    pub topic: Vec<String>,
    /// To the first record.
    #[arg(long, group = "to")]
    pub to_earliest: bool,
    /// Behind the last record.
    #[arg(long, group = "to")]
    pub to_latest: bool,
    /// To this offset.
    #[arg(long, group = "to", value_name = "OFFSET")]
    #[arg(value_parser = clap::value_parser!(i64).range(0..))]
    pub to_offset: Option<i64>,
    /// By so many records from where it is; back if it is negative.
    #[arg(long, group = "to", value_name = "COUNT", allow_negative_numbers = true)]
    pub shift_by: Option<i64>,
    /// To the first record with this timestamp or a later one, in milliseconds since 1970.
    #[arg(long, group = "to", value_name = "MILLISECONDS")]
    #[arg(value_parser = clap::value_parser!(i64).range(0..))]
    pub by_time: Option<i64>,
    /// Only show what would be committed.
    #[arg(long)]
    pub dry_run: bool,
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
        assert_eq!((reset.name.as_str(), reset.shift_by, reset.dry_run), ("g", Some(-5), false));
        assert_eq!(reset.topic, ["orders"]);
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
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }
}
