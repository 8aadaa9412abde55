//! Parses the URL of a webhook, once and strictly: what is judged here is what is connected to. Nothing that it shows holds a
//! user name, a password or a query.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use url::Host;

use super::quote;
use crate::attempt::{Reason, ReasonKind};

/// The longest URL that is accepted, in bytes.
pub(super) const URL_MAX_BYTES: usize = 8 * 1024;

/// A URL that a request can be posted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUrl {
    scheme: Scheme,
    /// The host as it is connected to: lower case, IDNA, an IPv6 address in brackets.
    host: String,
    address: Option<IpAddr>,
    port: u16,
    path: String,
    query: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl TargetUrl {
    /// Parses `text`, or returns the rule that it breaks. The reason never repeats the text.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        check_characters(text)?;
        let (scheme, rest) = split_scheme(text)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (host, port) = parse_authority(authority)?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(quote::query(query))),
            None => (rest, None),
        };
        let address = match &host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(IpAddr::V4(*address)),
            Host::Ipv6(address) => Some(IpAddr::V6(*address)),
        };
        let port = port.unwrap_or(scheme.default_port());
        Ok(Self { scheme, host: host.to_string(), address, port, path: quote::path(path), query })
    }

    /// Returns the address, if the host is written as one in any of the forms that resolvers accept.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Returns the host as it is looked up.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the value of the `Host` header: without a trailing dot, and without the scheme's own port.
    pub fn host_header(&self) -> String {
        let host = self.host.strip_suffix('.').unwrap_or(&self.host);
        if self.port == self.scheme.default_port() { host.to_owned() } else { format!("{host}:{}", self.port) }
    }

    /// Returns what is requested: the connection's authority with its port, the path and the query.
    pub fn uri(&self) -> Result<Uri, Reason> {
        let query = self.query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
        let built = Uri::builder()
            .scheme(self.scheme.name())
            .authority(format!("{}:{}", self.host, self.port))
            .path_and_query(format!("{}{query}", self.path))
            .build();
        built.map_err(|error| bad(format!("the URL cannot be sent: {error}.")))
    }

    /// Returns `scheme://host:port`, which all URLs of one server share.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme.name(), self.host_header())
    }

    /// Returns the quoted path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns `true` if the URL has `prefix`'s scheme, host and port, and its path begins with `prefix`'s at the end of a segment.
    pub fn is_below(&self, prefix: &Self) -> bool {
        let below = self.path.strip_prefix(prefix.path.trim_end_matches('/'));
        let at_segment = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.scheme == prefix.scheme && self.host_header() == prefix.host_header() && at_segment
    }
}

/// Shows the URL without its query.
impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.path)
    }
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

fn check_characters(text: &str) -> Result<(), Reason> {
    if text.is_empty() {
        return Err(bad("the URL is empty."));
    }
    if text.len() > URL_MAX_BYTES {
        return Err(bad(format!("the URL has {} bytes; {URL_MAX_BYTES} are allowed.", text.len())));
    }
    if let Some(at) = text.find(|c: char| c.is_control()) {
        return Err(bad(format!("the URL has a control character at byte {at}.")));
    }
    if text.trim() != text {
        return Err(bad("the URL begins or ends with a blank."));
    }
    Ok(())
}

/// Splits `scheme://` off. A scheme that cannot be posted to has a reason of its own.
fn split_scheme(text: &str) -> Result<(Scheme, &str), Reason> {
    let (name, rest) = text.split_once(':').ok_or_else(|| bad("the URL has no scheme: write http://host/path."))?;
    let scheme = match name.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        "queue" => return Err(Reason::new(ReasonKind::Queue, "the queue of the URL is not configured (QUEUES).")),
        other if is_scheme(other) => {
            return Err(Reason::new(ReasonKind::Scheme, "the scheme of the URL is neither http nor https."));
        }
        _ => return Err(bad("the URL has no scheme: write http://host/path.")),
    };
    let rest = rest.strip_prefix("//").ok_or_else(|| bad("the URL has no // after its scheme."))?;
    Ok((scheme, rest))
}

fn is_scheme(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(legal)
}

fn parse_authority(authority: &str) -> Result<(Host<String>, Option<u16>), Reason> {
    if authority.contains('@') {
        let text = "the URL holds a user name or a password; send them in an Authorization header.";
        return Err(Reason::new(ReasonKind::UserInfo, text));
    }
    let bracket = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[bracket..].split_once(':') {
        Some((between, port)) => (&authority[..bracket + between.len()], parse_port(port)?),
        None => (authority, None),
    };
    if host.is_empty() || host == "." {
        return Err(bad("the URL has no host."));
    }
    let host = Host::parse(host).map_err(|error| bad(format!("the host of the URL cannot be used: {error}.")))?;
    check_labels(&host)?;
    Ok((host, port))
}

fn parse_port(text: &str) -> Result<Option<u16>, Reason> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        _ if text.is_empty() => Ok(None),
        Ok(port) if digits && port > 0 => Ok(Some(port)),
        _ => Err(bad("the port of the URL is not a number from 1 to 65535.")),
    }
}

/// Checks the lengths that DNS allows.
fn check_labels(host: &Host<String>) -> Result<(), Reason> {
    let Host::Domain(name) = host else { return Ok(()) };
    let name = name.strip_suffix('.').unwrap_or(name);
    let fits = name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()));
    if fits { Ok(()) } else { Err(bad("the host of the URL is no DNS name: a label is empty or too long.")) }
}

fn bad(text: impl Into<String>) -> Reason {
    Reason::new(ReasonKind::BadUrl, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> TargetUrl {
        TargetUrl::parse(text).unwrap_or_else(|reason| panic!("{text}: {reason}"))
    }

    fn kind(text: &str) -> ReasonKind {
        TargetUrl::parse(text).expect_err(text).kind
    }

    /// What yarl 1.25.1 and aiohttp send for the original's concatenation: `Host`, then path and query.
    const SENT: &[(&str, &str, &str)] = &[
        ("http://h", "h", "/ID"),
        ("http://h/", "h", "//ID"),
        ("http://h/p", "h", "/p/ID"),
        ("http://h?x=1", "h", "/?x=1/ID"),
        ("http://h/p?x=1", "h", "/p?x=1/ID"),
        ("http://h/p?", "h", "/p?/ID"),
        ("http://h/p#f", "h", "/p"),
        ("http://h/p?x=1#f", "h", "/p?x=1"),
        ("HTTP://EXAMPLE.com:80/P", "example.com", "/P/ID"),
        ("http://h:8080/p", "h:8080", "/p/ID"),
        ("http://h:/x", "h", "/x/ID"),
        ("http://h./x", "h", "/x/ID"),
        ("http://bücher.example/x", "xn--bcher-kva.example", "/x/ID"),
        ("http://[::1]:81/x", "[::1]:81", "/x/ID"),
        ("http://my_service:5000/cb", "my_service:5000", "/cb/ID"),
        ("https://h:443/x", "h", "/x/ID"),
        ("https://h:80/x", "h:80", "/x/ID"),
    ];

    #[test]
    fn host_and_path_are_the_originals() {
        for (url, host, path) in SENT {
            let target = parsed(&format!("{url}/ID"));
            assert_eq!(target.host_header(), *host, "{url}");
            let uri = target.uri().expect("a URI");
            assert_eq!(uri.path_and_query().expect("a path").as_str(), *path, "{url}");
        }
    }

    #[test]
    fn urls_that_cannot_be_posted_to_are_refused_by_name() {
        use ReasonKind::{BadUrl, Queue, Scheme, UserInfo};
        let long = format!("http://h/{}", "a".repeat(URL_MAX_BYTES));
        let label = format!("http://{}.example/", "a".repeat(64));
        for (url, expected) in [
            ("", BadUrl),
            ("h/x", BadUrl),
            ("/x", BadUrl),
            ("//h/x", BadUrl),
            ("http:/h", BadUrl),
            ("http:h", BadUrl),
            ("http://", BadUrl),
            ("http:///x", BadUrl),
            ("http://./x", BadUrl),
            ("http://:80/x", BadUrl),
            ("http://?x", BadUrl),
            (" http://h/", BadUrl),
            ("http://h/ ", BadUrl),
            ("http://h/a\tb", BadUrl),
            ("http://h/a\r\nX: y", BadUrl),
            ("http://h/\u{0}", BadUrl),
            ("http://h:0/", BadUrl),
            ("http://h:65536/", BadUrl),
            ("http://h:+80/", BadUrl),
            ("http://h:abc/", BadUrl),
            ("http://a:b:80/", BadUrl),
            ("http://::1/", BadUrl),
            ("http://[::1/", BadUrl),
            ("http://[fe80::1%25eth0]/", BadUrl),
            ("http://[fe80::1%eth0]/", BadUrl),
            ("http://[::1]x/", BadUrl),
            ("http://a b/", BadUrl),
            ("http://a\\b/", BadUrl),
            ("http://a..b/", BadUrl),
            ("http://256.1.1.1/", BadUrl),
            ("http://1.2.3.4.5/", BadUrl),
            (&long, BadUrl),
            (&label, BadUrl),
            ("1http://h/", BadUrl),
            ("ftp://h/", Scheme),
            ("file:///etc/passwd", Scheme),
            ("gopher://h/", Scheme),
            ("javascript:alert(1)", Scheme),
            ("localhost:5000/x", Scheme),
            ("http://user@h/", UserInfo),
            ("http://user:secret@h/", UserInfo),
            ("http://good.example@evil.example/", UserInfo),
            ("queue:heavy/topic", Queue),
        ] {
            assert_eq!(kind(url), expected, "{url:?}");
        }
    }

    #[test]
    fn every_way_to_write_an_ipv4_address_is_seen_as_one() {
        for host in
            ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1.", "0x7f.1", "%3127.0.0.1"]
        {
            let address = parsed(&format!("http://{host}/")).address();
            assert_eq!(address, Some("127.0.0.1".parse().expect("an address")), "{host}");
        }
        assert_eq!(parsed("http://１２７.0.0.1/").address(), Some("127.0.0.1".parse().expect("an address")));
        assert_eq!(parsed("http://127.0.0.1.nip.io/").address(), None);
    }

    #[test]
    fn neither_a_reason_nor_the_shown_url_repeats_secrets() {
        let reason = TargetUrl::parse("http://user:hunter2@h/?token=hunter2").expect_err("user info");
        assert!(!format!("{reason:?}").contains("hunter2"));
        assert_eq!(parsed("http://h/p?token=hunter2").to_string(), "http://h/p");
    }

    #[test]
    fn a_prefix_ends_at_a_segment_of_the_same_server() {
        let below = |url: &str, prefix: &str| parsed(url).is_below(&parsed(prefix));
        assert!(below("https://h/a/b?x", "https://h/a"));
        assert!(below("https://h/a", "https://h/a/"));
        assert!(below("https://H:443/a/b", "https://h"));
        assert!(!below("https://h/ab", "https://h/a"));
        assert!(!below("https://h/a/../b", "https://h/a"));
        assert!(!below("https://h.evil.example/a", "https://h"));
        assert!(!below("http://h/a", "https://h/a"));
        assert!(!below("https://h:8443/a", "https://h/a"));
    }
}
