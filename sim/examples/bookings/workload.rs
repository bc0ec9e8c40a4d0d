//! The application: every process books orders and tells each customer how it went.

use highwater_node::env::BoxFuture;
use highwater_sim::lab::{CallError, Process, Workload};
use std::time::Duration;

const TOPIC: &str = "bookings";

pub struct Bookings;

impl Workload for Bookings {
    fn name(&self) -> &str {
        "bookings"
    }

    fn run(&self, mut process: Process) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            for number in 0.. {
                let pause = process.dice().between(5..=50);
                process.sleep(Duration::from_millis(pause)).await;
                if process.is_stopping() {
                    return;
                }
                let Ok(mut client) = process.client().await else { continue };
                if client.create_topic(TOPIC, 1).await.is_ok() {
                    let order = format!("{}-{number}", process.number());
                    let sent = client.send(TOPIC, 0, None, order.as_bytes()).await;
                    process.observe(if sent.is_ok() { "booked" } else { "refused" }, order);
                }
            }
        })
    }

    fn finish(&self, process: Process) -> BoxFuture<'static, Result<(), CallError>> {
        Box::pin(async move {
            let mut client = process.client().await?;
            client.create_topic(TOPIC, 1).await?;
            let mut next = 0;
            loop {
                let read = client.read(TOPIC, 0, next).await?;
                let Some(last) = read.last() else { return Ok(()) };
                next = last.offset + 1;
                for order in read.iter().filter_map(|message| message.value.as_ref()) {
                    process.observe("found", String::from_utf8_lossy(order));
                }
            }
        })
    }
}
