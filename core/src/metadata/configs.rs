//! Changes of configuration, checked as a whole before anything changes.

use super::{ConfigChange, ConfigUpdate};
use crate::config::{ConfigError, ConfigType, TOPIC_CONFIGS};
use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};

/// What a map of configurations becomes by an update; every value that is set is checked.
pub(super) fn updated(
    current: &BTreeMap<String, String>,
    update: &ConfigUpdate,
    validate: fn(&str, &str) -> Result<(), ConfigError>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut configs = match update {
        ConfigUpdate::Replace(configs) => configs.clone(),
        ConfigUpdate::Incremental(changes) => {
            let mut configs = current.clone();
            for (name, change) in changes {
                change_one(&mut configs, name, change, validate)?;
            }
            return Ok(configs);
        }
    };
    for (name, value) in &mut configs {
        validate(name, value)?;
        *value = value.trim().to_string();
    }
    Ok(configs)
}

fn change_one(
    configs: &mut BTreeMap<String, String>,
    name: &str,
    change: &ConfigChange,
    validate: fn(&str, &str) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    let value = match change {
        ConfigChange::Delete => {
            configs.remove(name);
            return Ok(());
        }
        ConfigChange::Set(value) => value.trim().to_string(),
        ConfigChange::Append(items) => with_items(configs, name, items, true)?,
        ConfigChange::Subtract(items) => with_items(configs, name, items, false)?,
    };
    validate(name, &value)?;
    configs.insert(name.to_string(), value);
    Ok(())
}

/// A list's value with items added (once each) or taken away.
fn with_items(
    configs: &BTreeMap<String, String>,
    name: &str,
    items: &str,
    add: bool,
) -> Result<String, ConfigError> {
    let list = TOPIC_CONFIGS.iter().find(|known| {
        known.config_type == ConfigType::List
            && (known.name == name || known.synonyms.iter().any(|synonym| synonym.name == name))
    });
    let Some(definition) = list else {
        return Err(ConfigError::NotAList { name: name.to_string() });
    };
    let current = configs.get(name).map_or(definition.default, String::as_str);
    let mut list: Vec<&str> = split(current).collect();
    for item in split(items) {
        list.retain(|present| *present != item);
        if add {
            list.push(item);
        }
    }
    Ok(list.join(","))
}

fn split(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}
