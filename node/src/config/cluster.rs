//! The settings of a cluster: its voters, and the rules between the keys of brokers that find each
//! other.

use super::{BrokerConfig, ConfigError, HostPort, Problem};
use core::time::Duration;
use highwater_core::{metadata::Endpoint, types::BrokerId};
use std::collections::BTreeMap;

const VOTERS: &str = "controller.quorum.voters";
const ROLES: &str = "process.roles";

/// Reads Kafka's list of voters: `1@HOST:PORT,2@HOST:PORT`. The error is a whole reason.
pub fn parse_voters(text: &str) -> Result<BTreeMap<BrokerId, Endpoint>, String> {
    let mut voters: BTreeMap<BrokerId, Endpoint> = BTreeMap::new();
    for voter in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (id, endpoint) = parse_voter(voter)?;
        if let Some((other, _)) = voters.iter().find(|(_, known)| **known == endpoint) {
            return Err(format!(
                "voters {other} and {id} have the same address `{}`; give each its own",
                HostPort::new(endpoint.host, endpoint.port)
            ));
        }
        if voters.insert(id, endpoint).is_some() {
            return Err(format!("voter {id} is named twice; keep one of the two"));
        }
    }
    if voters.is_empty() {
        return Err(
            "no voter is named; write NODE.ID@HOST:PORT for each, with commas, or leave the \
                    key out for a broker that is alone"
                .to_owned(),
        );
    }
    Ok(voters)
}

fn parse_voter(voter: &str) -> Result<(BrokerId, Endpoint), String> {
    let expected =
        || format!("`{voter}` is not NODE.ID@HOST:PORT, such as 1@kafka-1.example.com:9093");
    let (id, address) = voter.split_once('@').ok_or_else(expected)?;
    let id: i32 = id.trim().parse().ok().filter(|id| *id >= 0).ok_or_else(expected)?;
    let address = HostPort::parse(address).map_err(|_| expected())?;
    if address.is_wildcard() || address.port == 0 {
        return Err(format!(
            "`{voter}` names no address that another broker can connect to; write the host and the \
             port of the CONTROLLER listener of broker {id}"
        ));
    }
    Ok((BrokerId(id), address.endpoint()))
}

/// What a node is (`process.roles`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// It holds partitions and serves clients.
    pub broker: bool,
    /// It keeps metadata.
    pub controller: bool,
}

/// Reads Kafka's roles. The error is a whole reason.
pub fn parse_roles(text: &str) -> Result<Roles, String> {
    let mut roles = Roles { broker: false, controller: false };
    for role in text.split(',').map(str::trim).filter(|role| !role.is_empty()) {
        match role {
            "broker" => roles.broker = true,
            "controller" => roles.controller = true,
            other => {
                return Err(format!(
                    "`{other}` is no role; write broker, controller or broker,controller"
                ));
            }
        }
    }
    if !roles.broker && !roles.controller {
        return Err("no role is named; write broker, controller or broker,controller".to_owned());
    }
    Ok(roles)
}

/// The rules between the keys of a cluster.
pub fn settle(config: &mut BrokerConfig) -> Result<(), ConfigError> {
    settle_timeouts(config)?;
    if config.voters.is_empty() { settle_alone(config) } else { settle_member(config) }
}

fn settle_timeouts(config: &BrokerConfig) -> Result<(), ConfigError> {
    let rules = [
        (
            "broker.session.timeout.ms",
            config.broker_session_timeout,
            "broker.heartbeat.interval.ms",
            config.broker_heartbeat_interval,
        ),
        (
            "controller.quorum.election.timeout.ms",
            config.quorum_election_timeout,
            "controller.quorum.heartbeat.interval.ms",
            config.quorum_heartbeat_interval,
        ),
    ];
    for (timeout_key, timeout, interval_key, interval) in rules {
        if timeout < interval.saturating_mul(2) {
            let millis = |duration: Duration| duration.as_millis();
            let reason = format!(
                "{} is less than twice `{interval_key}`, which is {}, so that one late heartbeat \
                 would count as a death; raise it, or lower `{interval_key}`",
                millis(timeout),
                millis(interval)
            );
            return Err(wrong(config, timeout_key, reason));
        }
    }
    Ok(())
}

/// The rules of a broker that is alone.
fn settle_alone(config: &BrokerConfig) -> Result<(), ConfigError> {
    if !config.is_broker {
        let reason = format!(
            "a controller keeps the metadata of a cluster, and this node is alone; name the \
             controllers of the cluster in `{VOTERS}`, or write broker,controller"
        );
        return Err(wrong(config, ROLES, reason));
    }
    if config.default_replication_factor > 1 {
        let reason = format!(
            "{} replicas need as many brokers, and this one is alone; write 1, or name the brokers \
             of the cluster in `{VOTERS}`",
            config.default_replication_factor
        );
        return Err(wrong(config, "default.replication.factor", reason));
    }
    if config.peer_listen.is_some() {
        let reason = format!(
            "a CONTROLLER listener is of use in a cluster only, and this broker is alone; name the \
             brokers of the cluster in `{VOTERS}`, or remove CONTROLLER"
        );
        return Err(wrong(config, "listeners", reason));
    }
    if config.peer_advertised.is_some() {
        let reason = "CONTROLLER is advertised and not listened on; remove it".to_owned();
        return Err(wrong(config, "advertised.listeners", reason));
    }
    Ok(())
}

/// The rules of a broker of a cluster.
fn settle_member(config: &mut BrokerConfig) -> Result<(), ConfigError> {
    if !config.explicit.contains_key("node.id") {
        let reason =
            "set `node.id` too: each broker of a cluster has a number of its own".to_owned();
        return Err(wrong(config, VOTERS, reason));
    }
    if config.cluster_id.is_none() {
        let reason =
            "set `cluster.id` too, to the same text on every broker of the cluster, so that \
                      brokers of two clusters never mix"
                .to_owned();
        return Err(wrong(config, VOTERS, reason));
    }
    if config.is_controller == Some(false) && config.voters.contains_key(&config.node_id) {
        let reason = format!(
            "this node, {}, is among the voters and no controller; write broker,controller, or \
             take it out of `{VOTERS}`",
            config.node_id
        );
        return Err(wrong(config, ROLES, reason));
    }
    let Some(listen) = &config.peer_listen else {
        let reason =
            "a broker of a cluster listens for the others: write a second listener behind \
                      a comma, such as CONTROLLER://0.0.0.0:9093"
                .to_owned();
        return Err(wrong(config, "listeners", reason));
    };
    let advertised = match config.voters.get(&config.node_id) {
        Some(own) => settle_voter(config, listen, own)?,
        None => config.peer_advertised.clone().unwrap_or_else(|| listen.clone()),
    };
    if advertised.is_wildcard() {
        let reason = format!(
            "the other brokers cannot connect to `{advertised}`, which is every address of this \
             machine; name the address under which they reach this broker, as \
             CONTROLLER://HOST:PORT in `advertised.listeners`"
        );
        return Err(wrong(config, "listeners", reason));
    }
    config.peer_advertised = Some(advertised);
    Ok(())
}

/// What a voter tells the others: its address among the voters, which must be meant for it.
fn settle_voter(
    config: &BrokerConfig,
    listen: &HostPort,
    own: &Endpoint,
) -> Result<HostPort, ConfigError> {
    let own = HostPort::new(own.host.clone(), own.port);
    let id = config.node_id;
    match &config.peer_advertised {
        Some(advertised) if *advertised == own => {}
        Some(advertised) => {
            let reason = format!(
                "CONTROLLER is `{advertised}` here and `{own}` for voter {id} in `{VOTERS}`; write \
                 the same in both"
            );
            return Err(wrong(config, "advertised.listeners", reason));
        }
        None if listen.port == own.port => {}
        None => {
            let reason = format!(
                "voter {id}, which is this broker, is at `{own}`, but its CONTROLLER listener is \
                 `{listen}`; write the same port in both, or advertise CONTROLLER://{own} in \
                 `advertised.listeners` if that address is forwarded here"
            );
            return Err(wrong(config, VOTERS, reason));
        }
    }
    Ok(own)
}

fn wrong(config: &BrokerConfig, key: &'static str, reason: String) -> ConfigError {
    ConfigError { origin: config.origin(key), problem: Problem::Unsupported { key, reason } }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOTERS_OF_THREE: &str =
        "controller.quorum.voters=1@a.example:9093,2@b.example:9093,3@c.example:9093\n";

    fn parse(text: &str) -> Result<BrokerConfig, String> {
        BrokerConfig::parse(text, "server.properties").map_err(|errors| errors.to_string())
    }

    fn member(rest: &str) -> Result<BrokerConfig, String> {
        parse(&format!("node.id=2\ncluster.id=c\n{VOTERS_OF_THREE}{rest}"))
    }

    const LISTENERS: &str = "listeners=PLAINTEXT://10.0.0.2:9092,CONTROLLER://0.0.0.0:9093\n";

    #[test]
    fn a_kafka_file_of_a_cluster_is_read() {
        let config = member(&format!(
            "process.roles=broker,controller\ncontroller.listener.names=CONTROLLER\n{LISTENERS}\
             default.replication.factor=3\n"
        ))
        .expect("it is right");
        let ids: Vec<_> = config.voters.keys().map(|id| id.0).collect();
        assert_eq!(ids, [1, 2, 3]);
        assert_eq!(config.voters[&BrokerId(3)].host, "c.example");
        assert_eq!(config.peer_listen, Some(HostPort::new("0.0.0.0", 9093)));
        assert_eq!(config.peer_advertised, Some(HostPort::new("b.example", 9093)));
        assert_eq!(config.default_replication_factor, 3);
        assert_eq!(config.broker_session_timeout, Duration::from_millis(500));
    }

    #[test]
    fn a_controller_of_a_kafka_file_is_no_broker() {
        let controller = "process.roles=controller\ncontroller.listener.names=CONTROLLER\n\
                          listeners=CONTROLLER://:9093\n";
        let config = member(controller).expect("it is right");
        assert!(!config.is_broker);
        assert_eq!((config.listen, config.advertised), (None, None));
        assert_eq!(config.peer_advertised, Some(HostPort::new("b.example", 9093)));
        let with_tools = controller.replace("=CONTROLLER:", "=PLAINTEXT://:9092,CONTROLLER:");
        let config = member(&with_tools).expect("a wildcard is told to nobody");
        assert_eq!(config.listen, Some(HostPort::new("", 9092)));
    }

    #[test]
    fn a_node_without_a_role_is_a_broker() {
        assert!(member(LISTENERS).expect("right").is_broker);
        let beside = format!(
            "process.roles=broker\nnode.id=9\ncluster.id=c\n{VOTERS_OF_THREE}\
             listeners=10.0.0.9:9092,CONTROLLER://10.0.0.9:9093\n"
        );
        assert!(parse(&beside).expect("right").is_broker);
    }

    #[test]
    fn a_broker_beside_the_voters_advertises_what_it_is_told_or_listens_on() {
        let other = |listeners: &str| {
            parse(&format!("node.id=9\ncluster.id=c\n{VOTERS_OF_THREE}listeners={listeners}\n"))
        };
        let config = other("10.0.0.9:9092,CONTROLLER://10.0.0.9:9093").expect("right");
        assert_eq!(config.peer_advertised, Some(HostPort::new("10.0.0.9", 9093)));
        let wildcard = other("10.0.0.9:9092,CONTROLLER://:9093").expect_err("nobody could connect");
        assert!(wildcard.contains("as CONTROLLER://HOST:PORT in `advertised.listeners`"));
        let told = "10.0.0.9:9092,CONTROLLER://:9093\n\
                    advertised.listeners=PLAINTEXT://i.example:9092,CONTROLLER://i.example:19093";
        let config = other(told).expect("right");
        assert_eq!(config.peer_advertised, Some(HostPort::new("i.example", 19093)));
    }

    #[test]
    fn a_forwarded_voter_advertises_its_address_among_the_voters() {
        let forwarded = "listeners=10.0.0.2:9092,CONTROLLER://:19093\n";
        let port = member(forwarded).expect_err("the ports differ");
        assert!(port.contains("voter 2, which is this broker, is at `b.example:9093`"), "{port}");
        let advertised = |address: &str| {
            member(&format!(
                "{forwarded}advertised.listeners=10.0.0.2:9092,CONTROLLER://{address}\n"
            ))
        };
        assert!(advertised("b.example:9093").is_ok());
        let contradiction = advertised("b.example:9094").expect_err("two addresses");
        assert!(contradiction.contains("write the same in both"), "{contradiction}");
    }

    #[test]
    fn what_a_cluster_needs_is_named_with_its_remedy() {
        for (text, expected) in [
            (format!("cluster.id=c\n{LISTENERS}{VOTERS_OF_THREE}"), "set `node.id` too"),
            (format!("node.id=2\n{LISTENERS}{VOTERS_OF_THREE}"), "set `cluster.id` too"),
            (
                format!("node.id=2\ncluster.id=c\n{VOTERS_OF_THREE}"),
                "such as CONTROLLER://0.0.0.0:9093",
            ),
            (LISTENERS.to_owned(), "name the brokers of the cluster in `controller.quorum.voters`"),
            ("default.replication.factor=3\n".to_owned(), "this one is alone; write 1, or"),
            (
                "advertised.listeners=a:1,CONTROLLER://a:2\n".to_owned(),
                "CONTROLLER is advertised and not listened on",
            ),
            ("process.roles=controller\n".to_owned(), "or write broker,controller"),
            ("process.roles=,\n".to_owned(), "no role is named"),
            (
                format!(
                    "process.roles=broker\nnode.id=2\ncluster.id=c\n{LISTENERS}{VOTERS_OF_THREE}"
                ),
                "2, is among the voters and no controller",
            ),
            ("listeners=CONTROLLER://a:9093\n".to_owned(), "no listener for clients is named"),
            ("process.roles=broker,zookeeper\n".to_owned(), "`zookeeper` is no role"),
            ("controller.listener.names=QUORUM\n".to_owned(), "is named CONTROLLER"),
            (
                "broker.session.timeout.ms=150\n".to_owned(),
                "`broker.session.timeout.ms`: 150 is less than twice `broker.heartbeat.interval.ms`",
            ),
            (
                "controller.quorum.heartbeat.interval.ms=200\n".to_owned(),
                "raise it, or lower `controller.quorum.heartbeat.interval.ms`",
            ),
        ] {
            let error = parse(&text).expect_err(&text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn voters_that_contradict_themselves_are_refused() {
        for (voters, expected) in [
            ("1@a:1,1@b:1", "voter 1 is named twice"),
            ("1@a:1,2@a:1", "voters 1 and 2 have the same address `a:1`"),
            ("a:1", "is not NODE.ID@HOST:PORT"),
            ("-1@a:1", "is not NODE.ID@HOST:PORT"),
            ("1@a", "is not NODE.ID@HOST:PORT"),
            ("1@0.0.0.0:1", "no address that another broker can connect to"),
            ("1@a:0", "no address that another broker can connect to"),
            (",", "no voter is named"),
        ] {
            let error = parse_voters(voters).expect_err(voters);
            assert!(error.contains(expected), "{voters}: {error}");
        }
    }
}
