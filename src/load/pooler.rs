//! Detects a connection pooler between the loader and the server. Server sessions have identities (process and start
//! time), and two connections that are both open can have the same session only if a pooler shares it.

use std::time::Duration;

use super::{Error, Target};
use crate::pg::{self, Pg};

/// Kind of pooler between the loader and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooler {
    /// No pooler: each connection has its own session, which ends with the connection.
    Unseen,
    /// A session is reused by the next connection.
    Sessions,
    /// Each transaction may run in another session.
    Transactions,
}

/// A session of the server: its process, and since when it has been there.
type Session = (i32, String);

/// Number of comparisons of two connections: under load a pooler may give each connection another session.
const TRIES: usize = 3;
/// Time for a pooler to notice that a connection has ended.
const PAUSE: Duration = Duration::from_millis(100);

impl Target {
    /// Compares the sessions behind three connections.
    pub async fn pooler(&self) -> Result<Pooler, Error> {
        let connect = || Pg::new(&self.settings.postgres);
        let (one, other) = (connect()?, connect()?);
        let mut seen: Vec<Session> = Vec::new();
        for _ in 0..TRIES {
            let (first, second) = (session(&one).await?, session(&other).await?);
            if first == second || seen.first().is_some_and(|before| *before != first) {
                return Ok(Pooler::Transactions);
            }
            seen = vec![first, second];
        }
        drop((one, other));
        tokio::time::sleep(PAUSE).await;
        let next = session(&connect()?).await?;
        Ok(if seen.contains(&next) { Pooler::Sessions } else { Pooler::Unseen })
    }
}

async fn session(pg: &Pg) -> Result<Session, pg::Error> {
    let tx = pg.begin("look at the session").await?;
    let sql = "select pid, extract(epoch from backend_start)::text from pg_stat_activity where pid = pg_backend_pid()";
    let row = tx.query_typed_one(sql, &[]).await.map_err(|error| tx.error(error))?;
    tx.rollback().await?;
    Ok((row.get(0), row.get(1)))
}
