//! The status of each server: which publication it has, and whether it accepts writes. Each connection polls it once a
//! second.
//!
//! One statement serves as health check, invalidates the cache, and decides which servers requests use. A replica that
//! lags behind the latest known publication is not read from until it has caught up, even if it is the last server
//! left: nobody reads a catalog that was replaced. Only a server that accepts writes can move the latest publication
//! back: it was promoted before it had caught up, or it is another database.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_postgres::Row;

use super::{Error, Sql};

/// Returns one row, even if nothing was published. Uses the primary key of `etl.publication`, from its end. Before the
/// migration of this release, `catalog_id` refers to `unknown.catalog_id`.
pub(crate) const SERVER_STATUS: Sql = Sql {
    slot: 7,
    text: "select current_setting('transaction_read_only') = 'on', latest.id, latest.generation, latest.catalog_id, \
               extract(epoch from latest.at)::bigint \
           from (select null::bigint as catalog_id) as unknown left join lateral \
               (select id, generation, catalog_id, at from etl.publication order by id desc limit 1) as latest on true",
};

/// The interval between two status queries. A host notices a new catalog within this time.
pub(super) const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// The servers that requests of a pool may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routing {
    /// Any server with the latest publication.
    UpToDate,
    /// The server that accepts writes.
    Primary,
}

/// The status of a server when it was last polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ServerStatus {
    /// It accepts no writes: a replica, or a primary that is set to read-only.
    pub(crate) is_replica: bool,
    /// Its latest publication; `None` if nothing was published.
    pub(crate) publication: Option<Publication>,
}

/// The record of one publish or rollback. A rollback takes the catalog back, but its id is higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Publication {
    id: i64,
    pub(crate) generation: i32,
    pub(crate) catalog_id: CatalogId,
    /// When it was published, in seconds since 1970.
    pub(crate) published_at: i64,
}

/// The random id of a catalog. A generation alone does not identify one: a database that replaces another, or is
/// restored from a backup, may reuse the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CatalogId(pub(crate) u64);

impl ServerStatus {
    /// Parses the row of [`SERVER_STATUS`].
    pub(crate) fn from_rows(rows: &[Row]) -> Result<Self, Error> {
        let Some(row) = rows.first() else { return Ok(Self::default()) };
        let publication = match row.try_get::<_, Option<i64>>(1)? {
            Some(id) => {
                let generation: i32 = row.try_get(2)?;
                let catalog_id = row.try_get::<_, Option<i64>>(3)?.unwrap_or_else(|| generation.into());
                let catalog_id = CatalogId(catalog_id.cast_unsigned());
                Some(Publication { id, generation, catalog_id, published_at: row.try_get(4)? })
            }
            None => None,
        };
        Ok(Self { is_replica: row.try_get(0)?, publication })
    }

    /// Returns the id of its publication; 0 if nothing was published.
    pub(super) fn publication_id(&self) -> i64 {
        id(&self.publication)
    }
}

/// The statuses of all connections, and the latest publication that follows from them. Reads for a cached response take
/// no lock.
#[derive(Debug)]
pub(super) struct Replicas {
    routing: Routing,
    /// The latest status by connection; `None` for a connection that is down.
    statuses: Mutex<Vec<Option<ServerStatus>>>,
    /// The latest known publication. When it changes, all connections poll at once.
    latest: watch::Sender<Option<Publication>>,
    /// Its [`CatalogId`]; 0 before the first publication.
    catalog_id: AtomicU64,
    /// Whether a server that is up has the latest publication.
    is_current: AtomicBool,
    /// When a server last confirmed it, in milliseconds after `started`.
    last_confirmed: AtomicU64,
    started: Instant,
}

impl Replicas {
    pub(super) fn new(routing: Routing, connections: usize) -> Self {
        let (latest, catalog_id, is_current, last_confirmed) = Default::default();
        let statuses = Mutex::new(vec![None; connections]);
        Self { routing, statuses, latest, catalog_id, is_current, last_confirmed, started: Instant::now() }
    }

    pub(super) fn routing(&self) -> Routing {
        self.routing
    }

    /// Records a connection's latest status, or `None` when it is disconnected.
    pub(super) fn record(&self, connection: usize, status: Option<ServerStatus>) {
        let mut statuses = self.statuses();
        if let Some(entry) = statuses.get_mut(connection) {
            *entry = status;
        }
        let up = || statuses.iter().flatten();
        // The statuses of other connections may be older, so the one that was just recorded comes last and wins a tie.
        if let Some(reported) = up().chain(&status).map(|status| status.publication).max_by_key(id) {
            let is_from_primary = status.is_some_and(|status| !status.is_replica);
            self.latest.send_if_modified(|latest| {
                let is_new = *latest != reported && (is_from_primary || id(&reported) > id(latest));
                if is_new {
                    *latest = reported;
                    let catalog_id = reported.map_or(0, |publication| publication.catalog_id.0);
                    self.catalog_id.store(catalog_id, Ordering::Relaxed);
                }
                is_new
            });
        }
        let latest = *self.latest.borrow();
        let has_latest = |status: &ServerStatus| status.publication == latest;
        self.is_current.store(up().any(has_latest), Ordering::Relaxed);
        if status.as_ref().is_some_and(has_latest) {
            let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.last_confirmed.store(elapsed, Ordering::Relaxed);
        }
    }

    /// Returns a receiver that changes with the latest known publication.
    pub(super) fn latest(&self) -> watch::Receiver<Option<Publication>> {
        self.latest.subscribe()
    }

    /// Returns the id of the latest known publication; 0 if nothing was published.
    pub(super) fn latest_id(&self) -> i64 {
        id(&self.latest.borrow())
    }

    /// Returns whether requests may use a connection, by the latest status of its server.
    pub(super) fn is_eligible(&self, connection: usize) -> bool {
        let is_eligible = |status: &ServerStatus| match self.routing {
            Routing::UpToDate => status.publication == *self.latest.borrow(),
            Routing::Primary => !status.is_replica,
        };
        self.statuses().get(connection).and_then(Option::as_ref).is_some_and(is_eligible)
    }

    fn statuses(&self) -> MutexGuard<'_, Vec<Option<ServerStatus>>> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the latest known publication.
    pub(super) fn publication(&self) -> Option<Publication> {
        *self.latest.borrow()
    }

    /// Returns the id of its catalog; `None` before a server has reported a publication.
    pub(super) fn catalog_id(&self) -> Option<CatalogId> {
        Some(CatalogId(self.catalog_id.load(Ordering::Relaxed))).filter(|id| id.0 != 0)
    }

    /// Returns how long ago a server last confirmed the current catalog. `None` while a server that is up has it, and
    /// confirmed it within three intervals.
    pub(super) fn staleness(&self) -> Option<Duration> {
        let last_confirmed = Duration::from_millis(self.last_confirmed.load(Ordering::Relaxed));
        let staleness = self.started.elapsed().saturating_sub(last_confirmed);
        (staleness > 3 * STATUS_INTERVAL || !self.is_current.load(Ordering::Relaxed)).then_some(staleness)
    }
}

/// Returns the id of a publication; 0 for none. A later publication has a higher id.
fn id(publication: &Option<Publication>) -> i64 {
    publication.map_or(0, |publication| publication.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A primary whose latest publication has this id, of the catalog with this number.
    fn primary(id: i64, catalog: i32) -> Option<ServerStatus> {
        let catalog_id = CatalogId(catalog.unsigned_abs().into());
        let publication = Some(Publication { id, generation: catalog, catalog_id, published_at: 0 });
        Some(ServerStatus { is_replica: false, publication })
    }

    fn replica(id: i64, generation: i32) -> Option<ServerStatus> {
        primary(id, generation).map(|status| ServerStatus { is_replica: true, ..status })
    }

    fn generation(replicas: &Replicas) -> Option<i32> {
        let publication = replicas.publication();
        assert_eq!(replicas.catalog_id(), publication.map(|publication| publication.catalog_id));
        publication.map(|publication| publication.generation)
    }

    #[test]
    fn a_lagging_replica_is_not_used_until_it_has_the_latest_catalog() {
        let replicas = Replicas::new(Routing::UpToDate, 2);
        assert_eq!(generation(&replicas), None);
        replicas.record(0, replica(7, 3));
        assert!(replicas.is_eligible(0));
        assert_eq!(generation(&replicas), Some(3));
        replicas.record(1, primary(8, 4));
        assert_eq!(generation(&replicas), Some(4));
        assert!(replicas.is_eligible(1) && !replicas.is_eligible(0));
        replicas.record(0, replica(8, 4));
        assert!(replicas.is_eligible(1) && replicas.is_eligible(0));
    }

    #[test]
    fn a_lagging_replica_is_not_used_even_as_the_last_server_until_it_is_promoted() {
        let replicas = Replicas::new(Routing::UpToDate, 2);
        replicas.record(0, primary(8, 4));
        replicas.record(1, replica(7, 3));
        replicas.record(0, None);
        replicas.record(1, replica(7, 3));
        assert!(!replicas.is_eligible(1));
        assert_eq!(generation(&replicas), Some(4), "the latest known publication stays");
        replicas.record(1, primary(7, 3));
        assert!(replicas.is_eligible(1));
        assert_eq!(generation(&replicas), Some(3));
    }

    #[test]
    fn a_catalog_is_confirmed_while_a_server_that_is_up_has_it() {
        let replicas = Replicas::new(Routing::UpToDate, 2);
        assert!(replicas.staleness().is_some());
        replicas.record(0, primary(8, 4));
        replicas.record(1, replica(7, 3));
        assert_eq!(replicas.staleness(), None);
        replicas.record(0, None);
        assert!(replicas.staleness().is_some(), "the server that is up has an older catalog");
        replicas.record(1, replica(8, 4));
        assert_eq!(replicas.staleness(), None);
        replicas.record(1, None);
        assert!(replicas.staleness().is_some());
    }

    #[test]
    fn another_database_has_another_catalog_even_with_the_same_ids_and_generations() {
        let replicas = Replicas::new(Routing::UpToDate, 1);
        replicas.record(0, primary(8, 4));
        let mut other = primary(8, 4).unwrap();
        other.publication.as_mut().unwrap().catalog_id = CatalogId(5);
        replicas.record(0, Some(other));
        assert_eq!(replicas.catalog_id(), Some(CatalogId(5)));
        replicas.record(0, Some(ServerStatus::default())); // a database without a publication
        assert_eq!(replicas.catalog_id(), None);
    }

    #[test]
    fn a_primary_with_another_catalog_of_the_same_publication_is_used_at_once() {
        let replicas = Replicas::new(Routing::UpToDate, 2);
        replicas.record(0, primary(8, 4));
        replicas.record(1, replica(8, 4));
        replicas.record(0, primary(8, 5));
        assert!(replicas.is_eligible(0) && !replicas.is_eligible(1));
        assert_eq!(generation(&replicas), Some(5));
    }

    #[test]
    fn an_older_status_of_another_connection_does_not_take_the_latest_publication_back() {
        let replicas = Replicas::new(Routing::UpToDate, 2);
        replicas.record(0, primary(8, 4));
        replicas.record(1, primary(8, 4));
        replicas.record(0, primary(9, 5));
        replicas.record(0, None);
        assert_eq!(generation(&replicas), Some(5));
        assert!(!replicas.is_eligible(1));
        replicas.record(1, primary(9, 5));
        assert!(replicas.is_eligible(1));
    }

    #[test]
    fn a_rollback_is_the_latest_publication_even_though_its_generation_is_lower() {
        let replicas = Replicas::new(Routing::UpToDate, 2);
        let latest = replicas.latest();
        replicas.record(0, primary(8, 4));
        replicas.record(1, replica(9, 3));
        assert_eq!(generation(&replicas), Some(3));
        assert!(latest.has_changed().unwrap());
    }

    #[test]
    fn writes_use_the_primary_even_if_it_has_an_older_catalog() {
        let replicas = Replicas::new(Routing::Primary, 2);
        replicas.record(0, replica(8, 4));
        replicas.record(1, primary(7, 3));
        assert!(replicas.is_eligible(1) && !replicas.is_eligible(0));
    }
}
