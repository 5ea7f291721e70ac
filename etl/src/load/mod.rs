//! A load, from the files of a dataset to the catalog that is served.
//!
//! ```text
//!  load ──> index ──> assemble ──> publish
//!  files    keys      documents    swap
//!  to rows
//! ```
//! Each step is recorded when it begins, and does nothing over again that is done: a load that was stopped goes on
//! where it was. Nothing that is served changes before the swap.

mod assemble;
mod copy_out;
mod index;
mod json;
mod publish;
mod read_files;
mod rejects;

use std::sync::Arc;
use std::time::Instant;

use shared::database::ConnectOptions;
use tokio::task::JoinSet;
use tokio_postgres::{Client, GenericClient};

use crate::database;
use crate::failpoint;
use crate::migrate::{self, MigrateError};
use crate::progress::Progress;
use crate::record::{self, Counts, Step};
use crate::s3::S3Error;
use crate::source::{Dataset, SourceError, SourceFile};
use crate::table::Table;

pub use publish::{RollbackError, publish, rollback};
pub(crate) use publish::{drop_previous, schema_exists};
pub use rejects::{RejectLimit, RejectLimitError, RejectsPlace};

/// How many things are done at a time, in every step: as many as the database has cores to spare.
pub const DEFAULT_WORKERS: u8 = 2;

/// For [`LoadOptions::commit_bytes`] and [`LoadOptions::range_bytes`]: a file is one piece.
pub const WHOLE_FILES: u64 = u64::MAX;

/// The most that the answer of one endpoint may come to, in bytes of JSON. The largest real one is some 11 KB.
const LARGEST_ANSWER: usize = 16 << 20;

/// How a load is to be done.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// How many rows of a file may be set aside.
    pub limit: RejectLimit,
    /// Where the rows that were set aside are written, as CSV, and a summary of them, as JSON.
    pub rejects: RejectsPlace,
    /// How many things are done at a time.
    pub workers: usize,
    /// How many bytes of a file are committed at a time; [`WHOLE_FILES`] for all of them.
    pub commit_bytes: u64,
    /// A file of more bytes is read in several ranges at a time, none of which has more.
    pub range_bytes: u64,
    /// When to stop, at a commit, and leave the rest to another run. Nothing that is under way is broken off.
    pub stop_at: Option<Instant>,
    /// Whether the catalog is published when it is built; if not, [`publish`] does, or another load of the same files.
    pub publish: bool,
    /// What is shown meanwhile.
    pub progress: Progress,
}

impl LoadOptions {
    /// Two workers, every file in one piece, no end of time, and published.
    pub fn new(rejects: RejectsPlace, progress: Progress) -> Self {
        Self {
            limit: RejectLimit::default(),
            rejects,
            workers: DEFAULT_WORKERS.into(),
            commit_bytes: WHOLE_FILES,
            range_bytes: WHOLE_FILES,
            stop_at: None,
            publish: true,
            progress,
        }
    }

    /// Whether it is time to stop.
    pub fn is_out_of_time(&self) -> bool {
        self.stop_at.is_some_and(|stop_at| Instant::now() >= stop_at)
    }
}

/// What a load did.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What its dataset is called.
    pub dataset: String,
    /// Where the rows that were set aside are written.
    pub rejects: String,
    /// Its number, and the generation of its catalog.
    pub generation: i32,
    /// Whether that is served now.
    pub published: bool,
    /// For each file its size in bytes and what happened to its rows.
    pub files: Vec<FileSummary>,
    /// How many rows were set aside for each reason, by file, most first.
    pub reasons: Vec<(String, String, u64)>,
    /// For each step its seconds; one that an earlier run did is not there.
    pub steps: Vec<(Step, f64)>,
}

/// What a load did with one file.
#[derive(Clone, Debug)]
pub struct FileSummary {
    /// Its name.
    pub file: &'static str,
    /// Its size in bytes.
    pub size: u64,
    /// What happened to its rows.
    pub counts: Counts,
}

/// Why a load did not publish.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The dataset cannot be loaded as it lies there.
    #[error(transparent)]
    Source(SourceError),
    /// The database is away or refused a statement. The load can be taken up again.
    #[error("the database failed: {}", database::describe(.0))]
    Database(tokio_postgres::Error),
    /// The database's schema is not the present one, and this login could not make it so.
    #[error(
        "{cause}; the schema lacks {}: run atelier-etl migrate with a login that may", pending.join(", ")
    )]
    Migrate {
        /// The migrations that are not applied.
        pending: Vec<String>,
        /// What kept them from being applied.
        cause: MigrateError,
    },
    /// The database could not be asked for its schema.
    #[error(transparent)]
    Schema(MigrateError),
    /// Too much of a file cannot be loaded; the catalog that was served is still served.
    #[error(
        "{file}: {set_aside} of {read} rows can't be loaded, and at most {allowed} may be set aside \
         (--max-rejects); they are in {rejects}; the catalog served is the one from before"
    )]
    TooManyRejects {
        /// The file.
        file: &'static str,
        /// How many of its rows were set aside, as far as it was read.
        set_aside: u64,
        /// How many were read.
        read: u64,
        /// How many of that many may be set aside.
        allowed: u64,
        /// Where they are written.
        rejects: String,
    },
    /// Time is up. What is committed stays, and another run goes on from there.
    #[error("stopped before its time was up: another run goes on from there")]
    OutOfTime,
    /// Another loader has done what this one was about to.
    #[error("another loader has gone on with {0}")]
    GoneOnElsewhere(&'static str),
    /// All rows of product.csv were set aside.
    #[error("product.csv has no row that can be loaded, and an empty catalog is not published")]
    NoProducts,
    /// An answer would be larger than the service can hold.
    #[error("the {table} of {parent} come to more than {} MiB of JSON, and that is the most", LARGEST_ANSWER >> 20)]
    TooLarge {
        /// Whose rows are too many.
        table: &'static str,
        /// `product 7`, `style 12`.
        parent: String,
    },
    /// No load was told to leave its catalog unpublished, or it was published or given up since.
    #[error("there is no catalog that waits to be published")]
    NothingToPublish,
    /// The oldest catalog, which makes room for the next, is still being read.
    #[error(
        "the previous catalog is still being read, so it can't make room for the next; find its reader in \
         pg_stat_activity, end it, and load again: the load goes on from here"
    )]
    PreviousIsRead,
    /// The rejects could not be written.
    #[error("cannot write the rows set aside to {place}: {cause}")]
    Rejects {
        /// Where to.
        place: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Something does not add up. The catalog that was served is still served.
    #[error("{0}: this is a fault of the loader or of the database, and nothing was published")]
    Inconsistent(String),
}

// By hand, so that it is no `source`: the line above has all of it, and would be followed by it again.
impl From<tokio_postgres::Error> for LoadError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl From<SourceError> for LoadError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::OutOfTime => Self::OutOfTime,
            error => Self::Source(error),
        }
    }
}

impl From<S3Error> for LoadError {
    fn from(error: S3Error) -> Self {
        Self::Source(error.into())
    }
}

impl LoadError {
    /// Whether no further run of the same load could end otherwise.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Source(error) => error.is_final(),
            Self::TooManyRejects { .. }
            | Self::NoProducts
            | Self::TooLarge { .. }
            | Self::Inconsistent(_) => true,
            _ => false,
        }
    }

    /// Whether a file is not the version any more that the load is of.
    pub fn is_of_another_version(&self) -> bool {
        matches!(self, Self::Source(error) if error.is_of_another_version())
    }
}

/// What the steps of one load share.
pub(crate) struct Context {
    address: ConnectOptions,
    generation: i32,
    options: LoadOptions,
    dataset: String,
    source: String,
    files: Vec<SourceFile>,
}

impl Context {
    async fn connect(&self) -> Result<Client, LoadError> {
        let client = database::connect(&self.address).await?;
        match record::join_work(&client).await? {
            true => Ok(client),
            false => Err(LoadError::GoneOnElsewhere("the load")),
        }
    }

    fn file(&self, table: &Table) -> Option<&SourceFile> {
        self.files.iter().find(|file| file.table == table)
    }

    /// Fails when it is time to stop.
    fn check_time(&self) -> Result<(), LoadError> {
        if self.options.is_out_of_time() { Err(LoadError::OutOfTime) } else { Ok(()) }
    }
}

/// Loads a dataset and publishes it. Pending migrations are applied first.
///
/// One load runs at a time in a database; a second waits, and says so.
pub async fn load(
    address: &ConnectOptions,
    dataset: Dataset,
    options: LoadOptions,
) -> Result<Summary, LoadError> {
    rejects::check_place(&options.rejects, &dataset.files)?;
    migrate_if_pending(address).await?;
    let mut client = database::connect(address).await?;
    lock(&client, &options).await?;
    load_locked(&mut client, address, dataset, &options).await
}

/// Applies pending migrations, where this login may.
pub(crate) async fn migrate_if_pending(address: &ConnectOptions) -> Result<(), LoadError> {
    let pending = migrate::pending(address).await.map_err(LoadError::Schema)?;
    if pending.is_empty() {
        return Ok(());
    }
    match migrate::migrate(address).await {
        Ok(_) => Ok(()),
        Err(cause) => Err(LoadError::Migrate { pending, cause }),
    }
}

/// Waits for the loader's lock, and says so, until it is time to stop.
pub(crate) async fn lock(client: &Client, options: &LoadOptions) -> Result<(), LoadError> {
    let on_wait = || options.progress.say("another load is running: waiting for it to end");
    match record::lock_loader(client, options.stop_at, on_wait).await? {
        true => Ok(()),
        false => Err(LoadError::OutOfTime),
    }
}

/// Loads a dataset and publishes it, for one who holds the loader's lock with `client`.
pub(crate) async fn load_locked(
    client: &mut Client,
    address: &ConnectOptions,
    dataset: Dataset,
    options: &LoadOptions,
) -> Result<Summary, LoadError> {
    let progress = &options.progress;
    let ranges: Vec<_> =
        dataset.files.iter().map(|file| read_files::ranges(file, options.range_bytes)).collect();
    let begun = record::begin(client, &dataset, &ranges, !options.publish).await?;
    failpoint::reach(failpoint::BEGUN);
    if begun.gave_up_another {
        progress.say("an unfinished load of other files was given up: this one begins afresh");
    }
    if begun.resumed {
        progress.say(&format!(
            "going on with load {}, which had come to the step {:?}",
            begun.generation,
            begun.step.name()
        ));
    }
    let context = Arc::new(Context {
        address: address.clone(),
        generation: begun.generation,
        options: options.clone(),
        dataset: dataset.name,
        source: dataset.source,
        files: dataset.files,
    });
    let done = run_steps(&context, client, begun.step).await;
    if let Err(error) = &done {
        note_failure(&context, client, error).await?;
    }
    done
}

/// Every step from one on. Whatever comes of it, what was set aside is told: before anything is published, so that a load
/// that exits with an error has published nothing, and before a failure is recorded, after which nobody would come back
/// to tell it.
async fn run_steps(context: &Arc<Context>, client: &mut Client, from: Step) -> Result<Summary, LoadError> {
    let built = build(context, client, from).await;
    if matches!(built, Err(LoadError::OutOfTime)) {
        return Err(LoadError::OutOfTime); // another run tells it
    }
    failpoint::reach(failpoint::BEFORE_REJECTS);
    let written = rejects::write(context, client, built.as_ref().err()).await;
    let progress = &context.options.progress;
    let ((mut steps, files), reasons) = match (built, written) {
        (Ok(built), written) => (built, written?),
        (Err(error), Ok(_)) => return Err(error),
        (Err(error), Err(unwritten)) => {
            let (told, error) = if error.is_final() { (error, unwritten) } else { (unwritten, error) };
            progress.say(&told.to_string());
            return Err(error);
        }
    };
    record::enter(client, context.generation, Step::Publish).await?;
    if context.options.publish {
        let publishing = Instant::now();
        publish::run(context.generation, progress, client).await?;
        steps.push((Step::Publish, publishing.elapsed().as_secs_f64()));
    }
    Ok(Summary {
        rejects: context.rejects_shown(),
        dataset: context.dataset.clone(),
        generation: context.generation,
        published: context.options.publish,
        files,
        reasons,
        steps,
    })
}

/// Every step but the last, each with the seconds it took, and what became of each file by then.
async fn build(
    context: &Arc<Context>,
    client: &Client,
    from: Step,
) -> Result<(Vec<(Step, f64)>, Vec<FileSummary>), LoadError> {
    let mut seconds = Vec::new();
    for step in [Step::Load, Step::Index, Step::Assemble].into_iter().filter(|step| *step >= from) {
        context.check_time()?;
        record::enter(client, context.generation, step).await?;
        let begun = Instant::now();
        match step {
            Step::Load => read_files::run(context).await?,
            Step::Index => index::run(context).await?,
            _ => assemble::run(context).await?,
        }
        seconds.push((step, begun.elapsed().as_secs_f64()));
    }
    // Each step looks at this for itself, to end early; a run that was killed meanwhile, or had another limit, may
    // have left it to this one.
    context.check_rejects(client).await?;
    let mut files = Vec::new();
    for file in &context.files {
        let counts = record::file_counts(client, context.generation, file.table.file).await?.counts;
        files.push(FileSummary { file: file.table.file, size: file.size, counts });
    }
    Ok((seconds, files))
}

/// Records why a load ended. No further run of it can mend a final failure, and files that are others by now need a load
/// of their own. Any other failure leaves the load where it is, to be taken up again.
async fn note_failure(context: &Context, client: &mut Client, error: &LoadError) -> Result<(), LoadError> {
    let reason = error.to_string();
    match error {
        LoadError::OutOfTime | LoadError::GoneOnElsewhere(_) => {}
        error if error.is_final() => record::fail(client, context.generation, &reason).await?,
        error if error.is_of_another_version() => {
            record::give_up(client, &reason).await?;
        }
        // As far as it can be: the database may be what failed.
        _ => drop(record::stopped(client, context.generation, &reason).await),
    }
    Ok(())
}

/// Whether there is a table, or another relation, of this name.
async fn exists(client: &impl GenericClient, name: &str) -> Result<bool, LoadError> {
    Ok(client.query_one("select to_regclass($1) is not null", &[&name]).await?.get(0))
}

/// Runs tasks, so many at a time. The first that fails ends it, and those under way; when time is up, these are waited
/// for.
async fn at_a_time<F>(limit: usize, tasks: impl Iterator<Item = F>) -> Result<(), LoadError>
where
    F: Future<Output = Result<(), LoadError>> + Send + 'static,
{
    let panicked = |_| LoadError::Inconsistent("a task panicked".to_owned());
    let (mut running, mut tasks) = (JoinSet::new(), tasks.peekable());
    let mut is_out_of_time = false;
    loop {
        while running.len() < limit && !is_out_of_time && tasks.peek().is_some() {
            tasks.next().map(|task| running.spawn(task));
        }
        match running.join_next().await {
            None if is_out_of_time => return Err(LoadError::OutOfTime),
            None => return Ok(()),
            Some(ended) => match ended.map_err(panicked)? {
                Err(LoadError::OutOfTime) => is_out_of_time = true,
                ended => ended?,
            },
        }
    }
}

/// Reads from a file on a thread where that may take its time.
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
    result.map_err(|_| LoadError::Inconsistent(format!("reading {name} panicked")))?.map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_send<T: Send>(_: impl FnOnce(&ConnectOptions, Dataset, LoadOptions) -> T) {}

    #[test]
    fn a_load_may_run_on_any_thread() {
        is_send(|address, dataset, options| {
            let address = address.clone();
            async move { load(&address, dataset, options).await.map(drop) }
        });
    }
}
