//! The environment that `run` and `fleet` share: an address, a private Postgres and a catalog.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::pin::pin;

use anyhow::{Context, Result, bail, ensure};
use local::{Cluster, HOST_LOGIN, SUPERUSER, Settings, create_host_login, program};
use tokio::signal::unix::{SignalKind, signal};

use crate::CatalogOptions;

/// The database in the cluster of `run` and `fleet`.
pub(crate) const DATABASE: &str = "atelier";

/// Runs `serve` with Postgres until it fails or a signal arrives, and then stops everything in order.
///
/// `serve` receives the `DATABASE_URL` of a host. It stores the servers that it starts in the slot, for `stop`.
pub(crate) async fn with_postgres<Servers>(
    listen: SocketAddr,
    catalog: &CatalogOptions,
    serve: impl AsyncFnOnce(&mut Cluster, &str, &mut Option<Servers>) -> Result<()>,
    stop: impl AsyncFnOnce(Servers) -> Result<(), local::Error>,
) -> Result<()> {
    let mut shutdown = pin!(shutdown_signal()?);
    for name in ["atelier-etl", "atelier-host"] {
        program(name)?;
    }
    TcpListener::bind(listen).with_context(|| {
        format!("cannot listen on {listen}; choose another address with LISTEN=127.0.0.1:<port>")
    })?;
    let root = catalog.data.directory()?;
    let settings = Settings::durable();
    let mut cluster = tokio::select! {
        cluster = Cluster::start(&root, &settings) => cluster?,
        () = &mut shutdown => return Ok(()),
    };
    let mut servers = None;
    let served = tokio::select! {
        served = async {
            let url = prepare(&cluster, &catalog.scale).await?;
            serve(&mut cluster, &url, &mut servers).await
        } => served,
        () = &mut shutdown => Ok(()),
    };
    // The database stops last: requests in flight need it.
    let servers_stopped = match servers {
        Some(servers) => stop(servers).await,
        None => Ok(()),
    };
    let cluster_stopped = cluster.stop().await;
    served?;
    servers_stopped?;
    cluster_stopped?;
    eprintln!("Stopped. The data is kept in {}", root.display());
    Ok(())
}

/// Returns a future that completes at the first SIGINT or SIGTERM after this call.
fn shutdown_signal() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
    })
}

/// Creates and migrates the database, and generates and loads a catalog if none is published. Returns the
/// `DATABASE_URL` of a host.
async fn prepare(cluster: &Cluster, scale: &str) -> Result<String> {
    let address = cluster.address();
    let url = address.url(SUPERUSER, DATABASE);
    let server = address.connect("postgres").await?;
    let exists = "select from pg_database where datname = $1";
    if server.query_opt(exists, &[&DATABASE]).await?.is_none() {
        server.batch_execute(&format!("create database {DATABASE}")).await?;
    }
    etl(&["migrate"], &url).await?;
    let client = address.connect(DATABASE).await?;
    create_host_login(&client).await?;
    if client.query_opt("select from etl.publication limit 1", &[]).await?.is_none() {
        load_sample(scale, &cluster.directory("sample")?, &url).await?;
    }
    Ok(address.url(HOST_LOGIN, DATABASE))
}

pub(crate) fn ensure_postgres_runs(cluster: &mut Cluster) -> Result<()> {
    if let Some(status) = cluster.ended()? {
        bail!("PostgreSQL ended unexpectedly ({status}): see `server.log` in the data directory");
    }
    Ok(())
}

async fn load_sample(scale: &str, directory: &Path, url: &str) -> Result<()> {
    eprintln!("No catalog is published yet: generating and loading one (scale {scale})");
    let path = directory
        .to_str()
        .with_context(|| format!("{} is not UTF-8; choose another folder with --dir", directory.display()))?;
    etl(&["generate", "--scale", scale, "--seed", "1", path], url).await?;
    let rejects = format!("{path}-rejects.csv");
    etl(&["load", path, "--dataset", "sample", "--rejects", &rejects], url).await?;
    std::fs::remove_dir_all(directory).with_context(|| format!("cannot remove {path}"))
}

async fn etl(arguments: &[&str], url: &str) -> Result<()> {
    let mut command = tokio::process::Command::new(program("atelier-etl")?);
    command.args(arguments).env("DATABASE_URL", url).kill_on_drop(true);
    let status = command.status().await.context("cannot run atelier-etl")?;
    ensure!(status.success(), "atelier-etl {} failed ({status}): its error is above", arguments.join(" "));
    Ok(())
}

/// Returns the loopback address for a server that listens on all addresses, and any other address unchanged.
pub(crate) fn loopback_for(listen: SocketAddr) -> SocketAddr {
    match listen {
        SocketAddr::V4(all) if all.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, all.port()).into(),
        SocketAddr::V6(all) if all.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, all.port()).into(),
        one => one,
    }
}

/// Prints example requests, the address of the metrics of a single host, and the URL of the database.
pub(crate) fn print_instructions(origin: SocketAddr, metrics: Option<SocketAddr>, cluster: &Cluster) {
    let metrics = metrics.map(|metrics| format!("    curl http://{}/metrics\n", loopback_for(metrics)));
    let metrics = metrics.unwrap_or_default();
    let url = cluster.address().url(SUPERUSER, DATABASE);
    eprintln!(
        "
The product page is at http://{origin}/

The API is at the same address, and http://{origin}/docs describes it. Try:

    curl http://{origin}/products/1/styles
    curl 'http://{origin}/products?page=2&count=3'
    curl -i --compressed http://{origin}/products/2/overview
{metrics}
Database URL for psql and atelier-etl:

    export DATABASE_URL='{url}'

Press Ctrl-C to stop; the data is kept.
"
    );
}
