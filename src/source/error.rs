//! Errors of the bucket, and whether they are temporary.

use std::io;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectError;
use tokio::task::JoinError;

use super::client::Bucket;

/// An error of the Source. None of them is the file's fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot reach the bucket {bucket} at {endpoint}: {what}")]
    Unreachable { bucket: String, endpoint: String, what: String },
    /// A wrong name, key or permission, which waiting does not fix.
    #[error("the bucket {bucket} at {endpoint} refuses: {what}. {hint}")]
    Refused { bucket: String, endpoint: String, what: String, hint: &'static str },
    /// Failure of one object, while others can be read.
    #[error("{key}: cannot be read: {what}")]
    Object { key: String, what: String },
    #[error(
        "cannot read the certificates of the authorities that this machine trusts: {0}. Install the package ca-certificates, or set SSL_CERT_FILE"
    )]
    Authorities(String),
    #[error("{key}: changed since it was listed")]
    Changed { key: String },
    #[error("{key}: deleted since it was listed")]
    Gone { key: String },
    #[error("{key}: the connection was cut at byte {at}: {what}")]
    Cut { key: String, at: u64, what: String },
    #[error("{key}: the body ended after {received} of {expected} bytes")]
    Short { key: String, received: u64, expected: u64 },
    #[error("{key}: no byte for {seconds} s")]
    Stalled { key: String, seconds: u64 },
    #[error("cannot read the file to put: {0}")]
    Unreadable(String),
    #[error("no room to sort the listing in: {0}")]
    Spill(io::Error),
    #[error("the listing is not in key order")]
    Unordered,
    #[error("the listing goes round in a circle: a continuation token or a page came twice")]
    Circle,
}

/// Returns the error of an object's GET.
pub(super) fn of_object(error: SdkError<GetObjectError>, bucket: &Bucket, key: &str) -> Error {
    let status = error.raw_response().map(|response| response.status().as_u16());
    match (status, error.code()) {
        (Some(412), _) => Error::Changed { key: key.to_owned() },
        (Some(404), code) if code != Some("NoSuchBucket") => Error::Gone { key: key.to_owned() },
        (Some(404), _) => of_bucket(error, bucket),
        _ => Error::Object { key: key.to_owned(), what: describe(&error) },
    }
}

/// Returns the error of any other request.
pub(super) fn of_bucket<E>(error: SdkError<E>, bucket: &Bucket) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let what = describe(&error);
    let (name, endpoint) = (bucket.name.clone(), bucket.endpoint.clone());
    match hint(status, error.code()) {
        // who keeps them may have changed them, and we ask again soon
        Some(CREDENTIALS) if bucket.rotates => {
            let what = format!("{what}. Check the credentials that the AWS default chain finds");
            Error::Unreachable { bucket: name, endpoint, what }
        }
        Some(hint) => Error::Refused { bucket: name, endpoint, what, hint },
        None => Error::Unreachable { bucket: name, endpoint, what },
    }
}

/// Returns the error of a request whose task ended without an answer.
pub(super) fn of_task(error: &JoinError, bucket: &Bucket) -> Error {
    let (name, endpoint) = (bucket.name.clone(), bucket.endpoint.clone());
    Error::Unreachable { bucket: name, endpoint, what: error.to_string() }
}

const CREDENTIALS: &str = "Check bucket_id and bucket_key in SOURCE.";

/// Returns the advice for an answer that waiting does not fix, or `None` if it may be temporary.
fn hint(status: Option<u16>, code: Option<&str>) -> Option<&'static str> {
    match (status?, code.unwrap_or_default()) {
        (404, _) => Some("Check bucket_name in SOURCE."),
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch") => Some(CREDENTIALS),
        (_, "ExpiredToken" | "RequestTimeTooSkewed") => None,
        (403, _) => Some("The credentials in SOURCE need s3:ListBucket and s3:GetObject."),
        (301 | 400, "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            Some("Set bucket_region in SOURCE.")
        }
        _ => None,
    }
}

/// Returns the service's own code and message, or the chain of causes.
fn describe<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> String {
    if let (Some(code), message) = (error.code(), error.message()) {
        let skew = body(error).and_then(skew).unwrap_or_default();
        let message = message.map(|message| format!(": {}", message.trim_end_matches('.'))).unwrap_or_default();
        return format!("{code}{message}{skew}");
    }
    let mut words = error.to_string();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = cause {
        words = format!("{words}: {inner}");
        cause = inner.source();
    }
    words
}

fn body<E>(error: &SdkError<E>) -> Option<&str> {
    std::str::from_utf8(error.raw_response()?.body().bytes()?).ok()
}

/// Returns the difference of the clocks, if the store reports the time of the request and its own.
fn skew(body: &str) -> Option<String> {
    let of = |field: &str| {
        let (_, rest) = body.split_once(&format!("<{field}>"))?;
        let digits: String = rest.split('<').next()?.chars().filter(char::is_ascii_digit).take(14).collect();
        let format = time::macros::format_description!("[year][month][day][hour][minute][second]");
        time::PrimitiveDateTime::parse(&digits, format).ok()
    };
    let ahead = (of("RequestTime")? - of("ServerTime")?).whole_seconds();
    let which = if ahead < 0 { "behind" } else { "ahead of" };
    Some(format!("; this machine's clock is {} s {which} the store's", ahead.abs()))
}

#[cfg(test)]
mod tests {
    use super::skew;

    #[test]
    fn a_clock_that_is_wrong_is_told_by_how_much() {
        let body = |ours: &str, theirs: &str| {
            format!("<Error><RequestTime>{ours}</RequestTime><ServerTime>{theirs}</ServerTime></Error>")
        };
        let said = skew(&body("20240101T000000Z", "2024-01-01T00:20:01Z"));
        assert_eq!(said.as_deref(), Some("; this machine's clock is 1201 s behind the store's"));
        let said = skew(&body("20240102T000000Z", "2024-01-01T00:00:00.000Z"));
        assert_eq!(said.as_deref(), Some("; this machine's clock is 86400 s ahead of the store's"));
        assert_eq!(skew("<Error><Code>SlowDown</Code></Error>"), None);
    }
}
