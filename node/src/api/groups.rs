//! What the APIs of groups have in common: to whom a request goes, and how a client names itself.

use super::{Context, errors};
use crate::{
    coordinator,
    wire::{ErrorCode, Str},
};
use highwater_core::{
    group::{GroupId, Identity, InstanceId, MemberId, Request, Response},
    metadata::{GROUP_VERSION, OFFSETS_TOPIC},
    types::PartitionIndex,
};
use std::{sync::Arc, time::Duration};

/// Puts a request to the coordinator of a group, if that is here.
pub async fn ask(context: &Context, group: &str, body: Request) -> Result<Response, ErrorCode> {
    let index = partition_of(context, group).ok_or(ErrorCode::NotCoordinator)?;
    let answer = context.shared.coordinators.ask(index, body).await;
    answer.map_err(errors::of_coordinator)
}

/// The partition that holds a group; `None` before there is any.
pub fn partition_of(context: &Context, group: &str) -> Option<PartitionIndex> {
    let image = context.shared.quorum.image();
    let topic = image.topic_named(OFFSETS_TOPIC)?;
    Some(coordinator::partition_of(group, topic.partitions.len()))
}

/// A group's id as core has it.
pub fn group_id(id: &Str) -> GroupId {
    Arc::from(&**id)
}

/// A member's id as core has it.
pub fn member_id(id: &Str) -> MemberId {
    Arc::from(&**id)
}

/// A `group.instance.id` as core has it.
pub fn instance_id(id: Option<&Str>) -> Option<InstanceId> {
    id.map(|id| Arc::from(&**id))
}

/// Who a member says it is. A negative generation is that of a client that is no member.
pub fn identity(member: &Str, instance: Option<&Str>, generation: i32) -> Identity {
    Identity {
        member: member_id(member),
        instance: instance_id(instance),
        generation: u32::try_from(generation).ok(),
    }
}

/// A generation as the wire has it.
pub fn generation_number(generation: u32) -> i32 {
    i32::try_from(generation).unwrap_or(i32::MAX)
}

/// A partition's index as the wire has it.
pub fn index_number(index: PartitionIndex) -> i32 {
    i32::try_from(index.0).unwrap_or(i32::MAX)
}

/// Whether the cluster has consumer groups (KIP-848): its feature `group.version` is above 0.
pub fn consumer_groups_are_in_use(context: &Context) -> bool {
    context.shared.quorum.image().feature(GROUP_VERSION) > 0
}

/// Why a request about consumer groups is refused while they are not in use.
pub const NOT_IN_USE: &str = "the feature group.version is 0: consumer groups are not in use";

/// The longest name in front of a member's id, in bytes.
const NAME_BYTES_MAX: usize = 1_000;

/// A member's id that nobody has: its `group.instance.id`, or else what the client calls itself,
/// and a random UUID.
pub fn fresh_member(context: &Context, instance: Option<&Str>) -> MemberId {
    let entropy = &context.shared.doors.entropy;
    let (high, low) = (entropy.next_u64(), entropy.next_u64());
    // Version 4, variant 1 of RFC 9562.
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    let uuid = format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    );
    let name = instance.map_or(&*context.client_id, |instance| instance);
    Arc::from(match &name[..name.floor_char_boundary(NAME_BYTES_MAX)] {
        "" => uuid,
        name => format!("{name}-{uuid}"),
    })
}

/// Where a client connects from, as Kafka shows it.
pub fn client_host(context: &Context) -> String {
    format!("/{}", context.peer.ip())
}

/// Milliseconds of a request; those below zero count as none.
pub fn millis(number: i32) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(0))
}

/// The answer is not one to the request: one of our own bugs.
pub fn mismatch(answer: &Response) -> ! {
    unreachable!("a coordinator has answered something else: {answer:?}")
}
