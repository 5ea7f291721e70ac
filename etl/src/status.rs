//! The report of `atelier-etl status`: the served catalog, the latest loads, deliveries that are not loaded. It has a form for
//! people and one in JSON, whose fields docs/load-data.md describes and later releases keep.

use std::fmt;

use serde::{Serialize, Serializer};
use shared::database::ConnectOptions;
use tokio_postgres::{Client, Row};

use crate::database;
use crate::ledger::{self, RejectCount, unsigned};
use crate::shown::shown_in_line;

/// The number of loads in the report.
const MAX_LOADS: i64 = 10;

/// The state of the catalog and the loads.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The served catalog; none before the first publish.
    pub served: Option<Served>,
    /// The latest loads, newest first.
    pub loads: Vec<LoadStatus>,
    /// The deliveries in S3 that are not loaded.
    pub deliveries: Vec<DeliveryStatus>,
}

/// A delivery in S3 that is not loaded.
#[derive(Clone, Debug, Serialize)]
pub struct DeliveryStatus {
    /// Its prefix.
    pub source: String,
    /// The reason.
    pub note: String,
    /// The time of the reason.
    pub since: Time,
}

/// The served catalog.
#[derive(Clone, Debug, Serialize)]
pub struct Served {
    /// Its generation.
    pub generation: i32,
    /// `publish` or `rollback`.
    pub action: String,
    /// The time of the publish or rollback.
    pub since: Time,
}

/// A load.
#[derive(Clone, Debug, Serialize)]
pub struct LoadStatus {
    /// Its number, which is also the generation of its catalog.
    pub generation: i32,
    /// The dataset's name.
    pub dataset: String,
    /// The current step, or `published`, `failed`, `abandoned`.
    pub step: String,
    /// The reason why it failed, was abandoned or was interrupted.
    pub reason: Option<String>,
    /// Its start time.
    pub started: Time,
    /// Its end time.
    pub ended: Option<Time>,
    /// Its rows.
    #[serde(flatten)]
    pub rows: Rows,
    /// Its files, by name.
    pub files: Vec<FileStatus>,
    /// Its rejected rows by file and reason. Only of a load that has not ended, and of the latest.
    #[serde(rename = "rejected")]
    pub reasons: Vec<RejectCount>,
}

/// The state of one file of a load.
#[derive(Clone, Debug, Serialize)]
pub struct FileStatus {
    /// Its name.
    pub file: String,
    /// Its size, in bytes.
    #[serde(rename = "bytes")]
    pub size: u64,
    /// Whether it is loaded.
    pub complete: bool,
    /// Its rows.
    #[serde(flatten)]
    pub rows: Rows,
    /// The load time in seconds.
    pub seconds: f64,
}

/// Numbers of rows.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rows {
    /// The loaded rows.
    #[serde(rename = "rows_loaded")]
    pub loaded: u64,
    /// The rejected rows.
    #[serde(rename = "rows_rejected")]
    pub rejected: u64,
}

/// A time. In JSON it is in UTC, as RFC 3339 has it.
#[derive(Clone, Debug, Default)]
pub struct Time {
    /// The time in the database's time zone.
    shown: String,
    /// The time in UTC.
    utc: String,
}

/// Reads the status. Fails before the first `migrate`; the error says so.
pub async fn status(database: &ConnectOptions) -> Result<Status, tokio_postgres::Error> {
    let client = database::connect(database).await?;
    let served = client
        .query_opt(
            "select generation, action, to_char(at, 'YYYY-MM-DD HH24:MI:SS TZ'),
                    to_char(at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
             from etl.publication order by id desc limit 1",
            &[],
        )
        .await?;
    let loads = client
        .query(
            "select generation, dataset, step, reason, to_char(started_at, 'YYYY-MM-DD HH24:MI:SS TZ'),
                    to_char(started_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
                    to_char(ended_at, 'YYYY-MM-DD HH24:MI:SS TZ'),
                    to_char(ended_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
                    coalesce(sum(rows_loaded), 0)::bigint, coalesce(sum(rows_rejected), 0)::bigint
             from etl.load left join etl.load_file using (generation)
             group by generation order by generation desc limit $1",
            &[&MAX_LOADS],
        )
        .await?;
    let files = client
        .query(
            "select generation, file, size_bytes, complete, rows_loaded, rows_rejected, seconds
             from etl.load_file
             where generation in (select generation from etl.load order by generation desc limit $1)
             order by file",
            &[&MAX_LOADS],
        )
        .await?;
    let deliveries = deliveries(&client).await?;
    let files_of = |generation: i32| {
        let own = files.iter().filter(|row| row.get::<_, i32>(0) == generation);
        own.map(|row| FileStatus {
            file: row.get(1),
            size: unsigned(row.get(2)),
            complete: row.get(3),
            rows: Rows { loaded: unsigned(row.get(4)), rejected: unsigned(row.get(5)) },
            seconds: row.get(6),
        })
        .collect()
    };
    let mut statuses = Vec::new();
    for (nth, row) in loads.iter().enumerate() {
        let (generation, ended) = (row.get(0), Time::of(row, 6));
        let reasons = match nth == 0 || ended.is_none() {
            true => ledger::reject_counts(&client, generation).await?,
            false => Vec::new(),
        };
        statuses.push(LoadStatus {
            generation,
            dataset: row.get(1),
            step: row.get(2),
            reason: row.get(3),
            started: Time::of(row, 4).unwrap_or_default(),
            ended,
            rows: Rows { loaded: unsigned(row.get(8)), rejected: unsigned(row.get(9)) },
            files: files_of(generation),
            reasons,
        });
    }
    Ok(Status {
        served: served.map(|row| Served {
            generation: row.get(0),
            action: row.get(1),
            since: Time::of(&row, 2).unwrap_or_default(),
        }),
        loads: statuses,
        deliveries,
    })
}

/// Returns the deliveries that are not loaded, the latest first.
async fn deliveries(client: &Client) -> Result<Vec<DeliveryStatus>, tokio_postgres::Error> {
    let rows = client
        .query(
            "select source, note, to_char(noted_at, 'YYYY-MM-DD HH24:MI:SS TZ'),
                    to_char(noted_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
             from etl.delivery order by noted_at desc, source",
            &[],
        )
        .await?;
    let delivery = |row: &Row| DeliveryStatus {
        source: row.get(0),
        note: row.get(1),
        since: Time::of(row, 2).unwrap_or_default(),
    };
    Ok(rows.iter().map(delivery).collect())
}

impl Time {
    /// Returns the time in two columns of a row; none for null.
    fn of(row: &Row, column: usize) -> Option<Self> {
        Some(Self { shown: row.get::<_, Option<_>>(column)?, utc: row.get::<_, Option<_>>(column + 1)? })
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.shown)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.utc)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.served {
            Some(Served { generation, action, since }) => {
                writeln!(f, "serving: generation {generation}, since {since} ({action})")?;
            }
            None => writeln!(f, "serving: nothing (no catalog has been published yet)")?,
        }
        if self.loads.is_empty() {
            writeln!(f, "loads:   none")?;
        } else {
            self.fmt_loads(f)?;
        }
        for DeliveryStatus { source, note, since } in &self.deliveries {
            let (source, note) = (shown_in_line(source), shown_in_line(note));
            writeln!(f, "\nnot loaded: {source}, since {since}\n            {note}")?;
        }
        Ok(())
    }
}

impl Status {
    fn fmt_loads(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:>10}  {:<20} {:<10} {:>13} {:>10}  {:<24} ended",
            "generation", "dataset", "step", "rows", "rejected", "started"
        )?;
        for (nth, load) in self.loads.iter().enumerate() {
            writeln!(
                f,
                "{:>10}  {:<20} {:<10} {:>13} {:>10}  {:<24} {}",
                load.generation,
                load.dataset,
                load.step,
                load.rows.loaded,
                load.rows.rejected,
                load.started,
                load.ended.as_ref().map_or("-", |ended| &ended.shown)
            )?;
            if let Some(reason) = &load.reason {
                writeln!(f, "            {}", shown_in_line(reason))?;
            }
            // Files only for the latest load and for those that can resume.
            if nth == 0 || load.ended.is_none() {
                load.files.iter().try_for_each(|file| writeln!(f, "            {file}"))?;
                for RejectCount { file, reason, rows } in &load.reasons {
                    writeln!(f, "            {rows} rejected in {file}: {reason}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for FileStatus {
    #[allow(clippy::cast_precision_loss)] // for people
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, size, complete, rows: Rows { loaded, rejected }, seconds } = self;
        let megabytes = *size as f64 / 1e6;
        if !complete {
            return write!(f, "{file:<13}{megabytes:>9.1} MB not loaded");
        }
        let rate = megabytes / seconds.max(0.001);
        write!(f, "{file:<13}{megabytes:>9.1} MB {loaded:>10} rows {rejected:>6} rejected {rate:>6.1} MB/s")
    }
}
