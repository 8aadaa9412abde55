//! Settings of TARGET: the database, the login, and the verification of the server. Both of libpq's forms,
//! `key=value` and URL, are parsed with libpq's meaning. Settings that the driver does not know (verification,
//! milliseconds, other names) are taken out first.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use pe_runtime::key_value::{Faults, Pairs};
use pe_runtime::multi_host_url::{self as url, Url};

/// Settings of a connection. `Debug` hides the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    config: Config,
    tls: TlsMode,
    root_cert: Option<PathBuf>,
}

/// Mode of libpq's `sslmode`. There is no TLS over a Unix socket, whatever the mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Plain text only.
    Disable,
    /// Encrypted if the server can, else plain text; the server is not verified.
    #[default]
    Prefer,
    /// Encrypted or not at all; the server is not verified.
    Require,
    /// The server's certificate must come from a trusted authority.
    VerifyCa,
    /// The certificate must be valid and be for the host to which we connect.
    VerifyFull,
}

impl Settings {
    /// Returns the driver's settings, to be used with the connector of [`super::tls`].
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the driver's settings with more command line options for the server, like `-c jit=off`. The user's own
    /// options come last and take precedence.
    pub fn config_with_options(&self, more: &str) -> Config {
        let mut config = self.config.clone();
        match self.config.get_options() {
            Some(own) => config.options(format!("{more} {own}")),
            None => config.options(more),
        };
        config
    }

    /// Returns the TLS mode.
    pub fn tls(&self) -> TlsMode {
        self.tls
    }

    /// Returns the file with the trusted certificates; `None` means those of this machine.
    pub fn root_cert(&self) -> Option<&Path> {
        self.root_cert.as_deref()
    }
}

/// Formats the address for messages: `host:5432/dbname`, without user and password.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = self.config.get_ports();
        for (at, host) in self.config.get_hosts().iter().enumerate() {
            let port = ports.get(at).or(ports.first()).unwrap_or(&5432);
            let comma = if at > 0 { "," } else { "" };
            match host {
                Host::Tcp(name) => write!(f, "{comma}{name}:{port}")?,
                Host::Unix(path) => write!(f, "{comma}{}:{port}", path.display())?,
            }
        }
        let dbname = self.config.get_dbname().or(self.config.get_user());
        write!(f, "/{}", dbname.unwrap_or_default())
    }
}

/// The keys that are the driver's too, with its name where that differs from libpq's.
const DRIVER: [(&str, &str); 17] = [
    ("user", "user"),
    ("password", "password"),
    ("host", "host"),
    ("hostaddr", "hostaddr"),
    ("port", "port"),
    ("dbname", "dbname"),
    ("options", "options"),
    ("application_name", "application_name"),
    ("sslnegotiation", "sslnegotiation"),
    ("connect_timeout", "connect_timeout"),
    ("keepalives", "keepalives"),
    ("keepalives_idle", "keepalives_idle"),
    ("keepalives_interval", "keepalives_interval"),
    ("keepalives_count", "keepalives_retries"),
    ("target_session_attrs", "target_session_attrs"),
    ("channel_binding", "channel_binding"),
    ("load_balance_hosts", "load_balance_hosts"),
];

/// The keys that we understand ourselves.
const OURS: [&str; 3] = ["sslmode", "sslrootcert", "tcp_user_timeout"];

impl FromStr for Settings {
    type Err = Faults;

    fn from_str(text: &str) -> Result<Self, Faults> {
        let mut pairs = read(text)?;
        let (tls, root_cert) = trust(&mut pairs);
        let patience = patience(&mut pairs);
        let mut config = given(&mut pairs);
        if let Some(patience) = patience {
            config.tcp_user_timeout(patience);
        }
        check_hosts(&mut config, &mut pairs);
        config.ssl_mode(driver_mode(tls, &config));
        let known: Vec<&str> = DRIVER.iter().map(|(key, _)| *key).chain(OURS).collect();
        pairs.finish(&known)?;
        Ok(Self { config, tls, root_cert })
    }
}

fn read(text: &str) -> Result<Pairs, Faults> {
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return Ok(Pairs::libpq(text));
    }
    let url = Url::parse(text).map_err(|fault| Faults(vec![fault]))?;
    Ok(Pairs::from_list(from_url(url)))
}

/// Returns the URL's parts by name. Its parameters come first, because errors refer to their positions.
fn from_url(url: Url) -> Vec<(String, String)> {
    let list = |part: fn(&url::Host) -> String| {
        let parts: Vec<String> = url.hosts.iter().map(part).collect();
        let given = parts.iter().any(|part| !part.is_empty());
        given.then(|| parts.join(","))
    };
    let parts = [
        ("host", list(|host| host.name.clone())),
        ("port", list(|host| host.port.map(|port| port.to_string()).unwrap_or_default())),
        ("dbname", Some(url.path.clone()).filter(|path| !path.is_empty())),
        ("user", url.user.clone()),
        ("password", url.password.as_ref().map(|password| password.expose().to_owned())),
    ];
    let parts = parts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    url.query.iter().cloned().chain(parts).collect()
}

fn trust(pairs: &mut Pairs) -> (TlsMode, Option<PathBuf>) {
    let mode = tls_mode(pairs);
    let Some(root) = pairs.take_filled("sslrootcert") else {
        return (mode, None);
    };
    match (root.as_str(), mode) {
        (_, TlsMode::Disable | TlsMode::Prefer) => {
            pairs.fault("sslrootcert is given, but this sslmode does not verify. Write sslmode=verify-full beside it");
            (mode, None)
        }
        ("system", TlsMode::VerifyFull) => (mode, None),
        ("system", _) => {
            pairs.fault("sslrootcert=system trusts too many for this sslmode. Write sslmode=verify-full beside it");
            (mode, None)
        }
        // As in libpq, a given root certificate implies that it is checked.
        (_, TlsMode::Require) => (TlsMode::VerifyCa, Some(root.into())),
        _ => (mode, Some(root.into())),
    }
}

fn tls_mode(pairs: &mut Pairs) -> TlsMode {
    match pairs.take_filled("sslmode").as_deref() {
        None | Some("prefer") => TlsMode::Prefer,
        Some("disable") => TlsMode::Disable,
        Some("require") => TlsMode::Require,
        Some("verify-ca") => TlsMode::VerifyCa,
        Some("verify-full") => TlsMode::VerifyFull,
        Some(_) => {
            pairs.fault("sslmode is none of disable, prefer, require, verify-ca, verify-full");
            TlsMode::VerifyFull
        }
    }
}

/// Parses `tcp_user_timeout` in milliseconds, as libpq does; the driver would take it for seconds.
fn patience(pairs: &mut Pairs) -> Option<Duration> {
    let given = pairs.take_filled("tcp_user_timeout")?;
    match given.parse() {
        Ok(0) => None,
        Ok(milliseconds) => Some(Duration::from_millis(milliseconds)),
        Err(_) => {
            pairs.fault("tcp_user_timeout is not a number of milliseconds. Write it like tcp_user_timeout=30000");
            None
        }
    }
}

/// Returns the given settings, each key parsed alone so that every error names its key, with our defaults for the
/// rest.
fn given(pairs: &mut Pairs) -> Config {
    let mut text = DEFAULTS.map(|(key, value)| (key, value.to_owned())).to_vec();
    for (key, name) in DRIVER {
        let Some(value) = pairs.take_filled(key) else { continue };
        if spelled(name, &value).parse::<Config>().is_err() {
            pairs.fault(format!("{key} has a value that cannot be used{}", hint(key)));
            continue;
        }
        text.retain(|(default, _)| *default != name);
        text.push((name, value));
    }
    let text: String = text.iter().map(|(name, value)| spelled(name, value)).collect();
    text.parse().unwrap_or_else(|_| {
        pairs.fault("these settings do not go together");
        Config::new()
    })
}

/// Keepalive settings with which a dead server is noticed after two minutes of silence; the server notices a dead
/// client as soon (see `pool`). A side that is sending is not silent: its system gives up after a quarter of an hour.
/// `tcp_user_timeout` is not set, because it would also count the time for which a server that waits for a lock does
/// not read.
const DEFAULTS: [(&str, &str); 5] = [
    ("application_name", "paper-engine-orders"),
    ("connect_timeout", "10"),
    ("keepalives_idle", "60"),
    ("keepalives_interval", "10"),
    ("keepalives_retries", "6"),
];

fn spelled(name: &str, value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('\'', r"\'");
    format!("{name}='{value}' ")
}

fn hint(key: &str) -> &'static str {
    match key {
        "port" => ". Write a number for each host, like port=5432",
        "hostaddr" => ". Write an IP address for each host, like hostaddr=192.0.2.1",
        "connect_timeout" | "keepalives" | "keepalives_idle" | "keepalives_interval" | "keepalives_count" => {
            ". Write a whole number"
        }
        "target_session_attrs" => ". Write any, read-write or read-only",
        "channel_binding" => ". Write disable, prefer or require",
        "load_balance_hosts" => ". Write disable or random",
        "sslnegotiation" => ". Write postgres or direct",
        _ => "",
    }
}

/// Checks the hosts, whose errors the driver would report only when it connects.
fn check_hosts(config: &mut Config, pairs: &mut Pairs) {
    if config.get_hosts().is_empty() {
        // It wants a name for TLS; an address is one.
        for address in config.get_hostaddrs().to_vec() {
            config.host(address.to_string());
        }
    }
    let (hosts, ports, addresses) = (config.get_hosts(), config.get_ports().len(), config.get_hostaddrs().len());
    if hosts.is_empty() {
        pairs.fault("host is missing. Write where Postgres is, like host=localhost");
    } else if hosts.contains(&Host::Tcp(String::new())) {
        pairs.fault("host has an empty name in its list. Write it like host=first,second");
    } else if addresses > 0 && addresses != hosts.len() {
        pairs.fault("host and hostaddr have different numbers of entries. Write one hostaddr for each host");
    } else if ports > 1 && ports != hosts.len() {
        pairs.fault("host and port have different numbers of entries. Write one port for all hosts or one for each");
    }
}

fn driver_mode(tls: TlsMode, config: &Config) -> SslMode {
    let local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
    match tls {
        _ if local && config.get_hostaddrs().is_empty() => SslMode::Disable,
        TlsMode::Disable => SslMode::Disable,
        TlsMode::Prefer => SslMode::Prefer,
        TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        text.parse().expect(text)
    }

    fn faults(text: &str) -> Vec<String> {
        text.parse::<Settings>().expect_err(text).0
    }

    #[test]
    fn the_missions_form_with_our_defaults() {
        let settings = settings("user=username password=hunter2 host=localhost port=5432 dbname=paper_engine");
        let config = settings.config();
        assert_eq!(config.get_user(), Some("username"));
        assert_eq!(config.get_password(), Some(b"hunter2".as_slice()));
        assert_eq!(config.get_dbname(), Some("paper_engine"));
        assert_eq!(config.get_application_name(), Some("paper-engine-orders"));
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(10)));
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(60));
        assert_eq!(config.get_tcp_user_timeout(), None);
        assert_eq!((settings.tls(), config.get_ssl_mode()), (TlsMode::Prefer, SslMode::Prefer));
        assert_eq!(settings.to_string(), "localhost:5432/paper_engine");
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn quoting_several_hosts_and_own_values_win() {
        let settings = settings(
            r"host=a,b port=1,2 user='us er' password='it\'s \\' application_name=x connect_timeout=0 \
              keepalives_count=3 keepalives_idle=5 tcp_user_timeout=1500"
                .replace("\\\n", "")
                .as_str(),
        );
        let config = settings.config();
        assert_eq!(settings.to_string(), "a:1,b:2/us er");
        assert_eq!(config.get_password(), Some(br"it's \".as_slice()));
        assert_eq!(config.get_application_name(), Some("x"));
        assert_eq!(config.get_connect_timeout(), None);
        assert_eq!(config.get_keepalives_retries(), Some(3));
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(5));
        assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_millis(1500)));
    }

    #[test]
    fn a_url_says_the_same_as_the_words() {
        let url = "postgresql://us%20er:it%27s%20%5C@a:1,b:2/d%C3%A9?sslmode=verify-full&sslrootcert=/r.pem&connect_timeout=3";
        let words = r"host=a,b port=1,2 user='us er' password='it\'s \\' dbname=dé sslmode=verify-full \
                      sslrootcert=/r.pem connect_timeout=3";
        assert_eq!(settings(url), settings(&words.replace("\\\n", "")));
        let url = "postgres://%2Frun%2Fpg/db?user=u";
        assert_eq!(settings(url), settings("host=/run/pg dbname=db user=u"));
        let url = "postgres:///db?host=h&port=5433";
        assert_eq!(settings(url), settings("host=h port=5433 dbname=db"));
        let url = "postgres://u@[::1]:1,h/db";
        assert_eq!(settings(url), settings("host=::1,h port=1, user=u dbname=db"));
    }

    #[test]
    fn each_sslmode_and_nothing_weaker_than_asked() {
        let modes = [
            ("disable", TlsMode::Disable, SslMode::Disable),
            ("prefer", TlsMode::Prefer, SslMode::Prefer),
            ("require", TlsMode::Require, SslMode::Require),
            ("verify-ca", TlsMode::VerifyCa, SslMode::Require),
            ("verify-full", TlsMode::VerifyFull, SslMode::Require),
        ];
        for (word, tls, driver) in modes {
            let settings = settings(&format!("host=h sslmode={word}"));
            assert_eq!((settings.tls(), settings.config().get_ssl_mode()), (tls, driver), "{word}");
        }
        assert!(faults("host=h sslmode=allow")[0].contains("sslmode is none of"));
    }

    #[test]
    fn an_authority_is_checked_or_refused_never_ignored() {
        let rooted = |mode: &str| format!("host=h sslrootcert=/r.pem {mode}").parse::<Settings>();
        assert!(rooted("").is_err());
        assert!(rooted("sslmode=prefer").is_err());
        assert!(rooted("sslmode=disable").is_err());
        let required = rooted("sslmode=require").expect("settings");
        assert_eq!((required.tls(), required.root_cert()), (TlsMode::VerifyCa, Some(Path::new("/r.pem"))));
        assert_eq!(rooted("sslmode=verify-full").expect("settings").tls(), TlsMode::VerifyFull);
        let system = settings("host=h sslrootcert=system sslmode=verify-full");
        assert_eq!((system.tls(), system.root_cert()), (TlsMode::VerifyFull, None));
        assert!("host=h sslrootcert=system sslmode=verify-ca".parse::<Settings>().is_err());
    }

    #[test]
    fn a_unix_socket_needs_no_tls_and_an_address_is_a_name() {
        let local = settings("host=/run/pg sslmode=require");
        assert_eq!(local.config().get_ssl_mode(), SslMode::Disable);
        assert_eq!(settings("host=/run/pg,h sslmode=require").config().get_ssl_mode(), SslMode::Require);
        let address = settings("hostaddr=192.0.2.1 dbname=d");
        assert_eq!(address.to_string(), "192.0.2.1:5432/d");
    }

    #[test]
    fn options_of_both_are_kept_and_the_users_win() {
        let own = settings("host=h options='-c a=1'");
        assert_eq!(own.config_with_options("-c b=2").get_options(), Some("-c b=2 -c a=1"));
        assert_eq!(settings("host=h").config_with_options("-c b=2").get_options(), Some("-c b=2"));
    }

    #[test]
    fn every_fault_has_its_key_and_none_the_password() {
        let all = faults(
            "password=hunter2 hunter2 usr=hunter2 port=hunter2 connect_timeout=hunter2 hostaddr=hunter2 \
             sslmode=hunter2 tcp_user_timeout=hunter2 channel_binding=hunter2",
        );
        let wanted = ["word 2", "word 3", "port", "connect_timeout", "hostaddr", "sslmode", "tcp_user", "channel"];
        for part in wanted.iter().chain(&["host is missing"]) {
            assert!(all.iter().any(|fault| fault.contains(part)), "{part}: {all:#?}");
        }
        assert_eq!(all.len(), wanted.len() + 1);
        assert!(!all.concat().contains("hunter2"), "{all:#?}");
    }

    #[test]
    fn faults_of_a_url() {
        let all = faults("postgres://u:hunter2@h/db?sslmod=hunter2&port=x");
        assert_eq!(all.len(), 2);
        assert!(all[0].contains("port has a value"), "{all:#?}");
        assert!(all[1].contains("parameter 1 is not known"), "{all:#?}");
        assert!(faults("postgres://u:hunter2/x@h/db")[0].contains("%2F"));
        assert!(faults("postgres://h/db?host=other")[0].contains("the same key"));
    }

    #[test]
    fn lists_must_match() {
        assert!(faults("host=a,b,c port=1,2")[0].contains("host and port"));
        assert!(faults("host=a,b hostaddr=192.0.2.1")[0].contains("host and hostaddr"));
        assert!(faults("host=a,,b")[0].contains("empty name"));
        assert_eq!(settings("host=a,b port=7").to_string(), "a:7,b:7/");
    }
}
