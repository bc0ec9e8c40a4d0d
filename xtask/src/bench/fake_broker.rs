//! A broker for tests of the load generator: it acknowledges everything and keeps nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub struct FakeBroker {
    pub address: SocketAddr,
    requests: Arc<AtomicU64>,
}

impl FakeBroker {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || serve(stream, &counter));
            }
        });
        Self { address, requests }
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Answers every frame as a produce of topic `t`, partition 0, base offset 7.
fn serve(mut stream: TcpStream, requests: &AtomicU64) {
    let mut length = [0; 4];
    while stream.read_exact(&mut length).is_ok() {
        let mut frame = vec![0; i32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame).unwrap();
        requests.fetch_add(1, Ordering::SeqCst);
        let mut answer = frame[4..8].to_vec();
        answer.extend([0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        answer.extend(7_i64.to_be_bytes());
        let mut bytes = (answer.len() as i32).to_be_bytes().to_vec();
        bytes.extend(answer);
        stream.write_all(&bytes).unwrap();
    }
}
