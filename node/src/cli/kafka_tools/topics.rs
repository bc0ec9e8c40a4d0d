//! `kafka-topics.sh`.

use crate::cli::arguments::{
    AlterTopic, Broker, Command, CreateTopic, DeleteTopics, DescribeTopics, ListTopics, Topic,
    key_value,
};
use clap::{ArgGroup, Parser};

/// Create, list, describe, delete or alter topics, as Kafka's program of this name does.
#[derive(Debug, Parser)]
#[command(name = "kafka-topics.sh", version)]
#[command(group = ArgGroup::new("action").required(true))]
pub struct KafkaTopics {
    /// Where the cluster is.
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap_server: String,
    /// Create a topic.
    #[arg(long, group = "action", requires = "topic")]
    create: bool,
    /// List the topics.
    #[arg(long, group = "action")]
    list: bool,
    /// Describe a topic, or all of them.
    #[arg(long, group = "action")]
    describe: bool,
    /// Delete a topic.
    #[arg(long, group = "action", requires = "topic")]
    delete: bool,
    /// Give a topic more partitions.
    #[arg(long, group = "action", requires_all = ["topic", "partitions"])]
    alter: bool,
    /// The topic's name: no pattern.
    #[arg(long)]
    topic: Option<String>,
    /// How many partitions.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// How many replicas of each.
    #[arg(long, requires = "create", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A setting of the new topic. May be given more than once.
    #[arg(long, requires = "create", value_name = "KEY=VALUE", value_parser = key_value)]
    config: Vec<(String, String)>,
    /// Succeed if the topic to create is there already.
    #[arg(long, requires = "create")]
    if_not_exists: bool,
    /// Succeed if the topic to delete is not there.
    #[arg(long, requires = "delete")]
    if_exists: bool,
}

impl KafkaTopics {
    /// The command of ours.
    pub fn into_command(self) -> Result<Command, String> {
        let at = Broker { broker: self.bootstrap_server };
        let names = || self.topic.iter().cloned().collect::<Vec<_>>();
        let name = || self.topic.clone().unwrap_or_default();
        let topic = if self.create {
            Topic::Create(CreateTopic {
                at,
                name: name(),
                partitions: self.partitions,
                replication_factor: self.replication_factor,
                config: self.config.clone(),
                if_not_exists: self.if_not_exists,
            })
        } else if self.delete {
            Topic::Delete(DeleteTopics { at, names: names(), if_exists: self.if_exists })
        } else if self.alter {
            let (set, unset) = (Vec::new(), Vec::new());
            Topic::Alter(AlterTopic { at, name: name(), partitions: self.partitions, set, unset })
        } else if self.describe {
            Topic::Describe(DescribeTopics { at, names: names() })
        } else {
            if self.topic.is_some() {
                return Err("--list takes no --topic: it lists all of them".to_owned());
            }
            Topic::List(ListTopics { at })
        };
        Ok(Command::Topic(topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::kafka_tools::command;

    fn topic(line: &str) -> Topic {
        let line = format!("bin/kafka-topics.sh --bootstrap-server a:1,b:2 {line}");
        let words: Vec<_> = line.split_whitespace().map(Into::into).collect();
        let arguments = command(&words).expect("a program of Kafka").expect("valid");
        let Command::Topic(topic) = arguments.command else { panic!("it is about topics") };
        topic
    }

    #[test]
    fn a_topic_is_created_with_its_settings() {
        let line = "--create --topic t --replication-factor 3 --partitions 4 \
                    --config message.timestamp.type=LogAppendTime --config segment.ms=10000";
        let Topic::Create(create) = topic(line) else { panic!("it says create") };
        assert_eq!((create.name.as_str(), create.at.broker.as_str()), ("t", "a:1,b:2"));
        assert_eq!((create.partitions, create.replication_factor), (Some(4), Some(3)));
        assert_eq!(create.config.len(), 2);
        assert_eq!(create.config[1], ("segment.ms".to_owned(), "10000".to_owned()));
        assert!(!create.if_not_exists);
    }

    #[test]
    fn the_other_actions_become_their_commands() {
        let Topic::Alter(alter) = topic("--alter --topic t --partitions 4") else { panic!() };
        assert_eq!((alter.name.as_str(), alter.partitions), ("t", Some(4)));
        assert!(alter.set.is_empty() && alter.unset.is_empty());
        let Topic::Delete(delete) = topic("--delete --topic t --if-exists") else { panic!() };
        assert_eq!((delete.names, delete.if_exists), (vec!["t".to_owned()], true));
        let Topic::Describe(all) = topic("--describe") else { panic!() };
        assert!(all.names.is_empty());
        assert!(matches!(topic("--list"), Topic::List(_)));
    }
}
