//! Takes a connection URL apart: `scheme://user:password@host:port,host:port/path?key=value`, with several
//! hosts and percent-encoding, as libpq and NATS write it. Faults never repeat the text, which may hold a
//! password.

use crate::secret::Secret;

/// The parts of a URL, decoded. An absent port is `None`, an absent path or query is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub scheme: String,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub hosts: Vec<Host>,
    pub path: String,
    pub query: Vec<(String, String)>,
}

/// One of the hosts; an IPv6 address comes without its brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub name: String,
    pub port: Option<u16>,
}

impl Url {
    /// Parses `text`, or returns a sentence about its error.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("the URL has no scheme://")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').ok_or(login)) {
            None => (None, None),
            Some(Ok((user, password))) => (Some(user), Some(password)),
            Some(Err(user)) => (Some(user), None),
        };
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            user: user.map(decode).transpose()?,
            password: password.map(decode).transpose()?.map(Secret::from),
            hosts: hosts.split(',').map(host).collect::<Result<_, _>>()?,
            path: decode(path)?,
            query: parameters(query)?,
        })
    }
}

fn host(text: &str) -> Result<Host, String> {
    let bracketed = text.strip_prefix('[').and_then(|text| text.split_once(']'));
    let (name, port) = match bracketed {
        Some((name, "")) => (name, None),
        Some((name, rest)) => (name, Some(rest.strip_prefix(':').ok_or(HOST)?)),
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        None | Some("") => None,
        Some(port) => Some(port.parse().map_err(|_| HOST)?),
    };
    let name = decode(name)?;
    Ok(Host { name, port })
}

const HOST: &str = "a host of the URL is not of the form name:port. In a user name or password write : / ? @ , \
                    and % as %3A %2F %3F %40 %2C %25, and put an IPv6 address into [ ]";

fn parameters(query: &str) -> Result<Vec<(String, String)>, String> {
    let given = query.split('&').filter(|part| !part.is_empty());
    given
        .map(|part| {
            let (key, value) =
                part.split_once('=').ok_or("a part after the ? of the URL is not of the form key=value")?;
            Ok((decode(key)?, decode(value)?))
        })
        .collect()
}

/// Decodes `%` followed by two hexadecimal digits.
pub fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut pieces = text.split('%');
    bytes.extend(pieces.next().unwrap_or_default().bytes());
    for piece in pieces {
        let hex = piece.get(..2).ok_or(PERCENT)?;
        let digits = hex.bytes().all(|b| b.is_ascii_hexdigit());
        let byte = u8::from_str_radix(hex, 16).ok().filter(|_| digits);
        bytes.push(byte.ok_or(PERCENT)?);
        bytes.extend(piece[2..].bytes());
    }
    String::from_utf8(bytes).map_err(|_| PERCENT.to_owned())
}

const PERCENT: &str = "a % in the URL is not followed by two hex digits that make UTF-8. Write a plain % as %25";

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: Option<u16>) -> Host {
        let name = name.to_owned();
        Host { name, port }
    }

    #[test]
    fn all_parts_decoded() {
        let text = "Postgres://us%20er:p%40ss%2Fw@h1:1,[::1]:2,[fe80::1],%2Frun%2Fpg/d%C3%A9?a=%26&b=";
        let url = Url::parse(text).expect("url");
        assert_eq!(url.scheme, "postgres");
        assert_eq!(url.user.as_deref(), Some("us er"));
        assert_eq!(url.password.expect("password").expose(), "p@ss/w");
        let hosts = [("h1", Some(1)), ("::1", Some(2)), ("fe80::1", None), ("/run/pg", None)];
        assert_eq!(url.hosts, hosts.map(|(name, port)| host(name, port)));
        assert_eq!(url.path, "dé");
        let query = [("a", "&"), ("b", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(url.query, query);
    }

    #[test]
    fn parts_left_out() {
        let url = Url::parse("nats://host").expect("url");
        assert_eq!((url.user, url.password), (None, None));
        assert_eq!(url.hosts, [host("host", None)]);
        assert_eq!((url.path.as_str(), url.query.len()), ("", 0));
        let url = Url::parse("nats://token@host:").expect("url");
        assert_eq!((url.user.as_deref(), url.password), (Some("token"), None));
        assert_eq!(url.hosts, [host("host", None)]);
    }

    #[test]
    fn a_raw_at_sign_belongs_to_the_password() {
        let url = Url::parse("nats://u:a@b@host:1").expect("url");
        assert_eq!(url.password.expect("password").expose(), "a@b");
    }

    #[test]
    fn faults_do_not_repeat_the_text() {
        for text in [
            "hunter2",
            "nats://u:hunter2/x@host",
            "nats://u:hunter2%@host",
            "nats://u:hunter2%+1@host",
            "nats://u:hunter2%ff@host",
            "nats://host:hunter2",
            "nats://[::1]hunter2",
            "nats://host?hunter2",
            "nats://host:70000",
        ] {
            let fault = Url::parse(text).expect_err(text);
            assert!(!fault.contains("hunter2"), "{fault}");
        }
    }
}
