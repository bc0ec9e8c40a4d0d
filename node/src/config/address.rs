//! Network addresses in a configuration: where to listen, and what to tell clients.

use highwater_core::metadata::Endpoint;
use std::fmt;

/// A host and a port. The host is a name or an IP address without brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// A host name, an IPv4 address or an IPv6 address without brackets. Empty where Kafka's
    /// listener syntax leaves it out, which means every address.
    pub host: String,
    /// The port; 0 means one that the system picks.
    pub port: u16,
}

impl HostPort {
    /// A host and a port as they are.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// Reads `HOST:PORT`, `[V6]:PORT` or `:PORT`. The error says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || {
            "HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:9092 or [::1]:9092".to_owned()
        };
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(expected)?;
        let port = port.parse().map_err(|_| expected())?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or_else(expected)?,
            None if host.contains(':') => return Err(expected()),
            None => host,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if host.len() > 255 || !host.chars().all(plain) {
            return Err(expected());
        }
        Ok(Self::new(host, port))
    }

    /// The same as other brokers are told it.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { host: self.host.clone(), port: self.port }
    }

    /// Whether this means every address of the machine, which no client can connect to.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host.is_empty() || address.is_ok_and(|address| address.is_unspecified())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.as_str() {
            "" => write!(formatter, "0.0.0.0:{}", self.port),
            host if host.contains(':') => write!(formatter, "[{host}]:{}", self.port),
            host => write!(formatter, "{host}:{}", self.port),
        }
    }
}

/// The addresses of a listener list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// Of the listener PLAINTEXT, for clients.
    pub clients: Option<HostPort>,
    /// Of the listener CONTROLLER, for the other brokers.
    pub peers: Option<HostPort>,
}

/// Reads Kafka's listener list: `PLAINTEXT://HOST:PORT`, or a bare `HOST:PORT`, and
/// `CONTROLLER://HOST:PORT`. The error is a whole reason.
pub fn parse_listeners(text: &str) -> Result<Listeners, String> {
    let (mut clients, mut peers) = (None, None);
    for listener in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (place, address) = match listener.split_once("://") {
            None => (&mut clients, listener),
            Some((name, address)) if name.eq_ignore_ascii_case("PLAINTEXT") => {
                (&mut clients, address)
            }
            Some((name, address)) if name.eq_ignore_ascii_case(PEER_LISTENER) => {
                (&mut peers, address)
            }
            Some((name, _)) => {
                return Err(format!(
                    "listener `{name}` is not supported: only PLAINTEXT is, and CONTROLLER for \
                     the other brokers; write PLAINTEXT://HOST:PORT, and let a proxy or a private \
                     network give encryption"
                ));
            }
        };
        if place.is_some() {
            return Err(format!(
                "one listener for clients and one for brokers are served, and `{listener}` is a \
                 second one; keep the one that is used"
            ));
        }
        let parsed = HostPort::parse(address);
        *place = Some(parsed.map_err(|expected| format!("`{address}` is not {expected}"))?);
    }
    if clients.is_none() && peers.is_none() {
        return Err(NO_CLIENTS.to_owned());
    }
    Ok(Listeners { clients, peers })
}

/// What is wrong with a broker that clients cannot reach.
pub const NO_CLIENTS: &str = "no listener for clients is named; write PLAINTEXT://HOST:PORT";

/// The name of the listener for other brokers.
pub const PEER_LISTENER: &str = "CONTROLLER";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_alike() {
        for text in ["127.0.0.1:9092", "[::1]:0", "kafka-1.example:65535"] {
            assert_eq!(HostPort::parse(text).expect("valid").to_string(), text);
        }
        assert_eq!(HostPort::parse(":9092"), Ok(HostPort::new("", 9092)));
        for text in ["", "9092", "host", "host:", "host:70000", "::1:9092", "[::1:9", "a b:1"] {
            assert!(HostPort::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn wildcards_are_known() {
        for text in [":1", "0.0.0.0:1", "[::]:1", "[0:0:0:0:0:0:0:0]:1"] {
            assert!(HostPort::parse(text).expect("valid").is_wildcard(), "{text}");
        }
        assert!(!HostPort::parse("127.0.0.1:1").expect("valid").is_wildcard());
    }

    #[test]
    fn one_plaintext_listener_and_one_for_brokers_are_served() {
        let local = Some(HostPort::new("localhost", 9092));
        let alone = Listeners { clients: local.clone(), peers: None };
        assert_eq!(parse_listeners("PLAINTEXT://localhost:9092"), Ok(alone.clone()));
        assert_eq!(parse_listeners("localhost:9092"), Ok(alone));
        let peers = Some(HostPort::new("", 9093));
        let both = Listeners { clients: local, peers: peers.clone() };
        assert_eq!(parse_listeners("CONTROLLER://:9093,localhost:9092"), Ok(both));
        let controller = Listeners { clients: None, peers };
        assert_eq!(parse_listeners("CONTROLLER://:9093"), Ok(controller));
        let refused = |text| parse_listeners(text).expect_err("refused");
        assert!(refused("SSL://a:1").contains("only PLAINTEXT"));
        assert!(refused("PLAINTEXT://a:1,b:2").contains("second"));
        assert!(refused("a:1,CONTROLLER://a:2,CONTROLLER://a:3").contains("second"));
        assert!(refused("PLAINTEXT://a").contains("HOST:PORT"));
        assert!(refused("").contains("no listener"));
    }
}
