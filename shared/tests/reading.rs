//! Concurrent reads: coalescing, batches, the queue limit, and the retry on another server.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy does not count helpers as tests

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, StatusCode};
use libdeflater::{CompressionLvl, Compressor, Decompressor};
use rig::{Database, TEST_TIMEOUT, until};
use shared::cart::{Addition, Owner};
use shared::config::HostConfig;
use shared::database::Kind;
use shared::endpoint::{ALLOW_GET, Method};
use shared::http::{Content, Document, Timing};
use shared::{App, Endpoint, Problem, Response};
use support::proxy_to;
use tokio_postgres::Client;

/// A database whose catalog has the products 1 to 9 and sku 1, and a connection to it.
async fn database() -> (Database, Client) {
    let database = Database::create().await.unwrap();
    let client = database.connect().await.unwrap();
    let statement = "create schema catalog;
        create table catalog.documents as select product_id, 1 as generation, '{}'::bytea as product,
            1::bigint as product_tag, decode('1f8b0800000000000203abae050043bfa6a302000000', 'hex') as styles, 2::bigint as styles_tag,
            '[]'::bytea as related, 3::bigint as related_tag from generate_series(1, 9) as product_id;
        create table catalog.products as select product_id as rank, product_id as id, '' as name, '' as slogan,
            '' as description, '' as category, 1 as default_price, 1 as generation from catalog.documents;
        create table catalog.skus as select 1 as id;
        grant usage on schema catalog to atelier_reader, atelier_cart;
        grant select on all tables in schema catalog to atelier_reader, atelier_cart;
        insert into etl.load (dataset, step) values ('tested', 'published');
        insert into etl.publication (generation, action) values (1, 'publish')";
    client.batch_execute(statement).await.unwrap();
    (database, client)
}

/// Starts the state of a host that connects through this proxy.
async fn app(url: &str, variables: &[(&str, &str)]) -> Arc<App> {
    let config = HostConfig::from_lookup(&|name| match name {
        "DATABASE_URL" => Some(url.to_owned()),
        _ => variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned()),
    });
    let config = config.unwrap();
    let app = Arc::new(App::start(&config.database, &config.requests));
    assert!(app.wait_until_connected(TEST_TIMEOUT).await);
    app
}

/// Returns the bytes of a parameter that is an array of this one id.
fn array_of(id: i32) -> Vec<u8> {
    let dimensions_flags_type_length_bound_bytes = [1, 0, 23, 1, 1, 4, id];
    dimensions_flags_type_length_bound_bytes.into_iter().flat_map(i32::to_be_bytes).collect()
}

/// The bytes that each statement for products has once: the header of an array of integers.
const ARRAY_OF_IDS: [u8; 12] = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23];

/// The bytes that each statement for a list page from rank 1 has once: that parameter.
const PAGE_FROM_1: [u8; 12] = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1];

fn count(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).filter(|window| *window == part).count()
}

/// Returns how many statements wait for a lock.
async fn waiting_for_locks(client: &Client) -> i64 {
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' \
                   and datname = current_database()";
    client.query_one(waiting, &[]).await.unwrap().get(0)
}

/// Timeouts above the duration of a test.
const LONG_TIMEOUTS: [(&str, &str); 2] = [("DATABASE_STATEMENT_TIMEOUT", "50s"), ("REQUEST_TIMEOUT", "50s")];

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

/// Gzips a body as the loader does.
fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut compressor = Compressor::new(CompressionLvl::best());
    let mut gzipped = vec![0; compressor.gzip_compress_bound(plain.len())];
    let length = compressor.gzip_compress(plain, &mut gzipped).unwrap();
    gzipped.truncate(length);
    gzipped
}

/// Returns the plain body of a document.
fn plain(document: &Document) -> Vec<u8> {
    let Content::Gzipped(gzipped) = &document.content else {
        let Content::Plain(plain) = &document.content else { unreachable!() };
        return plain.to_vec();
    };
    let length = u32::from_le_bytes(*gzipped.last_chunk().unwrap());
    let mut plain = vec![0; usize::try_from(length).unwrap()];
    Decompressor::new().gzip_decompress(gzipped, &mut plain).unwrap();
    plain
}

/// A list of random numbers of about this many digits, which gzip compresses to half.
fn numbers(digits: usize) -> Vec<u8> {
    let numbers: Vec<String> =
        (0..digits / 8).map(|_| fastrand::u32(1_000_000..9_999_999).to_string()).collect();
    format!("[{}]", numbers.join(",")).into_bytes()
}

#[tokio::test]
async fn a_large_document_is_in_no_batch_and_is_read_once_more_by_itself() {
    let (database, client) = database().await;
    let (styles, related) = (numbers(400_000), numbers(40_000));
    let update = "update catalog.documents set styles = $1, related = $2 where product_id = 1";
    client.execute(update, &[&gzip(&styles), &related]).await.unwrap();
    let overview = [br#"{"product":{},"styles":"#, &styles[..], br#","related":"#, &related, b"}"].concat();
    for cache in ["0", "1MiB"] {
        let (proxy, url) = proxy_to(&database).await;
        let app = app(&url, &[&LONG_TIMEOUTS[..], &[("CACHE_BYTES", cache)]].concat()).await;
        let (catalog, timing) = (&app.catalog, Timing::default());
        let before = proxy.traffic(|traffic| traffic.received);
        let documents = [
            catalog.product(1, &timing).await,
            catalog.styles(1, &timing).await,
            catalog.related(1, &timing).await,
            catalog.overview(1, &timing).await,
        ];
        let documents = documents.map(|document| plain(&document.unwrap().unwrap()));
        assert!(documents == [b"{}".to_vec(), styles.clone(), related.clone(), overview.clone()]);
        let received = proxy.traffic(|traffic| traffic.received) - before;
        let (gzipped, related) = (gzip(&styles).len(), related.len());
        let once = gzipped + related + (gzipped + related);
        assert!((once..once + 20_000).contains(&received), "{received} bytes for {once} of documents");
        // A batch for each column, or one for the product, and three reads of large documents.
        let statements = proxy.traffic(|traffic| count(&traffic.forwarded, &array_of(1)));
        assert_eq!(statements, if cache == "0" { 4 + 3 } else { 1 + 3 });
        assert!(catalog.styles(2, &timing).await.unwrap().is_some());
        assert!(catalog.overview(10, &timing).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn large_documents_are_read_one_at_a_time_and_do_not_delay_small_ones() {
    let (database, mut client) = database().await;
    // The styles of products 1 to 4 are large, and a read of them takes until the lock is released.
    let statement = "alter table catalog.documents rename to real_documents;
        create function catalog.slow(id integer) returns bytea language plpgsql as $$ begin
            perform pg_advisory_xact_lock_shared(42);
            return decode(repeat('1f8b0800000000000203abae050043bfa6a302000000', 10000), 'hex');
        end $$;
        create view catalog.documents as
            select product_id, generation, product, product_tag,
                case when product_id < 5 then catalog.slow(product_id) else styles end as styles, styles_tag,
                related, related_tag
            from catalog.real_documents;
        grant select on catalog.documents to atelier_reader";
    client.batch_execute(statement).await.unwrap();
    let (proxy, url) = proxy_to(&database).await;
    let app = app(&url, &LONG_TIMEOUTS).await;
    let styles = async |id| app.catalog.styles(id, &Timing::default()).await.unwrap().unwrap();
    // From now on, the host knows that they are large.
    for id in 1..5 {
        app.catalog.product(id, &Timing::default()).await.unwrap();
    }
    let observer = database.connect().await.unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("select pg_advisory_xact_lock(42)").await.unwrap();
    let meanwhile = async {
        until("a read waits", async || waiting_for_locks(&observer).await == 1).await;
        join_all((5..=9).map(styles)).await;
        assert_eq!(waiting_for_locks(&observer).await, 1);
        let statements = |id| proxy.traffic(|traffic| count(&traffic.forwarded, &array_of(id)));
        assert_eq!(
            (1..5).map(statements).sum::<usize>(),
            4 + 1,
            "the first reads, and that of one large document"
        );
        lock.commit().await.unwrap();
    };
    let large = join_all([1, 2, 3, 4, 1, 2].map(styles));
    let (large, ()) =
        tokio::time::timeout(TEST_TIMEOUT, async { tokio::join!(large, meanwhile) }).await.unwrap();
    assert!(
        large.iter().all(|styles| matches!(&styles.content, Content::Gzipped(body) if body.len() == 220_000))
    );
}

#[tokio::test]
async fn while_the_budget_for_large_responses_is_exhausted_others_get_503_and_small_ones_200() {
    const STYLES: Endpoint = Endpoint {
        name: "tested",
        method: Method::Get,
        path: "/products/{product_id}/styles",
        query: &[],
        allow: ALLOW_GET,
        handler: |app, request| {
            Box::pin(async {
                let styles = app.catalog.styles(request.product_id()?, &request.timing).await?;
                styles.map(Response::document).ok_or(Problem::no_such_product())
            })
        },
    };
    let (database, client) = database().await;
    // Each is small while it is gzipped. The one of product 9 is large.
    let (blank, large) = (gzip(&vec![b' '; 24 << 20]), gzip(&numbers(100_000)));
    let update = "update catalog.documents set styles = case product_id when 9 then $1::bytea else $2 end
        where product_id <> 1";
    client.execute(update, &[&large, &blank]).await.unwrap();
    let url = database.host_url();
    let app = app(&url, &LONG_TIMEOUTS).await;
    let get = async |id: i32, coding: &str| {
        let request = http::Request::get(format!("/products/{id}/styles")).header("accept-encoding", coding);
        let request = request.body(Bytes::new()).unwrap();
        shared::respond(&app, &[&STYLES], request, TEST_TIMEOUT).await.response
    };
    let mut responses = Vec::new();
    let mut ids = (2..9).cycle();
    let rejected = loop {
        let response = get(ids.next().unwrap(), "identity").await;
        if response.status() != StatusCode::OK {
            break response;
        }
        assert_eq!(response.body().len(), 24 << 20);
        responses.push(response);
    };
    assert_eq!((rejected.status(), responses.len()), (StatusCode::SERVICE_UNAVAILABLE, 10));
    assert_eq!(rejected.headers()["retry-after"], "1");
    assert_eq!(get(1, "identity").await.body(), "{}");
    assert_eq!(get(2, "gzip").await.body(), &blank);
    assert_eq!(get(9, "gzip").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    responses.truncate(1);
    assert_eq!(get(2, "identity").await.status(), StatusCode::OK);
    assert_eq!(get(9, "gzip").await.body(), &large);
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
    let owner = Owner::from_headers(&headers).unwrap();
    assert_eq!(app.carts.add(&owner, 1, 1).await.unwrap(), Addition::Added);
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
    assert!(added.into_iter().all(|added| added.unwrap() == Addition::Added));
    assert_eq!(app.carts.lines(&owner).await.unwrap()[0].count, 5);
}

#[tokio::test]
async fn clients_that_leave_send_no_statements_for_carts_beyond_the_queue_limit() {
    let (database, mut client) = database().await;
    let url = database.host_url();
    let app = app(&url, &[&LONG_TIMEOUTS[..], &[("DATABASE_MAX_WAITING", "3")]].concat()).await;
    let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, "Bearer one".parse().unwrap())]);
    let owner = Owner::from_headers(&headers).unwrap();
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
