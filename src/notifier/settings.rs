//! Settings of NATS: the servers of one cluster and the login. Written as NATS URLs, separated by commas:
//! `nats://user:password@host:4222,tls://other:4222`; a user without a password is a token, and `?credentials=/path`
//! names a credentials file. One login serves all servers.

use std::path::PathBuf;
use std::str::FromStr;

use crate::pairs::Faults;
use crate::secret::Secret;
use crate::url::Url;

/// Servers of the broker and the login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `nats://host:4222` or `tls://host:4222`, never with a login; at least one.
    pub servers: Vec<String>,
    pub login: Login,
}

/// Kind of login.
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

/// The port of a server that is given without one.
const PORT: u16 = 4222;

impl FromStr for Settings {
    type Err = Faults;

    fn from_str(text: &str) -> Result<Self, Faults> {
        let mut servers = Vec::new();
        let mut logins = Vec::new();
        let mut faults = Vec::new();
        for (place, text) in (1..).zip(text.split(',')) {
            match server(text.trim()) {
                Ok((server, login)) => {
                    servers.push(server);
                    logins.extend(login);
                }
                Err(fault) => faults.push(format!("server {place}: {fault}")),
            }
        }
        logins.dedup();
        if logins.len() > 1 {
            faults.push("the servers have different logins. Give all the same, or only one of them".to_owned());
        }
        if faults.is_empty() {
            let login = logins.pop().unwrap_or_default();
            Ok(Self { servers, login })
        } else {
            Err(Faults(faults))
        }
    }
}

fn server(text: &str) -> Result<(String, Option<Login>), String> {
    let url = if text.contains("://") { Url::parse(text)? } else { Url::parse(&format!("nats://{text}"))? };
    if !["nats", "tls"].contains(&url.scheme.as_str()) {
        return Err(format!("the scheme is neither nats:// nor tls://. {EXAMPLE}"));
    }
    let [host] = url.hosts.as_slice() else {
        return Err(format!("it has no host. {EXAMPLE}"));
    };
    if host.name.is_empty() || !url.path.is_empty() {
        return Err(format!("it is not a host with a port. {EXAMPLE}"));
    }
    let name = if host.name.contains(':') { format!("[{}]", host.name) } else { host.name.clone() };
    let server = format!("{}://{name}:{}", url.scheme, host.port.unwrap_or(PORT));
    Ok((server, login(url)?))
}

const EXAMPLE: &str = "Write it like nats://user:password@host:4222";

fn login(url: Url) -> Result<Option<Login>, String> {
    let given = match (url.user, url.password) {
        (None, _) => None,
        (Some(user), Some(password)) => Some(Login::Password { user, password }),
        (Some(token), None) => Some(Login::Token(token.into())),
    };
    match (url.query.as_slice(), given) {
        ([], given) => Ok(given),
        ([(key, path)], None) if key == "credentials" && !path.is_empty() => Ok(Some(Login::Credentials(path.into()))),
        ([(key, _)], Some(_)) if key == "credentials" => {
            Err("it has both a login and a credentials file. Keep one".to_owned())
        }
        _ => {
            Err("only credentials may follow the ?. Write it like nats://host:4222?credentials=/run/secrets/nats.creds"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        text.parse().expect(text)
    }

    fn faults(text: &str) -> String {
        text.parse::<Settings>().expect_err(text).to_string()
    }

    fn password(user: &str, password: &str) -> Login {
        let (user, password) = (user.to_owned(), Secret::from(password.to_owned()));
        Login::Password { user, password }
    }

    #[test]
    fn the_missions_form() {
        let settings = settings("nats://user:hunter2@host:4222");
        assert_eq!(settings.servers, ["nats://host:4222"]);
        assert_eq!(settings.login, password("user", "hunter2"));
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn a_list_shares_one_login() {
        let list = settings("nats://u:p%40@a, tls://[::1]:4000,c:1");
        assert_eq!(list.servers, ["nats://a:4222", "tls://[::1]:4000", "nats://c:1"]);
        assert_eq!(list.login, password("u", "p@"));
        assert_eq!(settings("nats://u:p@a,nats://u:p@b").login, password("u", "p"));
        assert!(faults("nats://u:p@a,nats://u:q@b").contains("different logins"));
    }

    #[test]
    fn other_ways_to_log_in() {
        assert_eq!(settings("host").login, Login::Anonymous);
        let token = settings("nats://hunter2@host");
        assert_eq!(token.login, Login::Token("hunter2".to_owned().into()));
        assert!(!format!("{token:?}").contains("hunter2"));
        let file = settings("nats://host?credentials=/run/n.creds");
        assert_eq!(file.login, Login::Credentials("/run/n.creds".into()));
        assert_eq!(file.servers, ["nats://host:4222"]);
    }

    #[test]
    fn faults_name_the_server_and_never_the_password() {
        let all = faults("ws://u:hunter2@a,nats://u:hunter2@,nats://u:hunter2@b:x,nats://u:hunter2@c?x=y,nats://d/e");
        for place in 1..=5 {
            assert!(all.contains(&format!("server {place}: ")), "{all}");
        }
        assert!(!all.contains("hunter2"), "{all}");
        assert!(faults("nats://u:p@a?credentials=x").contains("both"));
        assert!(faults("a,,b").contains("server 2"));
    }
}
