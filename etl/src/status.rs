//! What is served, and what became of the latest loads.

use std::fmt;

use shared::database::Address;

use crate::database;
use crate::record::unsigned;

/// How many loads are told of.
const LATEST_LOADS: i64 = 10;

/// The state of a database's catalog and loads.
#[derive(Clone, Debug)]
pub struct Status {
    /// The generation of the catalog that is served, and since when; none before the first publish.
    pub served: Option<Served>,
    /// The latest loads, newest first.
    pub loads: Vec<LoadStatus>,
}

/// The catalog that is served.
#[derive(Clone, Debug)]
pub struct Served {
    /// Its generation.
    pub generation: i32,
    /// `publish` or `rollback`: how it came to be served.
    pub action: String,
    /// When, in the database's time zone.
    pub since: String,
}

/// A load.
#[derive(Clone, Debug)]
pub struct LoadStatus {
    /// Its number, and the generation of the catalog it made or would make.
    pub generation: i32,
    /// The dataset's name.
    pub dataset: String,
    /// The step it is at, or `published`, `failed`, `abandoned`.
    pub step: String,
    /// Why it failed.
    pub failure: Option<String>,
    /// When it began.
    pub started: String,
    /// When it ended.
    pub ended: Option<String>,
    /// Its rows loaded, and set aside.
    pub rows: (u64, u64),
}

/// Reads the status. Before the first `migrate` there is nothing to read, and the error says so.
pub async fn status(address: &Address) -> Result<Status, tokio_postgres::Error> {
    let client = database::connect(address).await?;
    let served = client
        .query_opt(
            "select generation, action, to_char(at, 'YYYY-MM-DD HH24:MI:SS TZ')
             from etl.publication order by id desc limit 1",
            &[],
        )
        .await?;
    let loads = client
        .query(
            "select generation, dataset, step, failure, to_char(started_at, 'YYYY-MM-DD HH24:MI:SS TZ'),
                    to_char(ended_at, 'YYYY-MM-DD HH24:MI:SS TZ'),
                    coalesce(sum(rows_loaded), 0)::bigint, coalesce(sum(rows_set_aside), 0)::bigint
             from etl.load left join etl.load_file using (generation)
             group by generation order by generation desc limit $1",
            &[&LATEST_LOADS],
        )
        .await?;
    Ok(Status {
        served: served.map(|row| Served { generation: row.get(0), action: row.get(1), since: row.get(2) }),
        loads: loads
            .iter()
            .map(|row| LoadStatus {
                generation: row.get(0),
                dataset: row.get(1),
                step: row.get(2),
                failure: row.get(3),
                started: row.get(4),
                ended: row.get(5),
                rows: (unsigned(row.get(6)), unsigned(row.get(7))),
            })
            .collect(),
    })
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.served {
            Some(Served { generation, action, since }) => {
                writeln!(f, "serving: generation {generation}, since {since} ({action})")?;
            }
            None => writeln!(f, "serving: nothing, no catalog has been published yet")?,
        }
        if self.loads.is_empty() {
            return writeln!(f, "loads:   none");
        }
        writeln!(
            f,
            "\n{:>10}  {:<20} {:<10} {:>13} {:>10}  {:<24} ended",
            "generation", "dataset", "step", "rows", "set aside", "started"
        )?;
        for load in &self.loads {
            writeln!(
                f,
                "{:>10}  {:<20} {:<10} {:>13} {:>10}  {:<24} {}",
                load.generation,
                load.dataset,
                load.step,
                load.rows.0,
                load.rows.1,
                load.started,
                load.ended.as_deref().unwrap_or("-")
            )?;
            if let Some(failure) = &load.failure {
                writeln!(f, "            {failure}")?;
            }
        }
        Ok(())
    }
}
