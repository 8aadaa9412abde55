//! Reads how to reach a MySQL server.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use mysql_async::{OptsBuilder, SslOpts};
use pe_runtime::multi_host_url::Url;
use pe_runtime::secret::Secret;

/// How to reach the server. `Debug` hides the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Secret,
    pub name: String,
    pub tls: TlsMode,
    /// A file with the authorities that are trusted.
    pub tls_ca: Option<PathBuf>,
}

/// MySQL's `ssl-mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    #[default]
    Disabled,
    Required,
    VerifyCa,
    VerifyIdentity,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 3306,
            user: String::new(),
            password: Secret::default(),
            name: "timer_db".to_owned(),
            tls: TlsMode::default(),
            tls_ca: None,
        }
    }
}

impl Settings {
    /// Reads `mysql://user:password@host:port/database?ssl-mode=…&ssl-ca=…`.
    pub fn from_url(text: &str) -> Result<Self, String> {
        let url = Url::parse(text)?;
        let [host] = url.hosts.as_slice() else { return Err("name one host".to_owned()) };
        if host.name.is_empty() {
            return Err("the URL has no host".to_owned());
        }
        let mut settings = Self {
            host: host.name.clone(),
            port: host.port.unwrap_or(3306),
            user: url.user.unwrap_or_else(|| "root".to_owned()),
            password: url.password.unwrap_or_default(),
            ..Self::default()
        };
        if !url.path.is_empty() {
            settings.name = url.path;
        }
        for (key, value) in &url.query {
            settings.set(key, value)?;
        }
        Ok(settings)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "ssl-ca" => self.tls_ca = Some(value.into()),
            "ssl-mode" => {
                self.tls = match value.to_ascii_uppercase().as_str() {
                    "DISABLED" => TlsMode::Disabled,
                    "REQUIRED" => TlsMode::Required,
                    "VERIFY_CA" => TlsMode::VerifyCa,
                    "VERIFY_IDENTITY" => TlsMode::VerifyIdentity,
                    _ => return Err("ssl-mode is none of DISABLED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY".to_owned()),
                }
            }
            _ => return Err("a key after the ? is neither ssl-mode nor ssl-ca".to_owned()),
        }
        Ok(())
    }

    /// Returns what the driver needs, for the database or for none.
    pub(super) fn options(&self, with_database: bool) -> OptsBuilder {
        OptsBuilder::default()
            .ip_or_hostname(self.host.clone())
            .tcp_port(self.port)
            .user(Some(self.user.clone()))
            .pass(Some(self.password.expose().to_owned()))
            .db_name(with_database.then(|| self.name.clone()))
            .prefer_socket(false)
            .tcp_keepalive(Some(Duration::from_secs(60)))
            .ssl_opts(self.ssl())
    }

    fn ssl(&self) -> Option<SslOpts> {
        let roots = self.tls_ca.iter().cloned().map(Into::into).collect::<Vec<_>>();
        let options = SslOpts::default().with_root_certs(roots);
        match self.tls {
            TlsMode::Disabled => None,
            TlsMode::Required => Some(options.with_danger_accept_invalid_certs(true)),
            TlsMode::VerifyCa => Some(options.with_danger_skip_domain_validation(true)),
            TlsMode::VerifyIdentity => Some(options),
        }
    }
}

/// Where it is, for messages: without user and password.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.host, self.port, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_the_parts_and_the_defaults() {
        let settings = Settings::from_url("mysql://u:p%40@h/d?ssl-mode=VERIFY_CA&ssl-ca=/ca.pem").expect("settings");
        assert_eq!(settings.to_string(), "h:3306/d");
        assert_eq!((settings.password.expose(), settings.tls), ("p@", TlsMode::VerifyCa));
        assert_eq!(Settings::from_url("mysql://h:7").expect("settings").to_string(), "h:7/timer_db");
    }

    #[test]
    fn faults_do_not_repeat_the_password() {
        for text in [
            "mysql://u:hunter2@",
            "mysql://u:hunter2@a,b/d",
            "mysql://u:hunter2@h/d?x=y",
            "mysql://u:hunter2@h/d?ssl-mode=x",
        ] {
            assert!(!Settings::from_url(text).expect_err(text).contains("hunter2"));
        }
    }
}
