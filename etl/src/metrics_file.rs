//! Metrics of a load in a file, for the textfile collector of Prometheus's node_exporter. The function `etl` writes others
//! to its log, and contains nothing of this.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use etl::load::Known;
use prometheus_client::encoding::prometheus_text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tempfile::NamedTempFile;

/// The time of the last successful load, which a failed load keeps.
const LAST_SUCCESS: &str = "atelier_load_last_success_timestamp_seconds";

/// A file for metrics. Its name ends in `.prom`, and its folder exists.
#[derive(Clone, Debug)]
pub(crate) struct MetricsFile(PathBuf);

/// Why a file cannot hold metrics.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetricsFileError {
    #[error("expected a name that ends in .prom, as the textfile collector does")]
    Name,
    #[error("the folder {} does not exist: create it, and start node_exporter with --collector.textfile.directory", .0.display())]
    NoFolder(PathBuf),
}

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

impl FromStr for MetricsFile {
    type Err = MetricsFileError;

    fn from_str(text: &str) -> Result<Self, MetricsFileError> {
        let file = Self(text.into());
        if file.0.extension().is_none_or(|extension| extension != "prom") {
            return Err(MetricsFileError::Name);
        }
        if file.folder().is_dir() {
            Ok(file)
        } else {
            Err(MetricsFileError::NoFolder(file.folder().to_owned()))
        }
    }
}

impl MetricsFile {
    fn folder(&self) -> &Path {
        self.0.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Fails if the file cannot be written.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.temporary().map(drop).with_context(|| self.failure())
    }

    fn failure(&self) -> String {
        format!("cannot write the metrics to {} (--metrics)", self.0.display())
    }

    /// Creates a file beside this one, which the collector does not read.
    fn temporary(&self) -> io::Result<NamedTempFile> {
        let file = tempfile::Builder::new().prefix(".atelier-").suffix(".tmp").tempfile_in(self.folder())?;
        file.as_file().set_permissions(Permissions::from_mode(0o644))?; // node_exporter runs as another user
        Ok(file)
    }

    /// Replaces the file by the metrics of a load of the dataset that has just ended.
    pub(crate) fn write(
        &self,
        dataset: &str,
        duration: Duration,
        known: &Known,
        succeeded: bool,
    ) -> anyhow::Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let last_success = if succeeded { Some(now.as_secs_f64()) } else { self.last_success(dataset) };
        let text =
            metrics(dataset, known, succeeded, now.as_secs_f64(), duration.as_secs_f64(), last_success);
        let write = || {
            let mut file = self.temporary()?;
            file.write_all(text?.as_bytes())?;
            file.persist(&self.0)?;
            Ok::<_, anyhow::Error>(())
        };
        write().with_context(|| self.failure())
    }

    /// Returns the time of the last successful load from the present file.
    fn last_success(&self, dataset: &str) -> Option<f64> {
        let text = fs::read_to_string(&self.0).ok()?;
        let series = format!("{LAST_SUCCESS}{{dataset=\"{dataset}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series))?.parse().ok()
    }
}

/// Returns the metrics in the text format.
#[allow(clippy::cast_precision_loss)] // exact up to 9 PB and as many rows
fn metrics(
    dataset: &str,
    known: &Known,
    succeeded: bool,
    now: f64,
    duration: f64,
    last_success: Option<f64>,
) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::default();
    let mut add = |name: &str, help: &str, values: Vec<(Labels, f64)>| {
        if values.is_empty() {
            return;
        }
        let gauges = Gauges::default();
        for (mut labels, value) in values {
            labels.insert(0, ("dataset", dataset.to_owned()));
            gauges.get_or_create(&labels).set(value);
        }
        registry.register(name, help, gauges);
    };
    let one = |value: f64| vec![(Vec::new(), value)];
    add("atelier_load_success", "Whether the latest load succeeded", one(f64::from(u8::from(succeeded))));
    add("atelier_load_end_timestamp_seconds", "When the latest load ended", one(now));
    add("atelier_load_duration_seconds", "How long the latest load took", one(duration));
    if let Some(time) = last_success {
        add(LAST_SUCCESS, "When the last successful load ended", one(time));
    }
    if let Some(generation) = known.generation {
        add("atelier_load_generation", "The generation of the latest load", one(generation.into()));
    }
    let files = known.files.iter();
    let rows = files.clone().flat_map(|file| {
        let counts = &file.counts;
        let results =
            [("loaded", counts.loaded), ("rejected", counts.rejected), ("repaired", counts.repaired)];
        results.map(|(result, rows)| {
            (vec![("file", file.file.to_owned()), ("result", result.to_owned())], rows as f64)
        })
    });
    add(
        "atelier_load_rows",
        "The rows of the latest load; repaired rows are loaded rows too",
        rows.collect(),
    );
    let bytes = files.map(|file| (vec![("file", file.file.to_owned())], file.size as f64));
    add("atelier_load_bytes", "The size of the files of the latest load", bytes.collect());
    let steps = known.steps.iter().map(|(step, seconds)| (vec![("step", step.name().to_owned())], *seconds));
    add(
        "atelier_load_step_duration_seconds",
        "How long each finished step of the latest load took",
        steps.collect(),
    );
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}
