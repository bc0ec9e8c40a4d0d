//! Pure Rust clients, unmodified: `highwater-interop rskafka|krafka|krafka-groups HOST:PORT TOPIC`.
//!
//! Prints `begin STEP`, then `ok STEP` or `FAILED STEP REASON`; `cargo xtask interop` reads them.

mod data;
mod krafka_groups;
mod with_krafka;
mod with_rskafka;

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, bail};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what| arguments.next().with_context(|| format!("missing argument: {what}"));
    let (client, bootstrap, topic) = (next("client")?, next("HOST:PORT")?, next("topic")?);
    let ran = match client.as_str() {
        "rskafka" => with_rskafka::run(&bootstrap, &topic).await,
        "krafka-groups" => krafka_groups::run(&bootstrap, &topic, &next("protocol")?).await,
        "krafka" => with_krafka::run(&bootstrap, &topic).await,
        other => bail!("unknown client {other}"),
    };
    if let Err(error) = ran {
        println!("FAILED connect {}", one_line(&error));
    }
    Ok(())
}

/// The longest a step may take: less than whoever runs this waits for it.
const STEP_LIMIT: Duration = Duration::from_secs(170);

/// Runs one step and prints how it ended; a failed step does not stop the others.
pub async fn step(name: &str, work: impl Future<Output = Result<()>>) {
    println!("begin {name}");
    let ended = tokio::time::timeout(STEP_LIMIT, work).await;
    match ended.unwrap_or_else(|_| bail!("not done within {} s", STEP_LIMIT.as_secs())) {
        Ok(()) => println!("ok {name}"),
        Err(error) => println!("FAILED {name} {}", one_line(&error)),
    }
}

fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}
