//! `kafka-configs.sh`, for the settings of topics.

use crate::cli::arguments::{AlterTopic, Broker, Command, DescribeTopics, Topic, key_value};
use clap::{ArgGroup, Parser, ValueEnum};

/// Describe or alter the settings of a topic, as Kafka's program of this name does.
#[derive(Debug, Parser)]
#[command(name = "kafka-configs.sh", version)]
#[command(group = ArgGroup::new("action").required(true))]
#[command(group = ArgGroup::new("name").required(true))]
pub struct KafkaConfigs {
    /// Where the cluster is.
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap_server: String,
    /// Show what is set.
    #[arg(long, group = "action")]
    describe: bool,
    /// Change settings.
    #[arg(long, group = "action")]
    alter: bool,
    /// What has the settings.
    #[arg(long, value_enum, requires = "entity_name")]
    entity_type: Option<EntityType>,
    /// The topic's name.
    #[arg(long, group = "name", requires = "entity_type")]
    entity_name: Option<String>,
    /// The same as --entity-type topics --entity-name.
    #[arg(long, group = "name")]
    topic: Option<String>,
    /// Settings to make: KEY=VALUE,KEY=[VALUE,VALUE].
    #[arg(long, requires = "alter", value_name = "SETTINGS")]
    add_config: Option<String>,
    /// Settings to give back to the broker's default.
    #[arg(long, requires = "alter", value_name = "KEYS", value_delimiter = ',')]
    delete_config: Vec<String>,
    /// Show the defaults too. They are always shown.
    #[arg(long, requires = "describe")]
    all: bool,
}

/// What has settings that can be changed at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EntityType {
    Topics,
}

impl KafkaConfigs {
    /// The command of ours.
    pub fn into_command(self) -> Result<Command, String> {
        let at = Broker { broker: self.bootstrap_server };
        let name = self.entity_name.or(self.topic).unwrap_or_default();
        if self.describe {
            return Ok(Command::Topic(Topic::Describe(DescribeTopics { at, names: vec![name] })));
        }
        let set = self.add_config.as_deref().map_or(Ok(Vec::new()), settings)?;
        let unset = self.delete_config;
        if set.is_empty() && unset.is_empty() {
            return Err("--alter wants --add-config or --delete-config".to_owned());
        }
        Ok(Command::Topic(Topic::Alter(AlterTopic { at, name, partitions: None, set, unset })))
    }
}

/// Splits `a=1,b=[2,3],c=` at the commas outside brackets; the brackets are not part of a value.
fn settings(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut inside = false;
    let at_comma = |letter: char| {
        inside = if inside { letter != ']' } else { letter == '[' };
        letter == ',' && !inside
    };
    let setting = |text: &str| {
        let (key, value) = key_value(text)?;
        let list = value.strip_prefix('[').and_then(|value| value.strip_suffix(']'));
        let value = list.map_or_else(|| value.clone(), str::to_owned);
        Ok((key, value))
    };
    text.split(at_comma).filter(|part| !part.is_empty()).map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::kafka_tools::command;

    fn topic(line: &str) -> Topic {
        let line = format!("kafka-configs.sh --bootstrap-server h:1 {line}");
        let words: Vec<_> = line.split_whitespace().map(Into::into).collect();
        let arguments = command(&words).expect("a program of Kafka").expect("valid");
        let Command::Topic(topic) = arguments.command else { panic!("it is about topics") };
        topic
    }

    #[test]
    fn settings_are_added_and_deleted() {
        let line = "--alter --entity-type topics --entity-name t \
                    --add-config retention.ms=5,cleanup.policy=[compact,delete] \
                    --delete-config segment.ms,max.message.bytes";
        let Topic::Alter(alter) = topic(line) else { panic!("it says alter") };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let set = [pair("retention.ms", "5"), pair("cleanup.policy", "compact,delete")];
        assert_eq!((alter.name.as_str(), alter.set), ("t", set.to_vec()));
        assert_eq!(alter.unset, ["segment.ms", "max.message.bytes"]);
        assert_eq!(alter.partitions, None);
    }

    #[test]
    fn a_topic_is_named_in_either_way() {
        for line in
            ["--describe --topic t --all", "--describe --entity-type topics --entity-name t"]
        {
            let Topic::Describe(describe) = topic(line) else { panic!("{line}") };
            assert_eq!(describe.names, ["t"]);
        }
    }
}
