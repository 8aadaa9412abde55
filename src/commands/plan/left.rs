//! Files that are pending and not in the plan, table by table, and why.

use std::collections::{BTreeMap, HashSet};

use super::text::would;
use crate::app::App;
use crate::commands::backlog;
use crate::decode::File;
use crate::load::Target;
use crate::loader::Error;
use crate::loader::plan_file::{Left, Table};
use crate::source::{Entity, Listed, Status, TablePlan};

/// Maximum number of a table's files that are named.
const EXAMPLES: usize = 3;

/// Returns the pending files that the plan does not have, from a new listing.
pub(super) async fn of(
    boot: &App,
    stage: &Target,
    tables: &[Table],
    troubles: &BTreeMap<Entity, String>,
) -> Result<Vec<Left>, Error> {
    let planned: HashSet<(&str, &str)> = tables
        .iter()
        .flat_map(|table| &table.deliveries)
        .flat_map(|delivery| &delivery.files)
        .map(|file| (file.key.as_str(), file.etag.as_str()))
        .collect();
    let mut left = Vec::new();
    for table in backlog::take(boot, stage).await?.tables {
        let drafted = tables.iter().find(|one| one.schema == table.entity.schema && one.entity == table.entity.name);
        let stop = drafted.and_then(|one| one.stopped.as_ref()).map(|stop| stop.object_key.as_str());
        let listed = table.pending.iter().flat_map(|pending| &pending.objects).filter(|object| object.new);
        let listed = listed.map(|object| &object.listed).filter(|listed| {
            !planned.contains(&(listed.key.as_str(), listed.etag.as_str())) && Some(listed.key.as_str()) != stop
        });
        let listed: Vec<&Listed> = listed.collect();
        if listed.is_empty() && table.later.objects == 0 {
            continue;
        }
        let why = match stage.lacks(&table.entity).await? {
            Some(lacks) => lacks,
            None => why(drafted, troubles.get(&table.entity)),
        };
        left.push(one(&table, &listed, why));
    }
    Ok(left)
}

fn one(table: &TablePlan, listed: &[&Listed], why: String) -> Left {
    Left {
        table: table.entity.to_string(),
        files: listed.len() as u64 + table.later.objects,
        bytes: listed.iter().map(|listed| listed.size).sum::<u64>() + table.later.bytes,
        examples: listed.iter().take(EXAMPLES).map(|listed| listed.key.clone()).collect(),
        why,
    }
}

/// Returns the reason for which an existing table's files are not in the plan.
fn why(drafted: Option<&Table>, trouble: Option<&String>) -> String {
    let stops = |status: &str| Status::parse(status).is_some_and(|status| status.stops(File::Changes));
    let last = drafted.and_then(|table| table.deliveries.last()).filter(|last| stops(&last.status));
    match (trouble, last, drafted.and_then(|table| table.stopped.as_ref())) {
        (Some(trouble), ..) => trouble.clone(),
        (_, Some(last), _) => format!("behind {}, which {}", last.file(), would(&last.status)),
        (_, _, Some(stop)) => {
            let (id, status) = (stop.delivery, &stop.status);
            format!("behind delivery {id}, which is {status}; `deliveries show {id}` says why and what to do")
        }
        _ => "bucket or ledger changed while the plan was made; make it again".to_owned(),
    }
}
