//! Which catalog each server has, and which of them takes writes: asked over each connection once a second.
//!
//! One statement is health check, turnover of what readers keep, and choice of a server. A server that lags behind is
//! statuses by the catalog that was published last: it is not read from until it has that too. Nor is it when it is the last
//! that is left, for nobody is shown a catalog that was replaced. Only a server that takes writes can take back what was
//! heard: it was promoted before it had everything, or is another database.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio_postgres::Row;

use super::{Error, Sql};

/// One row, whether or not anything was published. By the primary key of `etl.publication`, from its end.
pub(crate) const SERVER_STATUS: Sql = Sql {
    slot: 7,
    text: "select current_setting('transaction_read_only') = 'on', latest.id, latest.at, latest.generation, \
           (select at from etl.publication order by id limit 1) from (select) as one left join \
           (select id, at, generation from etl.publication order by id desc limit 1) as latest on true",
};

/// How often it is asked: a new catalog is noticed within this time.
pub(super) const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Which servers a connection may be to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// Any that answers. Servers are not asked how they stand, and those of an address take each other's place as
    /// libpq has it: the first that can be reached, in their order.
    AnyServer,
    /// Any that has the catalog that was published last.
    UpToDate,
    /// The primary.
    Primary,
}

/// What a server said when it was last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ServerStatus {
    /// It takes no writes: a standby, or a primary that is kept from writing.
    pub(crate) is_replica: bool,
    /// Nothing was published: `None`.
    pub(crate) publication: Option<Publication>,
}

/// Which catalog is served since the publication with this number. A rollback is a publication too: generations go
/// back, numbers do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Publication {
    id: i64,
    at: SystemTime,
    /// When the first was published in this database, by which it is statuses from another one.
    first_published_at: SystemTime,
    pub(crate) generation: i32,
}

impl ServerStatus {
    /// Of the rows of [`SERVER_STATUS`].
    pub(crate) fn of(rows: &[Row]) -> Result<Self, Error> {
        let Some(row) = rows.first() else { return Ok(Self::default()) };
        let published = match row.try_get::<_, Option<i64>>(1)? {
            Some(number) => {
                let (at, generation, since) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
                Some(Publication { id: number, at, first_published_at: since, generation })
            }
            None => None,
        };
        Ok(Self { is_replica: row.try_get(0)?, publication: published })
    }
}

/// A catalog among all that one process has met: a database that takes the place of another, or is brought back to an
/// earlier time, counts generations anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Edition {
    /// How many databases were there before.
    database: u32,
    generation: i32,
}

#[cfg(test)]
impl Edition {
    pub(crate) fn of_first_database(generation: i32) -> Self {
        Self { database: 0, generation }
    }
}

/// What all connections have been statuses, put together. What is read for an answer from memory takes no lock.
#[derive(Debug)]
pub(super) struct Replicas {
    routing: Routing,
    /// By connection; `None` for one that is down.
    statuses: Mutex<Vec<Option<ServerStatus>>>,
    /// The latest publication that was heard of. Those who ask each second ask at once when it changes.
    latest: watch::Sender<Option<Publication>>,
    /// Its [`Edition`] in one number, 0 in the lower half before there is one.
    edition: AtomicU64,
    /// Whether a server that is up has it.
    is_current: AtomicBool,
    /// When one last said so, in milliseconds after `began`.
    last_confirmed: AtomicU64,
    began: Instant,
}

impl Replicas {
    pub(super) fn new(routing: Routing, connections: usize) -> Self {
        let (latest, edition, is_current, last_confirmed) = Default::default();
        let statuses = Mutex::new(vec![None; connections]);
        Self { routing, statuses, latest, edition, is_current, last_confirmed, began: Instant::now() }
    }

    pub(super) fn routing(&self) -> Routing {
        self.routing
    }

    /// Whether servers are asked at all.
    pub(super) fn are_monitored(&self) -> bool {
        self.routing != Routing::AnyServer
    }

    /// Takes down what a connection was statuses, or that it is down.
    pub(super) fn record(&self, connection: usize, status: Option<ServerStatus>) {
        let mut statuses = self.statuses();
        if let Some(place) = statuses.get_mut(connection) {
            *place = status;
        }
        let up = || statuses.iter().flatten();
        if let Some(heard) = up().map(|status| status.publication).max_by_key(id) {
            // What others were statuses may have been before the latest publication.
            let by_primary = status.is_some_and(|status| !status.is_replica);
            self.latest.send_if_modified(|latest| {
                let is_taken = *latest != heard && (by_primary || id(&heard) > id(latest));
                if is_taken {
                    self.serve(*latest, heard);
                    *latest = heard;
                }
                is_taken
            });
        }
        let latest = *self.latest.borrow();
        let has_latest = |status: &ServerStatus| status.publication == latest;
        self.is_current.store(up().any(has_latest), Ordering::Relaxed);
        if status.as_ref().is_some_and(has_latest) {
            let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.last_confirmed.store(elapsed, Ordering::Relaxed);
        }
    }

    /// Within a database numbers only go up, each is published once, and the first is always the same.
    fn serve(&self, before: Option<Publication>, now: Option<Publication>) {
        let follows = |before: Publication| {
            now.is_some_and(|now| now.id > before.id && now.first_published_at == before.first_published_at)
        };
        let is_another_database = before.is_some_and(|before| !follows(before));
        let database = self.last_edition().database.wrapping_add(u32::from(is_another_database));
        let generation = now.map_or(0, |now| now.generation);
        let edition = u64::from(database) << 32 | u64::from(generation.cast_unsigned());
        self.edition.store(edition, Ordering::Relaxed);
    }

    /// Changes when a connection has heard of another publication than the latest up to now.
    pub(super) fn latest(&self) -> watch::Receiver<Option<Publication>> {
        self.latest.subscribe()
    }

    /// Whether a connection may be used, by what it was statuses last.
    pub(super) fn is_eligible(&self, connection: usize) -> bool {
        let is_eligible = |status: &ServerStatus| match self.routing {
            Routing::AnyServer => true,
            Routing::UpToDate => status.publication == *self.latest.borrow(),
            Routing::Primary => !status.is_replica,
        };
        !self.are_monitored()
            || self.statuses().get(connection).and_then(Option::as_ref).is_some_and(is_eligible)
    }

    fn statuses(&self) -> MutexGuard<'_, Vec<Option<ServerStatus>>> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The catalog that is served, as last heard; `None` before anything was published or heard.
    pub(super) fn edition(&self) -> Option<Edition> {
        Some(self.last_edition()).filter(|edition| edition.generation != 0)
    }

    /// That generation of the database which is there now.
    pub(super) fn edition_of(&self, generation: i32) -> Edition {
        Edition { generation, ..self.last_edition() }
    }

    fn last_edition(&self) -> Edition {
        let edition = self.edition.load(Ordering::Relaxed);
        let [database, generation] = [edition >> 32, edition & u64::from(u32::MAX)]
            .map(|half| u32::try_from(half).unwrap_or_default());
        Edition { database, generation: generation.cast_signed() }
    }

    /// How long ago it was last heard that this is the catalog that is served, if no server says so any more, or none
    /// has for longer than it should take.
    pub(super) fn staleness(&self) -> Option<Duration> {
        let last_confirmed = Duration::from_millis(self.last_confirmed.load(Ordering::Relaxed));
        let staleness = self.began.elapsed().saturating_sub(last_confirmed);
        (staleness > 3 * STATUS_INTERVAL || !self.is_current.load(Ordering::Relaxed)).then_some(staleness)
    }
}

/// By which publications follow each other; 0 before there is one.
fn id(publication: &Option<Publication>) -> i64 {
    publication.map_or(0, |publication| publication.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn primary(id: i64, generation: i32) -> Option<ServerStatus> {
        published_at([0, 0], id, generation)
    }

    /// In seconds: when the first was published, and when this was.
    fn published_at(seconds: [u64; 2], id: i64, generation: i32) -> Option<ServerStatus> {
        let [since, at] = seconds.map(|after| SystemTime::UNIX_EPOCH + Duration::from_secs(after));
        Some(ServerStatus {
            is_replica: false,
            publication: Some(Publication { id, at, first_published_at: since, generation }),
        })
    }

    fn replica(id: i64, generation: i32) -> Option<ServerStatus> {
        primary(id, generation).map(|status| ServerStatus { is_replica: true, ..status })
    }

    fn generation(replicas: &Replicas) -> Option<i32> {
        replicas.edition().map(|edition| edition.generation)
    }

    #[test]
    fn a_server_that_lags_behind_is_not_used_until_it_has_the_latest_catalog() {
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
    fn a_server_that_lags_behind_is_not_used_though_it_is_the_last_until_it_takes_writes() {
        let replicas = Replicas::new(Routing::UpToDate, 2);
        replicas.record(0, primary(8, 4));
        replicas.record(1, replica(7, 3));
        replicas.record(0, None);
        replicas.record(1, replica(7, 3));
        assert!(!replicas.is_eligible(1));
        assert_eq!(generation(&replicas), Some(4), "what was last heard is kept");
        replicas.record(1, primary(7, 3));
        assert!(replicas.is_eligible(1));
        assert_eq!(generation(&replicas), Some(3));
    }

    #[test]
    fn a_catalog_counts_as_confirmed_for_as_long_as_a_server_that_is_up_says_that_it_is_the_latest() {
        let replicas = Replicas::new(Routing::UpToDate, 2);
        assert!(replicas.staleness().is_some());
        replicas.record(0, primary(8, 4));
        replicas.record(1, replica(7, 3));
        assert_eq!(replicas.staleness(), None);
        replicas.record(0, None);
        assert!(replicas.staleness().is_some(), "the one that is up has an older catalog");
        replicas.record(1, replica(8, 4));
        assert_eq!(replicas.staleness(), None);
        replicas.record(1, None);
        assert!(replicas.staleness().is_some());
    }

    #[test]
    fn another_database_in_the_place_of_the_first_has_other_editions_though_its_numbers_are_the_same() {
        let replicas = Replicas::new(Routing::UpToDate, 1);
        replicas.record(0, primary(8, 4));
        let first = replicas.edition();
        replicas.record(0, None);
        replicas.record(0, primary(8, 4));
        assert_eq!(replicas.edition(), first, "it is back");
        let mut met = vec![first];
        for another in [
            published_at([0, 1], 8, 4), // brought back to before its eighth publication, which was made again
            published_at([0, 0], 7, 4), // brought back to its seventh
            published_at([1, 2], 9, 4), // made anew
            published_at([2, 2], 1, 4),
        ] {
            replicas.record(0, another);
            assert_eq!(generation(&replicas), Some(4));
            assert!(!met.contains(&replicas.edition()), "{another:?}");
            met.push(replicas.edition());
        }
        replicas.record(0, Some(ServerStatus::default())); // one in which nothing was published yet
        assert_eq!(replicas.edition(), None);
        replicas.record(0, published_at([2, 2], 1, 4));
        assert!(!met.contains(&replicas.edition()));
    }

    #[test]
    fn what_was_heard_is_not_taken_back_by_what_others_were_told_before() {
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
    fn a_rollback_is_later_than_what_it_takes_back_though_its_generation_is_lower() {
        let replicas = Replicas::new(Routing::UpToDate, 2);
        let heard = replicas.latest();
        replicas.record(0, primary(8, 4));
        let before = replicas.edition_of(3);
        replicas.record(1, replica(9, 3));
        assert_eq!(replicas.edition(), Some(before), "what was kept of it is good again");
        assert!(heard.has_changed().unwrap());
    }

    #[test]
    fn writes_go_to_the_primary_whatever_catalog_it_has() {
        let replicas = Replicas::new(Routing::Primary, 2);
        replicas.record(0, replica(8, 4));
        replicas.record(1, primary(7, 3));
        assert!(replicas.is_eligible(1) && !replicas.is_eligible(0));
    }
}
