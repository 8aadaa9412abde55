//! Checks the database: the server, the rights, a pooler in between, and the loader's own tables. The feed's tables
//! are in `tables`.

use super::configuration::Settings;
use super::report::{Part, Report};
use super::{Trouble, tables, within};
use crate::app;
use crate::clock::Clock;
use crate::load::{Feed, Pooler, Server, Target};
use crate::loader::Error;
use crate::loader::service::End;
use crate::pg::quote;
use crate::source::Probe;

pub(super) async fn check(settings: &Settings, feed: Option<&Probe>, report: &mut Report) {
    let Some(wanted) = &settings.target else {
        report.unknown(Part::Target, "", "TARGET, or what belongs to it, has faults");
        return;
    };
    let source = settings.source.as_ref();
    let place = source.map(|source| Feed::new(source, wanted.schema.as_deref()));
    let target = Target::new(wanted, place.unwrap_or_default(), &app::hostname(), Clock::system());
    let server = match target.map(|target| async { within(target.server()).await.map(|server| (target, server)) }) {
        Ok(answer) => answer.await,
        Err(error) => Err(Trouble::of(&Error::from(error))),
    };
    let (target, server) = match server {
        Ok(both) => both,
        Err(trouble) => {
            report.trouble(Part::Target, "connect", &trouble, unreached(&trouble));
            return;
        }
    };
    let tls = server.tls.as_deref().unwrap_or("plain text");
    report.ok(Part::Target, "connect", format!("{} as {}, {tls}", wanted.postgres, server.role));
    version(&server, report);
    writes(&server, report);
    fitness(&server, report);
    role(&server, report);
    pooler(&target, report).await;
    if own(&target, wanted.migrate, &server, report).await {
        grants(&target, &server.role, report).await;
    }
    tables::check(&target, (wanted, &settings.patterns), feed, report).await;
}

/// Returns the advice for a server that cannot be reached. PgBouncer accepts connections with pool_mode=statement
/// too, and refuses the first transaction.
fn unreached(trouble: &Trouble) -> &'static str {
    if trouble.words.contains("statement pooling") {
        "The pooler in between must lend sessions for a transaction at least: pool_mode=transaction in PgBouncer"
    } else {
        "Check host and port in TARGET, and that this machine reaches it"
    }
}

fn version(server: &Server, report: &mut Report) {
    let version = format!("Postgres {}", server.version);
    if server.is_supported() {
        report.ok(Part::Target, "version", version);
    } else {
        report.fail(Part::Target, "version", version, "Use Postgres 13 or newer", End::Stopped);
    }
}

fn writes(server: &Server, report: &mut Report) {
    if server.standby {
        let hint = "Name the primary in TARGET, or all hosts and target_session_attrs=read-write";
        report.fail(Part::Target, "writable", "no: the server is a standby", hint, End::Unreachable);
    } else if server.read_only {
        let hint = "Set default_transaction_read_only to off, for the server, the database or the role";
        report.fail(Part::Target, "writable", "no: transactions are read-only", hint, End::Unreachable);
    } else {
        report.ok(Part::Target, "writable", "yes");
    }
}

fn fitness(server: &Server, report: &mut Report) {
    match &server.unfit {
        None => report.ok(Part::Target, "settings", "UTF8, and triggers and foreign keys work"),
        Some(unfit) => {
            let words = unfit.to_string();
            let (found, hint) = words.split_once("; ").unwrap_or((&words, "Use another database"));
            report.fail(Part::Target, "settings", found, hint, End::Misconfigured);
        }
    }
}

fn role(server: &Server, report: &mut Report) {
    let role = &server.role;
    if server.superuser {
        let hint = "Use a member of paper_engine_loader (`migrate --roles` makes it): it may load and nothing else";
        report.warn(Part::Target, "role", format!("{role} is a superuser, which is more than loading needs"), hint);
    } else {
        report.ok(Part::Target, "role", format!("{role} is no superuser"));
    }
}

async fn pooler(target: &Target, report: &mut Report) {
    match within(target.pooler()).await {
        Ok(Pooler::Unseen) => report.ok(Part::Target, "pooler", "none seen: each connection has its own session"),
        Ok(Pooler::Sessions) => {
            report.ok(
                Part::Target,
                "pooler",
                "one that lends out sessions (pool_mode=session in PgBouncer); that works",
            );
        }
        Ok(Pooler::Transactions) => {
            let found =
                "one that lends a session for each transaction (pool_mode=transaction in PgBouncer); that works";
            report.ok(Part::Target, "pooler", found);
        }
        Err(trouble) => {
            let hint = "Let the role have 4 connections at a time: a loader may want them";
            report.warn(Part::Target, "pooler", format!("not looked at: {}", trouble.words), hint);
        }
    }
}

/// Returns the advice that grants everything.
fn roles(role: &str) -> String {
    let role = quote::ident(role);
    format!("as a superuser `paper-engine-orders migrate --roles`, then `grant paper_engine_loader to {role}`")
}

/// Checks the loader's own tables. Returns `true` if they exist, so that grants can be checked.
async fn own(target: &Target, migrate: bool, server: &Server, report: &mut Report) -> bool {
    let by_owner = "Run `paper-engine-orders migrate` as their owner";
    let thing = "the loader's tables";
    match within(async { Ok::<_, Error>(version_of(target).await) }).await.and_then(|state| state) {
        Ok(Schema::Current(version)) => {
            report.ok(Part::Target, thing, format!("version {version}"));
            return true;
        }
        Ok(Schema::Lacks(missing)) if !migrate => {
            let found = format!("{missing} migrations are missing");
            report.fail(Part::Target, thing, found, by_owner, End::Misconfigured);
        }
        Ok(Schema::Lacks(missing)) if server.creates => {
            report.ok(Part::Target, thing, format!("{missing} migrations are missing; the next start applies them"));
        }
        Ok(Schema::Lacks(missing)) => {
            let found =
                format!("{missing} migrations are missing, and {} may not create tables in public", server.role);
            report.fail(Part::Target, thing, found, by_owner, End::Stopped);
        }
        Ok(Schema::Newer(words)) => {
            report.fail(Part::Target, thing, words, "Upgrade this program", End::Misconfigured);
        }
        Err(trouble) => report.trouble(Part::Target, thing, &trouble, &format!("Run {}", roles(&server.role))),
    }
    false
}

/// State of the loader's own tables.
enum Schema {
    Current(i32),
    Lacks(usize),
    Newer(String),
}

async fn version_of(target: &Target) -> Result<Schema, Trouble> {
    match target.schema_version().await {
        Ok(version) => Ok(Schema::Current(version)),
        Err(crate::load::Error::SchemaMissing { missing }) => Ok(Schema::Lacks(missing)),
        Err(crate::load::Error::SchemaNewer { found, known }) => {
            Ok(Schema::Newer(format!("version {found}, newer than this program, which knows {known}")))
        }
        Err(error) => Err(Trouble::of(&error.into())),
    }
}

async fn grants(target: &Target, role: &str, report: &mut Report) {
    let grants = match within(target.own_grants()).await {
        Ok(grants) => grants,
        Err(trouble) => return report.trouble(Part::Target, "grants", &trouble, &format!("Run {}", roles(role))),
    };
    let lacking: Vec<_> = grants.iter().filter_map(|grant| Some((&grant.object, grant.wants.as_ref()?))).collect();
    if lacking.is_empty() {
        report.ok(
            Part::Target,
            "grants",
            format!("all on the loader's {} tables, sequences and functions", grants.len()),
        );
    }
    for (object, wants) in lacking {
        report.fail(
            Part::Target,
            object,
            "the role lacks a grant",
            &format!("{wants}; or {}", roles(role)),
            End::Stopped,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Mark;
    use super::*;

    fn server() -> Server {
        Server {
            version: "12.22".into(),
            number: 120_022,
            role: "loader".into(),
            superuser: false,
            standby: true,
            read_only: true,
            tls: None,
            creates: false,
            unfit: None,
        }
    }

    #[test]
    fn a_server_that_is_too_old_or_a_standby_is_named() {
        let mut report = Report::default();
        writes(&server(), &mut report);
        version(&server(), &mut report);
        assert!(report.lines.iter().all(|line| line.mark == Mark::Fail));
        assert_eq!(report.lines[0].found, "no: the server is a standby");
        assert_eq!(report.lines[1].hint.as_deref(), Some("Use Postgres 13 or newer"));
        assert_eq!(report.end(), End::Unreachable);
        let newer = Server { number: 130_000, standby: false, read_only: false, ..server() };
        writes(&newer, &mut report);
        version(&newer, &mut report);
        assert!(report.lines[2..].iter().all(|line| line.mark == Mark::Ok));
    }

    #[test]
    fn a_pooler_that_knows_no_transactions_is_named() {
        let trouble = |words: &str| Trouble { words: words.to_owned(), end: End::Unreachable };
        let words = "look at the server: transaction blocks not allowed in statement pooling mode (08P01)";
        assert!(unreached(&trouble(words)).contains("pool_mode=transaction"));
        assert!(unreached(&trouble("cannot reach Postgres: refused")).contains("host and port"));
    }
}
