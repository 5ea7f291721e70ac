//! A host's state over a small catalog, with what its reads look like from outside.

use std::sync::Arc;

use rig::{Database, TEST_TIMEOUT};
use shared::App;
use shared::config::HostConfig;
use tokio_postgres::Client;

/// A database whose catalog has the products 1 to 9 and sku 1, and a connection to it.
pub(crate) async fn database() -> (Database, Client) {
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

/// Starts the state of a host that connects to this `DATABASE_URL`.
pub(crate) async fn app(url: &str, variables: &[(&str, &str)]) -> Arc<App> {
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
pub(crate) fn array_of(id: i32) -> Vec<u8> {
    let dimensions_flags_type_length_bound_bytes = [1, 0, 23, 1, 1, 4, id];
    dimensions_flags_type_length_bound_bytes.into_iter().flat_map(i32::to_be_bytes).collect()
}

pub(crate) fn count(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).filter(|window| *window == part).count()
}

/// Returns how many statements wait for a lock.
pub(crate) async fn waiting_for_locks(client: &Client) -> i64 {
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' \
                   and datname = current_database()";
    client.query_one(waiting, &[]).await.unwrap().get(0)
}

/// Timeouts above the duration of a test.
pub(crate) const LONG_TIMEOUTS: [(&str, &str); 2] =
    [("DATABASE_STATEMENT_TIMEOUT", "50s"), ("REQUEST_TIMEOUT", "50s")];
