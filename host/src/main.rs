//! `atelier-host`: serves the catalog and the carts over HTTP.

mod notify;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use atelier_host::log::Log;
use clap::Command;
use notify::Manager;
use shared::App;
use shared::config::{Config, VARIABLES};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}"); // one line, whatever RUST_BACKTRACE says
            ExitCode::FAILURE
        }
    }
}

fn serve() -> anyhow::Result<()> {
    Command::new("atelier-host")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Serves the catalog and the carts over HTTP, until SIGTERM or SIGINT.")
        .after_help(VARIABLES)
        .get_matches();
    let config = Config::from_environment()?;
    let log = Log::start(std::io::stdout());
    log.take_over(config.log.level);

    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = config.host.worker_threads {
        runtime.worker_threads(threads);
    }
    let runtime = runtime.enable_all().build().context("cannot start the threads that serve requests")?;
    let served = runtime.block_on(run(&config, &log));
    log.report_dropped_since(0);
    served
}

async fn run(config: &Config, log: &Log) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let listen = config.host.listen;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on LISTEN={listen}"))?;
    let address = listener.local_addr().context("cannot tell the address")?;
    let app = Arc::new(App::start(&config.database, &config.requests));
    if !app.connected(config.database.connect_timeout).await {
        tracing::warn!(
            "there is no connection yet to the database, or to a primary: what needs one is answered 503"
        );
    }
    tracing::info!(%address, "serving");
    let manager = Manager::from_environment();
    manager.ready();

    let stop = async {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("stopping on SIGTERM"),
            _ = interrupt.recv() => tracing::info!("stopping on SIGINT"),
            () = log.report_dropped() => {}
        }
        manager.stopping();
    };
    let access = config.log.access.then(|| log.access());
    let cut_off = atelier_host::serve(listener, app, config, access, stop).await;
    if cut_off > 0 {
        tracing::warn!(connections = cut_off, "the grace period ran out, connections were cut off");
    }
    tracing::info!("stopped");
    Ok(())
}
