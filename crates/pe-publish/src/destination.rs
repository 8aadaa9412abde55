//! Reads a destination from its URL and opens it. Kafka's are read by whoever links `pe-kafka`.

use std::fmt;
use std::str::FromStr;

use crate::console::Console;
use crate::file::{Files, Layout};
use crate::nats::{self, Nats};
use crate::publisher::{Error, Publisher};
use crate::template::Template;
use crate::ws::{self, Ws};

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Console,
    Files { folder: Template, layout: Layout },
    Nats(Box<nats::Settings>),
    Ws(ws::Settings),
}

const FORMS: &str = "Write console:, file:FOLDER, nats://host:4222/subject or ws://127.0.0.1:9000/path";

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once(':').ok_or_else(|| format!("it is no destination. {FORMS}"))?;
        match scheme {
            "console" if rest.trim_start_matches('/').is_empty() => Ok(Self::Console),
            "console" => Err("nothing may follow console:".to_owned()),
            "file" => {
                let folder = rest.strip_prefix("//").unwrap_or(rest);
                if folder.is_empty() {
                    return Err("a folder must follow file:".to_owned());
                }
                Ok(Self::Files { folder: Template::parse(folder)?, layout: Layout::default() })
            }
            "nats" | "tls" => nats::Settings::from_url(text).map(|settings| Self::Nats(Box::new(settings))),
            "ws" => ws::Settings::from_url(text).map(Self::Ws),
            _ => Err(format!("{scheme}: is no kind of destination. {FORMS}")),
        }
    }
}

impl Destination {
    /// Opens the destination. A websocket begins to listen; everything else connects when it is needed.
    ///
    /// # Errors
    /// Fails if the address of a websocket cannot be listened on.
    pub async fn open(&self) -> Result<Box<dyn Publisher>, Error> {
        Ok(match self {
            Self::Console => Box::new(Console::stdout()),
            Self::Files { folder, layout } => Box::new(Files::new(folder, *layout)),
            Self::Nats(settings) => Box::new(Nats::new(settings.as_ref().clone())),
            Self::Ws(settings) => Box::new(Ws::bind(settings).await?),
        })
    }
}

/// Says where it leads, without login and query.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Console => f.write_str("console:"),
            Self::Files { folder, .. } => write!(f, "file:{}", folder.as_str()),
            Self::Nats(settings) => settings.fmt(f),
            Self::Ws(settings) => settings.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_known_by_its_scheme() {
        for (text, shown) in [
            ("console:", "console:"),
            ("file:/tmp/x", "file:/tmp/x"),
            ("file:out/{table}", "file:out/{table}"),
            ("nats://u:hunter2@h:1/s", "nats://h:1/s"),
            ("ws://127.0.0.1:9000/feed?clients=1", "ws://127.0.0.1:9000/feed"),
        ] {
            assert_eq!(text.parse::<Destination>().expect(text).to_string(), shown);
        }
        for bad in ["", "console", "console:x", "file:", "http://x/y", "ws://nowhere", "file:{x}"] {
            let fault = bad.parse::<Destination>().expect_err(bad);
            assert!(!fault.is_empty(), "{bad}");
        }
    }
}
