//! Several servers in `DATABASE_URL`: a primary and a standby, real ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod stand;

use local::testing::Database;
use local::{Cluster, Settings};
use stand::{Served, ask, begin, publish, rest, until};

const PRODUCT: &str = "GET /products/1 HTTP/1.1";

/// Both, with a catalog that the standby has too; and a host that knows of both, and keeps nothing in memory.
struct Pair {
    primary: Cluster,
    standby: Cluster,
    database: Database,
    host: Served,
}

impl Pair {
    async fn start() -> Self {
        let primary = Cluster::start_temporary(&Settings::disposable().followed()).await.unwrap();
        let database = Database::create_in(&primary).await.unwrap();
        publish(&database).await;
        let standby = primary.start_standby().await.unwrap();
        let url = database.host_url_of(&[&standby, &primary]);
        let host = Served::start(&database, &[("DATABASE_URL", &url), ("CACHE_BYTES", "0")]).await;
        Self { primary, standby, database, host }
    }

    /// Which generation of the catalog one of the two serves.
    async fn generation(&self, cluster: &Cluster) -> i32 {
        let client = cluster.address().connect(self.database.name()).await.unwrap();
        let latest = "select generation from etl.publication order by id desc limit 1";
        client.query_one(latest, &[]).await.unwrap().get(0)
    }

    /// Publishes a catalog that the standby does not get, and waits until the host has heard of it.
    async fn publish_new(&self) {
        publish(&self.database).await;
        let update = "update catalog.documents set product = 'new'";
        self.database.connect().await.unwrap().batch_execute(update).await.unwrap();
        assert_eq!((self.generation(&self.primary).await, self.generation(&self.standby).await), (2, 1));
        // As soon as one connection has heard of it, none answers of the catalog before.
        let noticed = async {
            let mut in_a_row = 0;
            while in_a_row < 20 {
                let is_new = ask(self.host.address, PRODUCT).await.ends_with("new");
                in_a_row = if is_new { in_a_row + 1 } else { 0 };
            }
        };
        tokio::time::timeout(stand::PATIENCE, noticed).await.expect("the standby is read from still");
    }

    async fn stop(self) {
        drop(self.host);
        self.standby.stop().await.unwrap();
        self.primary.stop().await.unwrap();
    }
}

async fn add_to_cart(host: &Served) -> String {
    let head = "POST /cart HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
                authorization: me\r\ncontent-length: 12\r\n\r\n";
    rest(begin(host.address, &format!("{head}{{\"sku_id\":1}}")).await).await
}

#[tokio::test]
async fn carts_go_to_the_primary_wherever_in_the_list_it_is() {
    let pair = Pair::start().await;
    for _ in 0..8 {
        let answer = add_to_cart(&pair.host).await;
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        assert!(ask(pair.host.address, PRODUCT).await.starts_with("HTTP/1.1 200 "));
    }
    pair.stop().await;
}

#[tokio::test]
async fn a_host_that_is_told_of_the_standby_alone_has_the_catalog_and_no_carts() {
    let pair = Pair::start().await;
    let url = pair.database.host_url_of(&[&pair.standby]);
    let variables = [("DATABASE_URL", url.as_str()), ("CACHE_BYTES", "0")];
    let (host, _) = Served::start_unconnected(&pair.database, &variables).await;
    until(host.address, PRODUCT, "200 OK").await;
    let refused = add_to_cart(&host).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    drop(host);
    pair.stop().await;
}

#[tokio::test]
async fn with_the_primary_lost_reads_go_on_and_carts_come_back_with_the_standby_s_promotion() {
    let mut pair = Pair::start().await;
    pair.primary.kill().await.unwrap();
    for _ in 0..20 {
        let answer = ask(pair.host.address, PRODUCT).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let refused = add_to_cart(&pair.host).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    let standby = pair.standby.address().connect("postgres").await.unwrap();
    standby.batch_execute("select pg_promote()").await.unwrap();
    let adding = async {
        while !add_to_cart(&pair.host).await.starts_with("HTTP/1.1 201 ") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(stand::PATIENCE, adding).await.expect("carts are back");
    drop(pair.host);
    pair.standby.stop().await.unwrap();
}

#[tokio::test]
async fn with_the_primary_lost_a_standby_with_an_older_catalog_is_read_from_once_it_is_promoted_and_not_before()
 {
    let mut pair = Pair::start().await;
    let standby = pair.standby.address().connect(pair.database.name()).await.unwrap();
    standby.batch_execute("alter system set primary_conninfo = ''").await.unwrap();
    standby.batch_execute("select pg_reload_conf()").await.unwrap();
    let following = "select count(*) from pg_stat_wal_receiver";
    let is_cut_off = async {
        while standby.query_one(following, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(stand::PATIENCE, is_cut_off).await.expect("the standby follows no more");
    pair.publish_new().await;
    pair.primary.kill().await.unwrap();
    for _ in 0..20 {
        let refused = ask(pair.host.address, PRODUCT).await;
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    }
    standby.batch_execute("select pg_promote()").await.unwrap();
    until(pair.host.address, PRODUCT, " 200 ").await;
    assert!(!ask(pair.host.address, PRODUCT).await.ends_with("new"));
    drop(pair.host);
    pair.standby.stop().await.unwrap();
}

#[tokio::test]
async fn a_standby_that_has_not_the_catalog_that_is_served_is_not_read_from_until_it_has() {
    let pair = Pair::start().await;
    let standby = pair.standby.address().connect("postgres").await.unwrap();
    standby.batch_execute("select pg_wal_replay_pause()").await.unwrap();
    pair.publish_new().await;
    for _ in 0..20 {
        assert!(ask(pair.host.address, PRODUCT).await.ends_with("new"));
    }
    standby.batch_execute("select pg_wal_replay_resume()").await.unwrap();
    let mut primary = pair.primary;
    let caught_up = async {
        let client = pair.standby.address().connect(pair.database.name()).await.unwrap();
        let latest = "select convert_from(product, 'UTF8') from catalog.documents where product_id = 1";
        while client.query_one(latest, &[]).await.unwrap().get::<_, String>(0) != "new" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(stand::PATIENCE, caught_up).await.expect("the standby catches up");
    primary.kill().await.unwrap();
    until(pair.host.address, PRODUCT, " 200 ").await;
    assert!(ask(pair.host.address, PRODUCT).await.ends_with("new"));
    drop(pair.host);
    pair.standby.stop().await.unwrap();
}
