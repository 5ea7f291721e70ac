//! `atelier-host`: serves the catalog and the carts over HTTP.

mod check;
mod command_line;
mod notify;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use atelier_host::log::Log;
use atelier_host::{Metrics, Observers, serve_admin};
use notify::ServiceManager;
use shared::App;
use shared::config::{HostConfig, host_variables, warn_of_former_names};
use shared::variables;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};

/// Max connections that the system holds until the host accepts them.
const BACKLOG: u32 = 1024;

fn main() -> ExitCode {
    command_line::run(serve).unwrap_or_else(|error| {
        cli::report(format!("{error:#}")); // one line, without a backtrace even if RUST_BACKTRACE is set
        command_line::exit_code(&error)
    })
}

fn serve() -> anyhow::Result<()> {
    let config = HostConfig::from_lookup(&variables::environment)?;
    let log = Log::start(std::io::stdout());
    log.init(config.log.level);
    warn_of_former_names(&host_variables());

    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = config.http.worker_threads {
        runtime.worker_threads(threads);
    }
    let runtime = runtime.enable_all().build().context("cannot start the threads that serve requests")?;
    let served = runtime.block_on(run(&config, &log));
    log.report_dropped_since(0);
    served
}

/// Binds the address without listening yet. Fails if another program listens there.
fn bind(listen: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?; // so that a restart does not wait for connections in TIME_WAIT
    socket.bind(listen)?;
    Ok(socket)
}

/// Listens on `ADMIN_LISTEN`.
fn bind_admin(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = bind(listen).and_then(|socket| socket.listen(BACKLOG));
    listener.map_err(|error| check::cannot_listen("ADMIN_LISTEN", listen, &error))
}

async fn run(config: &HostConfig, log: &Log) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let listen = config.http.listen;
    let cannot_listen = |error| check::cannot_listen("LISTEN", listen, &error);
    // Until the host listens, the system refuses connections. Clients then try another host at once and do not wait.
    let socket = bind(listen).map_err(cannot_listen)?;
    let admin = config.http.admin_listen.map(bind_admin).transpose()?;
    #[cfg(feature = "otlp")]
    let traces = atelier_host::Traces::start()?.map(Arc::new);
    let app = Arc::new(App::start(&config.database, &config.requests));
    let observers = Observers {
        #[cfg(feature = "otlp")]
        traces: traces.clone(),
        access: config.log.access.then(|| log.access()),
        metrics: admin
            .is_some()
            .then(|| Arc::new(Metrics::new(&app, config.http.max_connections, log.dropped()))),
    };
    if let (Some(listener), Some(metrics)) = (admin, &observers.metrics) {
        let address = listener.local_addr().context("cannot read the address of the metrics")?;
        tracing::info!(%address, "serving metrics");
        tokio::spawn(serve_admin(listener, Arc::clone(&app), Arc::clone(metrics), config.requests.timeout));
    }
    if !app.wait_until_connected(config.database.connect_timeout).await {
        tracing::warn!(
            "starting without a database connection, or without a primary: affected requests will return 503"
        );
    }
    let listener = socket.listen(BACKLOG).map_err(cannot_listen)?;
    let address = listener.local_addr().context("cannot read the address that the host listens on")?;
    tracing::info!(%address, "serving");
    let service_manager = ServiceManager::ready();

    let stop = async {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("stopping on SIGTERM"),
            _ = interrupt.recv() => tracing::info!("stopping on SIGINT"),
            () = log.report_dropped() => {}
        }
        service_manager.stopping();
    };
    let aborted = atelier_host::serve(listener, app, config, observers, stop).await;
    if aborted > 0 {
        tracing::warn!(connections = aborted, "shutdown grace period exceeded, aborted connections");
    }
    #[cfg(feature = "otlp")]
    if let Some(traces) = traces {
        tokio::task::spawn_blocking(move || traces.stop()).await?;
    }
    tracing::info!("stopped");
    Ok(())
}
