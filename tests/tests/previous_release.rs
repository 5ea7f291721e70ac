//! Upgrades from the previous release: hosts serve its database before and after the migration, without a load, and
//! after a rollback. The previous release's programs keep running after the migration.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod support;

use std::cell::Cell;
use std::time::{Duration, Instant};

use conformance::{SMALL_IDS, get, get_with, golden, small_dataset};
use http::Request;
use rig::{Cluster, Database, Settings};
use support::load_into;
use support::serving::{Socket, serve};
use tokio::sync::OnceCell;

const DUMP: &str = include_str!("../data/previous-release/database.sql");
const STATEMENTS: &str = include_str!("../data/previous-release/statements.sql");
const LOGINS: &str = include_str!("../../functions/logins.sql");

/// Returns a database of the previous release, in a cluster that this release has never used.
async fn previous_release() -> (Cluster, Database) {
    let cluster = Cluster::start_temporary(&Settings::disposable()).await.unwrap();
    let database = Database::restore_in(&cluster, DUMP).await.unwrap();
    (cluster, database)
}

/// Returns a host over a migrated database of the previous release, started once for the whole suite.
async fn migrated_host() -> Socket {
    static HOST: OnceCell<(Cluster, Socket)> = OnceCell::const_new();
    let start = || async {
        let (cluster, database) = previous_release().await;
        etl::migrate::migrate(&database.config()).await.unwrap();
        let client = database.connect().await.unwrap();
        client.batch_execute(conformance::cart::NEARLY_FULL_CARTS).await.unwrap();
        (cluster, serve(&database).await)
    };
    HOST.get_or_init(start).await.1
}

mod migrated {
    use super::migrated_host;
    conformance::suite!(migrated_host);
}

#[tokio::test]
async fn a_migration_lets_readers_read_skus_and_styles_of_both_catalogs_of_that_release() {
    let (_cluster, database) = previous_release().await;
    let client = database.connect().await.unwrap();
    let select = "begin; set local role atelier_reader;
                  select from catalog.skus, catalog.styles, catalog_prev.skus, catalog_prev.styles; rollback";
    assert!(client.batch_execute(select).await.is_err());
    client.batch_execute("rollback").await.unwrap();
    etl::migrate::migrate(&database.config()).await.unwrap();
    client.batch_execute(select).await.unwrap();
}

/// Asserts that the host serves the catalog and an existing cart.
async fn assert_served(host: Socket, total: &str) {
    let list = get(&host, "/products?count=1000").await;
    assert_eq!((list.text(), list.header("x-total-count")), (golden("/products"), total));
    assert_eq!(list.header("link").is_empty(), total.is_empty());
    for id in SMALL_IDS {
        for endpoint in ["", "/styles", "/related", "/overview"] {
            let path = format!("/products/{id}{endpoint}");
            assert_eq!(get(&host, &path).await.text(), golden(&path), "{path}");
        }
    }
    let cart = get_with(&host, "/cart", &[("authorization", "Bearer kept")]).await.text();
    assert_eq!(cart, r#"[{"sku_id":1,"count":2},{"sku_id":3,"count":1}]"#);
}

async fn status(host: Socket, method: &str, path: &str, body: &'static str) -> u16 {
    let request = Request::builder().method(method).uri(path).header("authorization", "Bearer added");
    let request = request.header("content-type", "application/json").body(body.into()).unwrap();
    conformance::send(&host, request).await.status.as_u16()
}

#[tokio::test]
async fn before_the_migration_hosts_serve_everything_but_new_features() {
    let (_cluster, database) = previous_release().await;
    let host = serve(&database).await;
    assert_served(host, "").await;
    assert_eq!(status(host, "POST", "/cart", r#"{"sku_id":1}"#).await, 201);
    assert_eq!(status(host, "DELETE", "/cart", "").await, 503);
    etl::migrate::migrate(&database.config()).await.unwrap();
    assert_eq!(status(host, "DELETE", "/cart", "").await, 204, "the same host on the same connections");
    let list = get(&host, "/products?count=3").await; // a page that is not cached yet
    assert_eq!(list.header("x-total-count"), "7");
    assert_served(serve(&database).await, "7").await;
}

#[tokio::test]
async fn hosts_serve_a_rollback_to_either_catalog_of_that_release() {
    let (_cluster, database) = previous_release().await;
    etl::migrate::migrate(&database.config()).await.unwrap();
    assert_eq!(etl::load::rollback(&database.config(), || {}).await.unwrap(), 1);
    assert_served(serve(&database).await, "7").await;
    load_into(database.clone(), &small_dataset()).await; // replaces the catalog that was rolled back
    assert_served(serve(&database).await, "7").await;
    assert_eq!(etl::load::rollback(&database.config(), || {}).await.unwrap(), 1);
    assert_served(serve(&database).await, "7").await;
}

#[tokio::test]
async fn a_catalog_that_a_reader_locks_during_the_migration_is_served_without_a_total() {
    let (_cluster, database) = previous_release().await;
    let mut reader = database.connect().await.unwrap();
    let reading = reader.transaction().await.unwrap();
    reading.batch_execute("select from catalog.products").await.unwrap();
    etl::migrate::migrate(&database.config()).await.unwrap();
    assert_served(serve(&database).await, "").await;
    reading.commit().await.unwrap();
    etl::load::rollback(&database.config(), || {}).await.unwrap();
    assert_served(serve(&database).await, "7").await; // the reader's lock did not block that migration
}

#[tokio::test]
async fn a_migration_that_waits_for_a_reader_of_the_publications_holds_up_no_host() {
    let (_cluster, database) = previous_release().await;
    let mut reader = database.connect().await.unwrap();
    let reading = reader.transaction().await.unwrap();
    reading.batch_execute("select from etl.publication").await.unwrap();
    let polling = async {
        let client = database.connect().await.unwrap();
        let waits =
            "select count(*) from pg_locks where relation = 'etl.publication'::regclass and not granted";
        let mut attempts = 0;
        while attempts < 2 {
            let waiting: i64 = client.query_one(waits, &[]).await.unwrap().get(0);
            attempts += waiting;
            // As a host polls it: within the timeout of its statements.
            client
                .batch_execute("set statement_timeout = '1500ms'; select from etl.publication")
                .await
                .unwrap();
        }
        reading.commit().await.unwrap();
    };
    let address = database.config();
    let (migrated, ()) = tokio::join!(etl::migrate::migrate(&address), polling);
    migrated.unwrap();
    assert_served(serve(&database).await, "7").await;
}

#[tokio::test]
async fn a_migration_that_waits_for_a_reader_of_the_carts_holds_up_no_cart_and_is_ended_by_no_timeout() {
    let (_cluster, database) = previous_release().await;
    let client = database.connect().await.unwrap();
    let limits = "select format('alter database %I set %I = 1000', current_database(), name) from pg_settings
                  where name in ('statement_timeout', 'transaction_timeout')";
    for limit in client.query(limits, &[]).await.unwrap() {
        client.batch_execute(limit.get(0)).await.unwrap();
    }
    let reader = database.connect().await.unwrap();
    let no_limits = "select set_config(name, '0', false) from pg_settings
                     where name in ('statement_timeout', 'transaction_timeout')";
    reader.batch_execute(no_limits).await.unwrap();
    reader.batch_execute("begin; select from cart.carts").await.unwrap();
    let host = serve(&database).await;
    let is_migrated = Cell::new(false);
    let adding = async {
        let waits = "select count(*) from pg_locks where relation = 'cart.carts'::regclass and not granted";
        let (started, mut attempts) = (Instant::now(), 0);
        let mut is_reading = true;
        while !is_migrated.get() {
            attempts += client.query_one(waits, &[]).await.unwrap().get::<_, i64>(0);
            // Each attempt of the migration may end one wait for the cart's table, on a busy machine.
            let mut failed = 0;
            while status(host, "POST", "/cart", r#"{"sku_id":1}"#).await != 201 {
                failed += 1;
                assert!(failed < 4, "a cart waits for the whole migration");
            }
            if is_reading && attempts >= 3 && started.elapsed() > Duration::from_millis(1500) {
                reader.batch_execute("rollback").await.unwrap();
                is_reading = false;
            }
        }
        assert!(!is_reading, "the migration waits for the reader");
    };
    let address = database.config();
    let migrating = async {
        etl::migrate::migrate(&address).await.unwrap();
        is_migrated.set(true);
    };
    tokio::join!(migrating, adding);
}

#[tokio::test]
async fn hosts_functions_and_loader_of_that_release_keep_running_on_a_migrated_database() {
    let (_cluster, database) = previous_release().await;
    etl::migrate::migrate(&database.config()).await.unwrap();
    let client = database.connect().await.unwrap();
    let (mut sent, mut adding) = (0, "");
    for statement in STATEMENTS.lines().filter(|line| !line.starts_with("--")) {
        let as_host = format!("set session authorization {}", local::HOST_LOGIN);
        client.batch_execute(&as_host).await.unwrap();
        assert!(!client.query(statement, &[]).await.unwrap().is_empty(), "{statement}");
        client.batch_execute("reset session authorization").await.unwrap();
        sent += 1;
        adding = if statement.contains("cart.add") { statement } else { adding };
    }
    assert_eq!(sent, 8);
    // The login of a function, with the rights that the previous release granted, and then with those of this one.
    for logins in ["", LOGINS, LOGINS] {
        client.batch_execute(logins).await.unwrap();
        client.batch_execute("set session authorization add_to_cart").await.unwrap();
        assert_eq!(client.query(adding, &[]).await.unwrap().len(), 1);
        client.batch_execute("reset session authorization").await.unwrap();
        // A load of the previous release grants its rights to the groups that it knows.
        let published = "alter table catalog.products drop column if exists total;
            revoke all on schema catalog from atelier_cart_add; revoke all on catalog.skus from atelier_cart_add";
        client.batch_execute(published).await.unwrap();
    }
    assert_served(serve(&database).await, "").await;
}
