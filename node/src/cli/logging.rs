//! The broker's own log, on standard error, and what happens when we are wrong.

use super::arguments::Format;
use std::{backtrace::Backtrace, io, panic};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// What is logged, unless this says otherwise.
const FILTER_VARIABLE: &str = "HIGHWATER_LOG";

/// What is logged unless chosen otherwise. The consensus crate reports each of its steps at info, and
/// each message to a voter that is down at warn, many times a second.
const FILTER_DEFAULT: &str = "info,openraft=warn,openraft::core::heartbeat=error,\
    openraft::replication=error,openraft::engine::handler::replication_handler=error";

/// Starts logging to standard error.
pub fn start(format: Format) -> anyhow::Result<()> {
    let chosen = std::env::var(FILTER_VARIABLE).unwrap_or_else(|_| FILTER_DEFAULT.to_owned());
    let filter = EnvFilter::try_new(&chosen)
        .map_err(|error| anyhow::anyhow!("{FILTER_VARIABLE}={chosen:?}: {error}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(io::stderr);
    match format {
        Format::Human => {
            registry.with(layer.with_ansi(io::IsTerminal::is_terminal(&io::stderr()))).init()
        }
        Format::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
    Ok(())
}

/// Makes every panic end the process: it is a bug of ours, and a broker that goes on after one
/// could acknowledge what it did not store. What was flushed is safe; a restart recovers it.
pub fn abort_on_panic() {
    panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a panic without a message");
        let place = panic.location().map(ToString::to_string);
        let backtrace = Backtrace::force_capture();
        tracing::error!(place, %backtrace, "bug: {message}; the broker stops");
        std::process::abort();
    }));
}
