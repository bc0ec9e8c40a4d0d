//! DescribeConfigs (key 32), AlterConfigs (key 33) and IncrementalAlterConfigs (key 44), for topics
//! and brokers.

use super::{Context, create_partitions::carry_out, errors};
use crate::{
    config::{ConfigEntry, Origin},
    wire::{
        ErrorCode, Str,
        generated::{
            alter_configs::{
                AlterConfigsRequest, AlterConfigsResourceResponse as ReplaceResult,
                AlterConfigsResponse,
            },
            describe_configs::{
                DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
                DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
            },
            incremental_alter_configs::{
                AlterConfigsResourceResponse as AlterResult, AlterableConfig,
                IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
            },
        },
    },
};
use highwater_core::{
    config::{ConfigDefinition, ConfigSource, ConfigType, ResolvedConfig},
    metadata::{Command, ConfigChange, ConfigUpdate},
    types::{BrokerId, TopicId},
};
use std::collections::{BTreeMap, BTreeSet};

type Refusal = (ErrorCode, String);

/// What a request names by resource type and name.
enum Resource {
    Topic(TopicId),
    /// A broker, or with `None` the default of all.
    Broker(Option<BrokerId>),
}

/// The resource type of topics on the wire.
pub(super) const TYPE_TOPIC: i8 = 2;
/// The resource type of brokers on the wire.
pub(super) const TYPE_BROKER: i8 = 4;

impl Resource {
    fn find(context: &Context, kind: i8, name: &str) -> Result<Self, Refusal> {
        match kind {
            TYPE_TOPIC => match context.shared.quorum.image().topic_named(name) {
                Some(topic) => Ok(Self::Topic(topic.id)),
                None => Err((ErrorCode::UnknownTopicOrPartition, format!("no topic {name:?}"))),
            },
            TYPE_BROKER if name.is_empty() => Ok(Self::Broker(None)),
            TYPE_BROKER => match name.parse() {
                Ok(id) if Self::is_broker(context, BrokerId(id)) => {
                    Ok(Self::Broker(Some(BrokerId(id))))
                }
                _ => Err((ErrorCode::InvalidRequest, format!("no broker {name:?}"))),
            },
            other => {
                let reason = format!("resource type {other} has no configuration here");
                Err((ErrorCode::InvalidRequest, reason))
            }
        }
    }

    /// Whether there is such a broker: what is set while brokers run stands in the metadata.
    fn is_broker(context: &Context, id: BrokerId) -> bool {
        let shared = &context.shared;
        id == shared.config.node_id || shared.quorum.image().broker(id).is_some()
    }

    fn command(self, update: ConfigUpdate) -> Command {
        match self {
            Self::Topic(topic) => Command::SetTopicConfigs { topic, update },
            Self::Broker(broker) => Command::SetBrokerConfigs { broker, update },
        }
    }
}

/// Describes the configuration of topics and of this broker, with where each value comes from.
pub async fn describe(
    context: Context,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let detail =
        Detail { synonyms: request.include_synonyms, documentation: request.include_documentation };
    let mut described = BTreeSet::new();
    // Each resource once, however often it is named: the answer is much larger than the question.
    let resources = request.resources.iter().filter(|resource| {
        described.insert((resource.resource_type, resource.resource_name.clone()))
    });
    let results = resources.map(|resource| {
        let mut result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..Default::default()
        };
        match describe_one(&context, resource, detail) {
            Ok(configs) => result.configs = configs,
            Err((code, reason)) => {
                result.error_code = code as i16;
                result.error_message = Some(errors::text(reason));
            }
        }
        result
    });
    DescribeConfigsResponse { results: results.collect(), ..Default::default() }
}

/// Replaces a resource's whole configuration.
pub async fn replace(context: Context, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut response = AlterConfigsResponse::default();
    for wanted in request.resources {
        let values = wanted.configs.iter().map(|config| {
            let value = config.value.as_ref().map(ToString::to_string);
            value.map(|value| (config.name.to_string(), value)).ok_or_else(|| {
                (ErrorCode::InvalidConfig, format!("configuration {} has no value", config.name))
            })
        });
        let update = values.collect::<Result<_, _>>().map(ConfigUpdate::Replace);
        let (kind, name) = (wanted.resource_type, wanted.resource_name);
        let outcome = change(&context, kind, &name, update, request.validate_only).await;
        let (error_code, error_message) = answer(outcome);
        response.responses.push(ReplaceResult {
            error_code,
            error_message,
            resource_type: kind,
            resource_name: name,
        });
    }
    response
}

/// Sets, deletes, extends or shortens single values (KIP-339).
pub async fn alter(
    context: Context,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut response = IncrementalAlterConfigsResponse::default();
    for wanted in request.resources {
        let update = changes(&wanted.configs).map(ConfigUpdate::Incremental);
        let (kind, name) = (wanted.resource_type, wanted.resource_name);
        let outcome = change(&context, kind, &name, update, request.validate_only).await;
        let (error_code, error_message) = answer(outcome);
        response.responses.push(AlterResult {
            error_code,
            error_message,
            resource_type: kind,
            resource_name: name,
        });
    }
    response
}

/// Where a value comes from, as the wire has it.
pub fn source_code(source: ConfigSource) -> i8 {
    match source {
        ConfigSource::Topic => 1,
        ConfigSource::DynamicBroker => 2,
        ConfigSource::DynamicDefault => 3,
        ConfigSource::StaticBroker => 4,
        ConfigSource::Default => 5,
    }
}

async fn change(
    context: &Context,
    kind: i8,
    name: &str,
    update: Result<ConfigUpdate, Refusal>,
    validate_only: bool,
) -> Result<(), Refusal> {
    let command = Resource::find(context, kind, name)?.command(update?);
    carry_out(context, command, validate_only).await
}

fn answer(outcome: Result<(), Refusal>) -> (i16, Option<Str>) {
    match outcome {
        Ok(()) => (ErrorCode::None as i16, None),
        Err((code, reason)) => (code as i16, Some(errors::text(reason))),
    }
}

fn changes(configs: &[AlterableConfig]) -> Result<BTreeMap<String, ConfigChange>, Refusal> {
    let mut changes = BTreeMap::new();
    for config in configs {
        let value = config.value.as_ref().map(ToString::to_string);
        let change = match (config.config_operation, value) {
            (1, _) => ConfigChange::Delete,
            (0, Some(value)) => ConfigChange::Set(value),
            (2, Some(value)) => ConfigChange::Append(value),
            (3, Some(value)) => ConfigChange::Subtract(value),
            (operation, _) => {
                let reason =
                    format!("operation {operation} on {} needs another value", config.name);
                return Err((ErrorCode::InvalidRequest, reason));
            }
        };
        if changes.insert(config.name.to_string(), change).is_some() {
            let reason = format!("the request changes {} twice", config.name);
            return Err((ErrorCode::InvalidRequest, reason));
        }
    }
    Ok(changes)
}

/// What a client wants to know beside names and values.
#[derive(Clone, Copy)]
struct Detail {
    synonyms: bool,
    documentation: bool,
}

fn describe_one(
    context: &Context,
    resource: &DescribeConfigsResource,
    detail: Detail,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let found = Resource::find(context, resource.resource_type, &resource.resource_name)?;
    let asked = |name: &str| match &resource.configuration_keys {
        Some(keys) => keys.iter().any(|key| &**key == name),
        None => true,
    };
    let shared = &context.shared;
    let image = shared.quorum.image();
    match found {
        Resource::Topic(id) => {
            let layers =
                image.config_layers(Some(id), shared.config.node_id, &shared.static_configs);
            let configs = layers.describe().filter(|(definition, _)| asked(definition.name));
            Ok(configs.map(|(definition, value)| of_topic(definition, value, detail)).collect())
        }
        Resource::Broker(Some(id)) if id != shared.config.node_id => {
            // Of its file only the broker itself knows, which clients ask.
            Err((ErrorCode::InvalidRequest, format!("broker {id} is another one: ask it")))
        }
        Resource::Broker(Some(id)) => {
            let own = image.broker_configs(Some(id));
            let defaults = image.broker_configs(None);
            let entries = shared.config.entries().filter(|entry| asked(entry.name));
            Ok(entries.map(|entry| of_broker(entry, own, defaults, detail)).collect())
        }
        Resource::Broker(None) => {
            let defaults = image.broker_configs(None).into_iter().flatten();
            let set = defaults.filter(|(name, _)| asked(name));
            Ok(set
                .map(|(name, value)| DescribeConfigsResourceResult {
                    name: Str::from(name.as_str()),
                    value: Some(Str::from(value.as_str())),
                    config_source: source_code(ConfigSource::DynamicDefault),
                    ..Default::default()
                })
                .collect())
        }
    }
}

fn of_topic(
    definition: &ConfigDefinition,
    resolved: ResolvedConfig,
    detail: Detail,
) -> DescribeConfigsResourceResult {
    let synonyms = resolved.synonyms.into_iter().filter(|_| detail.synonyms);
    DescribeConfigsResourceResult {
        name: Str::from(definition.name),
        value: Some(Str::from(resolved.value)),
        read_only: false,
        config_source: source_code(resolved.source),
        is_sensitive: false,
        synonyms: synonyms
            .map(|synonym| DescribeConfigsSynonym {
                name: Str::from(synonym.name),
                value: Some(Str::from(synonym.value)),
                source: source_code(synonym.source),
            })
            .collect(),
        config_type: type_code(definition.config_type),
        documentation: detail.documentation.then(|| Str::from(definition.documentation)),
    }
}

fn type_code(config_type: ConfigType) -> i8 {
    match config_type {
        ConfigType::Boolean => 1,
        ConfigType::String => 2,
        ConfigType::Int => 3,
        ConfigType::Long => 5,
        ConfigType::Double => 6,
        ConfigType::List => 7,
    }
}

fn of_broker(
    entry: ConfigEntry,
    own: Option<&BTreeMap<String, String>>,
    defaults: Option<&BTreeMap<String, String>>,
    detail: Detail,
) -> DescribeConfigsResourceResult {
    let dynamic = |layer: Option<&BTreeMap<String, String>>| {
        layer.and_then(|layer| layer.get(entry.name)).cloned()
    };
    let (value, source) = match (dynamic(own), dynamic(defaults)) {
        (Some(value), _) => (Some(value), ConfigSource::DynamicBroker),
        (None, Some(value)) => (Some(value), ConfigSource::DynamicDefault),
        (None, None) if entry.origin == Origin::Default => (entry.value, ConfigSource::Default),
        (None, None) => (entry.value, ConfigSource::StaticBroker),
    };
    DescribeConfigsResourceResult {
        name: Str::from(entry.name),
        value: value.map(Str::from),
        read_only: !entry.dynamic,
        config_source: source_code(source),
        is_sensitive: false,
        synonyms: Vec::new(),
        config_type: type_code(ConfigType::String),
        documentation: detail.documentation.then(|| Str::from(entry.doc)),
    }
}
