//! Parses path and query of a request for a page, and builds addresses for links. Pure.

use crate::decode::File;
use crate::load::{Start, Wanted};
use crate::source::Status;
use crate::url;

/// Number of deliveries on a page.
pub const PAGE: u32 = 50;
/// A name in a query is not longer; names of tables have at most 63 bytes each.
const NAME: usize = 512;

/// Content that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    Overview,
    List(Wanted),
    Delivery(i64),
}

/// Reason for which a request is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// The path is no page.
    Path,
    /// The query has an invalid part; the text is the end of a sentence.
    Query(String),
}

/// Reads a path and its query. A number that no delivery can have is a page that is not there.
pub fn read(path: &str, query: &str) -> Result<Asked, Wrong> {
    match path {
        "/" => Ok(Asked::Overview),
        "/deliveries" => list(query).map(Asked::List),
        _ => {
            let id = path.strip_prefix("/deliveries/").ok_or(Wrong::Path)?;
            let digits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
            id.parse().ok().filter(|_| digits).map(Asked::Delivery).ok_or(Wrong::Path)
        }
    }
}

fn list(query: &str) -> Result<Wanted, Wrong> {
    let mut wanted = Wanted { limit: PAGE, ..Wanted::default() };
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = url::decode(&value.replace('+', " ")).map_err(|_| wrong("has a % that stands for nothing"))?;
        match (name, value.as_str()) {
            (_, "") => {}
            ("table", table) if table.len() <= NAME && !table.contains('\0') => wanted.table = Some(table.to_owned()),
            ("table", _) => return Err(wrong("names a table that cannot be one")),
            ("status", word) => {
                let status = Status::parse(word);
                wanted.status = Some(status.ok_or_else(|| {
                    wrong("names a status that there is not; there are pending, loaded, failed, held, late, skipped and gone")
                })?);
            }
            ("kind", word) => {
                let kind = [File::Snapshot, File::Changes].into_iter().find(|kind| kind.as_str() == word);
                wanted.kind =
                    Some(kind.ok_or_else(|| wrong("names a kind that there is not; there are snapshot and changes"))?);
            }
            ("before", id) => wanted.page = Start::Before(number(id)?),
            ("after", id) => wanted.page = Start::After(number(id)?),
            _ => {}
        }
    }
    Ok(wanted)
}

fn number(word: &str) -> Result<i64, Wrong> {
    word.parse().ok().filter(|id| *id >= 0).ok_or_else(|| wrong("has a number of a delivery that is none"))
}

fn wrong(what: &str) -> Wrong {
    Wrong::Query(format!("The address {what}."))
}

/// Returns the address of a list.
pub fn address(wanted: &Wanted) -> String {
    let page = match wanted.page {
        Start::Newest => None,
        Start::Before(id) => Some(format!("before={id}")),
        Start::After(id) => Some(format!("after={id}")),
    };
    let table = wanted.table.as_deref().map(|table| format!("table={}", encoded(table)));
    let status = wanted.status.map(|status| format!("status={}", status.as_str()));
    let kind = wanted.kind.map(|kind| format!("kind={}", kind.as_str()));
    let parts: Vec<String> = [table, status, kind, page].into_iter().flatten().collect();
    if parts.is_empty() { "/deliveries".to_owned() } else { format!("/deliveries?{}", parts.join("&")) }
}

/// Returns the address of a table's deliveries.
pub fn of_table(table: &str) -> String {
    address(&Wanted { table: Some(table.to_owned()), ..Wanted::default() })
}

/// Encodes everything but letters, digits and `-._~` as `%` and two hexadecimal digits.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        let wanted = Wanted {
            status: Some(Status::Held),
            kind: Some(File::Snapshot),
            table: Some("dbo.a b&c=d+é%\"<script>".to_owned()),
            page: Start::Before(7),
            limit: PAGE,
        };
        let written = address(&wanted);
        assert!(written.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"'".contains(&byte)), "{written}");
        let (path, query) = written.split_once('?').expect("a query");
        assert_eq!(read(path, query), Ok(Asked::List(wanted)));
        assert_eq!(address(&Wanted::default()), "/deliveries");
        assert_eq!(read("/deliveries", "table=a+b&after=3&x=y&status="), {
            let (table, page) = (Some("a b".to_owned()), Start::After(3));
            Ok(Asked::List(Wanted { table, page, limit: PAGE, ..Wanted::default() }))
        });
    }

    #[test]
    fn what_is_no_page_is_told_from_what_is_no_question() {
        assert_eq!(read("/", "anything"), Ok(Asked::Overview));
        assert_eq!(read("/deliveries/12", ""), Ok(Asked::Delivery(12)));
        for path in ["/x", "/deliveries/", "/deliveries/x", "/deliveries/-1", "/deliveries/+1", "/deliveries/1/", "*"] {
            assert_eq!(read(path, ""), Err(Wrong::Path), "{path}");
        }
        assert_eq!(read("/deliveries/99999999999999999999", ""), Err(Wrong::Path));
        let long = format!("table={}", "x".repeat(600));
        for query in ["status=lost", "kind=x", "before=x", "after=-1", "table=%zz", "table=%00", "table=%ff", &long] {
            assert!(matches!(read("/deliveries", query), Err(Wrong::Query(_))), "{query}");
        }
    }
}
