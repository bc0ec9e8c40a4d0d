//! Legal topic names.

use super::MetadataError;
use alloc::string::ToString;

/// The longest topic name, in bytes.
pub const MAX_TOPIC_NAME_BYTES: usize = 249;

/// The topic in which the group coordinators keep their state.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The names that Kafka's clusters keep for topics of their own. The last two hold nothing here, but
/// clients know all of them and expect of each what they expect of the first.
const INTERNAL_TOPICS: [&str; 3] = [OFFSETS_TOPIC, "__transaction_state", "__share_group_state"];

/// Whether a topic is the cluster's own: clients read it by name, and do not write to it.
#[must_use]
pub fn is_internal_topic(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}

/// Checks a topic's name: 1 to 249 of `[a-zA-Z0-9._-]`, neither `.` nor `..`.
pub fn validate_topic_name(name: &str) -> Result<(), MetadataError> {
    let rule = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_TOPIC_NAME_BYTES {
        "it is longer than 249 characters"
    } else if name == "." || name == ".." {
        "it must not be . or .."
    } else if !name.bytes().all(is_legal) {
        "it may only contain letters, digits, '.', '_' and '-'"
    } else {
        return Ok(());
    };
    Err(MetadataError::InvalidTopicName { name: name.to_string(), rule: rule.into() })
}

/// Whether metrics, where '.' becomes '_', show both names alike.
pub(super) fn collide(left: &str, right: &str) -> bool {
    let shown = |byte| if byte == b'.' { b'_' } else { byte };
    left.len() == right.len() && left.bytes().map(shown).eq(right.bytes().map(shown))
}

fn is_legal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::is_internal_topic;

    #[test]
    fn the_topics_that_kafka_keeps_for_itself_are_internal_and_no_others() {
        for (name, is_internal) in [
            ("__consumer_offsets", true),
            ("__transaction_state", true),
            ("__share_group_state", true),
            ("__remote_log_metadata", false),
            ("_schemas", false),
            ("__consumer_offsets2", false),
            ("", false),
        ] {
            assert_eq!(is_internal_topic(name), is_internal, "{name}");
        }
    }
}
