//! Tests that nothing is lost and nothing is repeated beyond the contract while pods are killed and frozen at random. What is true
//! is what an HTTP receiver has recorded, and the end of the table; nothing that the pods say of themselves counts.
//!
//! PEO_KILLS says how many pods are killed (6), PEO_SEED at which moments.

#![allow(clippy::print_stdout, reason = "says what was done, for whoever runs the long form")]

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use crate::support::database::Database;
use crate::support::fleet::{Fate, Fleet, LEASE, TIMEOUT};
use crate::support::on_both;
use crate::support::target::{Hit, Target};

on_both!(killed_and_frozen_pods_lose_nothing_and_repeat_nothing_before_the_lease_ends);

const PODS: usize = 4;
/// New tasks before each kill, due between half a second ago and one and a half seconds ahead.
const TASKS: usize = 40;
/// How much later than it was sent a request may be noted on a busy machine.
const SLACK: Duration = Duration::from_millis(500);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text}")))
}

async fn killed_and_frozen_pods_lose_nothing_and_repeat_nothing_before_the_lease_ends<D: Database>(db: D) {
    db.ready().await;
    let (kills, seed) = (setting("PEO_KILLS", 6), setting("PEO_SEED", rand::random()));
    println!("PEO_KILLS={kills} PEO_SEED={seed}");
    let (target, mut random) = (Target::start().await, StdRng::seed_from_u64(seed));
    let mut fleet = Fleet::start(db.url(), &target, PODS);
    for at in 0..PODS {
        fleet.await_ready(at).await;
    }
    let mut ids = Vec::new();
    let mut frozen: Vec<(usize, tokio::time::Instant)> = Vec::new();
    for number in 0..kills {
        let victim = pick(&fleet, &mut random);
        fleet.await_ready(victim).await;
        ids.extend(add(&db, &target, &mut random).await);
        tokio::time::sleep(Duration::from_millis(random.random_range(20..600))).await;
        fleet.kill(victim).await;
        if number % 3 == 0 && frozen.len() < 2 {
            let at = pick(&fleet, &mut random);
            fleet.await_ready(at).await;
            ids.extend(add(&db, &target, &mut random).await);
            tokio::time::sleep(Duration::from_millis(random.random_range(20..600))).await;
            let until = LEASE + Duration::from_millis(random.random_range(500..2500));
            frozen.push((fleet.freeze(at), tokio::time::Instant::now() + until));
        }
        thaw(&mut fleet, &mut frozen, tokio::time::Instant::now());
    }
    while let Some((_, until)) = frozen.first().copied() {
        tokio::time::sleep_until(until).await;
        thaw(&mut fleet, &mut frozen, until);
    }
    db.await_count("select count(*) from timers where timer_status = 'done'", ids.len()).await;
    let fates = fleet.stop().await;
    assert_eq!(db.column("select count(*) from timer_attempts where state = 'done'").await, [ids.len().to_string()]);
    assert_eq!(db.column("select count(*) from timer_attempts where state <> 'done'").await, ["0"]);
    judge(&ids, &target.hits(), &fates);
}

/// Adds tasks whose requests are answered at once or after a while.
async fn add<D: Database>(db: &D, target: &Target, random: &mut StdRng) -> Vec<Uuid> {
    let dues: Vec<i64> = (0..TASKS).map(|_| random.random_range(-500..1500)).collect();
    let path = if random.random_bool(0.5) { "slow" } else { "p" };
    db.insert(&target.url(path), &dues).await
}

fn pick(fleet: &Fleet, random: &mut StdRng) -> usize {
    let awake = fleet.awake();
    awake[random.random_range(0..awake.len())]
}

fn thaw(fleet: &mut Fleet, frozen: &mut Vec<(usize, tokio::time::Instant)>, now: tokio::time::Instant) {
    for (number, _) in frozen.extract_if(.., |(_, until)| *until <= now) {
        fleet.thaw(number);
    }
}

/// Each task arrived. It arrived again only if the pod that had sent it was killed or frozen since, and not before that pod's lease
/// had ended, which outlives every attempt.
fn judge(ids: &[Uuid], hits: &[Hit], fates: &[Fate]) {
    let mut by_id: BTreeMap<String, Vec<&Hit>> = BTreeMap::new();
    hits.iter().for_each(|hit| by_id.entry(hit.id()).or_default().push(hit));
    let lost: Vec<&Uuid> = ids.iter().filter(|id| !by_id.contains_key(&id.to_string())).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(by_id.len(), ids.len(), "nothing arrived that was not asked for");
    let (mut repeats, mut shortest) = (0, Duration::MAX);
    for (id, hits) in &by_id {
        for (first, again) in hits.iter().zip(&hits[1..]) {
            let (sender, apart) = (Fleet::sender_of(fates, first), again.at - first.at);
            (repeats, shortest) = (repeats + 1, shortest.min(apart));
            let since = |event: &std::time::Instant| *event + SLACK >= first.at && *event < again.at;
            let fate = &fates[sender];
            assert!(
                fate.killed.iter().chain(&fate.frozen).any(since),
                "{id} arrived again after {apart:?}, though pod {sender}, which had sent it, was neither killed nor frozen"
            );
            assert!(apart + SLACK >= TIMEOUT, "{id} arrived again after {apart:?}, within the lease of pod {sender}");
        }
    }
    let (killed, frozen) = (
        fates.iter().filter(|fate| fate.killed.is_some()).count(),
        fates.iter().map(|fate| fate.frozen.len()).sum::<usize>(),
    );
    println!(
        "{killed} pods killed, {frozen} frozen; {} tasks, {} requests, {repeats} repeats, the soonest after {shortest:?}",
        ids.len(),
        hits.len()
    );
}
