//! Debian's Prometheus with the configuration of `deploy/monitoring`, at shorter intervals.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use conformance::Transport as _;
use http::{Request, StatusCode};
use local::{Fleet, FleetSettings, Host, SupervisedChild, Supervision, free_address, program, responds};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rig::{Database, Fault, HttpProxy};
use serde_json::Value;
use tempfile::TempDir;

use crate::files::file;
use crate::support::serving::Socket;

/// The interval of scrapes and of alert rules.
const INTERVAL: &str = "1s";

/// Three hosts behind NGINX, with Prometheus, and the file of a load as node_exporter serves it.
pub(crate) struct Monitored {
    pub(crate) fleet: Fleet,
    pub(crate) prometheus: Prometheus,
    folder: TempDir,
    _loads: HttpProxy,
}

impl Monitored {
    /// Starts hosts on this database, and Prometheus.
    pub(crate) async fn start(database: &Database) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Command::new(program("atelier-host").unwrap());
        server.env("DATABASE_URL", database.host_url());
        let address = free_address().unwrap();
        let fleet = Fleet::start(folder.path(), address, &server, &FleetSettings::default()).await.unwrap();
        let loads = serve_file(load_file(folder.path()));
        let hosts: Vec<SocketAddr> = fleet.hosts().iter().map(Host::admin).collect();
        let prometheus = Prometheus::start(&hosts, loads.address()).await;
        Self { fleet, prometheus, folder, _loads: loads }
    }

    /// Returns the path for `atelier-etl load --metrics`.
    pub(crate) fn load_file(&self) -> PathBuf {
        load_file(self.folder.path())
    }

    pub(crate) async fn stop(self) {
        self.prometheus.server.stop().await.unwrap();
        self.fleet.stop().await.unwrap();
    }
}

fn load_file(folder: &Path) -> PathBuf {
    folder.join("atelier.prom")
}

/// Serves a file at every path, or an empty body while it does not exist, as node_exporter's textfile collector does.
fn serve_file(path: PathBuf) -> HttpProxy {
    let unused = SocketAddr::from(([127, 0, 0, 1], 9));
    HttpProxy::start(unused, async move |_| {
        let text = fs::read_to_string(&path).unwrap_or_default();
        Fault::Respond(200, text.leak()) // some kilobytes for each second of the test
    })
}

/// A running Prometheus. It stops when this value is dropped.
pub(crate) struct Prometheus {
    address: SocketAddr,
    server: SupervisedChild,
}

impl Prometheus {
    async fn start(hosts: &[SocketAddr], loads: SocketAddr) -> Self {
        let folder = tempfile::Builder::new().prefix("atelier-prometheus-").tempdir().unwrap();
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        let configuration = file("deploy/monitoring/prometheus.yml");
        assert_eq!(configuration.matches(": 15s").count(), 2, "the two intervals");
        write("prometheus.yml", configuration.replace(": 15s", &format!(": {INTERVAL}")));
        write("alerts.yml", without_durations(&file("deploy/monitoring/alerts.yml")));
        let targets = |addresses: &[SocketAddr]| {
            let addresses: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
            format!("- targets: [{}]\n", addresses.join(", "))
        };
        write("hosts.yml", targets(hosts));
        write("loads.yml", targets(&[loads]));
        let address = free_address().unwrap();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let log = folder.path().join("log");
        let folder = folder.keep(); // the supervisor removes it
        let supervision = Supervision {
            remove: Some(&folder),
            log: Some(&log),
            ..Supervision::new("Prometheus, from `scripts/install.sh prometheus`,")
        };
        let mut server = SupervisedChild::spawn(&command, supervision).unwrap();
        let ready = || responds(address, "/-/ready");
        server.wait_until_ready(Duration::from_mins(1), ready).await.unwrap();
        Self { address, server }
    }

    /// Returns the series that a query gives.
    pub(crate) async fn query(&self, query: &str) -> Vec<Value> {
        let path = format!("/api/v1/query?query={}", utf8_percent_encode(query, NON_ALPHANUMERIC));
        let response = self.get(&path).await;
        response["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {response}")).clone()
    }

    /// Returns the alarms that fire: their labels and annotations.
    pub(crate) async fn firing(&self) -> Vec<Value> {
        let response = self.get("/api/v1/alerts").await;
        let alarms = response["data"]["alerts"].as_array().unwrap().iter();
        alarms.filter(|alarm| alarm["state"] == "firing").cloned().collect()
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = get(self.address, path).await;
        assert!(status.is_success(), "{path}: {status}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

/// Returns alert rules that fire at once.
fn without_durations(rules: &str) -> String {
    let at_once = |line: &str| match line.split_once("for: ") {
        Some((indent, _)) if indent.trim().is_empty() => format!("{indent}for: 0s\n"),
        _ => format!("{line}\n"),
    };
    rules.lines().map(at_once).collect()
}

/// Returns the status and the body of a response.
pub(crate) async fn get(server: SocketAddr, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Bytes::new()).unwrap();
    let response = Socket(server).call(request).await;
    (response.status(), String::from_utf8(response.body().to_vec()).unwrap())
}
