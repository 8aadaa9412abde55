//! What each path answers: a pure function of the request's method and path, the metrics and the health.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};

use crate::health::{Health, Readiness};
use crate::metrics::Metrics;
use crate::visible;

pub(super) type Body = Full<Bytes>;

/// The answer to a request. For HEAD the server leaves the body out.
pub(super) fn answer(method: &Method, path: &str, metrics: &Metrics, health: &Health) -> Response<Body> {
    if ![Method::GET, Method::HEAD].contains(method) {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match path {
        "/metrics" => exposition(metrics.render()),
        "/healthz" => text(StatusCode::OK, "alive\n".to_owned()),
        "/readyz" => ready(health.readiness()),
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n".to_owned()),
    }
}

fn ready(readiness: Readiness) -> Response<Body> {
    match readiness {
        Readiness::Starting => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned()),
        Readiness::Ready { notes } => text(StatusCode::OK, format!("ready\n{}", lines(&notes))),
        Readiness::Unready { lines: missing } => text(StatusCode::SERVICE_UNAVAILABLE, lines(&missing)),
    }
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{}\n", visible::text(line))).collect()
}

fn exposition(body: String) -> Response<Body> {
    with_type("text/plain; version=0.0.4; charset=utf-8", body)
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    let mut response = with_type("text/plain; charset=utf-8", body);
    *response.status_mut() = status;
    response
}

fn with_type(content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Full::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
