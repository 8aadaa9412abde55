//! Lists tasks, and shows one.

use std::io::Write;

use pe_runtime::sanitize;
use uuid::Uuid;

use crate::store::Store;
use crate::task::Shown;

use super::Failure;

const STATES: [&str; 9] =
    ["waiting", "executing", "leased", "retry", "parked", "done", "failed", "refused", "cancelled"];

#[derive(clap::Args, Debug)]
pub(super) struct ListArgs {
    /// Only tasks in this state
    #[arg(long, value_name = "STATE", value_parser = STATES)]
    state: Option<String>,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
pub(super) struct ShowArgs {
    /// The id of the task
    id: Uuid,
    /// As a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn list<S: Store>(args: &ListArgs, store: &S) -> Result<(), Failure> {
    let tasks = store.list(args.state.as_deref(), args.limit).await?;
    let mut out = std::io::stdout().lock();
    if !args.json && !tasks.is_empty() {
        writeln!(out, "{:36}  {:9}  {:26}  {:>5}  URL", "ID", "STATE", "DUE (UTC)", "TRIES")?;
    }
    for task in &tasks {
        if args.json {
            writeln!(out, "{}", json(task))?;
        } else {
            let url = sanitize::text(public(&task.url)).into_owned();
            writeln!(out, "{}  {:9}  {:26}  {:>5}  {url}", task.id, task.state, task.due, task.attempts)?;
        }
    }
    if tasks.len() == args.limit && !args.json {
        writeln!(std::io::stderr(), "There may be more: --limit {} shows so many.", args.limit * 10)?;
    }
    Ok(())
}

pub(super) async fn show<S: Store>(args: &ShowArgs, store: &S) -> Result<(), Failure> {
    let task = store.show(args.id).await?;
    let task = task.ok_or_else(|| Failure::Failed(format!("there is no task {}", args.id)))?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json(&task))?;
        return Ok(());
    }
    let number = |number: i64| (number > 0).then(|| number.to_string());
    let reason = task.reason.as_ref().map(|reason| match &task.reason_kind {
        Some(kind) => format!("{kind}: {reason}"),
        None => reason.clone(),
    });
    let lines = [
        ("id", Some(task.id.clone())),
        ("state", Some(task.state.clone())),
        ("url", Some(public(&task.url).to_owned())),
        ("due", Some(format!("{} UTC", task.due))),
        ("attempts", Some(task.attempts.to_string())),
        ("next attempt", task.next.map(|next| format!("{next} UTC"))),
        ("ended", task.finished.map(|ended| format!("{ended} UTC"))),
        ("HTTP status", task.status.map(|status| status.to_string())),
        ("reason", reason),
        ("duplicates", number(task.duplicates)),
    ];
    for (name, value) in lines {
        if let Some(value) = value {
            writeln!(out, "{name:13} {}", sanitize::text(&value))?;
        }
    }
    Ok(())
}

fn json(task: &Shown) -> String {
    let task = Shown { url: public(&task.url).to_owned(), ..task.clone() };
    serde_json::to_string(&task).unwrap_or_default()
}

/// Returns a URL without user info and query, which may hold secrets.
fn public(url: &str) -> &str {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let url = &url[..end];
    let authority = url.find("://").map_or(0, |at| at + 3);
    let path = url[authority..].find('/').map_or(url.len(), |at| authority + at);
    if url[authority..path].contains('@') { "(not shown: it has user info)" } else { url }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_query_nor_user_info_is_shown() {
        assert_eq!(public("https://h/p?token=x"), "https://h/p");
        assert!(!public("https://u:hunter2@h/p").contains("hunter2"));
        assert_eq!(public("https://h/@p"), "https://h/@p");
        assert_eq!(public("é"), "é");
    }
}
