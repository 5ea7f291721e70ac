//! The free space of the database's disk, before and during a load. A Postgres that cannot write its WAL stops, and does
//! not start again before someone frees space.
//!
//! Where the server runs on this machine, the loader checks its filesystems. It finds them by the working directory of
//! its own backend, which the server's account and root may read. Elsewhere `DATABASE_DISK_BYTES` is the size of the disk;
//! without it nothing is checked.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::variables::Default::Described;
use shared::variables::Kind::Bytes;
use shared::variables::{Error, Lookup, ReadBy, Variable};
use tokio_postgres::Client;

use super::{Context, DiskError, LoadError, Space, unpublished_bytes};
use crate::database;
use crate::ledger::unsigned;

/// The size of the database's disk.
pub static DATABASE_DISK_BYTES: Variable = Variable::new(
    "DATABASE_DISK_BYTES",
    Bytes(1 << 16),
    Described("none; the loader checks the disk if Postgres runs on its machine"),
    ReadBy::Loader,
)
.summary("the size of the database's disk, so that a load ends before it fills the disk")
.details(
    "Set it where Postgres runs on another machine, such as RDS. The loader counts as used `max_wal_size` and all \
     databases that its login may connect to, or all of the cluster if the login is a member of `pg_read_all_stats`. \
     Without it, nothing keeps a load from filling a disk that the loader cannot see, and a full disk stops Postgres. \
     0 turns every check off.",
);

/// Reads [`DATABASE_DISK_BYTES`].
///
/// # Errors
/// It is no number of bytes.
pub fn disk_bytes(lookup: Lookup<'_>) -> Result<Option<u64>, Error> {
    DATABASE_DISK_BYTES.optional(lookup, |text| DATABASE_DISK_BYTES.kind.number(text))
}

/// The bytes that a row takes in its table and in two indexes, beyond its text in the file.
const ROW: u64 = 95;
/// The size of the documents and the posting lists, in percent of the files' texts.
const READ_MODEL: u64 = 53;
/// The WAL of a load where `wal_level` is minimal: without tables and indexes.
const MINIMAL_WAL: u64 = 32 << 20;

/// A load leaves a 64th of the disk free, but no less and no more than this. Its statements end within 0.2 s after a
/// check, and carts need space.
const RESERVE: (u64, u64) = (64 << 20, 1 << 30);

/// The time between two checks of the filesystems.
const CHECK_EVERY: Duration = Duration::from_millis(10);
/// The time between two queries for the size of the databases.
const QUERY_EVERY: Duration = Duration::from_secs(1);

impl Space {
    fn of(total: u64, free: u64) -> Self {
        Self { free, reserve: (total / 64).clamp(RESERVE.0, RESERVE.1) }
    }
}

/// The disk of the database.
pub(super) enum Disk {
    /// The filesystems of a server on this machine.
    Seen(Vec<Filesystem>),
    /// A disk of this many bytes.
    Sized(u64),
}

/// A filesystem of the server.
pub(super) struct Filesystem {
    /// Open, because the backend's directory in /proc ends with its connection.
    directory: File,
    device: u64,
    has_tables: bool,
    /// The size of the WAL if it is here. The server uses its old files again.
    wal: Option<u64>,
}

impl Disk {
    /// Finds the disk of the server; none if the server is on another machine and its size is not set.
    pub(super) async fn find(client: &Client, bytes: Option<u64>) -> Result<Option<Self>, LoadError> {
        if let Some(bytes) = bytes {
            return Ok(Some(Self::Sized(bytes)));
        }
        let query = "select pg_backend_pid(), floor(extract(epoch from pg_postmaster_start_time()))::bigint,
                            dattablespace from pg_database where datname = current_database()";
        let row = client.query_one(query, &[]).await?;
        Ok(filesystems(row.get(0), row.get(1), row.get(2)).map(Self::Seen))
    }

    /// Checks whether the rest of a load fits.
    pub(super) async fn check(&self, context: &Context, client: &Client) -> Result<(), LoadError> {
        let (tables, wal) = needed(context, client).await?;
        for (needed, what, space) in match self {
            Self::Seen(filesystems) => {
                let space = |one: &Filesystem| {
                    let tables = if one.has_tables { tables } else { 0 };
                    let wal = one.wal.map_or(0, |present| wal.needed.min(wal.max.saturating_sub(present)));
                    Some((tables + wal, one.what(), one.space()?))
                };
                filesystems.iter().filter_map(space).collect()
            }
            Self::Sized(bytes) => {
                // The loader's role may lack the right to connect to databases, which their sizes require.
                let client = database::connect_as_login(&context.database).await?;
                vec![(tables, "tables", unused(&client, *bytes).await?)]
            }
        } {
            if needed + space.reserve > space.free {
                return Err(DiskError::TooSmall { what, needed, space }.into());
            }
        }
        Ok(())
    }

    /// Waits until the disk is almost full, and returns that as the error of the load.
    pub(super) async fn almost_full(&self, context: &Context) -> LoadError {
        match self {
            Self::Seen(filesystems) => loop {
                for one in filesystems {
                    if let Some(space) = one.space()
                        && space.free < space.reserve
                    {
                        return DiskError::AlmostFull { what: one.what(), space }.into();
                    }
                }
                tokio::time::sleep(CHECK_EVERY).await;
            },
            Self::Sized(bytes) => loop {
                tokio::time::sleep(QUERY_EVERY).await;
                // The load itself fails where the database does.
                let Ok(client) = database::connect_as_login(&context.database).await else { continue };
                while let Ok(space) = unused(&client, *bytes).await {
                    if space.free < space.reserve {
                        return DiskError::AlmostFull { what: "tables", space }.into();
                    }
                    tokio::time::sleep(QUERY_EVERY).await;
                }
            },
        }
    }
}

impl Filesystem {
    fn what(&self) -> &'static str {
        match (self.has_tables, self.wal.is_some()) {
            (true, false) => "tables",
            (false, _) => "WAL",
            (true, true) => "tables and WAL",
        }
    }

    fn space(&self) -> Option<Space> {
        let status = rustix::fs::fstatvfs(&self.directory).ok()?;
        Some(Space::of(status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize))
    }
}

/// Returns the filesystems of the server whose backend has this id, if it runs on this machine: then its directory has a
/// `postmaster.pid` with the server's start time in its third line.
fn filesystems(backend: i32, started_at: i64, tablespace: u32) -> Option<Vec<Filesystem>> {
    /// The id of the tablespace in the data directory.
    const DEFAULT_TABLESPACE: u32 = 1663;

    let process = PathBuf::from(format!("/proc/{backend}"));
    let data = process.join("cwd");
    let lines = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let found: i64 = lines.lines().nth(2)?.trim().parse().ok()?;
    if found.abs_diff(started_at) > 2 {
        return None;
    }
    let tables = match tablespace {
        DEFAULT_TABLESPACE => data.clone(),
        other => in_root_of(&process, data.join(format!("pg_tblspc/{other}"))),
    };
    let wal = in_root_of(&process, data.join("pg_wal"));
    let mut found: Vec<Filesystem> = Vec::new();
    let present = fs::read_dir(&wal).ok()?.filter_map(|file| file.ok()?.metadata().ok());
    let present = present.map(|file| file.len()).sum();
    for (path, wal) in [(tables, None), (wal, Some(present))] {
        let directory = File::open(path).ok()?;
        let device = directory.metadata().ok()?.dev();
        match found.iter_mut().find(|other| other.device == device) {
            Some(same) => same.wal = wal,
            None => found.push(Filesystem { directory, device, has_tables: wal.is_none(), wal }),
        }
    }
    Some(found)
}

/// Returns the target of a symlink as the process sees it, whose root may be another one.
fn in_root_of(process: &Path, path: PathBuf) -> PathBuf {
    match fs::read_link(&path) {
        Ok(target) => match target.strip_prefix("/") {
            Ok(below_root) => process.join("root").join(below_root),
            Err(_) => path.with_file_name(target),
        },
        Err(_) => path,
    }
}

/// Returns the space that the databases leave on a disk of this size.
async fn unused(client: &Client, bytes: u64) -> Result<Space, LoadError> {
    let query = "select (select sum(pg_database_size(oid)) from pg_database
                                where has_database_privilege(oid, 'connect') or pg_has_role('pg_read_all_stats', 'member'))
                        ::bigint + pg_size_bytes(current_setting('max_wal_size'))";
    let used: i64 = client.query_one(query, &[]).await?.get(0);
    Ok(Space::of(bytes, bytes.saturating_sub(u64::try_from(used).unwrap_or(0))))
}

/// The WAL that a load writes, and the size to which the server lets all WAL grow, in bytes.
struct Wal {
    needed: u64,
    max: u64,
}

/// Estimates the bytes that the rest of a load needs for its tables, and for its WAL.
async fn needed(context: &Context, client: &Client) -> Result<(u64, Wal), LoadError> {
    let (texts, rows) = context.files.iter().fold((0, 0), |(texts, rows), file| {
        (texts + file.text_bytes, rows + file.text_bytes / file.line_bytes)
    });
    let total = texts + texts / 100 * READ_MODEL + rows * ROW;
    let query =
        "select current_setting('wal_level') = 'minimal', pg_size_bytes(current_setting('max_wal_size'))";
    let row = client.query_one(query, &[]).await?;
    let tables = total.saturating_sub(unpublished_bytes(client).await?);
    Ok((tables, Wal { needed: if row.get(0) { MINIMAL_WAL } else { tables }, max: unsigned(row.get(1)) }))
}
