//! The checks of all servers of `DATABASE_URL`, and of what they have in common.

use shared::config::HostConfig;
use shared::variables::environment;

use super::Finding;
use super::server::{Server, check_server};

/// Checks the servers of `DATABASE_URL`.
pub(super) async fn check(config: &HostConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    // A wrong file is an invalid variable.
    if let Some(file) = environment("DATABASE_CA_FILE").filter(|_| config.database.connect.has_tls()) {
        findings.push(Finding::ok(format!("DATABASE_CA_FILE={file}"), "has certificates"));
    }
    let mut servers = Vec::new();
    for options in config.database.connect.servers() {
        let (found, server) = check_server(&options, config.database.connect_timeout).await;
        findings.extend(found);
        servers.extend(server);
    }
    findings.extend(lagging(&servers));
    findings.push(primary(&servers, config.database.connect.servers().len()));
    findings
}

/// Returns the servers without the latest publication.
fn lagging(servers: &[Server]) -> impl Iterator<Item = Finding> {
    let latest = servers.iter().filter_map(|server| server.publication).max();
    servers.iter().filter(move |server| server.publication.is_some() && server.publication < latest).map(
        |server| {
            Finding::failed(
                format!("{} replication", server.name),
                "it lacks the latest catalog, so the host does not read from it",
                "wait until it has caught up; if it does not, look at pg_stat_replication on the primary",
            )
        },
    )
}

/// Carts need exactly one primary.
fn primary(servers: &[Server], named: usize) -> Finding {
    let primaries: Vec<&str> =
        servers.iter().filter(|server| !server.is_replica).map(|server| server.name.as_str()).collect();
    match primaries.as_slice() {
        [one] => Finding::ok("primary", format!("{one}, of {named} named in DATABASE_URL")),
        [] if servers.len() < named => Finding::failed(
            "primary",
            "no reachable server accepts writes, so carts return 503",
            "make the servers reachable that failed above",
        ),
        [] => Finding::failed(
            "primary",
            "no server of DATABASE_URL accepts writes, so carts return 503",
            "add the primary to DATABASE_URL, or promote a replica",
        ),
        several => Finding::failed(
            "primary",
            format!("{} accept writes, so carts and catalogs may differ", several.join(" and ")),
            "name one primary and its replicas only, and stop a former primary",
        ),
    }
}
