//! Explains why Postgres refused a key in a later part of a first load: both places are named, not the constraint.

use super::delivery::DeliveryRunner;
use super::error_policy::{self, Error, ErrorPolicy};
use crate::decode;
use crate::load::{self, DeliveryTx, Why};
use crate::source::{Object, Pending, Step};

/// Sentence about a full load in which a key is repeated.
const ONCE: &str = "a snapshot must have each key once";

impl DeliveryRunner {
    /// Returns the words for a key that comes in two parts of a first load, if that is why Postgres refused the later one.
    pub(super) async fn repeated_key(
        &self,
        work: &DeliveryTx,
        pending: &Pending,
        error: &Error,
    ) -> Result<Option<Why>, Error> {
        let Error::Target(load::Error::Pg(refused)) = error else { return Ok(None) };
        if pending.step != (Step::Append { first: false }) || !work.is_repeated_key(refused).await? {
            return Ok(None);
        }
        let (mut objects, lost) = self.readable(work.loaded_parts().await?).await?;
        objects.extend(pending.objects.iter().cloned());
        let parts = Pending { objects, ..pending.clone() };
        let rows = decode::rows(self.source.open(&parts).await?, work.shape(&self.dialect));
        match work.refuse_duplicates(rows).await.map_err(Error::from) {
            Err(error @ Error::Target(load::Error::Duplicate { .. })) => {
                let why = error_policy::why(&error, &parts);
                Ok(Some(Why { part: None, ..why }))
            }
            Err(error) if !matches!(error_policy::of(&error), ErrorPolicy::Stop(_)) => Err(error),
            Err(_) => Ok(None),
            Ok(()) => self.known_key(work, pending, &lost).await,
        }
    }

    /// Divides loaded parts into those that can be read again as they were loaded, and those that cannot.
    async fn readable(&self, parts: Vec<Object>) -> Result<(Vec<Object>, Vec<Object>), Error> {
        let (mut readable, mut lost) = (Vec::new(), Vec::new());
        for part in parts {
            match self.source.head(&part.listed, 1).await.map_err(Error::from) {
                Ok(_) => readable.push(part),
                Err(error) if matches!(error_policy::of(&error), ErrorPolicy::Gone | ErrorPolicy::Relist) => {
                    lost.push(part)
                }
                Err(error) => return Err(error),
            }
        }
        Ok((readable, lost))
    }

    /// Names the position in the delivery's own file, and the deliveries that may have loaded the other row.
    async fn known_key(&self, work: &DeliveryTx, pending: &Pending, lost: &[Object]) -> Result<Option<Why>, Error> {
        let rows = decode::rows(self.source.open(pending).await?, work.shape(&self.dialect));
        let Some(place) = work.place_of_known_key(rows).await? else { return Ok(None) };
        let key = &pending.objects[0].listed.key;
        let named = |part: &Object| format!("delivery {} ({})", part.entry.unwrap_or_default(), part.listed.key);
        let from = match lost {
            [] => "no part of this full load has that row, so it was written by somebody else. Remove it, or have the table \
                   loaded again from the full load"
                .to_owned(),
            [part] => format!(
                "{ONCE}. It came with {}, whose file is not in the bucket any more as it was loaded",
                named(part)
            ),
            parts => {
                let names: Vec<String> = parts.iter().map(named).collect();
                let names = names.join(" or ");
                format!("{ONCE}. It came with {names}, whose files are not in the bucket any more as they were loaded")
            }
        };
        let words = format!("{key}: {place}: the table has a row with the same key already; {from}");
        Ok(Some(Why::of(&words)))
    }
}
