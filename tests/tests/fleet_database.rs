//! What can happen to the database while a fleet serves under load: another catalog, a restart, the loss of the primary,
//! a network that is gone without a word. What the clients saw is printed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in helpers too, which clippy does not take for tests

mod fleet;
mod stand;

use std::net::SocketAddr;
use std::time::Duration;

use fleet::carts::{Shoppers, add};
use fleet::load::Load;
use fleet::network::Network;
use fleet::readers::{Catalogs, Readers};
use fleet::unread::{Unread, read, warm};
use fleet::{Stage, a_while, catalog, generated_set, until};
use local::testing::Database;
use local::{Cluster, HOST_LOGIN, Host, Settings};
use rcgen::generate_simple_self_signed;
use stand::loader::Loader;

/// How soon after the return of Postgres all must be answered again. This is no figure of a machine but what is asked of
/// the service: two seconds, and what looking adds, every 10 ms at three hosts in turn.
const RECOVERY: Duration = Duration::from_millis(2_000 + 100);

/// Commits outlive the server; that the machine goes down is not tried.
fn settings() -> Settings {
    Settings::disposable().and("synchronous_commit", "on").followed()
}

fn addresses(stage: &Stage) -> Vec<SocketAddr> {
    stage.fleet.hosts().iter().map(Host::address).collect()
}

#[tokio::test]
async fn a_publish_and_a_rollback_fail_no_request_and_each_answer_is_of_one_catalog_and_soon_of_the_new_one()
{
    let cluster = Cluster::start_temporary(&settings()).await.unwrap();
    let database = catalog(&cluster, 2).await;
    let new = stand::documents(&database.connect().await.unwrap()).await;
    let database = stand::load_into(database, generated_set(1).path()).await.database;
    let old = stand::documents(&database.connect().await.unwrap()).await;
    let stage = Stage::set(&database.host_url(), &[]).await;
    let load = Load::begin(stage.fleet.address()).await;
    let readers = Readers::begin(stage.fleet.address(), addresses(&stage), Catalogs { old, new }).await;

    let set = generated_set(2);
    Loader::of_folder(&database, set.path(), &[]).succeeds().await;
    println!("publish: all hosts answer of the new catalog {:.1?} later", readers.find_new().await);
    a_while().await;
    readers.expect_either();
    Loader::new(&database, &["rollback"]).succeeds().await;
    println!("rollback: all hosts answer of the old catalog {:.1?} later", readers.find_old().await);

    load.ends_well("a publish and a rollback").await;
    println!("a publish and a rollback: {} answers were compared with both catalogs", readers.end().await);
    stage.strike().await;
    cluster.stop().await.unwrap();
}

/// What hosts have in memory is answered, and everything else 503; then, when `back` has brought the database back, all is
/// answered again. Answers with how long that took.
async fn without_a_database<D>(
    what: &str,
    stage: &Stage,
    database: &mut D,
    away: impl AsyncFnOnce(&mut D),
    back: impl AsyncFnOnce(&mut D),
) -> Duration {
    let hosts = addresses(stage);
    for &host in &hosts {
        warm(host).await;
    }
    let load = Load::of(stage.fleet.address(), read()).await;
    let unread = Unread::begin(stage.fleet.address());
    a_while().await;
    assert!(unread.ok() > 0 && unread.unavailable() == 0, "{what}: {} answered 503", unread.unavailable());
    away(database).await;
    // What was under way comes to an end, and what was answered before has left what hosts know of each other.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let ok = unread.ok();
    a_while().await;
    assert_eq!(unread.ok(), ok, "{what}: what nobody has in memory was answered");
    assert!(unread.unavailable() > 0, "{what}: nobody was told that the database is away");

    back(database).await;
    let after = until("all is answered again", async || unread.is_answered_by(&hosts).await).await;
    println!("{what}: all is answered again {after:.1?} after the database is back");
    let unavailable = unread.unavailable();
    load.ends_well(what).await;
    assert!(unread.unavailable() <= unavailable + 4, "{what}: after its return some were answered 503");
    unread.end(what).await;
    after
}

async fn without_postgres(what: &str, away: impl AsyncFnOnce(&mut Cluster)) {
    let mut cluster = Cluster::start_temporary(&settings()).await.unwrap();
    let database = catalog(&cluster, 1).await;
    let stage = Stage::set(&database.host_url(), &[]).await;
    let back = async |cluster: &mut Cluster| cluster.start_again().await.unwrap();
    let after = without_a_database(what, &stage, &mut cluster, away, back).await;
    assert!(after <= RECOVERY, "{what}: all is answered again {after:.1?} after the database is back");
    stage.strike().await;
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn while_postgres_is_killed_and_recovers_what_is_in_memory_is_answered_and_the_rest_503() {
    let kill = async |cluster: &mut Cluster| cluster.kill().await.unwrap();
    without_postgres("SIGKILL of Postgres, and its recovery", kill).await;
}

#[tokio::test]
async fn while_postgres_is_restarted_what_is_in_memory_is_answered_and_the_rest_503() {
    let shut_down = async |cluster: &mut Cluster| cluster.shut_down().await.unwrap();
    without_postgres("restart of Postgres", shut_down).await;
}

/// A standby that has the catalog of this database.
async fn standby(primary: &Cluster, database: &Database) -> Cluster {
    let standby = primary.start_standby().await.unwrap();
    until("the standby can be read", async || standby.address().connect(database.name()).await.is_ok()).await;
    standby
}

/// Has the primary acknowledge nothing that its standby does not have too. Neither can have this setting when it starts:
/// the primary would wait for a standby that is not made yet, and the standby, once promoted, for one of its own.
async fn acknowledge_what_the_standby_has(primary: &Cluster) {
    let client = primary.address().connect("postgres").await.unwrap();
    client.batch_execute("alter system set synchronous_standby_names = '*'").await.unwrap();
    client.batch_execute("select pg_reload_conf()").await.unwrap();
    let is_waited_for = "select from pg_stat_replication where sync_state = 'sync'";
    until("the standby is waited for", async || !client.query(is_waited_for, &[]).await.unwrap().is_empty())
        .await;
}

#[tokio::test]
async fn a_primary_that_is_lost_fails_no_read_and_carts_are_back_with_the_promotion_of_the_standby() {
    let mut primary = Cluster::start_temporary(&settings()).await.unwrap();
    let database = catalog(&primary, 1).await;
    let standby = standby(&primary, &database).await;
    acknowledge_what_the_standby_has(&primary).await;
    let stage = Stage::set(&database.host_url_of(&[&primary, &standby]), &[("CACHE_BYTES", "0")]).await;
    let address = stage.fleet.address();
    let load = Load::begin(address).await;
    let shoppers = Shoppers::begin(address, 2);
    a_while().await;
    primary.kill().await.unwrap();
    a_while().await;
    let refused = add(address, "somebody").await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    let client = standby.address().connect("postgres").await.unwrap();
    client.batch_execute("select pg_promote()").await.unwrap();
    let after = until("carts are back", async || add(address, "somebody").await.status() == 201).await;
    let what = "loss of the primary, nothing in memory";
    println!("{what}: carts are back {after:.1?} after the promotion");
    load.ends_well(what).await;
    let statuses = shoppers.end(what).await;
    assert!(statuses.keys().all(|status| [201, 503].contains(status)), "{statuses:?}");
    stage.strike().await;
    standby.stop().await.unwrap();
}

/// A Postgres in a network of its own, and a network for hosts and maybe a standby, with a wire between the two.
struct Remote {
    hosts: Network,
    database: Network,
    cluster: Cluster,
    catalog: Database,
    /// What the servers show, which vouches for itself.
    certificate: tempfile::NamedTempFile,
}

impl Remote {
    const HOSTS: &str = "10.0.0.1";
    const DATABASE: &str = "10.0.0.2";

    fn set() -> Self {
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

    /// The address of the hosts goes nowhere any more: Postgres hears them, and its answers are dropped.
    fn cut(&self) {
        self.database.ip(&format!("route add blackhole {}/32", Self::HOSTS));
    }

    fn mend(&self) {
        self.database.ip(&format!("route del blackhole {}/32", Self::HOSTS));
    }

    async fn stage(&self, servers: &[&str], variables: &[(&str, &str)]) -> Stage {
        let (servers, name) = (servers.join(","), self.catalog.name());
        let url = format!("host={servers} user={HOST_LOGIN} dbname={name}");
        let authority = self.certificate.path().to_str().unwrap();
        Stage::set(&url, &[&[("DATABASE_CA_FILE", authority)], variables].concat()).await
    }
}

#[test]
fn while_the_network_drops_what_postgres_says_what_is_in_memory_is_answered_and_the_rest_503() {
    let remote = Remote::set();
    remote.hosts.within(|| async {
        let stage = remote.stage(&[Remote::DATABASE], &[]).await;
        let (away, back) = (async |(): &mut ()| remote.cut(), async |(): &mut ()| remote.mend());
        without_a_database("blackhole on the way from Postgres", &stage, &mut (), away, back).await;
        stage.strike().await;
    });
}

#[test]
fn a_server_whose_answers_the_network_drops_fails_no_read_while_there_is_another() {
    let remote = Remote::set();
    remote.hosts.within(|| async {
        let standby = standby(&remote.cluster, &remote.catalog).await;
        let servers = [Remote::DATABASE, Remote::HOSTS];
        let stage = remote.stage(&servers, &[("CACHE_BYTES", "0")]).await;
        let load = Load::begin(stage.fleet.address()).await;
        remote.cut();
        tokio::time::sleep(Duration::from_secs(5)).await; // connections are given up, and others tried
        remote.mend();
        load.ends_well("blackhole on the way from one of two servers, nothing in memory").await;
        stage.strike().await;
        standby.stop().await.unwrap();
    });
}
