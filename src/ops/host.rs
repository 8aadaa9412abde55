//! Checks the host name of a request to a listener on the loopback address. A web site may let its own name point to
//! this machine (DNS rebinding) and so have a browser here read the page; such a request has the site's name and is
//! refused.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap};
use hyper::http::uri::Authority;
use hyper::{StatusCode, Uri};

/// Answer to a request under another name.
pub(super) const MISDIRECTED: (StatusCode, &str) = (
    StatusCode::MISDIRECTED_REQUEST,
    "METRICS listens to this machine only, so the page is shown only under localhost or an IP address, like \
     http://127.0.0.1:9464/. A proxy before it has to ask under such a Host.\n",
);

/// Returns `true` if the request is for an IP address, for localhost, or for no name at all.
pub(super) fn is_here(uri: &Uri, headers: &HeaderMap) -> bool {
    let names = headers.get_all(HOST).iter().map(|name| name.to_str().ok()?.parse().ok());
    names.chain(uri.authority().map(|name| Some(name.clone()))).all(|name| name.is_some_and(|name| is_ours(&name)))
}

fn is_ours(name: &Authority) -> bool {
    let host = name.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(uri: &str, names: &[&str]) -> bool {
        let names = names.iter().map(|name| (HOST, name.parse().expect("a value")));
        is_here(&uri.parse().expect("an address"), &names.collect())
    }

    #[test]
    fn an_address_or_localhost_is_meant_and_no_name_of_others() {
        for name in ["127.0.0.1", "127.0.0.1:9464", "localhost", "LocalHost:1", "[::1]:9464", "10.0.0.7:80"] {
            assert!(asked("/", &[name]), "{name}");
        }
        assert!(asked("/", &[]), "a client of HTTP 1.0");
        for name in ["evil.example:9464", "localhost.evil.example", "127.0.0.1.evil.example", "", "a b", "[evil]"] {
            assert!(!asked("/", &[name]), "{name}");
        }
        assert!(!asked("/", &["localhost", "evil.example"]), "one of two");
        assert!(!asked("http://evil.example/", &["localhost"]), "the address in the request's line counts");
    }
}
