//! Several servers in `DATABASE_URL`: a real primary and a real replica.

// In helpers too: clippy does not treat them as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use rig::{Cluster, Database, Settings};
use support::{TestHost, poll_status, publish, read_all, request, send, until_connected};

const PRODUCT: &str = "GET /products/1 HTTP/1.1";

/// A primary and its replica with the same catalog, and a host without a cache that is connected to both.
struct Pair {
    primary: Cluster,
    replica: Cluster,
    database: Database,
    host: TestHost,
}

impl Pair {
    async fn start() -> Self {
        let primary = Cluster::start_temporary(&Settings::disposable().with_replication()).await.unwrap();
        let database = Database::create_in(&primary).await.unwrap();
        publish(&database).await;
        let replica = primary.start_replica().await.unwrap();
        let url = database.host_url_of(&[&replica, &primary]);
        let host = TestHost::start(&database, &[("DATABASE_URL", &url), ("CACHE_BYTES", "0")]).await;
        for server in [&primary, &replica] {
            until_connected(&server.address().connect(database.name()).await.unwrap(), 1).await;
        }
        Self { primary, replica, database, host }
    }

    /// Returns the generation that a server has published.
    async fn generation(&self, cluster: &Cluster) -> i32 {
        let client = cluster.address().connect(self.database.name()).await.unwrap();
        let latest = "select generation from etl.publication order by id desc limit 1";
        client.query_one(latest, &[]).await.unwrap().get(0)
    }

    /// Publishes a catalog that the replica does not receive, and waits until the host serves it.
    async fn publish_new(&self) {
        publish(&self.database).await;
        let update = "update catalog.documents set product = 'new'";
        self.database.connect().await.unwrap().batch_execute(update).await.unwrap();
        assert_eq!((self.generation(&self.primary).await, self.generation(&self.replica).await), (2, 1));
        // As soon as one connection reads the new publication, no connection serves the old catalog.
        let is_new_served = async {
            let mut in_a_row = 0;
            while in_a_row < 20 {
                let is_new = request(self.host.address, PRODUCT).await.ends_with("new");
                in_a_row = if is_new { in_a_row + 1 } else { 0 };
            }
        };
        tokio::time::timeout(support::TEST_TIMEOUT, is_new_served)
            .await
            .expect("the host stops reads from the replica");
    }

    async fn stop(self) {
        drop(self.host);
        self.replica.stop().await.unwrap();
        self.primary.stop().await.unwrap();
    }
}

async fn add_to_cart(host: &TestHost) -> String {
    let head = "POST /cart HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
                authorization: me\r\ncontent-length: 12\r\n\r\n";
    read_all(send(host.address, &format!("{head}{{\"sku_id\":1}}")).await).await
}

#[tokio::test]
async fn carts_go_to_the_primary_at_any_position_in_the_list() {
    let pair = Pair::start().await;
    for _ in 0..8 {
        let response = add_to_cart(&pair.host).await;
        assert!(response.starts_with("HTTP/1.1 201 "), "{response}");
        assert!(request(pair.host.address, PRODUCT).await.starts_with("HTTP/1.1 200 "));
    }
    pair.stop().await;
}

#[tokio::test]
async fn a_host_with_only_a_replica_serves_the_catalog_and_no_carts() {
    let pair = Pair::start().await;
    let url = pair.database.host_url_of(&[&pair.replica]);
    let variables = [("DATABASE_URL", url.as_str()), ("CACHE_BYTES", "0")];
    let (host, _) = TestHost::start_unconnected(&pair.database, &variables).await;
    poll_status(host.address, PRODUCT, "200 OK").await;
    let rejected = add_to_cart(&host).await;
    assert!(rejected.starts_with("HTTP/1.1 503 "), "{rejected}");
    drop(host);
    pair.stop().await;
}

#[tokio::test]
async fn without_the_primary_reads_continue_and_carts_work_after_the_replica_is_promoted() {
    let mut pair = Pair::start().await;
    pair.primary.kill().await.unwrap();
    for _ in 0..20 {
        let response = request(pair.host.address, PRODUCT).await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    }
    let rejected = add_to_cart(&pair.host).await;
    assert!(
        rejected.starts_with("HTTP/1.1 503 ") && rejected.contains("\r\nretry-after: 1\r\n"),
        "{rejected}"
    );
    let replica = pair.replica.address().connect("postgres").await.unwrap();
    replica.batch_execute("select pg_promote()").await.unwrap();
    let adding = async {
        while !add_to_cart(&pair.host).await.starts_with("HTTP/1.1 201 ") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(support::TEST_TIMEOUT, adding).await.expect("carts work again");
    drop(pair.host);
    pair.replica.stop().await.unwrap();
}

#[tokio::test]
async fn without_the_primary_a_lagging_replica_serves_no_reads_until_it_is_promoted() {
    let mut pair = Pair::start().await;
    let replica = pair.replica.address().connect(pair.database.name()).await.unwrap();
    replica.batch_execute("alter system set primary_conninfo = ''").await.unwrap();
    replica.batch_execute("select pg_reload_conf()").await.unwrap();
    let receivers = "select count(*) from pg_stat_wal_receiver";
    let is_disconnected = async {
        while replica.query_one(receivers, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(support::TEST_TIMEOUT, is_disconnected)
        .await
        .expect("the replica disconnects from the primary");
    pair.publish_new().await;
    pair.primary.kill().await.unwrap();
    for _ in 0..20 {
        let rejected = request(pair.host.address, PRODUCT).await;
        assert!(rejected.starts_with("HTTP/1.1 503 "), "{rejected}");
    }
    replica.batch_execute("select pg_promote()").await.unwrap();
    poll_status(pair.host.address, PRODUCT, " 200 ").await;
    assert!(!request(pair.host.address, PRODUCT).await.ends_with("new"));
    drop(pair.host);
    pair.replica.stop().await.unwrap();
}

#[tokio::test]
async fn a_lagging_replica_serves_no_reads_until_it_has_the_current_catalog() {
    let pair = Pair::start().await;
    let replica = pair.replica.address().connect("postgres").await.unwrap();
    replica.batch_execute("select pg_wal_replay_pause()").await.unwrap();
    pair.publish_new().await;
    for _ in 0..20 {
        assert!(request(pair.host.address, PRODUCT).await.ends_with("new"));
    }
    replica.batch_execute("select pg_wal_replay_resume()").await.unwrap();
    let mut primary = pair.primary;
    let caught_up = async {
        let client = pair.replica.address().connect(pair.database.name()).await.unwrap();
        let latest = "select convert_from(product, 'UTF8') from catalog.documents where product_id = 1";
        while client.query_one(latest, &[]).await.unwrap().get::<_, String>(0) != "new" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(support::TEST_TIMEOUT, caught_up).await.expect("the replica catches up");
    primary.kill().await.unwrap();
    poll_status(pair.host.address, PRODUCT, " 200 ").await;
    assert!(request(pair.host.address, PRODUCT).await.ends_with("new"));
    drop(pair.host);
    pair.replica.stop().await.unwrap();
}
