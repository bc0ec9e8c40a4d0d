//! Ports for nodes that have to know each other's before they listen.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Below those that the kernel gives to whoever asks for any: another test could get one of them
/// before its node listens.
const PORTS: std::ops::Range<u16> = 12_000..21_000;

/// How many were looked at by this process.
static LOOKED_AT: AtomicUsize = AtomicUsize::new(0);

/// Ports on which nobody listens, and that no other test of this process gets.
pub fn free_ports<const N: usize>() -> [u16; N] {
    // Two processes at the same time begin at different ones.
    let begin = std::process::id() as usize * 61;
    let free = || {
        let nth = begin + LOOKED_AT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + (nth % PORTS.len()) as u16;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(port)
    };
    [(); N].map(|()| (0..PORTS.len()).find_map(|_| free()).expect("a free port"))
}
