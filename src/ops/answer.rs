//! Answers requests: a pure function of method, address, metrics and health. Only pages that read the ledger first
//! are left to `page`.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Method, Response, StatusCode, Uri};

use super::page::asked::{self, Asked, Wrong};
use super::page::layout::Asset;
use crate::health::{Health, Readiness};
use crate::metrics::Metrics;
use crate::visible;

pub(super) type Body = Full<Bytes>;

/// Action for a request.
pub(super) enum Route {
    /// Send this answer. For HEAD the server leaves out the body.
    Done(Response<Body>),
    /// A page, for which the ledger must be read.
    Page(Asked),
    /// A page that explains an invalid request.
    Wrong(Wrong),
}

/// Content security policy of the pages: no content but our own style, script, icon and data.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Holds for every answer.
const ALWAYS: [(HeaderName, &str); 4] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
];

/// Paths for programs, which may use any host name.
pub(super) const PROBES: [&str; 3] = ["/metrics", "/healthz", "/readyz"];

pub(super) fn route(method: &Method, uri: &Uri, metrics: &Metrics, health: &Health) -> Route {
    if ![Method::GET, Method::HEAD].contains(method) {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Route::Done(refusal);
    }
    match uri.path() {
        "/metrics" => Route::Done(exposition(metrics.render())),
        "/healthz" => Route::Done(text(StatusCode::OK, "alive\n".to_owned())),
        "/readyz" => Route::Done(ready(health.readiness())),
        path => match Asset::all().into_iter().find(|asset| asset.path == path) {
            Some(asset) => Route::Done(file(asset, uri)),
            None => match asked::read(path, uri.query().unwrap_or_default()) {
                Ok(asked) => Route::Page(asked),
                Err(wrong) => Route::Wrong(wrong),
            },
        },
    }
}

/// Returns the answer with a page.
pub(super) fn page((status, html): (StatusCode, String)) -> Response<Body> {
    let mut response = with_type("text/html; charset=utf-8", html);
    *response.status_mut() = status;
    response
}

/// Returns the answer with a file. By the address in the pages it may be cached forever; by another address it may
/// belong to another version.
fn file(asset: &'static Asset, uri: &Uri) -> Response<Body> {
    let mut response = with_type(asset.content_type, asset.body);
    if uri.path_and_query().is_some_and(|address| address.as_str() == asset.address()) {
        let ever = HeaderValue::from_static("public, max-age=31536000, immutable");
        response.headers_mut().insert(CACHE_CONTROL, ever);
    }
    response
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

pub(super) fn text(status: StatusCode, body: String) -> Response<Body> {
    let mut response = with_type("text/plain; charset=utf-8", body);
    *response.status_mut() = status;
    response
}

fn with_type(content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(ALWAYS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}
