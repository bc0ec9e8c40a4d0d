//! Health and metrics over HTTP, for probes and Prometheus. It needs no password and changes
//! nothing, so it listens on a private address.

use anyhow::Context;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use highwater_node::server::Broker;
use std::{future, sync::Arc};
use tokio::net::TcpListener;

/// Prometheus' own text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until it fails; for ever without a listener.
pub async fn serve(listener: Option<TcpListener>, broker: Arc<Broker>) -> anyhow::Result<()> {
    let Some(listener) = listener else { return future::pending().await };
    axum::serve(listener, routes(broker)).await.context("health and metrics are gone")
}

fn routes(broker: Arc<Broker>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/metrics/offsets", get(offsets))
        .with_state(broker)
}

async fn ready(State(broker): State<Arc<Broker>>) -> Response {
    if broker.ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready for clients\n").into_response()
    }
}

async fn metrics(State(broker): State<Arc<Broker>>) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], broker.metrics().render()).into_response()
}

/// Apart from the other metrics: it asks every coordinator, and is as long as there are partitions.
async fn offsets(State(broker): State<Arc<Broker>>) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], broker.offsets().await.render()).into_response()
}
