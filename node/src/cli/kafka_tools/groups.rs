//! `kafka-consumer-groups.sh`.

use crate::cli::arguments::{
    Broker, Command, DeleteGroups, DeleteOffsets, DescribeGroups, Group, GroupMembers,
    GroupOffsets, ListGroups, ResetOffsets, ResetTo, TopicScope, datetime, duration,
};
use clap::{ArgGroup, Parser};
use std::{path::PathBuf, time::Duration};

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
    #[arg(long, group = "action", requires_all = ["group", "to"])]
    reset_offsets: bool,
    /// Forget offsets of a group of topics that no member subscribes to.
    #[arg(long, group = "action", requires_all = ["group", "topic"])]
    delete_offsets: bool,
    /// Delete groups.
    #[arg(long, group = "action", requires = "group")]
    delete: bool,
    /// The group's name. May be given more than once with --delete and --describe.
    #[arg(long)]
    group: Vec<String>,
    /// Describe all groups, each with everything there is to say.
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
    /// Say everything: that is done anyway.
    #[arg(long, requires = "describe")]
    verbose: bool,
    /// How long to wait for a group to settle: nothing here waits for that.
    #[arg(long, value_name = "MILLISECONDS")]
    timeout: Option<u64>,
    /// Only this topic, or with TOPIC:0,1 these partitions of it. May be given more than once.
    #[arg(long, group = "topics")]
    topic: Vec<TopicScope>,
    /// Reset all topics that the group has committed offsets of.
    #[arg(long, group = "topics", requires = "reset_offsets")]
    all_topics: bool,
    /// Reset to the first record.
    #[arg(long, group = "to")]
    to_earliest: bool,
    /// Reset behind the last record.
    #[arg(long, group = "to")]
    to_latest: bool,
    /// Reset to where the group is; behind the last record where it has no offset.
    #[arg(long, group = "to")]
    to_current: bool,
    /// Reset to the first record of this moment or later: YYYY-MM-DDTHH:MM:SS.FFF in UTC.
    #[arg(long, group = "to", value_name = "MOMENT", value_parser = datetime)]
    to_datetime: Option<i64>,
    /// Reset to the first record that is no older than this: PnDTnHnMnS.
    #[arg(long, group = "to", value_name = "DURATION", value_parser = duration)]
    by_duration: Option<Duration>,
    /// Reset to the offsets in a file of lines TOPIC,PARTITION,OFFSET.
    #[arg(long, group = "to", value_name = "FILE", conflicts_with = "topics")]
    from_file: Option<PathBuf>,
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
    /// Print the new offsets as lines for --from-file.
    #[arg(long, requires = "reset_offsets")]
    export: bool,
}

impl KafkaConsumerGroups {
    /// The command of ours.
    pub fn into_command(self) -> Result<Command, String> {
        let at = Broker { broker: self.bootstrap_server.clone() };
        self.check_action()?;
        let group = if self.list {
            let state = self.state.unwrap_or_default();
            Group::List(ListGroups { at, state, types: self.types })
        } else if self.describe {
            self.describe(at)?
        } else if self.delete {
            Group::Delete(DeleteGroups { at, names: self.group })
        } else if self.delete_offsets {
            let name = one(&self.group)?;
            Group::DeleteOffsets(DeleteOffsets { at, name, topic: self.topic })
        } else {
            self.reset(at)?
        };
        Ok(Command::Group(group))
    }

    /// clap does not ask for what an option requires where that conflicts with another one that is
    /// given: `--delete --dry-run` would delete.
    fn check_action(&self) -> Result<(), String> {
        let of_reset = [
            (self.execute, "--execute"),
            (self.dry_run, "--dry-run"),
            (self.export, "--export"),
            (self.all_topics, "--all-topics"),
        ];
        if let Some((_, option)) = of_reset.iter().find(|(is_given, _)| *is_given)
            && !self.reset_offsets
        {
            return Err(format!("{option} is for --reset-offsets"));
        }
        let has_target = self.to_earliest
            || self.to_latest
            || self.to_current
            || self.to_datetime.is_some()
            || self.by_duration.is_some()
            || self.from_file.is_some()
            || self.to_offset.is_some()
            || self.shift_by.is_some();
        if has_target && !self.reset_offsets {
            return Err("where a group goes on is for --reset-offsets".to_owned());
        }
        if !self.topic.is_empty() && !self.reset_offsets && !self.delete_offsets {
            return Err("--topic is for --reset-offsets and --delete-offsets".to_owned());
        }
        if self.all_groups && !self.describe {
            return Err("--all-groups is for --describe".to_owned());
        }
        Ok(())
    }

    fn reset(self, at: Broker) -> Result<Group, String> {
        if self.from_file.is_none() && !self.all_topics && self.topic.is_empty() {
            return Err("--reset-offsets takes --topic or --all-topics".to_owned());
        }
        let to = ResetTo {
            to_earliest: self.to_earliest,
            to_latest: self.to_latest,
            to_current: self.to_current,
            to_offset: self.to_offset,
            shift_by: self.shift_by,
            by_time: None,
            to_datetime: self.to_datetime,
            by_duration: self.by_duration,
            from_file: self.from_file,
        };
        let (name, dry_run) = (one(&self.group)?, !self.execute);
        let (topic, export) = (self.topic, self.export);
        Ok(Group::Reset(ResetOffsets { at, name, topic, to, dry_run, export }))
    }

    fn describe(self, at: Broker) -> Result<Group, String> {
        match &self.state {
            Some(states) if states.is_empty() => {
                Ok(Group::Describe(DescribeGroups { at, names: self.group }))
            }
            Some(_) => Err("--state takes states with --list only".to_owned()),
            None if !self.all_groups && self.group.is_empty() => {
                Err("--describe takes --group or --all-groups".to_owned())
            }
            None if self.all_groups || self.group.len() > 1 => {
                Ok(Group::Describe(DescribeGroups { at, names: self.group }))
            }
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
    fn what_is_said_of_a_reset_never_goes_with_a_deletion() {
        for line in [
            "--delete --group g --dry-run",
            "--delete --group g --execute",
            "--delete --group g --topic t",
            "--delete --group g --to-earliest",
            "--delete-offsets --group g --topic t --dry-run",
            "--delete-offsets --group g --all-topics",
            "--describe --group g --topic t",
            "--list --export",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(matches!(parse("--delete --group g"), Ok(Group::Delete(of)) if of.names == ["g"]));
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
        for line in ["--describe --all-groups", "--describe --all-groups --members --verbose"] {
            assert!(
                matches!(parse(line), Ok(Group::Describe(of)) if of.names.is_empty()),
                "{line}"
            );
        }
        let two = parse("--describe --group a --group b --timeout 20000");
        assert!(matches!(two, Ok(Group::Describe(of)) if of.names == ["a", "b"]));
    }

    #[test]
    fn offsets_are_reset_only_when_that_is_said() {
        let line = "--reset-offsets --group g --topic t --shift-by -3";
        let Ok(Group::Reset(reset)) = parse(line) else { panic!("reset") };
        assert_eq!((reset.name.as_str(), reset.to.shift_by, reset.dry_run), ("g", Some(-3), true));
        let line = "--reset-offsets --group g --all-topics --to-earliest --execute";
        let Ok(Group::Reset(reset)) = parse(line) else { panic!("reset") };
        assert!(reset.topic.is_empty() && reset.to.to_earliest && !reset.dry_run);
    }

    #[test]
    fn offsets_are_reset_to_moments_files_and_where_they_are() {
        let reset = |line: &str| match parse(&format!("--reset-offsets --group g {line}")) {
            Ok(Group::Reset(reset)) => reset,
            other => panic!("{line} became {other:?}"),
        };
        let of_some = reset("--topic t:0,2 --to-datetime 1970-01-01T00:00:01.500 --export");
        assert_eq!(of_some.topic[0].partitions, Some(vec![0, 2]));
        assert_eq!((of_some.to.to_datetime, of_some.export), (Some(1_500), true));
        let young = reset("--all-topics --by-duration PT1H");
        assert_eq!(young.to.by_duration, Some(Duration::from_secs(3_600)));
        assert!(reset("--all-topics --to-current --execute").to.to_current);
        let file = reset("--from-file offsets.csv --execute").to.from_file;
        assert_eq!(file, Some("offsets.csv".into()));
    }

    #[test]
    fn offsets_of_topics_and_of_partitions_are_deleted() {
        let line = "--delete-offsets --group g --topic t:1 --topic u --timeout 5000";
        let Ok(Group::DeleteOffsets(delete)) = parse(line) else { panic!("delete-offsets") };
        assert_eq!((delete.name.as_str(), delete.topic.len()), ("g", 2));
        assert_eq!(delete.topic[0].partitions, Some(vec![1]));
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
            "--describe --members",
            "--describe --group g --state Stable",
            "--delete",
            "--delete --all-groups",
            "--list --export",
            "--delete-offsets --group g",
            "--delete-offsets --group a --group b --topic t",
            "--reset-offsets --group g --to-earliest --execute",
            "--reset-offsets --group g --topic t: --to-earliest --execute",
            "--reset-offsets --group g --topic t --execute",
            "--reset-offsets --group g --topic t --from-file f",
            "--reset-offsets --group g --all-topics --to-datetime yesterday",
            "--reset-offsets --group g --all-topics --to-current --by-duration P1D",
            "--list --command-config admin.properties",
            "--reset-offsets --group g --all-topics --to-latest --execute --dry-run",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }
}
