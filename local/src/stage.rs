//! What `run` and `fleet` begin and end with: their address, their Postgres, a catalog to serve.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::pin::pin;

use anyhow::{Context, Result, bail, ensure};
use local::{Cluster, HOST_LOGIN, SUPERUSER, Settings, create_host_login, program};
use tokio::signal::unix::{SignalKind, signal};

use crate::Catalog;

/// The database in the cluster of `run` and `fleet`.
pub(crate) const DATABASE: &str = "atelier";

/// Runs `serve` beside Postgres until it fails or a signal comes, and then stops all in order.
///
/// `serve` is given the `DATABASE_URL` of a host, and leaves what it has started where `stop` will find it.
pub(crate) async fn beside_postgres<Servers>(
    listen: SocketAddr,
    catalog: &Catalog,
    serve: impl AsyncFnOnce(&mut Cluster, &str, &mut Option<Servers>) -> Result<()>,
    stop: impl AsyncFnOnce(Servers) -> Result<(), local::Error>,
) -> Result<()> {
    let mut told = pin!(told_to_stop()?);
    for name in ["atelier-etl", "atelier-host"] {
        program(name)?;
    }
    TcpListener::bind(listen).with_context(|| {
        format!("cannot listen on {listen}; LISTEN=127.0.0.1:<port> chooses another address")
    })?;
    let root = catalog.place.directory()?;
    let settings = Settings::durable();
    let mut cluster = tokio::select! {
        cluster = Cluster::start(&root, &settings) => cluster?,
        () = &mut told => return Ok(()),
    };
    let mut servers = None;
    let done = tokio::select! {
        done = async {
            let url = prepare(&cluster, &catalog.scale).await?;
            serve(&mut cluster, &url, &mut servers).await
        } => done,
        () = &mut told => Ok(()),
    };
    // The database last: what is still answered needs it.
    let servers = match servers {
        Some(servers) => stop(servers).await,
        None => Ok(()),
    };
    let stopped = cluster.stop().await;
    done?;
    servers?;
    stopped?;
    eprintln!("Stopped. The data is kept in {}", root.display());
    Ok(())
}

/// Ends at the first SIGINT or SIGTERM from now on.
fn told_to_stop() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
    })
}

/// Makes the database and migrates it, generates and loads a catalog where none is published yet, and answers with
/// the `DATABASE_URL` of a host.
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

/// An error once Postgres has ended: nobody told it to.
pub(crate) fn check(cluster: &mut Cluster) -> Result<()> {
    if let Some(status) = cluster.ended()? {
        bail!("PostgreSQL has ended by itself ({status})");
    }
    Ok(())
}

async fn load_sample(scale: &str, directory: &Path, url: &str) -> Result<()> {
    eprintln!("No catalog is published yet: generating one (scale {scale}) and loading it");
    let path = directory.to_str().with_context(|| format!("{} is not UTF-8", directory.display()))?;
    etl(&["generate", "--scale", scale, "--seed", "1", path], url).await?;
    etl(&["load", path, "--dataset", "sample"], url).await?;
    std::fs::remove_dir_all(directory).with_context(|| format!("cannot remove {path}"))
}

async fn etl(arguments: &[&str], url: &str) -> Result<()> {
    let mut command = tokio::process::Command::new(program("atelier-etl")?);
    command.args(arguments).env("DATABASE_URL", url).kill_on_drop(true);
    let status = command.status().await.context("cannot run atelier-etl")?;
    ensure!(status.success(), "atelier-etl {} failed ({status})", arguments.join(" "));
    Ok(())
}

/// Who listens on every address is asked on the loopback one.
pub(crate) fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen {
        SocketAddr::V4(all) if all.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, all.port()).into(),
        SocketAddr::V6(all) if all.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, all.port()).into(),
        one => one,
    }
}

/// What to try, and where the database is.
pub(crate) fn welcome(origin: SocketAddr, cluster: &Cluster) {
    let url = cluster.address().url(SUPERUSER, DATABASE);
    eprintln!(
        "
Atelier answers on http://{origin}. Try

    curl http://{origin}/products/1/styles
    curl 'http://{origin}/products?page=2&count=3'
    curl -i --compressed http://{origin}/products/2/overview

Its database, for psql and atelier-etl:

    export DATABASE_URL='{url}'

Ctrl-C stops all of it; the data is kept.
"
    );
}
