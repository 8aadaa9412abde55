//! The status page: the loader's shared state and the ledger as HTML. It only reads. The content is a pure function
//! (`overview`, `list`, `delivery`) of what was read; `ledger_cache` limits the load on the database.

pub mod asked;
mod delivery;
pub mod layout;
mod ledger_cache;
mod list;
mod overview;

use askama::Template;
use hyper::StatusCode;

use crate::clock::Clock;
use crate::health::{Health, Part};
use crate::load::{Feed, Reader};
use crate::status::SharedBacklog;
use asked::{Asked, Wrong};
use layout::{ICON, Layout, SCRIPT, STYLE, Time, seen};
use ledger_cache::{Answer, LedgerCache, Trouble};
use overview::Seen;

/// Data sources of the page.
pub struct Sources {
    pub feed: Feed,
    /// None if the database's settings do not let anybody connect.
    pub reader: Option<Reader>,
    pub noted: SharedBacklog,
    pub clock: Clock,
    pub host: String,
    pub dry_run: bool,
    /// `true` if messages are published.
    pub notifies: bool,
}

/// The page of one loader.
pub struct Page {
    feed: Feed,
    readings: LedgerCache,
    noted: SharedBacklog,
    clock: Clock,
    host: String,
    dry_run: bool,
    notifies: bool,
}

/// A page that nothing can be shown on.
#[derive(Template)]
#[template(path = "notice.html")]
struct Notice {
    frame: Layout,
    headline: &'static str,
    words: String,
    hint: &'static str,
}

impl Page {
    pub fn new(sources: Sources) -> Self {
        let Sources { feed, reader, noted, clock, host, dry_run, notifies } = sources;
        Self { feed, readings: LedgerCache::new(reader, clock.clone()), noted, clock, host, dry_run, notifies }
    }

    /// Returns the page for a request.
    pub async fn show(&self, asked: &Asked, health: &Health) -> (StatusCode, String) {
        let read = self.readings.read(asked).await;
        let now = self.clock.utc().unix_timestamp();
        match (asked, read) {
            (Asked::Overview, read) => self.overview(read, health, now),
            (Asked::List(wanted), Ok(Answer::List(listing))) => {
                let page = list::Page::new(self.frame("/deliveries", "Deliveries", now), wanted, &listing, now);
                html(StatusCode::OK, &page)
            }
            (Asked::Delivery(id), Ok(Answer::Delivery(Some(dossier)))) => {
                let page = delivery::Page::new(self.frame("", &format!("Delivery {id}"), now), &dossier, now);
                html(StatusCode::OK, &page)
            }
            (Asked::Delivery(id), Ok(_)) => {
                let words = format!("The ledger of this feed has no delivery {id}.");
                self.notice(StatusCode::NOT_FOUND, "There is no such delivery", &words)
            }
            (_, Err(trouble)) if trouble.busy => {
                self.notice(StatusCode::SERVICE_UNAVAILABLE, "Many are looking", &sentence(&trouble.why))
            }
            (_, Err(trouble)) => {
                self.notice(StatusCode::SERVICE_UNAVAILABLE, "The ledger cannot be read", &sentence(&trouble.why))
            }
            // each question has its answer
            (_, Ok(_)) => self.wrong(&Wrong::Path),
        }
    }

    /// Returns the page for an invalid request.
    pub fn wrong(&self, wrong: &Wrong) -> (StatusCode, String) {
        match wrong {
            Wrong::Path => self.notice(StatusCode::NOT_FOUND, "There is no such page", "Nothing is at this address."),
            Wrong::Query(words) => self.notice(StatusCode::BAD_REQUEST, "That cannot be shown", words),
        }
    }

    fn overview(&self, read: Result<Answer, Trouble>, health: &Health, now: i64) -> (StatusCode, String) {
        let busy = matches!(&read, Err(trouble) if trouble.busy);
        let (ledger, trouble) = match read {
            Ok(Answer::Overview(overview)) => (Some(overview), None),
            Ok(_) => (None, None),
            Err(Trouble { why, before, .. }) => {
                let at = before.as_ref().map(|(_, at)| *at);
                (before.map(|(overview, _)| overview), Some((why, at)))
            }
        };
        let seen = Seen {
            feed: &self.feed,
            stock: self.noted.stock(),
            reached: [Part::Source, Part::Target, Part::Notifier].map(|part| (part, health.of(part))),
            notifies: self.notifies,
            ledger: ledger.as_deref(),
            trouble,
            busy,
            now,
        };
        html(StatusCode::OK, &overview::Page::new(self.frame("/", "paper-engine-orders", now), &seen))
    }

    fn notice(&self, status: StatusCode, headline: &'static str, words: &str) -> (StatusCode, String) {
        let frame = self.frame("", headline, self.clock.utc().unix_timestamp());
        let hint = match status {
            StatusCode::SERVICE_UNAVAILABLE => "The first page shows what is known without it. Try again in a moment.",
            _ => "Overview and Deliveries, above, lead on.",
        };
        html(status, &Notice { frame, headline, words: seen(words), hint })
    }

    fn frame(&self, here: &'static str, title: &str, now: i64) -> Layout {
        Layout {
            title: if here == "/" { title.to_owned() } else { format!("{title} – paper-engine-orders") },
            bucket: seen(&self.feed.bucket),
            path: seen(&self.feed.path),
            host: seen(&self.host),
            dry_run: self.dry_run,
            now: Time { age: String::new(), ..Time::at(now, now) },
            here,
            style: STYLE.address(),
            script: SCRIPT.address(),
            icon: ICON.address(),
        }
    }
}

fn sentence(words: &str) -> String {
    format!("{}.", words.trim_end_matches('.'))
}

/// Renders a template.
fn html(status: StatusCode, page: &impl Template) -> (StatusCode, String) {
    match page.render() {
        Ok(html) => (status, html),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("<!doctype html><title>{error}</title>")),
    }
}
