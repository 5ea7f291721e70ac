//! Reads: coalescing, batches, the queue limit, the retry on another server, and readiness without a read.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy does not count helpers as tests

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::HeaderMap;
use rig::{TEST_TIMEOUT, until};
use shared::cart::Change;
use shared::config::HostConfig;
use shared::database::Kind;
use shared::http::Timing;
use shared::{App, Readiness};
use support::host::{LONG_TIMEOUTS, app, array_of, count, database, waiting_for_locks};
use support::proxy_to;

/// The bytes that each statement for products has once: the header of an array of integers.
const ARRAY_OF_IDS: [u8; 12] = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23];

/// The bytes that each statement for a list page from rank 1 has once: that parameter.
const PAGE_FROM_1: [u8; 12] = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1];

#[tokio::test]
async fn concurrent_requests_for_a_product_share_one_read() {
    let (database, mut client) = database().await;
    let (proxy, url) = proxy_to(&database).await;
    let app = app(&url, &[&LONG_TIMEOUTS[..], &[("CACHE_BYTES", "0")]].concat()).await;
    let observer = database.connect().await.unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("lock table catalog.documents, catalog.products").await.unwrap();
    let reads: Vec<_> = (0..100)
        .map(|_| {
            let app = Arc::clone(&app);
            tokio::spawn(async move {
                let timing = Timing::default();
                let product = app.catalog.product(7, &timing).await.unwrap().unwrap();
                let list = app.catalog.list(1, 5, &timing).await.unwrap();
                (product, list)
            })
        })
        .collect();
    until("the read waits for the lock", async || waiting_for_locks(&observer).await == 1).await;
    lock.commit().await.unwrap();
    for read in join_all(reads).await {
        let (product, list) = read.unwrap();
        assert_eq!((product.generation, list.generation), (Some(1), Some(1)));
    }
    assert_eq!(proxy.traffic(|traffic| count(&traffic.forwarded, &array_of(7))), 1);
}

#[tokio::test]
async fn all_requests_for_a_product_share_one_read_on_a_host_with_a_cache() {
    let (database, _client) = database().await;
    let (proxy, url) = proxy_to(&database).await;
    let app = app(&url, &LONG_TIMEOUTS).await;
    let timing = Timing::default();
    let (product, styles, related) = tokio::join!(
        app.catalog.product(7, &timing),
        app.catalog.styles(7, &timing),
        app.catalog.related(7, &timing)
    );
    let overview = app.catalog.overview(7, &timing).await;
    let tags = [product, styles, related].map(|document| document.unwrap().unwrap().tag);
    assert_eq!(tags, [1, 2, 3]);
    assert_eq!(overview.unwrap().unwrap().generation, Some(1));
    assert_eq!(proxy.traffic(|traffic| count(&traffic.forwarded, &array_of(7))), 1);
}

#[tokio::test]
async fn clients_that_leave_start_no_reads_beyond_the_queue_limit() {
    let (database, mut client) = database().await;
    let (proxy, url) = proxy_to(&database).await;
    let variables = [("DATABASE_MAX_WAITING", "4"), ("DATABASE_CONNECTIONS", "1"), ("CACHE_BYTES", "0")];
    let app = app(&url, &[&LONG_TIMEOUTS[..], &variables].concat()).await;
    // Both statements are prepared before, because the lock would delay that too.
    app.catalog.product(9, &Timing::default()).await.unwrap();
    app.catalog.list(1, 9, &Timing::default()).await.unwrap();
    let observer = database.connect().await.unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("lock table catalog.documents, catalog.products").await.unwrap();
    for request in 2..=100 {
        let timing = Timing::default();
        let reads = async {
            tokio::join!(
                app.catalog.product(request % 9 + 1, &timing),
                app.catalog.list(1, request.into(), &timing)
            )
        };
        let _ = tokio::time::timeout(Duration::from_millis(1), reads).await;
    }
    until("the reads wait for the lock", async || waiting_for_locks(&observer).await == 1).await;
    // Beside those before: as many as there are places for.
    let statements = |part: &[u8]| proxy.traffic(|traffic| count(&traffic.forwarded, part));
    let (products, pages) = (statements(&ARRAY_OF_IDS), statements(&PAGE_FROM_1));
    assert!((2..=1 + 4).contains(&products), "{products} statements for products");
    assert_eq!(pages, 1 + 1, "an eighth of the places, but at least one, is for list pages");
    lock.commit().await.unwrap();
    until("the places are free again", async || {
        let timing = Timing::default();
        app.catalog.product(9, &timing).await.is_ok() && app.catalog.list(1, 9, &timing).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn reads_from_a_server_that_stops_responding_are_retried_on_another_server() {
    let (database, _client) = database().await;
    let ((dead, _), (other, _)) = (proxy_to(&database).await, proxy_to(&database).await);
    let config = HostConfig::from_lookup(&|name| match name {
        "DATABASE_URL" => Some(database.host_url_through(&[dead.address(), other.address()])),
        "DATABASE_STATEMENT_TIMEOUT" => Some("300ms".to_owned()),
        "CACHE_BYTES" => Some("0".to_owned()),
        _ => None,
    });
    let config = config.unwrap();
    let app = App::start(&config.database, &config.requests);
    until("all are connected", async || {
        [&dead, &other].iter().all(|proxy| proxy.traffic(|traffic| traffic.connections == 6))
    })
    .await;
    assert!(app.wait_until_connected(TEST_TIMEOUT).await);
    dead.stall();
    for round in 0..10 {
        // Several statements at a time, over several connections.
        let reads = (1..=9).map(async |product_id| {
            let timing = Timing::default();
            let (product, list) = tokio::join!(
                app.catalog.product(product_id, &timing),
                app.catalog.list(1, product_id.into(), &timing)
            );
            product.map(drop).and(list.map(drop))
        });
        for read in join_all(reads).await {
            read.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    }
}

#[tokio::test]
async fn a_slow_read_does_not_delay_later_reads() {
    let (database, mut client) = database().await;
    // A read of product 1 takes until the lock is released.
    let statement = "alter table catalog.documents rename to real_documents;
        create function catalog.slow(id integer) returns bytea language plpgsql as $$ begin
            if id = 1 then perform pg_advisory_xact_lock_shared(42); end if;
            return '{}';
        end $$;
        create view catalog.documents as
            select product_id, generation, catalog.slow(product_id) as product, product_tag, styles, styles_tag, related,
                related_tag
            from catalog.real_documents;
        grant select on catalog.documents to atelier_reader";
    client.batch_execute(statement).await.unwrap();
    let url = database.host_url();
    let app = app(&url, &LONG_TIMEOUTS).await;
    let product = async |id| app.catalog.product(id, &Timing::default()).await.unwrap().unwrap();
    let observer = database.connect().await.unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("select pg_advisory_xact_lock(42)").await.unwrap();
    let meanwhile = async {
        until("the slow read waits", async || waiting_for_locks(&observer).await == 1).await;
        join_all((2..=9).map(product)).await;
        assert_eq!(waiting_for_locks(&observer).await, 1);
        lock.commit().await.unwrap();
    };
    tokio::time::timeout(TEST_TIMEOUT, async { tokio::join!(product(1), meanwhile) }).await.unwrap();
}

#[tokio::test]
async fn requests_beyond_the_queue_limit_fail_at_once_and_waiting_requests_succeed() {
    let (database, mut client) = database().await;
    let url = database.host_url();
    let app = app(&url, &[&LONG_TIMEOUTS[..], &[("DATABASE_MAX_WAITING", "3")]].concat()).await;
    let product = async |id| app.catalog.product(id, &Timing::default()).await;
    assert!(product(9).await.unwrap().is_some()); // caches it
    let observer = database.connect().await.unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("lock table catalog.documents").await.unwrap();
    let waiting = join_all((1..=3).map(product));
    let meanwhile = async {
        until("the reads wait for the lock", async || waiting_for_locks(&observer).await > 0).await;
        for _ in 0..5 {
            assert_eq!(product(4).await.unwrap_err().kind(), Kind::Overloaded);
            let page = app.catalog.list(1, 5, &Timing::default()).await;
            assert!(page.is_ok(), "list pages have a limit of their own");
        }
        lock.commit().await.unwrap();
    };
    let (products, ()) = tokio::join!(waiting, meanwhile);
    assert!(products.into_iter().all(|product| product.unwrap().is_some()));
    assert!(product(4).await.unwrap().is_some(), "the queue has room again");
}

#[tokio::test]
async fn a_request_that_waits_for_a_cart_does_not_delay_a_product() {
    let (database, mut client) = database().await;
    let url = database.host_url();
    let app =
        app(&url, &[&LONG_TIMEOUTS[..], &[("CACHE_BYTES", "0"), ("DATABASE_CONNECTIONS", "1")]].concat())
            .await;
    let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, "Bearer one".parse().unwrap())]);
    let owner = app.carts.owner(&headers).unwrap();
    assert_eq!(app.carts.add(&owner, 1, 1).await.unwrap(), Change::Made);
    let observer = database.connect().await.unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("select from cart.carts for update").await.unwrap();
    let adding = async { join_all((0..4).map(|_| app.carts.add(&owner, 1, 1))).await };
    let meanwhile = async {
        until("additions wait", async || waiting_for_locks(&observer).await > 0).await;
        for id in 1..=9 {
            assert!(app.catalog.product(id, &Timing::default()).await.unwrap().is_some());
        }
        lock.commit().await.unwrap();
    };
    let both = async { tokio::join!(adding, meanwhile) };
    let (added, ()) = tokio::time::timeout(Duration::from_secs(45), both).await.unwrap();
    assert!(added.into_iter().all(|added| added.unwrap() == Change::Made));
    assert_eq!(app.carts.lines(&owner).await.unwrap()[0].count, 5);
}

#[tokio::test]
async fn clients_that_leave_send_no_statements_for_carts_beyond_the_queue_limit() {
    let (database, mut client) = database().await;
    let url = database.host_url();
    let app = app(&url, &[&LONG_TIMEOUTS[..], &[("DATABASE_MAX_WAITING", "3")]].concat()).await;
    let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, "Bearer one".parse().unwrap())]);
    let owner = app.carts.owner(&headers).unwrap();
    app.carts.add(&owner, 1, 1).await.unwrap(); // prepares the statement
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("select from cart.carts for update").await.unwrap();
    for _ in 0..50 {
        let _ = tokio::time::timeout(Duration::from_millis(1), app.carts.add(&owner, 1, 1)).await;
    }
    lock.commit().await.unwrap();
    until("as many additions are carried out as there are places in the queue", async || {
        app.carts.lines(&owner).await.is_ok_and(|lines| lines[0].count == 1 + 3)
    })
    .await;
    // Statements for one cart wait for each other, so this one comes after all others.
    app.carts.add(&owner, 1, 1).await.unwrap();
    assert_eq!(app.carts.lines(&owner).await.unwrap()[0].count, 1 + 3 + 1);
}

#[tokio::test]
async fn a_host_reports_that_it_is_ready_without_a_query_and_never_beyond_the_last_status_of_a_server() {
    let (database, _client) = database().await;
    let (proxy, url) = proxy_to(&database).await;
    let app = app(&url, &[("DATABASE_STATEMENT_TIMEOUT", "100ms")]).await;
    // Ready at once, so it awaited nothing.
    let known =
        async || matches!(app.readiness().now_or_never(), Some(Ok(Readiness::Ready { generation: 1 })));
    until("the status is known", known).await;
    // From now on, no server responds, on new connections neither.
    until("the host is not ready", async || {
        proxy.stall();
        app.readiness().await.is_err()
    })
    .await;
    until("the host is ready again", async || app.readiness().await.is_ok()).await;
}
