//! The configuration as a whole: what is taken, and the message of everything that is not.

use super::*;
use highwater_core::config::ConfigLayers;

fn parse(text: &str) -> BrokerConfig {
    BrokerConfig::parse(text, "broker.toml").expect("it is valid")
}

fn errors(text: &str, file: &str) -> String {
    BrokerConfig::parse(text, file).expect_err("it is refused").to_string()
}

#[test]
fn without_settings_it_is_one_local_broker() {
    let config = BrokerConfig::default();
    assert_eq!(config.node_id, BrokerId(1));
    assert_eq!(config.listen, Some(HostPort::new("127.0.0.1", 9092)));
    assert_eq!(config.advertised, config.listen);
    assert_eq!(config.admin_listen, Some(HostPort::new("127.0.0.1", 9644)));
    assert_eq!(config.data_dir, PathBuf::from("highwater-data"));
    assert_eq!(config.queued_max_request_bytes, 24 << 20);
    assert_eq!(config.socket_request_max_bytes, config.queued_max_request_bytes);
    assert_eq!(config.connections_max_idle, Some(Duration::from_secs(600)));
    assert!(config.auto_create_topics && config.delete_topics);
    assert!(config.static_configs().is_empty());
}

#[test]
fn kafkas_names_and_our_tables_say_the_same() {
    let kafka = parse(
        "node.id = 3\nlisteners = \"PLAINTEXT://10.0.0.3:9093\"\nlog.dirs = \"/data\"\n\
         log.retention.ms = 1000\nqueued.max.request.bytes = \"8 MiB\"\n",
    );
    let ours = parse(
        "listen = \"10.0.0.3:9093\"\ndata = \"/data\"\n[node]\nid = 3\n[log.retention]\nms = \"1s\"\n\
         [queued.max.request]\nbytes = 8_388_608\n",
    );
    for config in [&kafka, &ours] {
        assert_eq!(config.node_id, BrokerId(3));
        assert_eq!(config.listen.as_ref().expect("given").to_string(), "10.0.0.3:9093");
        assert_eq!(config.data_dir, PathBuf::from("/data"));
        assert_eq!(config.static_configs()["log.retention.ms"], "1000");
        assert_eq!(config.queued_max_request_bytes, 8 << 20);
    }
}

#[test]
fn a_kafka_server_properties_file_is_read() {
    let text = "# The node id\nnode.id=7\nlisteners=PLAINTEXT://localhost:9092\n\
                log.dirs=/var/lib/highwater\nnum.network.threads=3\nlog.retention.hours=24\n\
                log.segment.bytes=1048576\nauto.create.topics.enable=false\n";
    let config = BrokerConfig::parse(text, "server.properties").expect("it is valid");
    assert_eq!(config.node_id, BrokerId(7));
    assert!(!config.auto_create_topics);
    let set = config.static_configs();
    let layers = ConfigLayers { static_broker: Some(&set), ..Default::default() };
    let topic = layers.effective().expect("it was checked");
    assert_eq!(topic.retention, Some(Duration::from_secs(86_400)));
    assert_eq!(topic.segment_bytes, 1 << 20);
}

#[test]
fn what_is_wrong_is_named_with_file_line_key_and_remedy() {
    for (text, expected) in [
        (
            "node.id = 1\nlog.retentoin.ms = 5\n",
            "broker.toml:2: unknown key `log.retentoin.ms`; did you mean `log.retention.ms`?",
        ),
        (
            "zookeeper.connect = \"localhost\"\n",
            "broker.toml:1: unknown key `zookeeper.connect`; docs/configuration.md lists every key",
        ),
        (
            "node.id = \"one\"\n",
            "broker.toml:1: `node.id` is \"one\", expected a number from 0 to 2147483647",
        ),
        (
            "\n\nnum.partitions = 0\n",
            "broker.toml:3: `num.partitions` is 0, expected a number from 1 to 10000",
        ),
        (
            "auto.create.topics.enable = 1\n",
            "broker.toml:1: `auto.create.topics.enable` is 1, expected true or false",
        ),
        (
            "[log]\nsegment.bytes = 10\n",
            "broker.toml:2: `log.segment.bytes` is 10, expected an integer of at least 1024",
        ),
        (
            "log.message.timestamp.type = \"Never\"\n",
            "broker.toml:1: `log.message.timestamp.type` is \"Never\", expected CreateTime or \
             LogAppendTime",
        ),
        (
            "log.retention.ms = 1979-05-27\n",
            "broker.toml:1: `log.retention.ms` is a TOML datetime, expected -1 (unlimited) or an \
             integer of at least 0",
        ),
        (
            "log.dir = \"a\"\ndata = \"b\"\n",
            "broker.toml:2: `log.dir` was already set at broker.toml:1; keep one of the two",
        ),
        (
            "log.dirs = [\"/a\", \"/b\"]\n",
            "broker.toml:1: `log.dirs`: one data directory is used, and `/b` is a second one; keep \
             one, on a volume that spans the disks",
        ),
        (
            "listeners = \"SASL_SSL://localhost:9092\"\n",
            "broker.toml:1: `listeners`: listener `SASL_SSL` is not supported: only PLAINTEXT is, and \
             CONTROLLER for the other brokers; write PLAINTEXT://HOST:PORT, and let a proxy or a \
             private network give encryption",
        ),
        (
            "listeners = \"PLAINTEXT://0.0.0.0:9092\"\n",
            "broker.toml:1: `listeners`: `0.0.0.0:9092` is every address of this machine, and no \
             client can connect to that; set `advertised.listeners` (or --advertise) to the name \
             or address under which clients reach this broker, such as \
             PLAINTEXT://kafka.example.com:9092",
        ),
        (
            "listeners = \"[::]:9092\"\nadvertised.listeners = \"0.0.0.0:9092\"\n",
            "broker.toml:2: `advertised.listeners`: `0.0.0.0:9092` is every address of a machine, \
             and no client can connect to that; write the name or address under which clients \
             reach this broker",
        ),
        (
            "cluster.id = \"a b\"\n",
            "broker.toml:1: `cluster.id`: use 1 to 64 letters, digits, `-`, `_` or `=`",
        ),
        (
            "admin.listen = \"9644\"\n",
            "broker.toml:1: `admin.listen`: `9644` is not HOST:PORT with a port from 0 to 65535, \
             such as 127.0.0.1:9092 or [::1]:9092",
        ),
        (
            "default.replication.factor = 3\n",
            "broker.toml:1: `default.replication.factor`: 3 replicas need as many brokers, and this \
             one is alone; write 1, or name the brokers of the cluster in \
             `controller.quorum.voters`",
        ),
    ] {
        assert_eq!(errors(text, "broker.toml"), expected, "for {text:?}");
    }
}

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    let all = errors("node.id=x\nfoo=1\nnum.partitions=-1\n", "server.properties");
    let lines: Vec<_> = all.lines().map(|line| &line[..20]).collect();
    assert_eq!(lines, ["server.properties:1:", "server.properties:2:", "server.properties:3:"]);
}

#[test]
fn an_option_wins_over_the_file_and_names_itself_when_it_is_wrong() {
    let mut settings = Settings::new();
    settings.read("listen = \"0.0.0.0:1\"\n", "broker.toml");
    settings.set("listeners", "127.0.0.1:0", "--listen");
    let config = settings.build().expect("the option replaced the wildcard");
    assert_eq!(config.listen.as_ref().expect("given").to_string(), "127.0.0.1:0");

    let mut settings = Settings::new();
    settings.set("listeners", "nonsense", "--listen");
    let error = settings.build().expect_err("no address").to_string();
    assert!(error.starts_with("--listen: `listeners`: `nonsense` is not HOST:PORT"), "{error}");
}

#[test]
fn a_wildcard_with_an_advertised_address_is_served() {
    let config = parse("listeners = \":9092\"\nadvertised.listeners = \"kafka.example:9092\"\n");
    assert!(config.listen.as_ref().expect("given").is_wildcard());
    assert_eq!(config.advertised.as_ref().expect("given").to_string(), "kafka.example:9092");
}

#[test]
fn entries_tell_value_and_origin() {
    let config = parse("\nlog.retention.hours = 1\n");
    let entry = |name| config.entries().find(|entry| entry.name == name).expect("a known key");
    assert_eq!(entry("log.retention.hours").value.as_deref(), Some("1"));
    assert_eq!(entry("log.retention.hours").origin.to_string(), "broker.toml:2");
    assert_eq!(entry("num.partitions").value.as_deref(), Some("1"));
    assert_eq!(entry("num.partitions").origin, Origin::Default);
    assert_eq!(entry("broker.rack").value, None);
}

#[test]
fn every_key_has_one_row_a_good_default_and_a_sentence() {
    let mut names = std::collections::BTreeSet::new();
    for key in keys() {
        for name in [key.name].iter().chain(key.aliases) {
            assert!(names.insert(*name), "{name} is in two rows");
        }
        assert!(key.doc.ends_with('.'), "{} has no sentence", key.name);
        if !key.default.is_empty() {
            let checked = check(&key, &Raw::Text(key.default.to_owned()));
            assert!(checked.is_ok(), "the default of {}: {checked:?}", key.name);
        }
    }
}

/// Prints the table of docs/configuration.md: `cargo test -p highwater-node row_for_every_key -- --nocapture`.
#[test]
fn the_documentation_has_a_row_for_every_key() {
    let documentation = include_str!("../../../docs/configuration.md");
    let mut table = String::from("| Key | Value | Default | What it does |\n|---|---|---|---|\n");
    for key in keys() {
        let default = Some(key.default).filter(|default| !default.is_empty());
        let default = default.map_or("none".to_owned(), |default| format!("`{default}`"));
        let aliases = key.aliases.iter().map(|alias| format!(" Also `{alias}`."));
        let aliases: String = aliases.collect();
        let row = format!(
            "| `{}` | {} | {default} | {}{aliases} |\n",
            key.name,
            key.kind.expected(),
            key.doc
        );
        table.push_str(&row);
    }
    println!("{table}");
    assert!(documentation.contains(&table), "put the table printed above into the page");
}
