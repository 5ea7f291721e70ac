//! Database failures while a fleet serves under load: a new catalog, a restart, the loss of the primary, and a network
//! that drops packets silently. The tests print what the clients observed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod fleet;
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use fleet::carts::{Shoppers, add};
use fleet::load::Load;
use fleet::network::Network;
use fleet::readers::{Catalogs, Readers};
use fleet::unread::{Unread, read, warm};
use fleet::{TestFleet, a_while, catalog, generated_set, until};
use local::{HOST_LOGIN, Host};
use rcgen::generate_simple_self_signed;
use rig::{Cluster, Database, Settings};
use support::loader::Loader;

/// The time after Postgres' return within which all requests must succeed again. It is a requirement on the service,
/// not a property of the machine: 2 s, and 100 ms for the checks, which go through three hosts every 10 ms.
const RECOVERY: Duration = Duration::from_millis(2_000 + 100);

/// Commits are durable when the server is killed. Crashes of the machine are not tested.
fn settings() -> Settings {
    Settings::disposable().and("synchronous_commit", "on").with_replication()
}

fn addresses(test_fleet: &TestFleet) -> Vec<SocketAddr> {
    test_fleet.fleet.hosts().iter().map(Host::address).collect()
}

#[tokio::test]
async fn a_publication_and_a_rollback_fail_no_request_and_mix_no_catalogs() {
    let cluster = Cluster::start_temporary(&settings()).await.unwrap();
    let database = catalog(&cluster, 2).await;
    let new = support::documents(&database.connect().await.unwrap()).await;
    let database = support::load_into(database, generated_set(1).path()).await.database;
    let old = support::documents(&database.connect().await.unwrap()).await;
    let test_fleet = TestFleet::start(&database.host_url(), &[]).await;
    let load = Load::start(test_fleet.fleet.address()).await;
    let readers =
        Readers::start(test_fleet.fleet.address(), addresses(&test_fleet), Catalogs { old, new }).await;

    let set = generated_set(2);
    Loader::of_folder(&database, set.path(), &[]).succeeds().await;
    println!("publish: all hosts serve the new catalog {:.1?} later", readers.find_new().await);
    a_while().await;
    readers.expect_either();
    Loader::new(&database, &["rollback"]).succeeds().await;
    println!("rollback: all hosts serve the old catalog {:.1?} later", readers.find_old().await);

    load.end_without_failures("a publish and a rollback").await;
    println!("a publish and a rollback: {} responses were compared with both catalogs", readers.end().await);
    test_fleet.stop().await;
    cluster.stop().await.unwrap();
}

/// Asserts that without the database the hosts serve what they have in memory, and return 503 for everything else. Then
/// `back` restores the database, and all requests must succeed again. Returns how long that took.
async fn without_a_database<D>(
    what: &str,
    test_fleet: &TestFleet,
    database: &mut D,
    away: impl AsyncFnOnce(&mut D),
    back: impl AsyncFnOnce(&mut D),
) -> Duration {
    let hosts = addresses(test_fleet);
    for &host in &hosts {
        warm(host).await;
    }
    let load = Load::of(test_fleet.fleet.address(), read()).await;
    let unread = Unread::start(test_fleet.fleet.address());
    a_while().await;
    assert!(
        unread.ok() > 0 && unread.unavailable() == 0,
        "{what}: {} requests returned 503",
        unread.unavailable()
    );
    away(database).await;
    // Requests in flight end, and NGINX's record of failed hosts expires.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let ok = unread.ok();
    a_while().await;
    assert_eq!(unread.ok(), ok, "{what}: a request for uncached data succeeded");
    assert!(unread.unavailable() > 0, "{what}: no request for uncached data returned 503");

    back(database).await;
    let after = until("all requests succeed again", async || unread.succeeds_on(&hosts).await).await;
    println!("{what}: all requests succeed {after:.1?} after the database's return");
    let unavailable = unread.unavailable();
    load.end_without_failures(what).await;
    assert!(
        unread.unavailable() <= unavailable + 4,
        "{what}: requests returned 503 after the database's return"
    );
    unread.end(what).await;
    after
}

async fn without_postgres(what: &str, away: impl AsyncFnOnce(&mut Cluster)) {
    let mut cluster = Cluster::start_temporary(&settings()).await.unwrap();
    let database = catalog(&cluster, 1).await;
    let test_fleet = TestFleet::start(&database.host_url(), &[]).await;
    let back = async |cluster: &mut Cluster| cluster.start_again().await.unwrap();
    let after = without_a_database(what, &test_fleet, &mut cluster, away, back).await;
    assert!(after <= RECOVERY, "{what}: all requests succeed {after:.1?} after the database's return");
    test_fleet.stop().await;
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn while_postgres_recovers_from_a_kill_cached_requests_succeed_and_others_return_503() {
    let kill = async |cluster: &mut Cluster| cluster.kill().await.unwrap();
    without_postgres("SIGKILL of Postgres, and its recovery", kill).await;
}

#[tokio::test]
async fn while_postgres_restarts_cached_requests_succeed_and_others_return_503() {
    let shut_down = async |cluster: &mut Cluster| cluster.shut_down().await.unwrap();
    without_postgres("restart of Postgres", shut_down).await;
}

/// Returns a replica that has this database's catalog.
async fn start_replica(primary: &Cluster, database: &Database) -> Cluster {
    let replica = primary.start_replica().await.unwrap();
    until("the replica accepts connections", async || {
        replica.address().connect(database.name()).await.is_ok()
    })
    .await;
    replica
}

/// Makes the primary acknowledge only commits that its replica has. Neither server can start with this setting: the
/// primary would wait for a replica that does not exist yet, and so would the promoted replica.
async fn acknowledge_only_replicated_commits(primary: &Cluster) {
    let client = primary.address().connect("postgres").await.unwrap();
    client.batch_execute("alter system set synchronous_standby_names = '*'").await.unwrap();
    client.batch_execute("select pg_reload_conf()").await.unwrap();
    let is_waited_for = "select from pg_stat_replication where sync_state = 'sync'";
    until("the primary waits for the replica", async || {
        !client.query(is_waited_for, &[]).await.unwrap().is_empty()
    })
    .await;
}

#[tokio::test]
async fn losing_the_primary_fails_no_read_and_carts_return_with_the_promotion() {
    let mut primary = Cluster::start_temporary(&settings()).await.unwrap();
    let database = catalog(&primary, 1).await;
    let replica = start_replica(&primary, &database).await;
    acknowledge_only_replicated_commits(&primary).await;
    let test_fleet =
        TestFleet::start(&database.host_url_of(&[&primary, &replica]), &[("CACHE_BYTES", "0")]).await;
    let address = test_fleet.fleet.address();
    let load = Load::start(address).await;
    let shoppers = Shoppers::start(address, 2);
    a_while().await;
    primary.kill().await.unwrap();
    a_while().await;
    let refused = add(address, "somebody").await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    let client = replica.address().connect("postgres").await.unwrap();
    client.batch_execute("select pg_promote()").await.unwrap();
    let after = until("carts are back", async || add(address, "somebody").await.status() == 201).await;
    let what = "loss of the primary, nothing cached";
    println!("{what}: carts are back {after:.1?} after the promotion");
    load.end_without_failures(what).await;
    let statuses = shoppers.end(what).await;
    assert!(statuses.keys().all(|status| [201, 503].contains(status)), "{statuses:?}");
    test_fleet.stop().await;
    replica.stop().await.unwrap();
}

/// A Postgres in one network namespace, another namespace for hosts and possibly a replica, and a link between the two.
struct Remote {
    hosts: Network,
    database: Network,
    cluster: Cluster,
    catalog: Database,
    /// The servers' certificate, which is self-signed.
    certificate: tempfile::NamedTempFile,
}

impl Remote {
    const HOSTS: &str = "10.0.0.1";
    const DATABASE: &str = "10.0.0.2";

    fn start() -> Self {
        let (hosts, database) = (Network::make(), Network::make());
        hosts.wire_to(&database, [Self::HOSTS, Self::DATABASE]);
        let shown = generate_simple_self_signed([Self::DATABASE.to_owned(), Self::HOSTS.to_owned()]).unwrap();
        let settings = settings()
            .and("listen_addresses", "*")
            .and("ssl", "on")
            .and_file("ssl_cert_file", shown.cert.pem())
            .and_file("ssl_key_file", shown.signing_key.serialize_pem())
            .and_file(
                "hba_file",
                "local all all trust\nlocal replication all trust\nhostssl all all all trust\n",
            );
        let (cluster, catalog) = database.within(|| async {
            let cluster = Cluster::start_temporary(&settings).await.unwrap();
            let catalog = catalog(&cluster, 1).await;
            (cluster, catalog)
        });
        let certificate = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(certificate.path(), shown.cert.pem()).unwrap();
        Self { hosts, database, cluster, catalog, certificate }
    }

    /// Drops everything that Postgres sends to the hosts; Postgres still receives from them.
    fn cut(&self) {
        self.database.ip(&format!("route add blackhole {}/32", Self::HOSTS));
    }

    fn restore(&self) {
        self.database.ip(&format!("route del blackhole {}/32", Self::HOSTS));
    }

    async fn test_fleet(&self, servers: &[&str], variables: &[(&str, &str)]) -> TestFleet {
        let (servers, name) = (servers.join(","), self.catalog.name());
        let url = format!("host={servers} user={HOST_LOGIN} dbname={name}");
        let authority = self.certificate.path().to_str().unwrap();
        TestFleet::start(&url, &[&[("DATABASE_CA_FILE", authority)], variables].concat()).await
    }
}

#[test]
fn while_the_network_drops_packets_from_postgres_cached_requests_succeed_and_others_return_503() {
    let remote = Remote::start();
    remote.hosts.within(|| async {
        let test_fleet = remote.test_fleet(&[Remote::DATABASE], &[]).await;
        let (away, back) = (async |(): &mut ()| remote.cut(), async |(): &mut ()| remote.restore());
        without_a_database("blackhole on the way from Postgres", &test_fleet, &mut (), away, back).await;
        test_fleet.stop().await;
    });
}

#[test]
fn dropped_packets_from_one_server_fail_no_read_while_there_is_another() {
    let remote = Remote::start();
    remote.hosts.within(|| async {
        let replica = start_replica(&remote.cluster, &remote.catalog).await;
        let servers = [Remote::DATABASE, Remote::HOSTS];
        let test_fleet = remote.test_fleet(&servers, &[("CACHE_BYTES", "0")]).await;
        let load = Load::start(test_fleet.fleet.address()).await;
        remote.cut();
        tokio::time::sleep(Duration::from_secs(5)).await; // connections time out, and hosts try the other server
        remote.restore();
        load.end_without_failures("blackhole on the way from one of two servers, nothing cached").await;
        test_fleet.stop().await;
        replica.stop().await.unwrap();
    });
}
