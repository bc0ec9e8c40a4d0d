//! `highwater group`: list, describe and delete groups, and see or change how far they have come.

mod delete_offsets;
mod offsets;
mod offsets_file;
mod reset;
mod view;

use super::{
    arguments::{DeleteGroups, DescribeGroups, Group, GroupMembers, GroupOffsets, ListGroups},
    check, connect,
    output::Output,
};
use anyhow::Context;
use highwater_node::{
    client::Cluster,
    env::{Clock, OsClock},
    wire::{
        ErrorCode, Str,
        generated::{
            delete_groups::DeleteGroupsRequest,
            list_groups::{ListGroupsRequest, ListedGroup},
        },
    },
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use view::View;

/// A coordinator that moves or loads is tried so often, this long apart.
pub const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(200);

pub async fn run(command: Group, output: Output) -> anyhow::Result<()> {
    match command {
        Group::List(list) => list_groups(list, output).await,
        Group::Describe(describe) => describe_groups(describe, output).await,
        Group::Members(members) => show_members(members, output).await,
        Group::Offsets(offsets) => show_offsets(offsets, output).await,
        Group::Reset(reset) => reset::run(reset, output).await,
        Group::Delete(delete) => delete_groups(delete, output).await,
        Group::DeleteOffsets(delete) => delete_offsets::run(delete, output).await,
    }
}

async fn list_groups(arguments: ListGroups, output: Output) -> anyhow::Result<()> {
    let mut cluster = connect(&arguments.at.broker).await?;
    let filter = |texts: &[String]| texts.iter().map(Str::from).collect::<Vec<_>>();
    let request = ListGroupsRequest {
        states_filter: filter(&arguments.state),
        types_filter: filter(&arguments.types),
    };
    let groups = listed(&mut cluster, &request).await?;
    let document = || {
        let group = |group: &ListedGroup| {
            json!({
                "group": group.group_id.as_str(),
                "type": group.group_type.as_str(),
                "state": group.group_state.as_str(),
                "protocol_type": group.protocol_type.as_str(),
            })
        };
        Value::Array(groups.values().map(group).collect())
    };
    output.print(document, |out| {
        groups.values().try_for_each(|group| {
            let ListedGroup { group_id, group_type, group_state, .. } = group;
            writeln!(out, "{group_id}  {group_type}  {group_state}")
        })
    })
}

/// The groups of all brokers, by name.
async fn listed(
    cluster: &mut Cluster,
    request: &ListGroupsRequest,
) -> anyhow::Result<BTreeMap<Str, ListedGroup>> {
    let brokers = cluster.metadata(None, false).await?.brokers;
    let mut groups = BTreeMap::new();
    for broker in brokers {
        let what = format!("list the groups of broker {}", broker.node_id);
        for tries in 1.. {
            let answer = cluster.broker(broker.node_id).await?.call(request).await?;
            if is_passing(answer.error_code) && tries < TRIES {
                pause().await;
                continue;
            }
            check(&what, answer.error_code, None)?;
            groups.extend(answer.groups.into_iter().map(|one| (one.group_id.clone(), one)));
            break;
        }
    }
    Ok(groups)
}

async fn describe_groups(arguments: DescribeGroups, output: Output) -> anyhow::Result<()> {
    let mut cluster = connect(&arguments.at.broker).await?;
    let names = match arguments.names.is_empty() {
        false => arguments.names,
        true => {
            let all = listed(&mut cluster, &ListGroupsRequest::default()).await?;
            all.keys().map(Str::to_string).collect()
        }
    };
    let mut shown = Vec::new();
    for name in names {
        let view = View::of(&mut cluster, &name).await?;
        let progress = offsets::of_group(&mut cluster, &view).await?;
        shown.push((view, progress));
    }
    let document = || {
        let group = |(view, progress): &(View, Vec<offsets::Progress>)| {
            let mut group = view.json();
            group["offsets"] = offsets::json(progress);
            group
        };
        Value::Array(shown.iter().map(group).collect())
    };
    output.print(document, |out| {
        for (view, progress) in &shown {
            view.write(out)?;
            view.write_members(out)?;
            offsets::write(progress, out)?;
        }
        Ok(())
    })
}

async fn show_members(arguments: GroupMembers, output: Output) -> anyhow::Result<()> {
    let mut cluster = connect(&arguments.at.broker).await?;
    let view = View::of(&mut cluster, &arguments.name).await?;
    output.print(|| view.json(), |out| view.write_members(out))
}

async fn show_offsets(arguments: GroupOffsets, output: Output) -> anyhow::Result<()> {
    let mut cluster = connect(&arguments.at.broker).await?;
    let view = View::of(&mut cluster, &arguments.name).await?;
    let progress = offsets::of_group(&mut cluster, &view).await?;
    output.print(|| offsets::json(&progress), |out| offsets::write(&progress, out))
}

async fn delete_groups(arguments: DeleteGroups, output: Output) -> anyhow::Result<()> {
    let mut cluster = connect(&arguments.at.broker).await?;
    // One that cannot be deleted does not keep the others: say what happened to each.
    let (mut deleted, mut outcome) = (Vec::new(), Ok(()));
    for name in &arguments.names {
        match delete(&mut cluster, name).await {
            Ok(()) => deleted.push(name),
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    let printed = output.print(
        || json!({ "deleted": deleted }),
        |out| deleted.iter().try_for_each(|name| writeln!(out, "deleted {name}")),
    );
    outcome.and(printed)
}

async fn delete(cluster: &mut Cluster, name: &str) -> anyhow::Result<()> {
    let request = DeleteGroupsRequest { groups_names: vec![name.into()] };
    let what = format!("delete group `{name}`");
    for tries in 1.. {
        let broker = coordinator(cluster, name).await?;
        let answer = cluster.broker(broker).await?.call(&request).await?;
        let result = answer.results.first().context("there is no answer about the group")?;
        if is_passing(result.error_code) && tries < TRIES {
            pause().await;
            continue;
        }
        return check(&what, result.error_code, None);
    }
    unreachable!("the tries are bounded")
}

/// The broker that coordinates a group, once one does.
pub async fn coordinator(cluster: &mut Cluster, group: &str) -> anyhow::Result<i32> {
    let what = format!("find the coordinator of group `{group}`");
    for tries in 1.. {
        let found = cluster.coordinator(group).await?;
        if is_passing(found.error_code) && tries < TRIES {
            pause().await;
            continue;
        }
        check(&what, found.error_code, found.error_message.as_ref())?;
        // So that the broker's address is known.
        cluster.metadata(Some(&[]), false).await?;
        return Ok(found.node_id);
    }
    unreachable!("the tries are bounded")
}

/// Whether a code says that a coordinator moves, or reads its log.
pub fn is_passing(code: i16) -> bool {
    let passing = [
        ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotCoordinator,
    ];
    passing.iter().any(|passing| passing.code() == code)
}

/// Waits before something is tried again.
pub async fn pause() {
    let clock = OsClock::new();
    clock.sleep_until(clock.now().monotonic.after(PAUSE)).await;
}
