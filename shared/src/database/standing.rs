//! Which catalog each server has, and which of them takes writes: asked over each connection once a second.
//!
//! One statement is health check, turnover of what readers keep, and choice of a server. A server that lags behind is
//! told by the catalog that was published last: it is not read from until it has that too. Nor is it when it is the last
//! that is left, for nobody is shown a catalog that was replaced. Only a server that takes writes can take back what was
//! heard: it was promoted before it had everything, or is another database.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio_postgres::Row;

use super::{Error, Sql};

/// One row, whether or not anything was published. By the primary key of `etl.publication`, from its end.
pub(crate) const STANDING: Sql = Sql {
    slot: 7,
    text: "select current_setting('transaction_read_only') = 'on', latest.id, latest.at, latest.generation, \
           (select at from etl.publication order by id limit 1) from (select) as one left join \
           (select id, at, generation from etl.publication order by id desc limit 1) as latest on true",
};

/// How often it is asked: a new catalog is noticed within this time.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(1);

/// Which servers a connection may be to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Any that answers. Servers are not asked how they stand, and those of an address take each other's place as
    /// libpq has it: the first that can be reached, in their order.
    Any,
    /// Any that has the catalog that was published last.
    Current,
    /// The primary.
    Primary,
}

/// What a server said when it was last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// It takes no writes: a standby, or a primary that is kept from writing.
    pub(crate) is_standby: bool,
    /// Nothing was published: `None`.
    pub(crate) published: Option<Published>,
}

/// Which catalog is served since the publication with this number. A rollback is a publication too: generations go
/// back, numbers do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Published {
    number: i64,
    at: SystemTime,
    /// When the first was published in this database, by which it is told from another one.
    since: SystemTime,
    pub(crate) generation: i32,
}

impl Standing {
    /// Of the rows of [`STANDING`].
    pub(crate) fn of(rows: &[Row]) -> Result<Self, Error> {
        let Some(row) = rows.first() else { return Ok(Self::default()) };
        let published = match row.try_get::<_, Option<i64>>(1)? {
            Some(number) => {
                let (at, generation, since) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
                Some(Published { number, at, since, generation })
            }
            None => None,
        };
        Ok(Self { is_standby: row.try_get(0)?, published })
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

/// What all connections have been told, put together. What is read for an answer from memory takes no lock.
#[derive(Debug)]
pub(super) struct Standings {
    need: Need,
    /// By connection; `None` for one that is down.
    told: Mutex<Vec<Option<Standing>>>,
    /// The latest publication that was heard of. Those who ask each second ask at once when it changes.
    latest: watch::Sender<Option<Published>>,
    /// Its [`Edition`] in one number, 0 in the lower half before there is one.
    edition: AtomicU64,
    /// Whether a server that is up has it.
    is_confirmed: AtomicBool,
    /// When one last said so, in milliseconds after `began`.
    confirmed: AtomicU64,
    began: Instant,
}

impl Standings {
    pub(super) fn new(need: Need, connections: usize) -> Self {
        let (latest, edition, is_confirmed, confirmed) = Default::default();
        let told = Mutex::new(vec![None; connections]);
        Self { need, told, latest, edition, is_confirmed, confirmed, began: Instant::now() }
    }

    pub(super) fn need(&self) -> Need {
        self.need
    }

    /// Whether servers are asked at all.
    pub(super) fn are_asked_for(&self) -> bool {
        self.need != Need::Any
    }

    /// Takes down what a connection was told, or that it is down.
    pub(super) fn take_down(&self, connection: usize, standing: Option<Standing>) {
        let mut told = self.told();
        if let Some(place) = told.get_mut(connection) {
            *place = standing;
        }
        let up = || told.iter().flatten();
        if let Some(heard) = up().map(|standing| standing.published).max_by_key(number) {
            // What others were told may have been before the latest publication.
            let by_primary = standing.is_some_and(|standing| !standing.is_standby);
            self.latest.send_if_modified(|latest| {
                let is_taken = *latest != heard && (by_primary || number(&heard) > number(latest));
                if is_taken {
                    self.serve(*latest, heard);
                    *latest = heard;
                }
                is_taken
            });
        }
        let latest = *self.latest.borrow();
        let has_latest = |standing: &Standing| standing.published == latest;
        self.is_confirmed.store(up().any(has_latest), Ordering::Relaxed);
        if standing.as_ref().is_some_and(has_latest) {
            let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.confirmed.store(elapsed, Ordering::Relaxed);
        }
    }

    /// Within a database numbers only go up, each is published once, and the first is always the same.
    fn serve(&self, before: Option<Published>, now: Option<Published>) {
        let follows = |before: Published| {
            now.is_some_and(|now| now.number > before.number && now.since == before.since)
        };
        let is_another_database = before.is_some_and(|before| !follows(before));
        let database = self.last_edition().database.wrapping_add(u32::from(is_another_database));
        let generation = now.map_or(0, |now| now.generation);
        let edition = u64::from(database) << 32 | u64::from(generation.cast_unsigned());
        self.edition.store(edition, Ordering::Relaxed);
    }

    /// Changes when a connection has heard of another publication than the latest up to now.
    pub(super) fn latest(&self) -> watch::Receiver<Option<Published>> {
        self.latest.subscribe()
    }

    /// Whether a connection may be used, by what it was told last.
    pub(super) fn suits(&self, connection: usize) -> bool {
        let suits = |standing: &Standing| match self.need {
            Need::Any => true,
            Need::Current => standing.published == *self.latest.borrow(),
            Need::Primary => !standing.is_standby,
        };
        !self.are_asked_for() || self.told().get(connection).and_then(Option::as_ref).is_some_and(suits)
    }

    fn told(&self) -> MutexGuard<'_, Vec<Option<Standing>>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
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
    pub(super) fn silence(&self) -> Option<Duration> {
        let confirmed = Duration::from_millis(self.confirmed.load(Ordering::Relaxed));
        let silence = self.began.elapsed().saturating_sub(confirmed);
        (silence > 3 * ASK_EVERY || !self.is_confirmed.load(Ordering::Relaxed)).then_some(silence)
    }
}

/// By which publications follow each other; 0 before there is one.
fn number(published: &Option<Published>) -> i64 {
    published.map_or(0, |published| published.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn primary(number: i64, generation: i32) -> Option<Standing> {
        published_at([0, 0], number, generation)
    }

    /// In seconds: when the first was published, and when this was.
    fn published_at(seconds: [u64; 2], number: i64, generation: i32) -> Option<Standing> {
        let [since, at] = seconds.map(|after| SystemTime::UNIX_EPOCH + Duration::from_secs(after));
        Some(Standing { is_standby: false, published: Some(Published { number, at, since, generation }) })
    }

    fn standby(number: i64, generation: i32) -> Option<Standing> {
        primary(number, generation).map(|standing| Standing { is_standby: true, ..standing })
    }

    fn generation(standings: &Standings) -> Option<i32> {
        standings.edition().map(|edition| edition.generation)
    }

    #[test]
    fn a_server_that_lags_behind_is_not_used_until_it_has_the_latest_catalog() {
        let standings = Standings::new(Need::Current, 2);
        assert_eq!(generation(&standings), None);
        standings.take_down(0, standby(7, 3));
        assert!(standings.suits(0));
        assert_eq!(generation(&standings), Some(3));
        standings.take_down(1, primary(8, 4));
        assert_eq!(generation(&standings), Some(4));
        assert!(standings.suits(1) && !standings.suits(0));
        standings.take_down(0, standby(8, 4));
        assert!(standings.suits(1) && standings.suits(0));
    }

    #[test]
    fn a_server_that_lags_behind_is_not_used_though_it_is_the_last_until_it_takes_writes() {
        let standings = Standings::new(Need::Current, 2);
        standings.take_down(0, primary(8, 4));
        standings.take_down(1, standby(7, 3));
        standings.take_down(0, None);
        standings.take_down(1, standby(7, 3));
        assert!(!standings.suits(1));
        assert_eq!(generation(&standings), Some(4), "what was last heard is kept");
        standings.take_down(1, primary(7, 3));
        assert!(standings.suits(1));
        assert_eq!(generation(&standings), Some(3));
    }

    #[test]
    fn a_catalog_counts_as_confirmed_for_as_long_as_a_server_that_is_up_says_that_it_is_the_latest() {
        let standings = Standings::new(Need::Current, 2);
        assert!(standings.silence().is_some());
        standings.take_down(0, primary(8, 4));
        standings.take_down(1, standby(7, 3));
        assert_eq!(standings.silence(), None);
        standings.take_down(0, None);
        assert!(standings.silence().is_some(), "the one that is up has an older catalog");
        standings.take_down(1, standby(8, 4));
        assert_eq!(standings.silence(), None);
        standings.take_down(1, None);
        assert!(standings.silence().is_some());
    }

    #[test]
    fn another_database_in_the_place_of_the_first_has_other_editions_though_its_numbers_are_the_same() {
        let standings = Standings::new(Need::Current, 1);
        standings.take_down(0, primary(8, 4));
        let first = standings.edition();
        standings.take_down(0, None);
        standings.take_down(0, primary(8, 4));
        assert_eq!(standings.edition(), first, "it is back");
        let mut met = vec![first];
        for another in [
            published_at([0, 1], 8, 4), // brought back to before its eighth publication, which was made again
            published_at([0, 0], 7, 4), // brought back to its seventh
            published_at([1, 2], 9, 4), // made anew
            published_at([2, 2], 1, 4),
        ] {
            standings.take_down(0, another);
            assert_eq!(generation(&standings), Some(4));
            assert!(!met.contains(&standings.edition()), "{another:?}");
            met.push(standings.edition());
        }
        standings.take_down(0, Some(Standing::default())); // one in which nothing was published yet
        assert_eq!(standings.edition(), None);
        standings.take_down(0, published_at([2, 2], 1, 4));
        assert!(!met.contains(&standings.edition()));
    }

    #[test]
    fn what_was_heard_is_not_taken_back_by_what_others_were_told_before() {
        let standings = Standings::new(Need::Current, 2);
        standings.take_down(0, primary(8, 4));
        standings.take_down(1, primary(8, 4));
        standings.take_down(0, primary(9, 5));
        standings.take_down(0, None);
        assert_eq!(generation(&standings), Some(5));
        assert!(!standings.suits(1));
        standings.take_down(1, primary(9, 5));
        assert!(standings.suits(1));
    }

    #[test]
    fn a_rollback_is_later_than_what_it_takes_back_though_its_generation_is_lower() {
        let standings = Standings::new(Need::Current, 2);
        let heard = standings.latest();
        standings.take_down(0, primary(8, 4));
        let before = standings.edition_of(3);
        standings.take_down(1, standby(9, 3));
        assert_eq!(standings.edition(), Some(before), "what was kept of it is good again");
        assert!(heard.has_changed().unwrap());
    }

    #[test]
    fn writes_go_to_the_primary_whatever_catalog_it_has() {
        let standings = Standings::new(Need::Primary, 2);
        standings.take_down(0, standby(8, 4));
        standings.take_down(1, primary(7, 3));
        assert!(standings.suits(1) && !standings.suits(0));
    }
}
