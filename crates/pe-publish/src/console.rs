//! Publishes to the console: the payload of each record is a line on stdout.

use std::io::{self, Write};

use futures_util::future::BoxFuture;

use crate::publisher::{Capabilities, Error, Outcome, Publisher};
use crate::record::Record;

/// Stdout, or what a test takes for it.
pub struct Console(fn() -> Box<dyn Write>);

impl Console {
    /// Writes to the stdout of this process.
    pub fn stdout() -> Self {
        Self(|| Box::new(io::stdout()))
    }

    /// Writes to whatever `open` returns, for each batch anew. For tests.
    pub fn to(open: fn() -> Box<dyn Write>) -> Self {
        Self(open)
    }
}

impl Publisher for Console {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn check(&mut self) -> BoxFuture<'_, Result<String, Error>> {
        Box::pin(async { Ok("stdout".to_owned()) })
    }

    fn publish<'a>(&'a mut self, records: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Error>> {
        let mut lines = Vec::with_capacity(records.iter().map(|record| record.payload.len() + 1).sum());
        for record in records {
            lines.extend_from_slice(&record.payload);
            lines.push(b'\n');
        }
        let open = self.0;
        Box::pin(async move {
            // whoever reads the pipe may take its time
            let written = tokio::task::spawn_blocking(move || {
                let mut out = open();
                out.write_all(&lines).and_then(|()| out.flush())
            });
            match written.await {
                Ok(Ok(())) => Ok(vec![Outcome::Delivered; records.len()]),
                Ok(Err(error)) => Err(Error::Fatal(format!("console: cannot write: {error}"))),
                Err(error) => Err(Error::Fatal(format!("console: {error}"))),
            }
        })
    }
}
