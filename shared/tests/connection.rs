//! Connections that die while nobody looks, as they do while a function is frozen, and ones that are closed.

#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod stand;

use std::time::Duration;

use futures_util::future::join_all;
use http::HeaderMap;
use local::testing::Database;
use shared::cart::{Addition, Line, Owner};
use shared::database::Kind;
use shared::{App, Readiness};
use stand::{PATIENCE, Way, app, function, until};

/// What a client sends to ask for a sign of life, and nothing else.
const SYNC: &[u8] = b"S\0\0\0\x04";

/// What a client sends to take leave.
const TERMINATE: &[u8] = b"X\0\0\0\x04";

const BACKENDS: &str =
    "from pg_stat_activity where usename = 'atelier_host' and datname = current_database()";

async fn count(client: &tokio_postgres::Client, from: &str) -> i64 {
    client.query_one(&format!("select count(*) {from}"), &[]).await.unwrap().get(0)
}

fn owner() -> Owner {
    let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, "Bearer one".parse().unwrap())]);
    Owner::from_headers(&headers).unwrap()
}

/// A database whose catalog has one sku, number 1.
async fn database_with_a_sku() -> Database {
    let database = Database::create().await.unwrap();
    let statement = "create schema catalog; create table catalog.skus as select 1 as id; \
                     grant usage on schema catalog to atelier_cart; grant select on catalog.skus to atelier_cart";
    database.connect().await.unwrap().batch_execute(statement).await.unwrap();
    database
}

/// Lets connections become idle_time for longer than the 10 ms after which tests have them in doubt.
async fn idle_time() {
    tokio::time::sleep(Duration::from_millis(11)).await;
}

/// Has a connection up, then everything that is said over it unheard, and it idle_time.
async fn lose(way: &Way, app: &App) {
    assert_eq!(app.readiness().await.unwrap(), Readiness::NoCatalog);
    way.fall_silent();
    idle_time().await;
}

#[tokio::test]
async fn a_request_that_comes_before_the_first_connection_waits_for_it() {
    let database = Database::create().await.unwrap();
    let app = app(&[("DATABASE_URL", &database.host_url())]);
    assert_eq!(app.readiness().await.unwrap(), Readiness::NoCatalog);
}

#[tokio::test]
async fn a_request_that_nobody_will_answer_is_told_so() {
    let nowhere = tempfile::tempdir().unwrap();
    let url = format!("host={} user=nobody", nowhere.path().display());
    let mut function = function(&[("DATABASE_URL", &url)]);
    // A function waits until an attempt has failed, however long it might wait; the host does not wait at all.
    for wait in [Duration::from_secs(86_400), Duration::ZERO] {
        function.database.connect_wait = wait;
        let app = App::start(&function.database, &function.requests);
        let statuses = tokio::time::timeout(PATIENCE, app.readiness()).await.unwrap();
        assert_eq!(statuses.unwrap_err().kind(), Kind::Unreachable);
    }
}

#[tokio::test]
async fn a_read_after_the_backend_was_ended_is_answered() {
    let database = Database::create().await.unwrap();
    let app = app(&[("DATABASE_URL", &database.host_url())]);
    let client = database.connect().await.unwrap();
    for _ in 0..5 {
        app.readiness().await.unwrap();
        let ended = client.query(&format!("select pg_terminate_backend(pid) {BACKENDS}"), &[]).await.unwrap();
        assert_eq!(ended.len(), 1);
        app.readiness().await.unwrap();
    }
}

#[tokio::test]
async fn reads_over_a_connection_that_has_fallen_silent_share_one_probe_and_are_answered_by_another() {
    let database = Database::create().await.unwrap();
    let way = Way::to(&database).await;
    let app = app(&[("DATABASE_URL", &way.url()), ("DATABASE_PROBE_AFTER", "10ms")]);
    lose(&way, &app).await;
    for answer in join_all((0..8).map(|_| app.readiness())).await {
        assert_eq!(answer.unwrap(), Readiness::NoCatalog);
    }
    assert_eq!(way.said(|said| said.unheard.clone()), SYNC);
    assert_eq!(way.said(|said| said.connections), 2);
}

#[tokio::test]
async fn a_write_is_not_sent_over_a_connection_that_has_fallen_silent_and_is_carried_out_once() {
    let database = database_with_a_sku().await;
    let way = Way::to(&database).await;
    let app = app(&[("DATABASE_URL", &way.url()), ("DATABASE_PROBE_AFTER", "10ms")]);
    assert_eq!(app.cart.add(&owner(), 1, 1).await.unwrap(), Addition::Added); // so that it is prepared
    lose(&way, &app).await;
    assert_eq!(app.cart.add(&owner(), 1, 2).await.unwrap(), Addition::Added);
    assert_eq!(app.cart.lines(&owner()).await.unwrap(), [Line { sku_id: 1, count: 3 }]);
    assert_eq!(way.said(|said| said.unheard.clone()), SYNC);
}

#[tokio::test]
async fn a_write_that_meets_silence_before_it_was_sent_is_sent_over_another_connection() {
    let database = database_with_a_sku().await;
    let way = Way::to(&database).await;
    // Never in doubt, so what goes unheard is the statement's preparation.
    let variables = [("DATABASE_PROBE_AFTER", "600s"), ("DATABASE_STATEMENT_TIMEOUT", "100ms")];
    let app = app(&[&variables[..], &[("DATABASE_URL", &way.url())]].concat());
    lose(&way, &app).await;
    assert_eq!(app.cart.add(&owner(), 1, 1).await.unwrap(), Addition::Added);
    assert_eq!(app.cart.lines(&owner()).await.unwrap(), [Line { sku_id: 1, count: 1 }]);
    assert!(way.said(|said| String::from_utf8_lossy(&said.unheard).contains("select cart.add")));
}

#[tokio::test]
async fn a_connection_that_works_on_a_statement_is_not_taken_for_dead() {
    let database = Database::create().await.unwrap();
    let way = Way::to(&database).await;
    let variables = [("DATABASE_PROBE_AFTER", "10ms"), ("DATABASE_STATEMENT_TIMEOUT", "30s")];
    let app = app(&[&variables[..], &[("DATABASE_URL", &way.url())]].concat());
    app.readiness().await.unwrap();
    let (mut locking, client) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    let lock = locking.transaction().await.unwrap();
    lock.batch_execute("lock table etl.publication").await.unwrap();

    let (slow, owner) = (app.readiness(), owner());
    let behind_it = async {
        until("a read waits for the lock", async || {
            count(&client, &format!("{BACKENDS} and wait_event_type = 'Lock'")).await == 1
        })
        .await;
        idle_time().await;
        let unlock = async {
            until("another was sent after it", async || {
                way.said(|said| String::from_utf8_lossy(&said.passed_on).contains("from cart.carts"))
            })
            .await;
            lock.rollback().await.unwrap();
        };
        tokio::join!(app.cart.lines(&owner), unlock).0
    };
    let (slow, behind_it) = tokio::join!(slow, behind_it);
    assert_eq!(slow.unwrap(), Readiness::NoCatalog);
    assert_eq!(behind_it.unwrap(), []);
    assert_eq!(way.said(|said| said.connections), 1);
}

#[tokio::test]
async fn closing_takes_leave_of_postgres_and_leaves_no_backend() {
    let database = Database::create().await.unwrap();
    let way = Way::to(&database).await;
    let app = app(&[("DATABASE_URL", &way.url())]);
    app.readiness().await.unwrap();
    app.close().await;
    until("Postgres was statuses", async || way.said(|said| said.passed_on.ends_with(TERMINATE))).await;
    let client = database.connect().await.unwrap();
    until("the backend is gone", async || count(&client, BACKENDS).await == 0).await;
    assert_eq!(app.readiness().await.unwrap_err().kind(), Kind::Unreachable);
    assert_eq!(way.said(|said| said.connections), 1);
}

#[tokio::test]
async fn closing_does_not_wait_for_a_server_that_is_silent_and_answers_who_waits_for_one() {
    let database = Database::create().await.unwrap();
    let way = Way::to(&database).await;
    let app = app(&[("DATABASE_URL", &way.url()), ("DATABASE_STATEMENT_TIMEOUT", "30s")]);
    app.readiness().await.unwrap();
    way.fall_silent();
    let closing = async {
        until("a read is unheard", async || way.said(|said| !said.unheard.is_empty())).await;
        app.close().await;
    };
    let both = async { tokio::join!(app.readiness(), closing).0 };
    let unanswered = tokio::time::timeout(PATIENCE / 3, both).await.unwrap();
    assert_eq!(unanswered.unwrap_err().kind(), Kind::Unreachable);
}
