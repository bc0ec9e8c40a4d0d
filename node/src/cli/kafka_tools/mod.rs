//! Kafka's own programs by their names: a binary that is started as `kafka-topics.sh` takes the
//! options of that program and does what the command of ours does that corresponds to them.
//!
//! Runbooks and test suites start these programs. Options that nothing corresponds to are refused:
//! none is ignored that could matter.

mod configs;
mod groups;
mod topics;

use super::arguments::{Arguments, Command, Format};
use clap::Parser;
use std::{ffi::OsString, path::Path};

/// The command that the process was started with under the name of one of Kafka's programs, `None`
/// under any other name.
///
/// # Errors
///
/// What clap says of wrong options, and of `--help`.
pub fn command(line: &[OsString]) -> Option<Result<Arguments, clap::Error>> {
    let program = Path::new(line.first()?).file_name()?.to_str()?;
    let program = program.strip_suffix(".sh").unwrap_or(program);
    let command = match program {
        "kafka-topics" => parse(line, topics::KafkaTopics::into_command),
        "kafka-configs" => parse(line, configs::KafkaConfigs::into_command),
        "kafka-consumer-groups" => parse(line, groups::KafkaConsumerGroups::into_command),
        _ => return None,
    };
    Some(command.map(|command| Arguments { output: Format::Human, command }))
}

fn parse<P: Parser>(
    line: &[OsString],
    command: impl Fn(P) -> Result<Command, String>,
) -> Result<Command, clap::Error> {
    let parsed = P::try_parse_from(line)?;
    let wrong = |reason| P::command().error(clap::error::ErrorKind::ArgumentConflict, reason);
    command(parsed).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn of(line: &str) -> Option<Result<Arguments, clap::Error>> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        command(&words)
    }

    #[test]
    fn only_the_names_of_kafkas_programs_change_what_is_understood() {
        assert!(of("/usr/bin/highwater topic list").is_none());
        assert!(of("kafka-storage.sh format").is_none());
        assert!(of("/opt/kafka/bin/kafka-topics.sh --bootstrap-server h:1 --list").is_some());
        assert!(of("kafka-topics --bootstrap-server h:1 --list").is_some());
        assert!(command(&[]).is_none());
    }

    #[test]
    fn what_nothing_corresponds_to_is_wrong_usage() {
        for line in [
            "kafka-topics.sh --list",
            "kafka-topics.sh --bootstrap-server h:1",
            "kafka-topics.sh --bootstrap-server h:1 --list --create",
            "kafka-topics.sh --bootstrap-server h:1 --create",
            "kafka-topics.sh --bootstrap-server h:1 --delete",
            "kafka-topics.sh --bootstrap-server h:1 --alter --topic t",
            "kafka-topics.sh --bootstrap-server h:1 --alter --topic t --config a=b",
            "kafka-topics.sh --zookeeper h:1 --list",
            "kafka-topics.sh --bootstrap-server h:1 --list --exclude-internal",
            "kafka-configs.sh --bootstrap-server h:1 --describe --entity-type users --entity-name u",
            "kafka-configs.sh --bootstrap-server h:1 --alter --entity-type topics --entity-name t",
            "kafka-configs.sh --bootstrap-server h:1 --alter --entity-type topics --add-config a=b",
            "kafka-configs.sh --bootstrap-server h:1 --alter --topic t --add-config a",
        ] {
            let error = of(line).expect(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
