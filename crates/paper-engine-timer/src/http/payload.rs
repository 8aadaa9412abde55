//! Checks headers and bodies of tasks, for `add` and again for each attempt: whoever may insert a task must not set the headers
//! that the sender answers for.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::target_url::TargetUrl;
use crate::attempt::{Reason, ReasonKind};

/// The largest body, in bytes.
pub const BODY_MAX_BYTES: usize = 1024 * 1024;
/// The most headers that a task may set.
pub const HEADERS_MAX: usize = 32;
/// The most bytes of names and values together.
pub const HEADERS_MAX_BYTES: usize = 8 * 1024;

/// Names that belong to the connection, the framing or the sender.
const FORBIDDEN: &[&str] = &[
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Returns everything that is wrong with a task: its URL, its headers, its body. Empty for a task that can be sent.
pub fn check_task(url: &str, headers: &[(String, String)], body: Option<&Bytes>) -> Vec<Reason> {
    let url = TargetUrl::parse(url).err();
    let headers = check_headers(headers).err();
    url.into_iter().chain(headers.into_iter().flatten()).chain(check_body(body).err()).collect()
}

/// Returns the headers as they are sent, or all faults. Values are never repeated: they may be credentials.
pub(super) fn check_headers(headers: &[(String, String)]) -> Result<HeaderMap, Vec<Reason>> {
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() > HEADERS_MAX {
        return Err(vec![bad(format!("there are {} headers; {HEADERS_MAX} are allowed.", headers.len()))]);
    }
    if bytes > HEADERS_MAX_BYTES {
        return Err(vec![bad(format!("the headers have {bytes} bytes; {HEADERS_MAX_BYTES} are allowed."))]);
    }
    let (good, faults): (Vec<_>, Vec<_>) =
        headers.iter().map(|(name, value)| header(name, value)).partition(Result::is_ok);
    if !faults.is_empty() {
        return Err(faults.into_iter().filter_map(Result::err).collect());
    }
    let mut map = HeaderMap::new();
    for (name, value) in good.into_iter().filter_map(Result::ok) {
        map.append(name, value);
    }
    Ok(map)
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Reason> {
    let parsed = HeaderName::from_bytes(name.as_bytes());
    let legal = parsed.map_err(|_| bad(format!("the header name {name:?} is no HTTP token.")))?;
    if FORBIDDEN.contains(&legal.as_str()) || legal.as_str().starts_with("webhook-") {
        return Err(bad(format!("the header {legal} cannot be set by a task.")));
    }
    let value = HeaderValue::from_str(value.trim());
    let value =
        value.map_err(|_| bad(format!("the value of the header {legal} has a character that HTTP does not allow.")))?;
    Ok((legal, value))
}

pub(super) fn check_body(body: Option<&Bytes>) -> Result<(), Reason> {
    match body.map_or(0, Bytes::len) {
        bytes if bytes > BODY_MAX_BYTES => {
            Err(Reason::new(ReasonKind::BadBody, format!("the body has {bytes} bytes; {BODY_MAX_BYTES} are allowed.")))
        }
        _ => Ok(()),
    }
}

fn bad(text: String) -> Reason {
    Reason::new(ReasonKind::BadHeader, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn faults(headers: &[(&str, &str)]) -> Vec<String> {
        let faults = check_headers(&given(headers)).expect_err("faults");
        faults.into_iter().map(|reason| reason.text).collect()
    }

    #[test]
    fn ordinary_headers_are_sent_as_they_are() {
        let headers =
            check_headers(&given(&[("Content-Type", "application/json"), ("X-Trace", "a"), ("x-trace", "b ")]));
        let headers = headers.expect("headers");
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers.get_all("x-trace").iter().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn headers_of_the_connection_and_of_the_sender_are_refused_in_any_case() {
        for name in FORBIDDEN.iter().chain(&["webhook-id", "Webhook-Signature", "HOST", "Transfer-Encoding"]) {
            let found = faults(&[(name, "x")]);
            assert!(found[0].contains("cannot be set"), "{name}: {found:?}");
        }
    }

    #[test]
    fn injected_lines_and_names_that_are_no_tokens_are_refused_without_their_values() {
        let found = faults(&[("X-A", "secret\r\nX-Evil: 1"), ("X B", "1"), ("", "1"), ("X-C:", "1"), ("X-D", "a\0")]);
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(!found.concat().contains("secret"));
    }

    #[test]
    fn too_many_or_too_large_headers_and_bodies_are_refused() {
        assert!(faults(&[("x", "1"); HEADERS_MAX + 1])[0].contains("33 headers"));
        let long = "v".repeat(HEADERS_MAX_BYTES);
        assert!(faults(&[("x", &long)])[0].contains("8193 bytes"));
        assert!(check_headers(&given(&[("x", "1"); HEADERS_MAX])).is_ok());
        assert!(check_body(Some(&vec![0; BODY_MAX_BYTES].into())).is_ok());
        assert!(check_body(Some(&vec![0; BODY_MAX_BYTES + 1].into())).is_err());
    }

    #[test]
    fn a_task_is_told_everything_that_is_wrong_with_it() {
        let body = Bytes::from(vec![0; BODY_MAX_BYTES + 1]);
        let found = check_task("ftp://h/", &given(&[("host", "x"), ("a b", "c")]), Some(&body));
        let kinds: Vec<ReasonKind> = found.iter().map(|reason| reason.kind).collect();
        use ReasonKind::{BadBody, BadHeader, Scheme};
        assert_eq!(kinds, [Scheme, BadHeader, BadHeader, BadBody]);
        assert_eq!(check_task("http://h/", &[], None), []);
    }
}
