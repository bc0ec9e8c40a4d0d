//! `kafka-consumer-groups.sh`.

use crate::cli::arguments::{
    Broker, Command, DeleteGroups, DescribeGroups, Group, GroupMembers, GroupOffsets, ListGroups,
    ResetOffsets,
};
use clap::{ArgGroup, Parser};

/// List, describe, reset or delete groups of consumers, as Kafka's program of this name does.
#[derive(Debug, Parser)]
#[command(name = "kafka-consumer-groups.sh", version)]
#[command(group = ArgGroup::new("action").required(true))]
#[command(group = ArgGroup::new("to"))]
#[command(group = ArgGroup::new("how"))]
#[command(group = ArgGroup::new("topics"))]
#[command(group = ArgGroup::new("what"))]
pub struct KafkaConsumerGroups {
    /// Where the cluster is.
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap_server: String,
    /// List the groups.
    #[arg(long, group = "action")]
    list: bool,
    /// Describe a group: how far it has come, unless told otherwise.
    #[arg(long, group = "action")]
    describe: bool,
    /// Let a group go on elsewhere.
    #[arg(long, group = "action", requires_all = ["group", "to", "topics"])]
    reset_offsets: bool,
    /// Delete groups.
    #[arg(long, group = "action", requires = "group")]
    delete: bool,
    /// The group's name. May be given more than once with --delete.
    #[arg(long)]
    group: Vec<String>,
    /// All groups. Only their state can be described.
    #[arg(long, requires = "describe", conflicts_with = "group")]
    all_groups: bool,
    /// Describe the offsets.
    #[arg(long, group = "what", requires = "describe")]
    offsets: bool,
    /// Describe the members.
    #[arg(long, group = "what", requires = "describe")]
    members: bool,
    /// Describe the state; with --list, only list groups in one of these states.
    #[arg(long, group = "what", num_args = 0..=1, value_delimiter = ',')]
    state: Option<Vec<String>>,
    /// Only list groups of these types.
    #[arg(long = "type", requires = "list", value_name = "TYPES", value_delimiter = ',')]
    types: Vec<String>,
    /// Reset this topic only. May be given more than once.
    #[arg(long, group = "topics")]
    topic: Vec<String>,
    /// Reset all topics that the group has committed offsets of.
    #[arg(long, group = "topics", requires = "reset_offsets")]
    all_topics: bool,
    /// Reset to the first record.
    #[arg(long, group = "to")]
    to_earliest: bool,
    /// Reset behind the last record.
    #[arg(long, group = "to")]
    to_latest: bool,
    /// Reset to this offset.
    #[arg(long, group = "to", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// Reset by so many records.
    #[arg(long, group = "to", allow_negative_numbers = true)]
    shift_by: Option<i64>,
    /// Commit the new offsets. Without it they are only shown.
    #[arg(long, group = "how", requires = "reset_offsets")]
    execute: bool,
    /// Only show the new offsets.
    #[arg(long, group = "how", requires = "reset_offsets")]
    dry_run: bool,
}

impl KafkaConsumerGroups {
    /// The command of ours.
    pub fn into_command(self) -> Result<Command, String> {
        let at = Broker { broker: self.bootstrap_server.clone() };
        let group = if self.list {
            let state = self.state.unwrap_or_default();
            Group::List(ListGroups { at, state, types: self.types })
        } else if self.describe {
            self.describe(at)?
        } else if self.delete {
            Group::Delete(DeleteGroups { at, names: self.group })
        } else {
            let name = one(&self.group)?;
            if let Some(topic) = self.topic.iter().find(|topic| topic.contains(':')) {
                return Err(format!("--topic {topic}: only whole topics can be reset"));
            }
            Group::Reset(ResetOffsets {
                at,
                name,
                topic: self.topic,
                to_earliest: self.to_earliest,
                to_latest: self.to_latest,
                to_offset: self.to_offset,
                shift_by: self.shift_by,
                by_time: None,
                dry_run: !self.execute,
            })
        };
        Ok(Command::Group(group))
    }

    fn describe(self, at: Broker) -> Result<Group, String> {
        match &self.state {
            Some(states) if states.is_empty() => {
                Ok(Group::Describe(DescribeGroups { at, names: self.group }))
            }
            Some(_) => Err("--state takes states with --list only".to_owned()),
            None if self.all_groups => Err("of --all-groups only the --state".to_owned()),
            None if self.members => {
                Ok(Group::Members(GroupMembers { at, name: one(&self.group)? }))
            }
            None => Ok(Group::Offsets(GroupOffsets { at, name: one(&self.group)? })),
        }
    }
}

/// The one group that most actions are about.
fn one(groups: &[String]) -> Result<String, String> {
    match groups {
        [group] => Ok(group.clone()),
        _ => Err(format!("--group must be given once, not {} times", groups.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::kafka_tools::command;

    fn parse(line: &str) -> Result<Group, clap::Error> {
        let line = format!("kafka-consumer-groups.sh --bootstrap-server h:1 {line}");
        let words: Vec<_> = line.split_whitespace().map(Into::into).collect();
        match command(&words).expect("a program of Kafka")?.command {
            Command::Group(group) => Ok(group),
            other => panic!("{line} became {other:?}"),
        }
    }

    #[test]
    fn groups_are_listed_and_described() {
        let Ok(Group::List(list)) = parse("--list --state Stable,Empty --type classic") else {
            panic!("list")
        };
        assert_eq!((list.state.len(), list.types), (2, vec!["classic".to_owned()]));
        assert!(matches!(parse("--list"), Ok(Group::List(list)) if list.state.is_empty()));
        assert!(matches!(parse("--describe --group g"), Ok(Group::Offsets(o)) if o.name == "g"));
        let members = parse("--describe --group g --members");
        assert!(matches!(members, Ok(Group::Members(of)) if of.name == "g"));
        let state = parse("--describe --state --group g");
        assert!(matches!(state, Ok(Group::Describe(of)) if of.names == ["g"]));
        let all = parse("--describe --all-groups --state");
        assert!(matches!(all, Ok(Group::Describe(of)) if of.names.is_empty()));
    }

    #[test]
    fn offsets_are_reset_only_when_that_is_said() {
        let line = "--reset-offsets --group g --topic t --shift-by -3";
        let Ok(Group::Reset(reset)) = parse(line) else { panic!("reset") };
        assert_eq!((reset.name.as_str(), reset.shift_by, reset.dry_run), ("g", Some(-3), true));
        let line = "--reset-offsets --group g --all-topics --to-earliest --execute";
        let Ok(Group::Reset(reset)) = parse(line) else { panic!("reset") };
        assert!(reset.topic.is_empty() && reset.to_earliest && !reset.dry_run);
    }

    #[test]
    fn groups_are_deleted_by_name() {
        let Ok(Group::Delete(delete)) = parse("--delete --group a --group b") else { panic!() };
        assert_eq!(delete.names, ["a", "b"]);
    }

    #[test]
    fn what_nothing_corresponds_to_is_wrong_usage() {
        for line in [
            "",
            "--describe",
            "--describe --all-groups",
            "--describe --group a --group b",
            "--describe --group g --state Stable",
            "--delete",
            "--delete-offsets --group g --topic t",
            "--reset-offsets --group g --to-earliest --execute",
            "--reset-offsets --group g --topic t:0,1 --to-earliest --execute",
            "--reset-offsets --group g --topic t --execute",
            "--reset-offsets --group g --all-topics --to-datetime 2026-01-01T00:00:00.000",
            "--reset-offsets --group g --all-topics --to-latest --execute --dry-run",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }
}
