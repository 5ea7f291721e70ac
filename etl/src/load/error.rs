//! Errors of a load.

use super::{MAX_RESPONSE, TooManyRejects};
use crate::database;
use crate::migrate::MigrateError;
use crate::s3::S3Error;
use crate::source::SourceError;

/// A lack of disk space. The load can resume.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The load would not fit.
    #[error(
        "about {} are missing on the disk of the database's {what}: the load needs about {}, {} are free, and {} must stay \
         free. Enlarge the disk or free space (atelier-etl prune --previous, atelier-etl abandon), then load again",
        megabytes((needed + space.reserve).saturating_sub(space.free)), megabytes(*needed), megabytes(space.free),
        megabytes(space.reserve)
    )]
    TooSmall {
        /// The content of the disk.
        what: &'static str,
        /// The estimated bytes of the load.
        needed: u64,
        /// The space on the disk.
        space: Space,
    },
    /// The load would have filled the disk.
    #[error(
        "the disk of the database's {what} is almost full: {} are free, and a load leaves {}. Enlarge the disk or free \
         space, then load again to resume; atelier-etl abandon drops what this load wrote",
        megabytes(space.free), megabytes(space.reserve)
    )]
    AlmostFull {
        /// The content of the disk.
        what: &'static str,
        /// The space on the disk.
        space: Space,
    },
}

/// The space on a disk, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// The free bytes.
    pub free: u64,
    /// The bytes that a load leaves free.
    pub reserve: u64,
}

#[allow(clippy::cast_precision_loss)] // for people
fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}

/// An error of a load. The served catalog does not change.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The dataset is incomplete, invalid or unreadable.
    #[error(transparent)]
    Source(SourceError),
    /// The database is unavailable or rejected a statement. The load can resume.
    #[error("the database failed: {}", database::describe(.0))]
    Database(tokio_postgres::Error),
    /// Migrations are pending, and this login cannot apply them.
    #[error(
        "{cause}; pending migrations: {}; run atelier-etl migrate with a login that owns the database and has CREATEROLE", pending.join(", ")
    )]
    Migrate {
        /// The pending migrations.
        pending: Vec<String>,
        /// The error that prevented them.
        cause: MigrateError,
    },
    /// The loader cannot read the applied migrations.
    #[error(transparent)]
    Schema(MigrateError),
    /// A file has too many rejected rows.
    #[error("{0}")]
    TooManyRejects(TooManyRejects),
    /// The deadline passed. Committed work stays.
    #[error("deadline reached: run again to resume")]
    DeadlineReached,
    /// Another loader does the work of this one.
    #[error("another loader took over {0}; `atelier-etl status` shows it")]
    TakenOver(&'static str),
    /// All rows of product.csv were rejected.
    #[error("product.csv has no valid row: an empty catalog is not published; correct the rejected rows")]
    NoProducts,
    /// A response would be too large.
    #[error("{parent}: {table} exceed the limit of {} MiB of JSON; remove some of these rows", MAX_RESPONSE >> 20)]
    TooLarge {
        /// The table with too many rows.
        table: &'static str,
        /// The parent of the rows: `product 7`, `style 12`.
        parent: String,
    },
    /// There is no unpublished catalog, or it was published or abandoned since.
    #[error(
        "nothing to publish: there is no unpublished catalog; `atelier-etl load --no-publish` builds one"
    )]
    NothingToPublish,
    /// The rejected rows cannot be written.
    #[error("cannot write the rejected rows to {target}: {cause}; choose another target with --rejects")]
    Rejects {
        /// The target.
        target: String,
        /// The error of the operating system or of S3.
        cause: std::io::Error,
    },
    /// The database's disk is too small or almost full.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// An internal check failed.
    #[error(
        "{0}: this is a bug in the loader or the database; nothing was published; report it with the log"
    )]
    Bug(String),
}

// Not `#[from]`: that makes it the `source`, and an error chain prints it twice.
impl From<tokio_postgres::Error> for LoadError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl From<SourceError> for LoadError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::DeadlineReached => Self::DeadlineReached,
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
    /// Returns whether a retry of the load must fail too.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Source(error) => error.is_permanent(),
            Self::TooManyRejects(_) | Self::NoProducts | Self::TooLarge { .. } | Self::Bug(_) => true,
            _ => false,
        }
    }

    /// Returns whether the operator must change the database or its disk before a retry can succeed. The load can resume then.
    pub fn needs_operator(&self) -> bool {
        match self {
            Self::Database(error) => database::is_missing_right(error),
            Self::Migrate { cause, .. } | Self::Schema(cause) => cause.needs_operator(),
            Self::Disk(DiskError::TooSmall { .. }) => true,
            _ => false,
        }
    }

    /// Returns whether a file is no longer the version that the load began with.
    pub fn is_stale_source(&self) -> bool {
        matches!(self, Self::Source(error) if error.is_stale_source())
    }
}
