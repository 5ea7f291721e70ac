//! The long runs of `kills`: every failpoint several times, and many kills at random moments. Tests with random choices
//! print a seed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use conformance::lambda::Outcome;
use conformance::s3::Bucket;
use etl::failpoint;
use fastrand::Rng;
use rig::{Cluster, Database, Settings, until};
use serde_json::Value;
use support::functions::etl_function;
use support::incoming::{Incoming, TIME, content, failed, message, undisturbed};
use support::load_into;
use support::loader::{Loader, SWAP_LOCK, generated, number, remove, served, serving, steps, take};
use support::marked::{Readers, write_marked};
use support::serving::serve;

/// The number of kills of one load.
const KILLS: u32 = 60;
/// The number of connections that are terminated during one load.
const ENDED_CONNECTIONS: u32 = 30;
/// The number of kills of functions that process one message.
const KILLED_FUNCTIONS: u32 = 30;
/// The number of kills of Postgres during one load.
const KILLED_SERVERS: u32 = 12;

/// Returns a random generator, and prints its seed.
fn chance() -> Rng {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    Rng::with_seed(seed)
}

/// Returns how long a load runs before it is hit. The first of `all` times are short, so that each step is hit.
fn a_while(chance: &mut Rng, whole: Duration, nth: u32, all: u32) -> Duration {
    whole.mul_f64(chance.f64() * (0.03 + 0.4 * f64::from(nth) / f64::from(all)))
}

/// The number of hits in each step.
#[derive(Debug, Default)]
struct Hits(BTreeMap<String, u32>);

impl Hits {
    /// The steps that take long enough to be hit: many hits must include each.
    const STEPS: [&str; 3] = ["load", "index", "assemble"];

    /// Lets a load run for a random time. In a step without hits the time is short. Towards the end, the load runs
    /// until it reaches such a step. So no step is missed, however fast it is.
    async fn wait(&self, chance: &mut Rng, whole: Duration, (nth, all): (u32, u32), database: &Database) {
        let moment = whole.mul_f64(0.01 * chance.f64());
        let is_late = nth >= all - all / 4 && !self.are_in_all_steps();
        let a_while = if is_late { Duration::MAX } else { a_while(chance, whole, nth, all) };
        let comes_to_another_step = async {
            until("it comes to another step", async || !self.0.contains_key(&step(database).await)).await;
            tokio::time::sleep(moment).await;
        };
        // Most loads reach no new step, so the wait may time out.
        let _ = tokio::time::timeout(a_while, comes_to_another_step).await;
    }

    /// Records the load's current step.
    async fn note(&mut self, database: &Database) {
        *self.0.entry(step(database).await).or_default() += 1;
    }

    fn are_in_all_steps(&self) -> bool {
        Self::STEPS.iter().all(|step| self.0.contains_key(*step))
    }
}

/// Returns the step of the load after the one that is served; empty if there is none.
async fn step(database: &Database) -> String {
    steps(database).await.get(1).cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_load_resumes_after_a_kill_at_any_pass_of_any_failpoint() {
    let dataset = generated(0.001, 11);
    // Rows without a parent, so that two tables have rejected rows.
    for (file, row) in
        [("skus.csv", "\n99999999,88888888,\"S\",1"), ("photos.csv", "\n99999999,88888888,\"u\",\"t\"")]
    {
        let path = dataset.path().join(file);
        let content = std::fs::read(&path).unwrap();
        std::fs::write(&path, [content.trim_ascii_end(), row.as_bytes()].concat()).unwrap();
    }
    let new = undisturbed(dataset.path()).await;
    let bucket = Bucket::create().await;
    bucket.put_folder("incoming/tested/", dataset.path()).await;
    let three = ["--workers", "3"];
    let mut kills = 0;
    for (is_in_s3, further) in [(false, &[][..]), (true, &[][..]), (true, &three[..])] {
        for name in failpoint::ALL {
            let several: &[u32] = match name {
                failpoint::BEFORE_COMMIT | failpoint::AFTER_COMMIT => &[1, 3, 7],
                failpoint::BEFORE_INDEX | failpoint::AFTER_INDEX => &[1, 9, 18],
                failpoint::REJECTING => &[1, 2],
                _ => &[1],
            };
            for nth in several {
                let database = served().await;
                let old = content(&database).await;
                let loader = match is_in_s3 {
                    true => Loader::of_bucket(&database, &bucket, further),
                    false => Loader::of_folder(&database, dataset.path(), further),
                };
                loader.kill_at(&format!("{name}:{nth}")).await;
                kills += 1;
                let expected = if name == failpoint::AFTER_SWAP { &new } else { &old };
                assert!(content(&database).await == *expected, "{name}:{nth} {further:?} in S3: {is_in_s3}");
                loader.succeeds().await;
                assert!(content(&database).await == new, "{name}:{nth} {further:?} in S3: {is_in_s3}");
                remove(database).await;
            }
        }
    }
    println!("{kills} kills");
}

#[tokio::test]
async fn one_load_survives_kills_at_random_moments() {
    let mut chance = chance();
    let dataset = generated(0.004, 12);
    let begun = Instant::now();
    let new = undisturbed(dataset.path()).await;
    let whole = begun.elapsed();
    let database = served().await;
    let old = content(&database).await;
    let loader = Loader::of_folder(&database, dataset.path(), &[]);
    // No load publishes while the test holds this lock, so the load never finishes too early.
    let no_swap = take(&database, SWAP_LOCK).await;
    let mut hits = Hits::default();
    for nth in 0..KILLS {
        let running = loader.start();
        hits.wait(&mut chance, whole, (nth, KILLS), &database).await;
        assert!(running.kill().await, "kill {nth} hit no running load");
        hits.note(&database).await;
        if nth % 10 == 0 {
            assert!(content(&database).await == old, "kill {nth}");
        }
    }
    println!("{KILLS} kills, by step: {hits:?}");
    assert!(hits.are_in_all_steps(), "{hits:?}");
    assert!(content(&database).await == old);
    drop(no_swap);
    loader.succeeds().await;
    assert!(content(&database).await == new);
    assert_eq!(steps(&database).await, ["published", "published"], "one load, resumed each time");
}

#[tokio::test]
async fn one_load_survives_connections_lost_at_random_moments() {
    let mut chance = chance();
    let dataset = generated(0.004, 13);
    let begun = Instant::now();
    let new = undisturbed(dataset.path()).await;
    let whole = begun.elapsed();
    let database = served().await;
    let old = content(&database).await;
    let loader = Loader::of_folder(&database, dataset.path(), &["--workers", "3"]);
    let no_swap = take(&database, SWAP_LOCK).await;
    let client = database.connect().await.unwrap();
    let end = "select pg_terminate_backend(pid) from pg_stat_activity
               where datname = current_database() and application_name = 'atelier-etl' order by random() limit 1";
    let (mut ended, mut errors) = (0, BTreeMap::<String, u32>::new());
    let mut running = loader.start();
    while ended < ENDED_CONNECTIONS {
        tokio::time::sleep(a_while(&mut chance, whole, ended, ENDED_CONNECTIONS)).await;
        let rows = client.query(end, &[]).await.unwrap();
        ended += u32::try_from(rows.iter().filter(|row| row.get(0)).count()).unwrap();
        if !running.is_running() {
            let line = running.fails().await;
            assert!(line.starts_with("the database failed: "), "{line}");
            *errors.entry(line).or_default() += 1;
            running = loader.start();
        }
    }
    println!("{ended} connections ended: {errors:#?}");
    assert!(content(&database).await == old);
    drop(no_swap);
    let (status, printed) = running.end().await;
    assert!(status.success() || printed.contains("the database failed: "), "{status}: {printed}");
    if !status.success() {
        loader.succeeds().await;
    }
    assert!(content(&database).await == new);
    assert_eq!(steps(&database).await, ["published", "published"], "one load, resumed each time");
}

#[tokio::test]
async fn a_message_survives_kills_of_two_functions_that_process_it() {
    let mut chance = chance();
    let dataset = generated(0.003, 14);
    let begun = Instant::now();
    let new = undisturbed(dataset.path()).await;
    let whole = begun.elapsed();
    let incoming = Incoming::of(served().await, &[]).await;
    let database = &incoming.database;
    let old = content(database).await;
    let records = incoming.put_folder("spring", dataset.path()).await;
    let last = message("1", &records[0]).to_string();
    let no_swap = take(database, SWAP_LOCK).await;
    for nth in 0..KILLED_FUNCTIONS {
        let twins = [etl_function(&incoming, &[]).await, etl_function(&incoming, &[]).await];
        let [one, other] = &twins;
        let mut a_while = || a_while(&mut chance, whole, nth, KILLED_FUNCTIONS);
        let (first, second) = (a_while(), a_while());
        tokio::select! {
            ended = one.api().invoke(last.clone(), TIME) => panic!("kill {nth}: {ended:?}"),
            ended = other.api().invoke(last.clone(), TIME) => panic!("kill {nth}: {ended:?}"),
            () = tokio::time::sleep(first) => (),
        }
        let [one, other] = twins;
        one.kill().await;
        // The other function still has the message, and possibly the lock now.
        tokio::time::sleep(second).await;
        other.kill().await;
    }
    assert!(content(database).await == old);
    drop(no_swap);
    let twins = (etl_function(&incoming, &[]).await, etl_function(&incoming, &[]).await);
    let (one, other) =
        tokio::join!(twins.0.api().invoke(last.clone(), TIME), twins.1.api().invoke(last.clone(), TIME));
    for outcome in [one, other] {
        let Outcome::Reply(reply) = outcome else { panic!("{outcome:?}") };
        assert_eq!(failed(&serde_json::from_slice::<Value>(&reply).unwrap()), [""; 0]);
    }
    assert!(content(database).await == new);
    assert_eq!(steps(database).await, ["published", "published"], "one load, resumed each time");
}

/// The loader's error messages when the database became unavailable: during the check of the schema, and later.
const OF_THE_DATABASE: [&str; 3] =
    ["error connecting to server", "cannot migrate the database: ", "the database failed: "];

#[tokio::test]
async fn one_load_survives_kills_of_postgres_at_random_moments() {
    let mut chance = chance();
    let dataset = generated(0.003, 15);
    let begun = Instant::now();
    let new = undisturbed(dataset.path()).await;
    let whole = begun.elapsed();
    let mut cluster = Cluster::start_temporary(&Settings::durable()).await.unwrap();
    let database = serving(Database::create_in(&cluster).await.unwrap()).await;
    let old = content(&database).await;
    let mut hits = Hits::default();
    for nth in 0..KILLED_SERVERS {
        let no_swap = take(&database, SWAP_LOCK).await;
        let loader = Loader::of_folder(&database, dataset.path(), &[]);
        let running = loader.start();
        hits.wait(&mut chance, whole, (nth, KILLED_SERVERS), &database).await;
        cluster.kill().await.unwrap();
        let line = running.fails().await;
        assert!(OF_THE_DATABASE.iter().any(|kind| line.contains(kind)), "kill {nth}: {line}");
        drop(no_swap);
        cluster.start_again().await.unwrap();
        assert!(content(&database).await == old, "kill {nth}");
        hits.note(&database).await;
    }
    println!("{KILLED_SERVERS} kills, by step: {hits:?}");
    assert!(hits.are_in_all_steps(), "{hits:?}");
    Loader::of_folder(&database, dataset.path(), &[]).succeeds().await;
    assert!(content(&database).await == new);
    assert_eq!(steps(&database).await, ["published", "published"], "one load, resumed each time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_publications_and_ten_rollbacks_fail_no_read() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    write_marked(dirs[0].path(), 1);
    write_marked(dirs[1].path(), 2);
    let incoming = Incoming::of(served().await, &[]).await;
    let database = incoming.database.clone();
    let readers = Readers::start(serve(&database).await, 4);
    let mut served = 1;
    for nth in 0..50 {
        served = 3 - served;
        let dir = dirs[served as usize - 1].path();
        if nth % 5 < 2 {
            incoming.deliver(&format!("spring-{nth}"), dir).await;
        } else {
            load_into(database.clone(), dir).await;
        }
        readers.find(served).await;
        if nth % 5 == 4 {
            etl::load::rollback(&database.config(), || {}).await.unwrap();
            served = 3 - served;
            readers.find(served).await;
        }
    }
    let of = |action: &str| format!("select count(*) from etl.publication where action = '{action}'");
    assert_eq!(number(&database, &of("publish")).await, 51);
    assert_eq!(number(&database, &of("rollback")).await, 10);
    println!("{} rounds of reading", readers.stop().await);
}
