//! Delivers webhook requests: URLs and headers are checked, addresses are judged by the guard against request forgery when a
//! connection is made, endpoints are kept apart, and every answer becomes an outcome.

mod address_policy;
mod coalesced;
mod connector;
mod endpoints;
mod outcome;
mod payload;
mod preflight;
mod quote;
mod resolve;
mod retry_after;
mod sender;
mod settings;
mod signature;
mod special;
mod target_url;
mod tls;

pub use address_policy::{AddressPolicy, BadNetworks, ForbiddenAddress};
pub use endpoints::{BadEndpoints, Breaking, Concurrency, EndpointGroups, Endpoints};
pub use payload::{BODY_MAX_BYTES, HEADERS_MAX, HEADERS_MAX_BYTES, check_task};
pub use preflight::{AllPrivate, TASKS_JUDGED, judge_first_tasks};
pub use resolve::{Boxed, Resolve, SystemResolver};
pub use retry_after::RETRY_AFTER_MAX;
pub use sender::{ANSWER_MAX_BYTES, AttemptLimits, HttpSender, SenderParts};
pub use settings::SenderSettings;
pub use signature::{BadSecret, SigningSecret};
pub use target_url::TargetUrl;
pub use tls::{TlsError, client_config};
