//! What administrators ask for.

use std::fmt;

/// A topic by its name, and which one the administrator means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name, which is all that the broker is told.
    pub name: String,
    /// Its index in [`History::topics`](super::History::topics).
    pub topic: usize,
}

/// A change of the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A topic is created.
    CreateTopic {
        /// Its name.
        name: String,
        /// How many partitions it is to have.
        partitions: i32,
    },
    /// A topic is deleted.
    DeleteTopic(Named),
    /// A topic gets more partitions.
    Grow {
        /// The topic.
        topic: Named,
        /// How many it is to have.
        partitions: usize,
    },
    /// A configuration of a topic gets a value.
    Configure {
        /// The topic.
        topic: Named,
        /// The configuration.
        key: String,
        /// The value.
        value: String,
    },
    /// A partition gets other replicas.
    Reassign {
        /// The topic.
        topic: Named,
        /// The partition.
        index: i32,
        /// The replicas, the preferred leader first; `None` takes back what is under way.
        replicas: Option<Vec<i32>>,
    },
    /// The preferred leaders are elected.
    ElectLeaders,
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateTopic { name, partitions } => {
                write!(formatter, "create topic {name} with {partitions} partitions")
            }
            Self::DeleteTopic(topic) => write!(formatter, "delete topic {}", topic.name),
            Self::Grow { topic, partitions } => {
                write!(formatter, "grow topic {} to {partitions}", topic.name)
            }
            Self::Configure { topic, key, value } => {
                write!(formatter, "set {key} of {} to {value}", topic.name)
            }
            Self::Reassign { topic, index, replicas } => {
                write!(formatter, "reassign {}-{index} to {replicas:?}", topic.name)
            }
            Self::ElectLeaders => formatter.write_str("elect the preferred leaders"),
        }
    }
}
