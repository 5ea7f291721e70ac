//! The metrics of the shared state, for Prometheus: cache, catalog and database. A scrape reads them; requests only count.
//!
//! No label has an id, a path or another text of a client. docs/operations.md explains each metric.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::App;
use crate::database::{ConnectionState, PoolStatistics};

pub use crate::database::duration_histogram;

/// Adds the metrics of `app` to `registry`.
pub fn register(app: &Arc<App>, registry: &mut Registry) {
    registry.register_collector(Box::new(AppCollector(Arc::clone(app))));
}

#[derive(Debug)]
struct AppCollector(Arc<App>);

impl Collector for AppCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_cache(&mut encoder)?;
        self.encode_catalog(&mut encoder)?;
        let pools =
            [("catalog", self.0.catalog.pool_statistics()), ("carts", self.0.carts.database().statistics())];
        let pools: Vec<(&str, PoolStatistics)> =
            pools.into_iter().filter_map(|(name, pool)| Some((name, pool?))).collect();
        encode_pools(&mut encoder, &pools)?;
        encode_servers(&mut encoder, &pools)?;
        let help = "Product ids in each statement that reads products.";
        let sizes = self.0.catalog.batch_sizes();
        sizes.encode(encoder.encode_descriptor(
            "atelier_database_batch_size",
            help,
            None,
            MetricType::Histogram,
        )?)
    }
}

impl AppCollector {
    fn encode_cache(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(cache) = self.0.catalog.cache_statistics() else { return Ok(()) };
        for (name, help, is_hits) in [
            ("atelier_cache_hits", "Lookups that found an entry.", true),
            ("atelier_cache_misses", "Lookups that found no entry.", false),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (kind, hits, misses) in cache.lookups {
                let lookups = ConstCounter::new(if is_hits { hits } else { misses });
                lookups.encode(family.encode_family(&[("kind", kind)])?)?;
            }
        }
        let help = "Entries evicted to make room for others, of replaced catalogs first.";
        counter(encoder, "atelier_cache_evictions", help, cache.evictions)?;
        gauge(
            encoder,
            "atelier_cache_entries",
            "Cached products, overviews and lists.",
            cache.entries as u64,
        )?;
        gauge(encoder, "atelier_cache_bytes", "Memory of the cached entries.", cache.bytes)?;
        gauge(
            encoder,
            "atelier_cache_max_bytes",
            "Max memory of the cached entries, CACHE_BYTES.",
            cache.max_bytes,
        )
    }

    fn encode_catalog(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let catalog = self.0.catalog_statistics();
        if let Some((generation, published_at)) = catalog.published {
            let help = "Generation of the catalog that the host serves.";
            gauge(encoder, "atelier_catalog_generation", help, i64::from(generation))?;
            let help = "When the catalog was published or rolled back to, in seconds since 1970.";
            let name = "atelier_catalog_published_timestamp_seconds";
            gauge(encoder, name, help, published_at)?;
        }
        let help = "Time since a server last confirmed the catalog; 0 while one does, each second.";
        let staleness = catalog.staleness.unwrap_or_default().as_secs_f64();
        gauge(encoder, "atelier_catalog_staleness_seconds", help, staleness)
    }
}

/// Writes the metrics that each pool has once.
fn encode_pools(encoder: &mut DescriptorEncoder<'_>, pools: &[(&str, PoolStatistics)]) -> fmt::Result {
    type Value = fn(&PoolStatistics) -> usize;
    let metrics: [(&str, &str, Value); 3] = [
        ("atelier_database_statements_in_flight", "Statements without a result yet.", |pool| pool.in_flight),
        ("atelier_database_queued", "Requests that wait for the database.", |pool| pool.queued),
        ("atelier_database_queue_limit", "Max requests that wait for the database.", |pool| pool.queue_limit),
    ];
    for (name, help, value) in metrics {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (pool, statistics) in pools {
            ConstGauge::new(value(statistics) as u64).encode(family.encode_family(&[("pool", *pool)])?)?;
        }
    }
    Ok(())
}

/// Writes the metrics that each pool has for each server.
fn encode_servers(encoder: &mut DescriptorEncoder<'_>, pools: &[(&str, PoolStatistics)]) -> fmt::Result {
    let servers =
        || pools.iter().flat_map(|(pool, found)| found.servers.iter().map(move |server| (*pool, server)));
    let help = "Connections by state; requests use those that are up.";
    let mut family =
        encoder.encode_descriptor("atelier_database_connections", help, None, MetricType::Gauge)?;
    for (pool, server) in servers() {
        for (state, name) in ConnectionState::ALL {
            let count = server.connections.iter().filter(|connection| **connection == state).count();
            let labels = [("pool", pool), ("server", server.server.as_str()), ("state", name)];
            ConstGauge::new(count as u64).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Attempts to connect again.";
    let mut family =
        encoder.encode_descriptor("atelier_database_reconnects", help, None, MetricType::Counter)?;
    for (pool, server) in servers() {
        let reconnects = ConstCounter::new(server.reconnects);
        reconnects.encode(family.encode_family(&labels(pool, &server.server))?)?;
    }
    let help = "Time from sending a statement until its result.";
    let name = "atelier_database_statement_duration_seconds";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (pool, server) in servers() {
        server.statements.encode(family.encode_family(&labels(pool, &server.server))?)?;
    }
    Ok(())
}

fn labels<'a>(pool: &'a str, server: &'a str) -> [(&'static str, &'a str); 2] {
    [("pool", pool), ("server", server)]
}

/// Writes a gauge without labels.
///
/// # Errors
/// The output fails.
pub fn gauge<N>(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: N) -> fmt::Result
where
    ConstGauge<N>: EncodeMetric,
{
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

/// Writes a counter without labels. The output adds `_total` to its name.
///
/// # Errors
/// The output fails.
pub fn counter<N>(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: N) -> fmt::Result
where
    ConstCounter<N>: EncodeMetric,
{
    ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}
