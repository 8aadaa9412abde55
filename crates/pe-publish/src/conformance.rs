//! Tests what every destination must do. A destination is given as a [`Bench`], which opens it, reads back what it took, and
//! takes its server away and back where it has one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::publisher::{Outcome, Publisher};
use crate::record::Record;

/// A destination under test.
pub trait Bench: Sized {
    /// Opens the destination.
    fn open(&self) -> impl Future<Output = Box<dyn Publisher>>;

    /// Reads everything that the destination has taken so far, in its order. Called once, at the end.
    fn taken(self) -> impl Future<Output = Vec<Taken>>;

    /// Takes the server away; returns `false` if the destination has none.
    fn stop(&mut self) -> impl Future<Output = bool> {
        async { false }
    }

    /// Brings the server back, with what it has stored.
    fn start(&mut self) -> impl Future<Output = ()> {
        async {}
    }
}

/// A record as a reader of the destination sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The id, where the destination carries it.
    pub id: Option<String>,
    pub payload: Bytes,
}

/// Longer than any wait that a sound destination needs.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// Returns the n-th record of a test.
pub fn record(number: usize) -> Record {
    Record {
        id: format!("suite/t/{number}#0"),
        key: Some(Bytes::from(format!("k{}", number % 3))),
        time: 1_589_720_400_000_000 + i64::try_from(number).unwrap_or_default(),
        table: Arc::from("t"),
        group: Arc::from("2020-05-17T13-00-00"),
        headers: vec![("table", "t".to_owned())],
        payload: Bytes::from(format!("{{\"n\":{number},\"t\":\"é\"}}")),
    }
}

/// Returns records `from..to` of a test.
pub fn records(from: usize, to: usize) -> Vec<Record> {
    (from..to).map(record).collect()
}

/// Publishes until no outcome is `Retry`, as a lane does: what was delivered is not sent again. Returns the reasons of what was
/// rejected.
pub async fn deliver(publisher: &mut dyn Publisher, records: &[Record]) -> Vec<String> {
    let (mut rest, mut rejected) = (records.to_vec(), Vec::new());
    let all = async {
        while !rest.is_empty() {
            let outcomes = publisher.publish(&rest).await.expect("the destination is not lost");
            assert_eq!(outcomes.len(), rest.len(), "one outcome per record");
            let first = outcomes.iter().position(|outcome| matches!(outcome, Outcome::Retry(_)));
            if let Some(first) = first {
                let delivered = outcomes[first..].contains(&Outcome::Delivered);
                assert!(!delivered, "nothing is delivered behind a record that is to be tried again");
            }
            let mut outcomes = outcomes.into_iter();
            rest.retain(|_| match outcomes.next() {
                Some(Outcome::Retry(_)) => true,
                Some(Outcome::Rejected(why)) => {
                    rejected.push(why);
                    false
                }
                _ => false,
            });
            if !rest.is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
        }
        publisher.flush().await.expect("flushed");
    };
    tokio::time::timeout(PATIENCE, all).await.expect("delivered in time");
    rejected
}

fn payloads(records: &[Record]) -> Vec<Bytes> {
    records.iter().map(|record| record.payload.clone()).collect()
}

async fn assert_taken<B: Bench>(bench: B, mut publisher: Box<dyn Publisher>, expected: &[Record]) {
    publisher.close().await;
    drop(publisher);
    let taken = bench.taken().await;
    let seen: Vec<Bytes> = taken.iter().map(|taken| taken.payload.clone()).collect();
    assert_eq!(seen, payloads(expected));
    for (taken, record) in taken.iter().zip(expected) {
        assert!(taken.id.as_ref().is_none_or(|id| *id == record.id), "{:?} has another id", record.id);
    }
}

/// The server is reached without publishing anything.
pub async fn check_publishes_nothing<B: Bench>(bench: B) {
    let mut publisher = bench.open().await;
    let line = publisher.check().await.expect("reached");
    assert!(!line.is_empty());
    assert_taken(bench, publisher, &[]).await;
}

/// Records arrive once each, in the order in which they were published, whatever the sizes of the batches.
pub async fn order_is_kept<B: Bench>(bench: B) {
    let mut publisher = bench.open().await;
    let all = records(0, 2_000);
    let mut rest = all.as_slice();
    for size in [1, 7, 1_000, 0, 900, 92] {
        let (batch, others) = rest.split_at(size);
        assert_eq!(deliver(publisher.as_mut(), batch).await, Vec::<String>::new());
        rest = others;
    }
    assert_taken(bench, publisher, &all).await;
}

/// A record that comes again has the same id, by which a reader, or the destination itself, drops it.
pub async fn a_repeat_keeps_its_id<B: Bench>(bench: B) {
    let mut publisher = bench.open().await;
    let all = records(0, 20);
    deliver(publisher.as_mut(), &all).await;
    deliver(publisher.as_mut(), &all[10..]).await;
    let drops = publisher.capabilities().drops_repeats;
    publisher.close().await;
    drop(publisher);
    let mut taken = bench.taken().await;
    assert_eq!(taken.len(), if drops { 20 } else { 30 });
    let repeats = taken.split_off(20);
    let ids = |taken: &[Taken]| taken.iter().map(|one| (one.id.clone(), one.payload.clone())).collect::<Vec<_>>();
    assert!(repeats.is_empty() || ids(&repeats) == ids(&taken[10..]));
}

/// A record that is too large is rejected; those around it arrive.
pub async fn one_too_large_takes_no_neighbour_along<B: Bench>(bench: B, too_large: usize) {
    let mut publisher = bench.open().await;
    let mut all = records(0, 30);
    all[11].payload = Bytes::from(format!("\"{}\"", "x".repeat(too_large)));
    let rejected = deliver(publisher.as_mut(), &all).await;
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    all.remove(11);
    assert_taken(bench, publisher, &all).await;
}

/// While the server is away nothing is delivered; once it is back, everything arrives in order. A record may come twice, with
/// its id.
pub async fn a_server_may_go_and_come_back<B: Bench>(mut bench: B) {
    let mut publisher = bench.open().await;
    let all = records(0, 300);
    deliver(publisher.as_mut(), &all[..100]).await;
    assert!(bench.stop().await, "this destination has no server");
    let away = tokio::time::timeout(Duration::from_secs(2), publisher.publish(&all[100..200])).await;
    if let Ok(outcomes) = away {
        assert!(!outcomes.expect("not lost").contains(&Outcome::Delivered), "nobody is there to take it");
    }
    bench.start().await;
    deliver(publisher.as_mut(), &all[100..]).await;
    publisher.close().await;
    drop(publisher);
    let mut seen = std::collections::HashSet::new();
    let taken: Vec<Bytes> =
        bench.taken().await.into_iter().filter(|one| seen.insert(one.payload.clone())).map(|one| one.payload).collect();
    assert_eq!(taken, payloads(&all));
}

/// What `flush` returned for is there after the publisher is dropped without a goodbye.
pub async fn what_was_flushed_is_there<B: Bench>(bench: B) {
    let mut publisher = bench.open().await;
    let all = records(0, 500);
    deliver(publisher.as_mut(), &all).await;
    drop(publisher);
    let seen: Vec<Bytes> = bench.taken().await.into_iter().map(|taken| taken.payload).collect();
    assert_eq!(seen, payloads(&all));
}
