//! A host, Postgres and a load fail in a fleet: the alarms fire, lead to their runbooks, and end.

use conformance::small_dataset;
use local::Host;
use rig::{Cluster, Database, Settings, until};
use serde_json::Value;

use crate::files::assert_runbook;
use crate::prometheus::{Monitored, Prometheus};
use crate::support::load_into;
use crate::support::loader::Loader;

/// The alarms of this test. Others could fire on a slow machine, such as that for a high latency.
const WATCHED: [&str; 8] = [
    "HostDown",
    "NoHostUp",
    "NoCatalog",
    "DatabaseUnavailable",
    "DatabaseServerDown",
    "LoadFailed",
    "LoadMissing",
    "LoadMetricsMissing",
];

fn text<'a>(alarm: &'a Value, part: &str, name: &str) -> &'a str {
    alarm[part][name].as_str().unwrap_or_default()
}

/// Returns the watched alarms that fire.
async fn firing(prometheus: &Prometheus) -> Vec<Value> {
    let mut firing = prometheus.firing().await;
    firing.retain(|alarm| WATCHED.contains(&text(alarm, "labels", "alertname")));
    firing
}

/// Waits until exactly these watched alarms fire. Checks the runbook of each, and that its texts are complete.
async fn until_firing(prometheus: &Prometheus, expected: &[&str]) -> Vec<Value> {
    let mut alarms = Vec::new();
    until(&format!("these alarms fire: {expected:?}"), async || {
        alarms = firing(prometheus).await;
        let mut names: Vec<&str> = alarms.iter().map(|alarm| text(alarm, "labels", "alertname")).collect();
        names.sort_unstable();
        names == expected
    })
    .await;
    for alarm in &alarms {
        let name = text(alarm, "labels", "alertname");
        assert_runbook(name, text(alarm, "annotations", "runbook"), text(alarm, "labels", "severity"));
        for annotation in ["summary", "description"] {
            let text = text(alarm, "annotations", annotation);
            assert!(!text.is_empty() && !text.contains("<no value>"), "{name}: {text}");
        }
    }
    alarms
}

#[tokio::test]
async fn a_failing_host_database_and_load_raise_alarms_that_lead_to_runbooks_and_end() {
    let mut cluster = Cluster::start_temporary(&Settings::disposable()).await.unwrap();
    let database = Database::create_in(&cluster).await.unwrap();
    let database = load_into(database, &small_dataset()).await.database;
    let mut monitored = Monitored::start(&database).await;
    until_firing(&monitored.prometheus, &["LoadMetricsMissing"]).await;

    let metrics = monitored.load_file();
    let metrics = ["--metrics", metrics.to_str().unwrap()];
    let load = Loader::of_folder(&database, &small_dataset(), &metrics);
    load.succeeds().await;
    until_firing(&monitored.prometheus, &[]).await;
    let refused =
        Loader::of_folder(&database, &small_dataset(), &[&metrics[..], &["--max-rejects", "0"]].concat());
    let code = refused.run().await.status.code();
    assert_eq!(code, Some(3), "too many rejected rows");
    let alarms = until_firing(&monitored.prometheus, &["LoadFailed"]).await;
    assert_eq!(text(&alarms[0], "labels", "dataset"), "tested");
    assert!(text(&alarms[0], "annotations", "description").contains("tested"), "{alarms:?}");
    load.succeeds().await;
    until_firing(&monitored.prometheus, &[]).await;

    let killed = &mut monitored.fleet.hosts_mut()[0];
    let instance = killed.admin().to_string();
    killed.kill().await.unwrap();
    let alarms = until_firing(&monitored.prometheus, &["HostDown"]).await;
    assert_eq!(text(&alarms[0], "labels", "instance"), instance);
    monitored.fleet.hosts_mut()[0].start().await.unwrap();
    until_firing(&monitored.prometheus, &[]).await;

    cluster.shut_down().await.unwrap();
    let expected = ["DatabaseServerDown", "DatabaseUnavailable", "DatabaseUnavailable"];
    let alarms = until_firing(&monitored.prometheus, &expected).await;
    let pools: Vec<_> = alarms.iter().map(|alarm| text(alarm, "labels", "pool")).collect();
    assert!(pools.contains(&"catalog") && pools.contains(&"carts"), "{pools:?}");
    cluster.start_again().await.unwrap();
    until_firing(&monitored.prometheus, &[]).await;

    for host in monitored.fleet.hosts_mut() {
        host.kill().await.unwrap();
    }
    let expected: Vec<&str> =
        monitored.fleet.hosts().iter().map(|_: &Host| "HostDown").chain(["NoHostUp"]).collect();
    until_firing(&monitored.prometheus, &expected).await;
    monitored.stop().await;
    cluster.stop().await.unwrap();
}
