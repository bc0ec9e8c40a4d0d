//! Health and metrics over HTTP, for probes and Prometheus. It needs no password and changes
//! nothing, so it listens on a private address.
//!
//! It answers for as long as the process lives: a probe must not take a node for dead that recovers a
//! long log, waits for its quorum, or hands over what it leads.

use anyhow::Context;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use highwater_node::server::Broker;
use std::{
    future,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::net::TcpListener;

/// Prometheus' own text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How far the process has come.
#[derive(Default)]
pub struct Progress {
    broker: OnceLock<Arc<Broker>>,
    stops: AtomicBool,
}

impl Progress {
    /// The broker has started.
    pub fn started(&self, broker: Arc<Broker>) {
        assert!(self.broker.set(broker).is_ok(), "a process starts one broker");
    }

    /// The process was told to stop.
    pub fn stops(&self) {
        self.stops.store(true, Ordering::Release);
    }
}

/// Serves until it fails; for ever without a listener.
pub async fn serve(listener: Option<TcpListener>, progress: Arc<Progress>) -> anyhow::Result<()> {
    let Some(listener) = listener else { return future::pending().await };
    axum::serve(listener, routes(progress)).await.context("health and metrics are gone")
}

fn routes(progress: Arc<Progress>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/metrics/offsets", get(offsets))
        .with_state(progress)
}

async fn ready(State(progress): State<Arc<Progress>>) -> Response {
    match progress.broker.get() {
        None => unavailable("starting\n"),
        Some(_) if progress.stops.load(Ordering::Acquire) => unavailable("stopping\n"),
        Some(broker) if broker.ready() => "ready\n".into_response(),
        Some(_) => unavailable("not ready for clients\n"),
    }
}

async fn metrics(State(progress): State<Arc<Progress>>) -> Response {
    match progress.broker.get() {
        Some(broker) => prometheus(broker.metrics().render()),
        None => unavailable("starting\n"),
    }
}

/// Apart from the other metrics: it asks every coordinator, and is as long as there are partitions.
async fn offsets(State(progress): State<Arc<Progress>>) -> Response {
    match progress.broker.get() {
        Some(broker) => prometheus(broker.offsets().await.render()),
        None => unavailable("starting\n"),
    }
}

fn prometheus(text: String) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

fn unavailable(why: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}
