//! The broker: is it there, is our subject kept by a stream, may we publish. Nothing is published.

use super::report::{Part, Report};
use crate::app;
use crate::clock::Clock;
use crate::loader::service::End;
use crate::notifier::settings::Settings;
use crate::notifier::{Found, Notifier, SUBJECT, Streams};

pub(super) async fn check(settings: Option<&Option<Settings>>, report: &mut Report) {
    let Some(settings) = settings else {
        report.unknown(Part::Broker, "", "NATS has faults");
        return;
    };
    let notifier = Notifier::new(settings.as_ref(), &app::hostname(), Clock::system());
    match notifier.examine().await {
        None => report.ok(Part::Broker, "", "off (NOTIFICATIONS=False): nobody is told of changes"),
        Some(Ok(found)) => {
            let servers = settings.as_ref().map(|settings| settings.servers.join(",")).unwrap_or_default();
            report.ok(Part::Broker, "connect", format!("NATS {} at {servers}", found.version));
            stream(&found, report);
            publish(&found, report);
        }
        Some(Err(error)) => {
            let hint = "Check NATS, and that this machine reaches it; loads go on without it, and their messages wait";
            report.fail(Part::Broker, "connect", error.to_string(), hint, End::Unreachable);
        }
    }
}

fn stream(found: &Found, report: &mut Report) {
    match &found.streams {
        Streams::By(names) => {
            let names = names.join(", ");
            report.ok(Part::Broker, "stream", format!("{SUBJECT} is kept by {names}: each message waits for its ack"));
        }
        Streams::None => {
            let found = format!("no stream covers {SUBJECT}: who listens at that moment hears it, nobody later");
            report.ok(Part::Broker, "stream", found);
        }
        Streams::Unknown => {
            let hint = "Let the user publish $JS.API.STREAM.NAMES, if a stream keeps the subject";
            let found = "the user may not ask about streams, so messages are published without an ack";
            report.warn(Part::Broker, "stream", found, hint);
        }
    }
}

fn publish(found: &Found, report: &mut Report) {
    match found.publishes {
        Some(true) => report.ok(Part::Broker, "publish", format!("the server lets the user publish {SUBJECT}")),
        Some(false) => {
            let found = format!("the user may not publish {SUBJECT}");
            report.fail(Part::Broker, "publish", found, "Let the user publish it", End::Unreachable);
        }
        None => {
            let found = format!("the server does not say whether the user may publish {SUBJECT}");
            let hint = "Let the user publish $SYS.REQ.USER.INFO to have it told; only a message would show it";
            report.warn(Part::Broker, "publish", found, hint);
        }
    }
}
