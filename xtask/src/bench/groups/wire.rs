//! The requests of members and coordinators' answers, in one version of each API.

use anyhow::{Context as _, Result, ensure};

use crate::bench::kafka::{Answer, put_i32, put_string};

/// An API and the version in which it is spoken here.
pub type Api = (i16, i16);

pub const FIND_COORDINATOR: Api = (10, 1);
pub const JOIN_GROUP: Api = (11, 5);
pub const HEARTBEAT: Api = (12, 3);
pub const SYNC_GROUP: Api = (14, 3);
pub const CONSUMER_GROUP_HEARTBEAT: Api = (68, 1);

pub const NO_ERROR: i16 = 0;
pub const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
pub const COORDINATOR_NOT_AVAILABLE: i16 = 15;
pub const NOT_COORDINATOR: i16 = 16;
pub const UNKNOWN_MEMBER_ID: i16 = 25;
pub const REBALANCE_IN_PROGRESS: i16 = 27;
pub const MEMBER_ID_REQUIRED: i16 = 79;
pub const FENCED_MEMBER_EPOCH: i16 = 110;

const PROTOCOL: &str = "range";
/// So long that no member is lost while something else is measured.
const SESSION_TIMEOUT_MS: i32 = 300_000;
const REBALANCE_TIMEOUT_MS: i32 = 60_000;

/// Partitions by topic id.
pub type Partitions = Vec<([u8; 16], Vec<i32>)>;

/// Whether the same request may succeed a moment later.
pub fn is_passing(error: i16) -> bool {
    matches!(error, COORDINATOR_LOAD_IN_PROGRESS | COORDINATOR_NOT_AVAILABLE | NOT_COORDINATOR)
}

pub fn find_coordinator(group: &str) -> Vec<u8> {
    let mut body = Vec::new();
    put_string(&mut body, group);
    body.push(0); // a group
    body
}

/// The error of an answer that begins with the throttle time and an error: FindCoordinator's and
/// Heartbeat's.
pub fn error_of(answer: &mut Answer) -> Result<i16> {
    answer.i32()?; // throttle time
    answer.i16()
}

/// A join of a consumer that subscribes to one topic; without an id it is given one.
pub fn join(group: &str, member: &str, topic: &str) -> Vec<u8> {
    let mut metadata = vec![0, 0]; // version
    put_i32(&mut metadata, 1);
    put_string(&mut metadata, topic);
    put_i32(&mut metadata, -1); // no user data
    let mut body = Vec::new();
    put_string(&mut body, group);
    put_i32(&mut body, SESSION_TIMEOUT_MS);
    put_i32(&mut body, REBALANCE_TIMEOUT_MS);
    put_string(&mut body, member);
    put_null(&mut body); // instance
    put_string(&mut body, "consumer");
    put_i32(&mut body, 1);
    put_string(&mut body, PROTOCOL);
    put_bytes(&mut body, &metadata);
    body
}

/// The answer to a join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    pub error: i16,
    pub generation: i32,
    pub leader: String,
    pub member: String,
    /// Told to the leader only.
    pub members: Vec<String>,
}

pub fn joined(answer: &mut Answer) -> Result<Joined> {
    answer.i32()?; // throttle time
    let (error, generation) = (answer.i16()?, answer.i32()?);
    answer.string()?; // protocol
    let (leader, member) = (answer.text()?, answer.text()?);
    let mut members = Vec::new();
    for _ in 0..answer.i32()? {
        members.push(answer.text()?);
        answer.optional_string()?; // instance
        bytes(answer)?; // metadata
    }
    Ok(Joined { error, generation, leader, member, members })
}

/// A sync; the leader gives every member one of the topic's partitions, as long as there are any.
pub fn sync(
    group: &str,
    generation: i32,
    member: &str,
    (topic, partitions): (&str, usize),
    members: &[String],
) -> Vec<u8> {
    let mut body = member_of(group, generation, member);
    put_i32(&mut body, i32::try_from(members.len()).expect("few members"));
    for (index, member) in members.iter().enumerate() {
        put_string(&mut body, member);
        put_bytes(&mut body, &assignment(topic, (index < partitions).then_some(index)));
    }
    body
}

fn assignment(topic: &str, partition: Option<usize>) -> Vec<u8> {
    let mut bytes = vec![0, 0]; // version
    put_i32(&mut bytes, i32::from(partition.is_some()));
    if let Some(partition) = partition {
        put_string(&mut bytes, topic);
        put_i32(&mut bytes, 1);
        put_i32(&mut bytes, i32::try_from(partition).expect("few partitions"));
    }
    put_i32(&mut bytes, -1); // no user data
    bytes
}

/// The error of the answer to a sync, and whether the member has an assignment.
pub fn synced(answer: &mut Answer) -> Result<(i16, bool)> {
    answer.i32()?; // throttle time
    Ok((answer.i16()?, bytes(answer)? > 0))
}

pub fn heartbeat(group: &str, generation: i32, member: &str) -> Vec<u8> {
    member_of(group, generation, member)
}

fn member_of(group: &str, generation: i32, member: &str) -> Vec<u8> {
    let mut body = Vec::new();
    put_string(&mut body, group);
    put_i32(&mut body, generation);
    put_string(&mut body, member);
    put_null(&mut body); // instance
    body
}

/// A heartbeat of a member of a consumer group (KIP-848). What is `None` is unchanged.
pub fn consumer_heartbeat(
    group: &str,
    member: &str,
    epoch: i32,
    topic: Option<&str>,
    owned: Option<&Partitions>,
) -> Vec<u8> {
    let mut body = vec![0]; // the header's tagged fields
    put_compact(&mut body, group);
    put_compact(&mut body, member);
    put_i32(&mut body, epoch);
    body.extend([0, 0]); // no instance, no rack
    put_i32(&mut body, if topic.is_some() { REBALANCE_TIMEOUT_MS } else { -1 });
    match topic {
        Some(topic) => {
            put_unsigned(&mut body, 2);
            put_compact(&mut body, topic);
        }
        None => body.push(0),
    }
    body.extend([0, 0]); // no regular expression, no assignor
    match owned {
        Some(owned) => put_partitions(&mut body, owned),
        None => body.push(0),
    }
    body.push(0); // tagged fields
    body
}

/// The answer to a heartbeat of a member of a consumer group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beaten {
    pub error: i16,
    pub epoch: i32,
    /// `None` when it is as before.
    pub assignment: Option<Partitions>,
}

pub fn consumer_beaten(answer: &mut Answer) -> Result<Beaten> {
    tags(answer)?; // the header's
    answer.i32()?; // throttle time
    let error = answer.i16()?;
    compact(answer)?; // message
    compact(answer)?; // member id
    let epoch = answer.i32()?;
    answer.i32()?; // heartbeat interval
    let assignment = match answer.take(1)? {
        [1] => {
            let partitions = partitions(answer)?;
            tags(answer)?;
            Some(partitions)
        }
        _ => None,
    };
    tags(answer)?;
    Ok(Beaten { error, epoch, assignment })
}

fn put_null(body: &mut Vec<u8>) {
    body.extend((-1_i16).to_be_bytes());
}

fn put_bytes(body: &mut Vec<u8>, bytes: &[u8]) {
    put_i32(body, i32::try_from(bytes.len()).expect("a few bytes"));
    body.extend(bytes);
}

fn put_unsigned(body: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        body.push(value as u8 | 0x80);
        value >>= 7;
    }
    body.push(value as u8);
}

fn put_compact(body: &mut Vec<u8>, text: &str) {
    put_unsigned(body, text.len() + 1);
    body.extend(text.as_bytes());
}

fn put_partitions(body: &mut Vec<u8>, partitions: &Partitions) {
    put_unsigned(body, partitions.len() + 1);
    for (topic, partitions) in partitions {
        body.extend(topic);
        put_unsigned(body, partitions.len() + 1);
        partitions.iter().for_each(|partition| put_i32(body, *partition));
        body.push(0); // tagged fields
    }
}

/// Passes over bytes and says how many there are.
fn bytes(answer: &mut Answer) -> Result<usize> {
    let length = usize::try_from(answer.i32()?).unwrap_or(0);
    answer.take(length)?;
    Ok(length)
}

fn unsigned(answer: &mut Answer) -> Result<usize> {
    let mut value = 0;
    for shift in [0, 7, 14, 21, 28] {
        let byte = answer.take(1)?[0];
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    anyhow::bail!("a length without an end")
}

/// Passes over a text that may be null.
fn compact(answer: &mut Answer) -> Result<()> {
    let length = unsigned(answer)?;
    answer.take(length.saturating_sub(1)).map(|_| ())
}

fn tags(answer: &mut Answer) -> Result<()> {
    ensure!(unsigned(answer)? == 0, "an answer has tagged fields");
    Ok(())
}

fn partitions(answer: &mut Answer) -> Result<Partitions> {
    let mut all = Vec::new();
    for _ in 1..unsigned(answer)? {
        let topic = answer.take(16)?.try_into().context("a topic id has 16 bytes")?;
        let mut of_topic = Vec::new();
        for _ in 1..unsigned(answer)? {
            of_topic.push(answer.i32()?);
        }
        tags(answer)?;
        all.push((topic, of_topic));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_has_the_fields_of_version_1() {
        let owned = vec![([7; 16], vec![3])];
        let body = consumer_heartbeat("g", "m", 5, Some("t"), Some(&owned));
        let mut expected = vec![0, 2, b'g', 2, b'm', 0, 0, 0, 5, 0, 0, 0, 0, 0xea, 0x60];
        expected.extend([2, 2, b't', 0, 0, 2]);
        expected.extend([7; 16]);
        expected.extend([2, 0, 0, 0, 3, 0, 0]);
        assert_eq!(body, expected);
        let unchanged = consumer_heartbeat("g", "m", 5, None, None);
        assert_eq!(unchanged[9..], [0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn an_assignment_is_read_to_its_end() {
        let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 0, 2, b'm', 0, 0, 0, 9, 0, 0, 19, 136, 1, 2];
        bytes.extend([7; 16]);
        bytes.extend([3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
        let mut answer = Answer::of(bytes);
        let beaten = consumer_beaten(&mut answer).unwrap();
        let assignment = Some(vec![([7; 16], vec![1, 2])]);
        assert_eq!(beaten, Beaten { error: 0, epoch: 9, assignment });
        assert!(answer.is_over());
    }

    #[test]
    fn a_refusal_has_no_assignment() {
        let mut bytes = vec![0, 0, 0, 0, 0, 0, 110, 3, b'n', b'o', 0];
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 255, 0]);
        let beaten = consumer_beaten(&mut Answer::of(bytes)).unwrap();
        assert_eq!(beaten, Beaten { error: FENCED_MEMBER_EPOCH, ..Beaten::default() });
    }

    #[test]
    fn the_leader_reads_all_members() {
        let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, b'r', 0, 1, b'l', 0, 1, b'm'];
        bytes.extend([0, 0, 0, 2, 0, 1, b'l', 255, 255, 0, 0, 0, 1, 9]);
        bytes.extend([0, 1, b'm', 255, 255, 0, 0, 0, 0]);
        let mut answer = Answer::of(bytes);
        let joined = joined(&mut answer).unwrap();
        assert_eq!((joined.generation, &*joined.leader, &*joined.member), (4, "l", "m"));
        assert_eq!(joined.members, ["l", "m"]);
        assert!(answer.is_over());
    }

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 2_000_000] {
            let mut bytes = Vec::new();
            put_unsigned(&mut bytes, value);
            let mut answer = Answer::of(bytes);
            assert_eq!(unsigned(&mut answer).unwrap(), value);
            assert!(answer.is_over());
        }
    }

    #[test]
    fn members_beyond_the_partitions_get_nothing() {
        assert_eq!(assignment("t", None), [0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
        let one = assignment("t", Some(1));
        assert_eq!(one[2..17], [0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 1]);
    }
}
