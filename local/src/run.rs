//! What `make run` does, from nothing to answers.
//!
//! In order: the port is looked at, Postgres starts, `atelier-etl` migrates, generates and loads (where no catalog is
//! published yet), `atelier-host` serves. Each is the real program, found beside this one, and each stops with it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::pin::pin;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use local::{Cluster, Guarded, HOST_LOGIN, SUPERUSER, Settings, Watch, create_host_login, program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::Place;

/// The database in the cluster of `run`.
pub(crate) const DATABASE: &str = "atelier";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Address and port of the host
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:3000", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Size of the catalog that is generated when there is none: 1 is a million products
    #[arg(long, default_value = "0.01", value_name = "FRACTION")]
    scale: String,
    #[command(flatten)]
    place: Place,
}

/// Runs until a signal or until one of the servers ends, which is an error.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let mut stop = pin!(told_to_stop()?);
    for name in ["atelier-etl", "atelier-host"] {
        program(name)?;
    }
    TcpListener::bind(options.listen).with_context(|| {
        format!("cannot listen on {}; LISTEN=127.0.0.1:<port> chooses another address", options.listen)
    })?;
    let root = options.place.directory()?;
    let settings = Settings::durable();
    let mut cluster = tokio::select! {
        cluster = Cluster::start(&root, &settings) => cluster?,
        () = &mut stop => return Ok(()),
    };
    let mut host = None;
    let done = tokio::select! {
        done = serve(options, &mut cluster, &mut host) => done,
        () = &mut stop => Ok(()),
    };
    // The host first: what it still answers needs the database.
    let host = match host {
        Some(host) => host.stop().await.map(drop),
        None => Ok(()),
    };
    let stopped = cluster.stop().await;
    done?;
    host?;
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

async fn serve(options: &Options, cluster: &mut Cluster, slot: &mut Option<Guarded>) -> Result<()> {
    let address = cluster.address().clone();
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
        load_sample(&options.scale, &cluster.directory("sample")?, &url).await?;
    }
    let mut command = Command::new(program("atelier-host")?);
    command.env("DATABASE_URL", address.url(HOST_LOGIN, DATABASE)).env("LISTEN", options.listen.to_string());
    let host = slot.insert(Guarded::spawn(
        &command,
        Watch { stop_with: "TERM", remove: None, account: None },
        None,
    )?);
    let origin = reachable(options.listen);
    while !is_ready(origin).await {
        check(cluster, host)?;
        sleep(Duration::from_millis(20)).await;
    }
    welcome(origin, &url);
    loop {
        sleep(Duration::from_millis(100)).await;
        check(cluster, host)?;
    }
}

/// An error once one of the servers has ended: nobody told it to.
fn check(cluster: &mut Cluster, host: &mut Guarded) -> Result<()> {
    if let Some(status) = cluster.ended()? {
        bail!("PostgreSQL has ended by itself ({status})");
    }
    if let Some(status) = host.ended()? {
        bail!("atelier-host has ended by itself ({status})");
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

/// A host that listens on every address is asked on the loopback one.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen {
        SocketAddr::V4(all) if all.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, all.port()).into(),
        SocketAddr::V6(all) if all.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, all.port()).into(),
        one => one,
    }
}

/// Whether `/readyz` is answered with 200. Too little HTTP is needed here for a client library.
async fn is_ready(origin: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(origin).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nhost: {origin}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        Ok::<_, std::io::Error>(status == *b"HTTP/1.1 200")
    };
    matches!(tokio::time::timeout(Duration::from_secs(2), ask).await, Ok(Ok(true)))
}

fn welcome(origin: SocketAddr, url: &str) {
    eprintln!(
        "
Atelier answers on http://{origin}. Try

    curl http://{origin}/products/1/styles
    curl 'http://{origin}/products?page=2&count=3'
    curl -i --compressed http://{origin}/products/2/overview

Its database, for psql and atelier-etl:

    export DATABASE_URL='{url}'

Ctrl-C stops both; the data is kept.
"
    );
}
