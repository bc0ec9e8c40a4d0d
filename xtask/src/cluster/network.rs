//! Where the nodes and their clients live: network namespaces behind one bridge, or the loopback
//! interface.
//!
//! Every namespace is ours, the one with the bridge as well, so that no address and no link of
//! the machine can be in the way. A direction is cut by telling the sender that the receiver has
//! a hardware address that nobody has: frames leave and vanish, as in a broken switch. That needs
//! no packet filter in the kernel.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail, ensure};

use super::guard::Guard;

/// The addresses of the namespaces; the range is for tests of networks (RFC 2544).
const SUBNET: [u8; 3] = [198, 18, 0];

/// The last part of the clients' address.
const CLIENTS: u8 = 200;

/// The hardware address that nobody has.
const NOBODY: &str = "02:00:00:00:00:ff";

/// Ports for nodes on the loopback interface: below those that the kernel gives to connections,
/// or a client could sit on the port of a node that is down.
const LOOPBACK_PORTS: std::ops::Range<u16> = 21_000..32_000;

/// How many of them were looked at by this process.
static LOOKED_AT: AtomicUsize = AtomicUsize::new(0);

/// Ports on which nobody listens, and that nobody else of this process gets.
///
/// # Errors
///
/// When there are not enough.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    let length = LOOPBACK_PORTS.len();
    // Two runs at the same time begin to look at different ports.
    let begin = std::process::id() as usize * 31;
    let next = || (begin + LOOKED_AT.fetch_add(1, Ordering::Relaxed)) % length;
    let free = (0..length)
        .map(|_| LOOPBACK_PORTS.start + next() as u16)
        .filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    let ports: Vec<u16> = free.take(count).collect();
    ensure!(ports.len() == count, "no free ports on the loopback interface");
    Ok(ports)
}

/// What a node listens for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    Client = 0,
    Controller = 1,
    Admin = 2,
}

const PORTS: usize = 3;

/// Somebody with a network of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A node, counted from 0.
    Node(usize),
    /// All the clients.
    Clients,
}

/// The network of a cluster.
pub enum Network {
    /// Everybody on 127.0.0.1, with these ports, [`PORTS`] for each node.
    Loopback(Vec<u16>),
    /// Everybody in a namespace whose name begins like this.
    Namespaces(String),
}

impl Network {
    /// Free ports of the loopback interface.
    ///
    /// # Errors
    ///
    /// When there are not enough.
    pub fn loopback(nodes: usize) -> Result<Self> {
        Ok(Self::Loopback(free_ports(nodes * PORTS)?))
    }

    /// A namespace for each node, one for the clients and one for the bridge between them.
    ///
    /// # Errors
    ///
    /// Where `ip` is missing or does not permit it; the guard then removes what was made.
    pub fn namespaces(nodes: usize, guard: &mut Guard) -> Result<Self> {
        let prefix = format!("highwater-{}", std::process::id());
        let network = Self::Namespaces(prefix.clone());
        let bridge = format!("{prefix}-bridge");
        add_namespace(&bridge, guard)?;
        ip(&["-n", &bridge, "link", "add", "bridge0", "type", "bridge"])?;
        ip(&["-n", &bridge, "link", "set", "bridge0", "up"])?;
        for place in (0..nodes).map(Place::Node).chain([Place::Clients]) {
            let name = network.name(place).context("a namespace has a name")?;
            add_namespace(&name, guard)?;
            let number = host(place).to_string();
            let port = format!("port{number}");
            let peer = ["peer", "name", "eth0", "netns", &name];
            let link = ["link", "add", &port, "netns", &bridge, "type", "veth"];
            ip(&[&link[..], &peer[..]].concat())?;
            ip(&["-n", &bridge, "link", "set", &port, "master", "bridge0"])?;
            ip(&["-n", &bridge, "link", "set", &port, "up"])?;
            let address = format!("{}/24", network.address(place));
            ip(&["-n", &name, "address", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
        }
        Ok(network)
    }

    /// Whether links can be cut.
    pub fn can_be_cut(&self) -> bool {
        matches!(self, Self::Namespaces(_))
    }

    /// Where a node listens.
    pub fn endpoint(&self, node: usize, port: Port) -> SocketAddr {
        let number = match self {
            Self::Loopback(ports) => ports[node * PORTS + port as usize],
            Self::Namespaces(_) => [9092, 19_092, 9644][port as usize],
        };
        SocketAddr::new(self.address(Place::Node(node)), number)
    }

    /// A command that runs `program` there, as the process that is spawned.
    pub fn command(&self, place: Place, program: &Path) -> Command {
        match self.name(place) {
            None => Command::new(program),
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &name]).arg(program);
                command
            }
        }
    }

    /// What `from` sends to `to` is lost from now on.
    pub fn cut(&self, from: Place, to: Place) -> Result<()> {
        let (name, address) = (self.cut_name(from)?, self.address(to).to_string());
        let entry = ["neigh", "replace", &address, "lladdr", NOBODY, "dev", "eth0"];
        ip(&[&["-n", &name], &entry[..], &["nud", "permanent"]].concat())
    }

    /// Undoes [`Network::cut`].
    pub fn mend(&self, from: Place, to: Place) -> Result<()> {
        let (name, address) = (self.cut_name(from)?, self.address(to).to_string());
        ip(&["-n", &name, "neigh", "del", &address, "dev", "eth0"])
    }

    /// Takes a node's link down, which the node can see, or up again.
    pub fn set_link(&self, place: Place, up: bool) -> Result<()> {
        let name = self.cut_name(place)?;
        ip(&["-n", &name, "link", "set", "eth0", if up { "up" } else { "down" }])
    }

    fn cut_name(&self, place: Place) -> Result<String> {
        self.name(place).context("the loopback interface cannot be cut")
    }

    fn name(&self, place: Place) -> Option<String> {
        match (self, place) {
            (Self::Loopback(_), _) => None,
            (Self::Namespaces(prefix), Place::Clients) => Some(format!("{prefix}-clients")),
            (Self::Namespaces(prefix), Place::Node(node)) => {
                Some(format!("{prefix}-node-{}", node + 1))
            }
        }
    }

    fn address(&self, place: Place) -> IpAddr {
        let [a, b, c] = SUBNET;
        match self {
            Self::Loopback(_) => Ipv4Addr::LOCALHOST.into(),
            Self::Namespaces(_) => Ipv4Addr::new(a, b, c, host(place)).into(),
        }
    }
}

fn host(place: Place) -> u8 {
    match place {
        Place::Node(node) => u8::try_from(node + 1).expect("a cluster has few nodes"),
        Place::Clients => CLIENTS,
    }
}

fn add_namespace(name: &str, guard: &mut Guard) -> Result<()> {
    guard.namespace(name);
    ip(&["netns", "add", name])
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("cannot start ip")?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    bail!("ip {}: {}", arguments.join(" "), words.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listener_on_loopback_has_a_port_of_its_own() {
        let network = Network::loopback(3).unwrap();
        let mut endpoints: Vec<SocketAddr> = (0..3)
            .flat_map(|node| [Port::Client, Port::Controller, Port::Admin].map(|p| (node, p)))
            .map(|(node, port)| network.endpoint(node, port))
            .collect();
        endpoints.sort();
        endpoints.dedup();
        assert_eq!(endpoints.len(), 9);
        assert!(network.cut(Place::Node(0), Place::Clients).is_err());
    }

    #[test]
    fn nodes_in_namespaces_differ_by_address() {
        let network = Network::Namespaces("n".into());
        let endpoint = network.endpoint(2, Port::Controller).to_string();
        assert_eq!(endpoint, "198.18.0.3:19092");
    }
}
