//! AlterReplicaLogDirs (key 34, KIP-113): replicas stay in the one data directory that there is.

use super::{Context, resolve};
use crate::wire::{
    ErrorCode, Str,
    generated::alter_replica_log_dirs::{
        AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
        AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse,
    },
};
use std::{collections::BTreeMap, path::Path};

/// Answers for each replica whether it is where it is wanted: any other directory than the data
/// directory is unknown (LOG_DIR_NOT_FOUND), and of what other brokers hold there is no replica here
/// (REPLICA_NOT_AVAILABLE).
pub async fn handle(
    context: Context,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let mut results: BTreeMap<String, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
    for dir in request.dirs {
        let is_ours = Path::new(&*dir.path) == context.shared.config.data_dir;
        for topic in dir.topics {
            let name = topic.name.to_string();
            let named = resolve::Topic::named(&context, &name);
            let result = |index: i32| {
                let error = match named.partition(&context, index) {
                    _ if !is_ours => ErrorCode::LogDirNotFound,
                    Ok(_) => ErrorCode::None,
                    Err(ErrorCode::NotLeaderOrFollower) => ErrorCode::ReplicaNotAvailable,
                    Err(error) => error,
                };
                AlterReplicaLogDirPartitionResult {
                    partition_index: index,
                    error_code: error as i16,
                }
            };
            let partitions: Vec<_> = topic.partitions.into_iter().map(result).collect();
            results.entry(name).or_default().extend(partitions);
        }
    }
    let of_topic = |(name, partitions)| AlterReplicaLogDirTopicResult {
        topic_name: Str::from(name),
        partitions,
    };
    let results = results.into_iter().map(of_topic).collect();
    AlterReplicaLogDirsResponse { results, ..Default::default() }
}
