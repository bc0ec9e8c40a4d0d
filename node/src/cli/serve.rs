//! `highwater serve`: the broker with the doors of this machine, until it is told to stop.
//!
//! A disk that fails takes partitions offline and not the broker: it goes on serving the others.

use super::{arguments::Serve, doors::doors_for, logging, settings_of};
use crate::admin::{self, Progress};
use anyhow::Context;
use highwater_node::{
    config::{BrokerConfig, Settings},
    env::OsDisk,
    server::Broker,
};
use std::{future, pin::pin, sync::Arc};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

/// Runs a broker until SIGTERM or SIGINT.
pub async fn run(arguments: Serve) -> anyhow::Result<()> {
    let config = config(&arguments).await?;
    logging::start(arguments.log_format)?;
    logging::abort_on_panic();
    // Before anything is opened, so that an early signal ends it as cleanly as a late one.
    let mut signals = Signals::new()?;
    let admin_listener = match &config.admin_listen {
        None => None,
        Some(address) => {
            let bound = TcpListener::bind(address.to_string()).await;
            let hint = || {
                format!(
                    "cannot listen on {address} for health and metrics; choose another with \
                         --admin HOST:PORT, or none with --admin none"
                )
            };
            Some(bound.with_context(hint)?)
        }
    };
    let disk = OsDisk::new().context("cannot start the I/O threads")?;
    let doors = doors_for(&config, Arc::new(disk));
    let progress = Arc::new(Progress::default());
    let mut probes = pin!(admin::serve(admin_listener, progress.clone()));
    let broker = tokio::select! {
        biased;
        started = Broker::start(config, doors) => Arc::new(started?),
        // Nothing was acknowledged yet, and recovery repeats what it did: stopping is safe.
        () = signals.stop() => return Ok(()),
        failed = &mut probes => return failed,
    };
    progress.started(broker.clone());
    let outcome = tokio::select! {
        biased;
        () = signals.stop() => Ok(()),
        failed = &mut probes => failed,
        // Not even a clean shutdown is of use: this process is not the broker any more.
        reason = broker.failed() => anyhow::bail!("the broker cannot go on: {reason}"),
    };
    progress.stops();
    tracing::info!("shutting down");
    tokio::select! {
        biased;
        _ = broker.shutdown() => {}
        // A second signal does not wait: what was acknowledged is on disk already.
        () = signals.stop() => tracing::warn!("stopped before the shutdown was clean"),
        () = answer(probes, outcome.is_ok()) => {}
    }
    outcome
}

/// Answers probes to the end, unless that has failed already. Never completes.
async fn answer(probes: impl Future<Output = anyhow::Result<()>>, they_are_answered: bool) {
    if they_are_answered && let Err(error) = probes.await {
        tracing::warn!("{error:#}");
    }
    future::pending().await
}

/// The configuration of the file under the options.
async fn config(arguments: &Serve) -> anyhow::Result<BrokerConfig> {
    let mut settings = match &arguments.config {
        Some(file) => settings_of(file).await?,
        None => Settings::new(),
    };
    for (option, key, value) in [
        ("--data", "log.dirs", &arguments.data),
        ("--listen", "listeners", &arguments.listen),
        ("--advertise", "advertised.listeners", &arguments.advertise),
        ("--admin", "admin.listen", &arguments.admin),
    ] {
        if let Some(value) = value {
            settings.set(key, value, option);
        }
    }
    Ok(settings.build()?)
}

/// The signals that ask for a clean end.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on, signals no longer end the process by themselves.
    pub fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Completes at the next signal.
    pub async fn stop(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
