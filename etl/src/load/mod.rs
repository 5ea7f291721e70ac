//! A load: from the files of a dataset to the served catalog.
//!
//! ```text
//!  load ──> index ──> assemble ──> publish
//!  files    keys      documents    swap
//!  to rows
//! ```
//! The ledger records the start of each step, and a step skips work that is done: an interrupted load resumes. The served
//! catalog does not change before the swap.

mod assemble;
mod copy;
mod copy_in;
mod disk;
mod error;
mod index;
mod limit;
mod publish;
mod record;
mod rejects;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use shared::database::ConnectOptions;
use tokio::task::{AbortHandle, JoinSet};
use tokio_postgres::Client;

use crate::database;
use crate::failpoint;
use crate::ledger::{self, Counts, FileNote, RejectCount, Step};
use crate::locks;
use crate::migrate::{self, MigrateError};
use crate::progress::Progress;
use crate::source::{Dataset, SourceFile};
use crate::table::Table;

use disk::Disk;
pub use disk::{DATABASE_DISK_BYTES, disk_bytes};
pub use error::{DiskError, LoadError, Space};
pub use limit::{RejectLimit, RejectLimitError, TooManyRejects};
pub use publish::{RollbackError, publish, rollback};
pub(crate) use publish::{drop_old, drop_previous, drop_within, schema_exists, unpublished_bytes};
pub use record::{Known, Record};
pub use rejects::OutputTarget;

/// The default number of parallel tasks in every step: the number of processors that the database can spare.
pub const DEFAULT_WORKERS: u8 = 2;

/// The max size of an endpoint's response in bytes of JSON. The largest real one has about 11 KB.
const MAX_RESPONSE: usize = 16 << 20;

/// The options of a load.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The max number of rejected rows per file.
    pub limit: RejectLimit,
    /// The target of the rejected rows (CSV) and their summary (JSON).
    pub rejects: OutputTarget,
    /// The number of parallel tasks.
    pub workers: usize,
    /// The value of [`DATABASE_DISK_BYTES`].
    pub disk_bytes: Option<u64>,
    /// The deadline: the load stops, without waiting for the end of a file. Another run resumes it.
    pub stop_at: Option<Instant>,
    /// Whether to publish the built catalog. If not, [`publish`] or another load of the same files does it.
    pub publish: bool,
    /// The progress output.
    pub progress: Progress,
    /// The record of the load, which its clones share.
    pub record: Record,
}

impl LoadOptions {
    /// Returns the defaults: two workers, no deadline, publish.
    pub fn new(rejects: OutputTarget, progress: Progress) -> Self {
        Self {
            limit: RejectLimit::default(),
            rejects,
            workers: DEFAULT_WORKERS.into(),
            disk_bytes: None,
            stop_at: None,
            publish: true,
            progress,
            record: Record::default(),
        }
    }

    /// Returns whether the deadline has passed.
    pub fn deadline_reached(&self) -> bool {
        self.stop_at.is_some_and(|stop_at| Instant::now() >= stop_at)
    }
}

/// The result of a load.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The name of its dataset.
    pub dataset: String,
    /// The location of the rejected rows.
    pub rejects: String,
    /// Its number, which is also the generation of its catalog.
    pub generation: i32,
    /// Whether the catalog is published.
    pub published: bool,
    /// The result for each file.
    pub files: Vec<FileSummary>,
    /// The number of rejected rows by file and reason, in descending order.
    pub reasons: Vec<RejectCount>,
    /// The repairs and spellings by file.
    pub notes: Vec<FileNote>,
    /// The seconds of each step that this run did.
    pub steps: Vec<(Step, f64)>,
}

/// The result of a load for one file.
#[derive(Clone, Debug)]
pub struct FileSummary {
    /// Its name.
    pub file: &'static str,
    /// Its size in bytes.
    pub size: u64,
    /// Its row counts.
    pub counts: Counts,
}

/// The shared context of a load's steps.
pub(crate) struct Context {
    database: ConnectOptions,
    generation: i32,
    options: LoadOptions,
    /// The tasks of its connections.
    connections: Mutex<Vec<AbortHandle>>,
    dataset: String,
    source: String,
    files: Vec<SourceFile>,
}

impl Context {
    async fn connect(&self) -> Result<Client, LoadError> {
        let (client, connection) = database::connect_with_handle(&self.database).await?;
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        match locks::register_worker(&client).await? {
            true => Ok(client),
            false => Err(LoadError::TakenOver("the load")),
        }
    }

    /// Records the rows of each file.
    async fn count_rows(&self, client: &Client) -> Result<(), LoadError> {
        let mut files = Vec::new();
        for file in &self.files {
            let counts = ledger::file_record(client, self.generation, file.table.file).await?.counts;
            files.push(FileSummary { file: file.table.file, size: file.size, counts });
        }
        self.options.record.update(|known| known.files = files);
        Ok(())
    }

    /// Closes all connections, so that the server cancels their statements. A connection whose client was dropped would
    /// wait for the end of its statement.
    fn close_connections(&self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.drain(..).for_each(|connection| connection.abort());
    }

    fn file(&self, table: &Table) -> Option<&SourceFile> {
        self.files.iter().find(|file| file.table == table)
    }

    /// Fails with [`LoadError::DeadlineReached`] after the deadline.
    fn check_time(&self) -> Result<(), LoadError> {
        if self.options.deadline_reached() { Err(LoadError::DeadlineReached) } else { Ok(()) }
    }
}

/// Loads a dataset and publishes it. Pending migrations are applied first.
///
/// One load runs at a time in a database. A second one waits and shows that it does.
pub async fn load(
    database: &ConnectOptions,
    dataset: Dataset,
    options: LoadOptions,
) -> Result<Summary, LoadError> {
    rejects::check_target(&options.rejects, &dataset.files)?;
    migrate_if_pending(database).await?;
    let mut client = database::connect(database).await?;
    lock(&client, &options).await?;
    load_locked(&mut client, database, dataset, &options).await
}

/// Applies pending migrations, if this login has the rights.
pub(crate) async fn migrate_if_pending(database: &ConnectOptions) -> Result<(), LoadError> {
    let pending = migrate::pending(database).await.map_err(LoadError::Schema)?;
    if pending.is_empty() {
        return Ok(());
    }
    match migrate::migrate(database).await {
        Ok(_) => Ok(()),
        Err(cause @ MigrateError::SharedCluster { .. }) => Err(LoadError::Schema(cause)),
        Err(cause) => Err(LoadError::Migrate { pending, cause }),
    }
}

/// Takes the loader lock. Shows when it has to wait, until the deadline.
pub(crate) async fn lock(client: &Client, options: &LoadOptions) -> Result<(), LoadError> {
    let on_wait = || options.progress.show("another load is running: waiting for it to end");
    match locks::lock_loader(client, options.stop_at, on_wait).await? {
        true => Ok(()),
        false => Err(LoadError::DeadlineReached),
    }
}

/// Loads a dataset and publishes it. `client` holds the loader lock.
pub(crate) async fn load_locked(
    client: &mut Client,
    database: &ConnectOptions,
    dataset: Dataset,
    options: &LoadOptions,
) -> Result<Summary, LoadError> {
    let progress = &options.progress;
    drop_old(client).await?; // before the disk is checked
    let handle = ledger::begin_or_resume(client, &dataset, !options.publish).await?;
    failpoint::hit(failpoint::BEGUN);
    if handle.abandoned_another {
        progress.show("abandoned an unfinished load of other files");
    }
    if handle.resumed {
        progress.show(&format!("resuming load {} at the step {:?}", handle.generation, handle.step.name()));
    }
    let context = Arc::new(Context {
        database: database.clone(),
        generation: handle.generation,
        options: options.clone(),
        connections: Mutex::default(),
        dataset: dataset.name,
        source: dataset.source,
        files: dataset.files,
    });
    options.record.update(|known| *known = Known { generation: Some(handle.generation), ..Known::default() });
    let done = run_steps(&context, client, handle.step).await;
    if let Err(error) = &done {
        let _ = context.count_rows(client).await; // best effort: the database itself may have failed
        record_failure(&context, client, error).await?;
    }
    done
}

/// Runs the steps from one on, and writes the rejected rows whether they succeed or fail.
///
/// It writes them before the publish, so that a load that fails has published nothing, and before a failure is recorded,
/// because no later run would write them.
async fn run_steps(context: &Arc<Context>, client: &mut Client, from: Step) -> Result<Summary, LoadError> {
    let built = build_within_disk(context, client, from).await;
    if matches!(built, Err(LoadError::DeadlineReached)) {
        return Err(LoadError::DeadlineReached); // another run writes the rejects
    }
    failpoint::hit(failpoint::BEFORE_REJECTS);
    let written = rejects::write(context, client, built.as_ref().err()).await;
    let progress = &context.options.progress;
    let (reasons, notes) = match (built, written) {
        (Ok(()), written) => written?,
        (Err(error), Ok(_)) => return Err(error),
        (Err(error), Err(unwritten)) => {
            let (shown, error) = if error.is_permanent() { (error, unwritten) } else { (unwritten, error) };
            progress.show(&shown.to_string());
            return Err(error);
        }
    };
    ledger::start_step(client, context.generation, Step::Publish).await?;
    if context.options.publish {
        let publishing = Instant::now();
        publish::run(context.generation, progress, client).await?;
        context.options.record.finish_step(Step::Publish, publishing.elapsed().as_secs_f64());
    }
    let Known { files, steps, .. } = context.options.record.known();
    Ok(Summary {
        rejects: context.rejects_shown(),
        dataset: context.dataset.clone(),
        generation: context.generation,
        published: context.options.publish,
        files,
        reasons,
        notes,
        steps,
    })
}

/// Works as [`build`], as long as there is disk space.
async fn build_within_disk(context: &Arc<Context>, client: &Client, from: Step) -> Result<(), LoadError> {
    if from == Step::Publish || context.options.disk_bytes == Some(0) {
        return build(context, client, from).await;
    }
    let Some(disk) = Disk::find(client, context.options.disk_bytes).await? else {
        context
            .options
            .progress
            .show("the free space of the database's disk is unknown: set DATABASE_DISK_BYTES");
        return build(context, client, from).await;
    };
    disk.check(context, client).await?;
    tokio::select! {
        built = build(context, client, from) => built,
        error = disk.almost_full(context) => {
            context.close_connections();
            Err(error)
        }
    }
}

/// Runs every step but the last.
async fn build(context: &Arc<Context>, client: &Client, from: Step) -> Result<(), LoadError> {
    for step in [Step::Load, Step::Index, Step::Assemble].into_iter().filter(|step| *step >= from) {
        context.check_time()?;
        ledger::start_step(client, context.generation, step).await?;
        let started = Instant::now();
        match step {
            Step::Load => copy_in::run(context).await?,
            Step::Index => index::run(context).await?,
            _ => assemble::run(context).await?,
        }
        context.options.record.finish_step(step, started.elapsed().as_secs_f64());
    }
    // Each step checks this to fail early. A killed run, or one with another limit, may have left the check to this run.
    context.check_rejects(client).await?;
    context.count_rows(client).await
}

/// Records why a load ended. A permanent failure ends it for good; changed files abandon it, because they need a new
/// load. After any other failure the load can resume.
async fn record_failure(context: &Context, client: &Client, error: &LoadError) -> Result<(), LoadError> {
    let reason = error.to_string();
    match error {
        LoadError::DeadlineReached | LoadError::TakenOver(_) => {}
        error if error.is_permanent() => ledger::record_failure(client, context.generation, &reason).await?,
        error if error.is_stale_source() => {
            ledger::abandon(client, &reason).await?;
        }
        // Best effort: the database itself may have failed.
        _ => drop(ledger::record_interruption(client, context.generation, &reason).await),
    }
    Ok(())
}

/// Runs tasks, max `limit` in parallel. The first error aborts the others; at the deadline, running tasks may finish.
async fn run_bounded<F>(limit: usize, tasks: impl Iterator<Item = F>) -> Result<(), LoadError>
where
    F: Future<Output = Result<(), LoadError>> + Send + 'static,
{
    let panicked = |_| LoadError::Bug("a task panicked".to_owned());
    let (mut running, mut tasks) = (JoinSet::new(), tasks.peekable());
    let mut deadline_reached = false;
    loop {
        while running.len() < limit && !deadline_reached && tasks.peek().is_some() {
            tasks.next().map(|task| running.spawn(task));
        }
        match running.join_next().await {
            None if deadline_reached => return Err(LoadError::DeadlineReached),
            None => return Ok(()),
            Some(ended) => match ended.map_err(panicked)? {
                Err(LoadError::DeadlineReached) => deadline_reached = true,
                ended => ended?,
            },
        }
    }
}

/// Runs a blocking read of a file on a separate thread.
async fn blocking<T, E>(
    file: &SourceFile,
    read: impl FnOnce(&SourceFile) -> Result<T, E> + Send + 'static,
) -> Result<T, LoadError>
where
    T: Send + 'static,
    E: Into<LoadError> + Send + 'static,
{
    let (owned, name) = (file.clone(), file.table.file);
    let result = tokio::task::spawn_blocking(move || read(&owned)).await;
    result.map_err(|_| LoadError::Bug(format!("reading {name} panicked")))?.map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_send<T: Send>(_: impl FnOnce(&ConnectOptions, Dataset, LoadOptions) -> T) {}

    #[test]
    fn a_load_can_run_on_any_thread() {
        is_send(|database, dataset, options| {
            let database = database.clone();
            async move { load(&database, dataset, options).await.map(drop) }
        });
    }
}
