//! Reads a destination of NATS: the servers of one cluster, how to log in, and the subject:
//! `nats://user:password@host:4222,other:4222/subject`.

use std::fmt;
use std::path::PathBuf;

use pe_runtime::multi_host_url::Url;
use pe_runtime::secret::Secret;

use crate::template::Template;

/// The port of a server that is given without one.
const PORT: u16 = 4222;
const EXAMPLE: &str = "Write it like nats://user:password@host:4222/subject";

/// Where the servers are, how to log in, and the subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `nats://host:4222` or `tls://host:4222`, never with a login; at least one.
    pub servers: Vec<String>,
    pub login: Login,
    pub subject: Template,
}

/// How to log in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Login {
    #[default]
    Anonymous,
    Password {
        user: String,
        password: Secret,
    },
    Token(Secret),
    /// A `.creds` file with a JWT and a seed.
    Credentials(PathBuf),
}

impl Settings {
    /// Reads a URL with the scheme `nats` or `tls`.
    ///
    /// # Errors
    /// Returns what is wrong, without repeating the URL, which may hold a password.
    pub fn from_url(text: &str) -> Result<Self, String> {
        let url = Url::parse(text)?;
        let subject = Template::parse(&url.path)?;
        let token = |token: &str| {
            !token.is_empty() && !token.contains(|c: char| "*>".contains(c) || c.is_whitespace() || c.is_control())
        };
        if !subject.render("table").split('.').all(token) {
            return Err(format!("the part after the host must be a subject. {EXAMPLE}"));
        }
        if url.hosts.iter().any(|host| host.name.is_empty()) {
            return Err(format!("it has no host. {EXAMPLE}"));
        }
        let server = |host: &pe_runtime::multi_host_url::Host| {
            let name = if host.name.contains(':') { format!("[{}]", host.name) } else { host.name.clone() };
            format!("{}://{name}:{}", url.scheme, host.port.unwrap_or(PORT))
        };
        let servers = url.hosts.iter().map(server).collect();
        Ok(Self { servers, login: login(url)?, subject })
    }
}

fn login(url: Url) -> Result<Login, String> {
    let given = match (url.user, url.password) {
        (None, _) => Login::Anonymous,
        (Some(user), Some(password)) => Login::Password { user, password },
        (Some(token), None) => Login::Token(token.into()),
    };
    match url.query.as_slice() {
        [] => Ok(given),
        [(key, path)] if key == "credentials" && !path.is_empty() => Ok(Login::Credentials(path.into())),
        _ => Err("only ?credentials=/path/of/nats.creds may follow the subject".to_owned()),
    }
}

/// Says where it leads, without the login.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.servers.join(","), self.subject.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_login_and_subject_are_read() {
        let settings = Settings::from_url("nats://me:hunter2@a:1,b/orders.{table}").expect("settings");
        assert_eq!(settings.servers, ["nats://a:1", "nats://b:4222"]);
        assert_eq!(settings.to_string(), "nats://a:1,nats://b:4222/orders.{table}");
        assert!(matches!(settings.login, Login::Password { .. }));
        assert_eq!(settings.subject.render("t"), "orders.t");
    }

    #[test]
    fn what_is_no_subject_is_said() {
        for bad in
            ["nats://h", "nats://h/", "nats://h/a..b", "nats://h/a.*", "nats://h/a b", "nats://h/a.>", "nats:///x"]
        {
            assert!(Settings::from_url(bad).is_err(), "{bad}");
        }
        assert!(Settings::from_url("nats://h/x?creds=1").is_err());
    }
}
