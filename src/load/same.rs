//! Files that were rewritten with the same bytes: nothing is applied, and the ledger records which delivery had those
//! bytes.

use super::{DeliveryTx, Error};
use crate::source::Content;

impl DeliveryTx {
    /// Takes in the content of the objects that were read to their ends.
    pub fn read(&mut self, contents: Vec<Content>) {
        self.docket.contents = contents;
    }

    /// Returns `true` if all objects were read, and each has the bytes of its loaded version.
    pub fn is_same(&self) -> bool {
        let (objects, contents) = (&self.docket.pending.objects, &self.docket.contents);
        let pairs = objects.iter().zip(contents);
        objects.len() == contents.len() && pairs.clone().all(|(object, content)| object.has_content_of_before(*content))
    }

    /// Gives the delivery up because its bytes are those of loaded files, and records that. Returns the highest id.
    pub async fn note_same(mut self, generation: i32) -> Result<i64, Error> {
        self.tx.back_to_mark().await?;
        self.docket.pending.generation = generation;
        let id = self.docket.note_same(&self.tx).await?;
        self.tx.commit().await?;
        Ok(id)
    }
}
