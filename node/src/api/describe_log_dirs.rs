//! DescribeLogDirs (key 35): the data directory, and what the partitions take of it.

use super::{Context, resolve};
use crate::wire::{
    ErrorCode, Str,
    generated::describe_log_dirs::{
        DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
        DescribeLogDirsResult, DescribeLogDirsTopic,
    },
};

/// Describes the topics asked for, or all.
pub async fn handle(context: Context, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let wanted: Vec<(String, Vec<i32>)> = match request.topics {
        Some(topics) => {
            topics.into_iter().map(|topic| (topic.topic.to_string(), topic.partitions)).collect()
        }
        None => {
            let image = context.shared.quorum.image();
            let topics = image.topics();
            topics
                .map(|topic| (topic.name.clone(), (0..topic.partitions.len() as i32).collect()))
                .collect()
        }
    };
    let mut topics = Vec::with_capacity(wanted.len());
    for (name, indexes) in wanted {
        let named = resolve::Topic::named(&context, &name);
        let partitions: Vec<_> = indexes
            .into_iter()
            .filter_map(|index| named.partition(&context, index).ok().map(|driver| (index, driver)))
            .map(|(partition_index, driver)| DescribeLogDirsPartition {
                partition_index,
                partition_size: i64::try_from(driver.log().total_bytes()).unwrap_or(i64::MAX),
                offset_lag: 0,
                is_future_key: false,
            })
            .collect();
        if !partitions.is_empty() {
            topics.push(DescribeLogDirsTopic { name: Str::from(name), partitions });
        }
    }
    let dir = &context.shared.config.data_dir;
    let space = context.shared.doors.disk.space(dir).await;
    let (usable_bytes, total_bytes) = space.as_ref().map_or((-1, -1), |(usable, total)| {
        let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        (number(*usable), number(*total))
    });
    let error_code = match space {
        Ok(_) => ErrorCode::None,
        Err(error) => {
            tracing::error!(dir = %dir.display(), %error, "the data directory cannot be examined");
            ErrorCode::KafkaStorageError
        }
    };
    DescribeLogDirsResponse {
        results: vec![DescribeLogDirsResult {
            error_code: error_code as i16,
            log_dir: Str::from(dir.display().to_string()),
            topics,
            total_bytes,
            usable_bytes,
        }],
        ..Default::default()
    }
}
