//! What a client may do with a thing, for requests that ask (KIP-430): all that can be done with it,
//! as long as nobody is refused anything.

/// What stands in an answer when nobody asked.
const NOT_ASKED: i32 = i32::MIN;

// Kafka's codes of the operations, each a bit of the answer.
const READ: u32 = 3;
const WRITE: u32 = 4;
const CREATE: u32 = 5;
const DELETE: u32 = 6;
const ALTER: u32 = 7;
const DESCRIBE: u32 = 8;
const CLUSTER_ACTION: u32 = 9;
const DESCRIBE_CONFIGS: u32 = 10;
const ALTER_CONFIGS: u32 = 11;
const IDEMPOTENT_WRITE: u32 = 12;

/// All that can be done with the cluster.
pub const OF_CLUSTER: i32 = bits(&[
    CREATE,
    ALTER,
    DESCRIBE,
    CLUSTER_ACTION,
    DESCRIBE_CONFIGS,
    ALTER_CONFIGS,
    IDEMPOTENT_WRITE,
]);

/// All that can be done with a topic.
pub const OF_TOPIC: i32 =
    bits(&[READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS]);

/// All that can be done with a group.
pub const OF_GROUP: i32 = bits(&[READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS]);

/// The operations if they were asked for.
pub const fn when(asked: bool, operations: i32) -> i32 {
    if asked { operations } else { NOT_ASKED }
}

const fn bits(operations: &[u32]) -> i32 {
    let (mut bits, mut index) = (0, 0);
    while index < operations.len() {
        bits |= 1 << operations[index];
        index += 1;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_what_a_broker_of_kafka_4_without_an_authorizer_tells() {
        assert_eq!((OF_CLUSTER, OF_TOPIC, OF_GROUP), (8096, 3576, 3400));
        assert_eq!(when(true, OF_GROUP), OF_GROUP);
        assert_eq!(when(false, OF_GROUP), i32::MIN);
    }
}
