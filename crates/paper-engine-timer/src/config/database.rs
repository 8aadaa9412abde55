//! Reads which database it is: the original's DB_* variables, or the URL in TIMER_DB.

use std::fmt;

use pe_runtime::secret::Secret;

use crate::store::mysql;

use super::Reader;

/// Where the tasks are.
#[derive(Clone, Debug)]
pub enum Database {
    Postgres(Box<pe_postgres::settings::Settings>),
    MySql(mysql::Settings),
}

/// The original's port and database.
const MYSQL_PORT: &str = "3306";
const MYSQL_NAME: &str = "timer_db";

impl Database {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        match reader.secret("TIMER_DB") {
            Some(url) if !url.is_empty() => Self::from_url(reader, &url),
            _ => Self::from_variables(reader),
        }
    }

    fn from_url(reader: &mut Reader<'_>, url: &str) -> Option<Self> {
        let parsed = match url.split_once("://").map(|(scheme, _)| scheme) {
            Some("postgres" | "postgresql") => url
                .parse()
                .map(|settings| Self::Postgres(Box::new(settings)))
                .map_err(|faults: pe_runtime::key_value::Faults| faults.to_string()),
            Some("mysql" | "mariadb") => mysql::Settings::from_url(url).map(Self::MySql),
            _ => Err("the URL must begin with postgres:// or mysql://".to_owned()),
        };
        parsed.map_err(|fault| reader.fault(format!("TIMER_DB: {fault}"))).ok()
    }

    fn from_variables(reader: &mut Reader<'_>) -> Option<Self> {
        let (host, user, password) = (reader.text("DB_HOST"), reader.text("DB_USER"), reader.secret("DB_PASSWORD"));
        let missing: Vec<&str> =
            [("DB_HOST", host.is_none()), ("DB_USER", user.is_none()), ("DB_PASSWORD", password.is_none())]
                .iter()
                .filter_map(|(name, missing)| missing.then_some(*name))
                .collect();
        if !missing.is_empty() {
            reader.fault(format!(
                "{} not given. Set TIMER_DB=postgres://… or mysql://…, or DB_HOST, DB_USER and DB_PASSWORD",
                missing.join(", ")
            ));
        }
        let name = reader.text("DB_NAME").unwrap_or_else(|| MYSQL_NAME.to_owned());
        let port = reader.value("DB_PORT", MYSQL_PORT, |text| text.parse::<u16>().map_err(|_| "is no port".to_owned()));
        let password = Secret::from(password?);
        Some(Self::MySql(mysql::Settings {
            host: host?,
            port: port?,
            user: user?,
            password,
            name,
            ..Default::default()
        }))
    }
}

/// Where it is, for messages: without user and password.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(settings) => settings.fmt(f),
            Self::MySql(settings) => settings.fmt(f),
        }
    }
}
